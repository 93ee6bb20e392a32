package mlsengine

import (
	"fmt"
)

// everything lists what the simulations together must have come across: one
// that never did would prove nothing about it.
func everything() []string {
	return []string{
		"a join from outside", "a resync", "a pre-shared key of a joiner", "a pre-shared key", "a new member's own proposal",
		"a proposal of the service", "a reinitialization", "a branch",
	}
}

// senders are the group extensions by which the service may propose.
func (sim *simulation) senders() Extensions {
	return Extensions{}.WithExternalSenders(ExternalSenders{{SignatureKey: sim.service.identity.Public, Credential: sim.service.identity.Credential}})
}

// proposeAdd lets somebody propose a new client, or the client itself.
func (sim *simulation) proposeAdd(joiner *testClient, in *CommitIntent) {
	k := joiner.keyPackage(sim.t)
	if sim.chance(30) {
		sim.note("a new member's own proposal")
		sim.spread(must(ProposeToJoin(&sim.outside.context, k, nil, joiner.env))(sim.t), nil, in)
		return
	}
	sim.propose(&Add{KeyPackage: *k}, in)
}

// reinitialize closes the group, and lets somebody found its successor.
func (sim *simulation) reinitialize() {
	t := sim.t
	id := CipherSuite(1 + sim.rand.IntN(3))
	sim.service = newTestClient(t, id, "service")
	to := &ReInit{GroupID: GroupID(fmt.Sprintf("successor %d", sim.born)), Version: VersionMLS10, CipherSuite: id, Extensions: sim.senders()}
	closer, in := sim.pick(), CommitIntent{}
	if sim.chance(50) {
		in.Inline = []Proposal{to}
	} else {
		proposer := sim.pick()
		sim.spread(must(proposer.group.Propose(to, Framing{}, proposer.env))(t), proposer, &in)
	}
	before := closer.group
	out := must(before.Commit(in, closer.env))(t)
	sim.checkResume(before, in, out, closer)
	sim.deliver(out.Message, in.Proposals, closer)
	closer.group = out.Staged.Next
	sim.afterCommit(out, nil, WithoutTree)
	heirs := sim.heirs(sim.members, id)
	founded := must(heirs[0].old.FoundSuccessor(founding(heirs), heirs[0].env))(t)
	sim.note("a reinitialization")
	sim.id, sim.members, sim.outside = id, inherit(t, heirs, founded), founded.Staged.Public
	sim.agree()
}

// branch lets some members talk among themselves.
func (sim *simulation) branch() {
	t := sim.t
	some := append([]*testClient(nil), sim.members...)
	sim.rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	heirs := sim.heirs(some[:1+sim.rand.IntN(len(some))], sim.id)
	f := founding(heirs)
	f.ForcePath = sim.chance(50)
	out := must(heirs[0].old.FoundBranch(Branch{GroupID: GroupID("branch")}, f, heirs[0].env))(t)
	sim.note("a branch")
	commit(t, inherit(t, heirs, out), len(heirs)-1, CommitIntent{})
}

// heirs are the new selves of members, one of whom comes first.
func (sim *simulation) heirs(members []*testClient, id CipherSuite) []heir {
	heirs := newHeirsOf(sim.t, members, id)
	for i, h := range heirs {
		h.env.Entropy, h.psks = members[i].env.Entropy, members[i].psks
		h.identity = h.newIdentity(sim.t)
		h.keyPackage(sim.t)
	}
	first := sim.rand.IntN(len(heirs))
	heirs[0], heirs[first] = heirs[first], heirs[0]
	return heirs
}

// note counts something that happened.
func (sim *simulation) note(what string) {
	if sim.saw == nil {
		sim.saw = map[string]int{}
	}
	sim.saw[what]++
}
