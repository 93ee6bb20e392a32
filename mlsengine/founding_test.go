package mlsengine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/mlsengine/suite"
)

// heir is a member of an old group that goes on under another cipher suite:
// its new self still has the old group.
type heir struct {
	*testClient
	old *Group
}

// newHeirsOf makes new selves of members, with key packages.
func newHeirsOf(t *testing.T, clients []*testClient, id CipherSuite) []heir {
	t.Helper()
	var heirs []heir
	for _, c := range clients {
		next := newTestClient(t, id, c.name)
		next.keyPackage(t)
		heirs = append(heirs, heir{next, c.group})
	}
	return heirs
}

// founding is that of the first heir with all the others.
func founding(heirs []heir) Founding {
	f := Founding{TreeInWelcome: WithTree}
	for _, h := range heirs[1:] {
		f.KeyPackages = append(f.KeyPackages, h.kp)
	}
	return f
}

func (h heir) welcomed(t *testing.T, out *CommitOut, change func(*JoinInput)) error {
	t.Helper()
	in := JoinInput{KeyPackage: h.kp, Secrets: h.secrets, Identity: h.identity, PSKs: h.old, Origin: h.old.Public()}
	if change != nil {
		change(&in)
	}
	g, err := JoinFromWelcome(must(ParseMessage(out.Welcome))(t).Welcome(), in)
	if err == nil {
		h.group = g
	}
	return err
}

// inherit lets everybody join what the first heir founded.
func inherit(t *testing.T, heirs []heir, out *CommitOut) []*testClient {
	t.Helper()
	heirs[0].group = out.Staged.Next
	clients := []*testClient{heirs[0].testClient}
	for _, h := range heirs[1:] {
		check(t, h.welcomed(t, out, nil))
		clients = append(clients, h.testClient)
	}
	wantAgreement(t, clients)
	return clients
}

// closedGroup is a group that bob closed in favour of one of another suite.
func closedGroup(t *testing.T, to *ReInit, names ...string) []*testClient {
	t.Helper()
	clients := newTestGroup(t, 1, names...)
	proposed := must(clients[0].group.Propose(to, Framing{}, clients[0].env))(t)
	for _, c := range clients[1:] {
		c.open(t, proposed.Message)
	}
	out := commit(t, clients, 1, CommitIntent{Proposals: []*Content{proposed.Content}})
	if out.Staged.ReInit == nil || clients[0].group.Public().ReInit() == nil {
		t.Fatal("the group is not closed")
	}
	return clients
}

func TestReInitToEverySuite(t *testing.T) {
	for _, id := range suite.IDs() {
		t.Run(fmt.Sprint(id), func(t *testing.T) {
			to := &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: id, Extensions: Extensions{}.WithRequiredCapabilities(RequiredCapabilities{})}
			clients := closedGroup(t, to, "alice", "bob", "carol")
			slices.Reverse(clients) // whoever comes first may found it
			heirs := newHeirsOf(t, clients, id)
			out := must(heirs[0].old.FoundSuccessor(founding(heirs), heirs[0].env))(t)
			if !out.Secrets.IsZero() || out.Staged.Public.Epoch() != 1 {
				t.Error("founding left something to resume, or another epoch than the first")
			}
			commit(t, inherit(t, heirs, out), 1, CommitIntent{})
		})
	}
}

func TestClosedGroupOnlyFounds(t *testing.T) {
	clients := closedGroup(t, &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 1}, "alice", "bob")
	alice := clients[0]
	_, err := alice.group.Commit(CommitIntent{}, alice.env)
	wantRule(t, GroupEnded, err)
	_, err = alice.group.Propose(&Remove{Removed: 1}, Framing{}, alice.env)
	wantRule(t, GroupEnded, err)
	_, err = alice.group.FoundBranch(Branch{GroupID: GroupID("part")}, Founding{}, alice.env)
	wantRule(t, GroupEnded, err)
	_, block, err := alice.reserve(t)
	check(t, err)
	_, _, err = alice.group.SealApplication(block, Plaintext{Data: []byte("anybody there?")}, alice.env)
	wantRule(t, GroupEnded, err)
}

func (c *testClient) reserve(t *testing.T) (Generation, *SendBlock, error) {
	t.Helper()
	g, next, block, err := c.group.Reserve(ContentTypeApplication, 1)
	c.group = next
	return g, block, err
}

func TestSuccessorHasTheMembersOfItsGroup(t *testing.T) {
	clients := closedGroup(t, &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 3}, "alice", "bob", "carol")
	heirs := newHeirsOf(t, clients, 3)
	stranger := newTestClient(t, 3, "mallory")
	alice := heirs[0]
	found := func(f Founding) error {
		_, err := alice.old.FoundSuccessor(f, alice.env)
		return err
	}
	wantRule(t, ReInitMember, found(founding(heirs[:2])))
	extra := founding(heirs)
	extra.KeyPackages = append(extra.KeyPackages, stranger.keyPackage(t))
	wantRule(t, ReInitMember, found(extra))
	other := founding(heirs)
	other.KeyPackages[1] = newTestClient(t, 1, "carol").keyPackage(t)
	wantRule(t, KeyPackageCipherSuite, found(other))
	open := newTestGroup(t, 1, "alice", "bob")[0]
	_, err := open.group.FoundSuccessor(Founding{}, alice.env)
	wantRule(t, ReInitParameters, err)
	alice.env.Identity = nil
	if err := found(founding(heirs)); !errors.Is(err, ErrIdentity) {
		t.Errorf("nobody founds: %v", err)
	}
}

func TestSuccessorIsJoinedOnlyFromItsGroup(t *testing.T) {
	clients := closedGroup(t, &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 3}, "alice", "bob")
	heirs := newHeirsOf(t, clients, 3)
	out := must(heirs[0].old.FoundSuccessor(founding(heirs), heirs[0].env))(t)
	another := closedGroup(t, &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 3}, "alice", "bob", "carol")[1].group
	wantRule(t, ReInitParameters, heirs[1].welcomed(t, out, func(in *JoinInput) { in.Origin = nil }))
	wantRule(t, PSKUnknown, heirs[1].welcomed(t, out, func(in *JoinInput) { in.PSKs = nil }))
	wantRule(t, ReInitMember, heirs[1].welcomed(t, out, func(in *JoinInput) { in.Origin = another.Public() }))
	wantRule(t, WelcomeGroupInfo, heirs[1].welcomed(t, out, func(in *JoinInput) { in.PSKs = another }))
}

// TestIdentifierComparesMembers: what the application says is one client is
// one, whatever its credentials look like.
func TestIdentifierComparesMembers(t *testing.T) {
	clients := closedGroup(t, &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 1}, "alice/2025", "bob/2025")
	heirs := newHeirsOf(t, clients, 1)
	for _, h := range heirs {
		name := strings.Replace(h.name, "2025", "2026", 1)
		h.identity.Credential = BasicCredential([]byte(name))
		h.keyPackage(t)
	}
	f := founding(heirs)
	_, err := heirs[0].old.FoundSuccessor(f, heirs[0].env)
	wantRule(t, ReInitMember, err)
	identify := func(k Credential) string {
		name, _, _ := strings.Cut(string(k.Identity()), "/")
		return name
	}
	heirs[0].env.Identify = identify
	out := must(heirs[0].old.FoundSuccessor(f, heirs[0].env))(t)
	wantRule(t, ReInitMember, heirs[1].welcomed(t, out, nil))
	check(t, heirs[1].welcomed(t, out, func(in *JoinInput) { in.Identify = identify }))
}

func TestBranchIsASubgroup(t *testing.T) {
	for _, force := range []bool{false, true} {
		clients := newTestGroup(t, 1, "alice", "bob", "carol", "dave")
		heirs := newHeirsOf(t, []*testClient{clients[3], clients[1]}, 1)
		f := founding(heirs)
		f.ForcePath = force
		out := must(heirs[0].old.FoundBranch(Branch{GroupID: GroupID("part"), Extensions: Extensions{}.WithExternalSenders(nil)}, f, heirs[0].env))(t)
		commit(t, inherit(t, heirs, out), 1, CommitIntent{})
		wantAgreement(t, clients)
	}
}

func TestBranchTakesOnlyMembers(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	heirs := newHeirsOf(t, append(clients, newTestClient(t, 1, "mallory")), 1)
	_, err := heirs[0].old.FoundBranch(Branch{GroupID: GroupID("part")}, founding(heirs), heirs[0].env)
	wantRule(t, BranchMember, err)
	_, err = heirs[0].old.Retire().FoundBranch(Branch{GroupID: GroupID("part")}, founding(heirs[:2]), heirs[0].env)
	if !errors.Is(err, ErrRetired) {
		t.Errorf("from a past epoch: %v", err)
	}
}
