package mlsengine

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
)

// kept is a group as it was at some time, and what its bytes were then.
type kept struct {
	group           *Group
	public, private [sha256.Size]byte
}

func keep(g *Group) kept {
	return kept{g, sha256.Sum256(g.public.Marshal()), sha256.Sum256(g.MarshalPrivate().Expose())}
}

// TestSuccessorsLeaveTheirAncestorsAlone keeps the groups of a long history,
// while their successors share nodes, ratchets and secrets with them and wipe
// what they no longer need, and checks at its end that no byte of them moved.
func TestSuccessorsLeaveTheirAncestorsAlone(t *testing.T) {
	for seed := range uint64(2) {
		sim := &simulation{t: t, id: 1, rand: rand.New(rand.NewPCG(seed, 7))}
		founder := sim.newClient()
		founder.create(t, "kept", nil)
		sim.members = append(sim.members, founder)
		sim.outside = founder.group.Public()
		var all []kept
		for range 24 {
			for _, c := range sim.members {
				all = append(all, keep(c.group), keep(c.group.Retire()))
			}
			sim.step()
		}
		for _, k := range all {
			if keep(k.group) != k {
				t.Fatalf("seed %d: leaf %d of epoch %d changed", seed, k.group.own, k.group.Epoch())
			}
		}
		speakers := map[Epoch]bool{}
		for _, k := range all {
			if k.group.retired || speakers[k.group.Epoch()] {
				continue
			}
			speakers[k.group.Epoch()] = true
			readBack(t, k.group, all)
		}
	}
}

// readBack lets a kept group speak, and another one of its epoch listen: their
// secrets are not only unchanged where Marshal shows them.
func readBack(t *testing.T, speaker *Group, all []kept) {
	t.Helper()
	_, _, block, err := speaker.Reserve(ContentTypeApplication, 1)
	check(t, err)
	leaf := speaker.public.tree.leaf(speaker.own)
	for _, k := range all {
		g := k.group
		if g.Epoch() != speaker.Epoch() || g.own == speaker.own || string(g.public.TreeHash()) != string(speaker.public.TreeHash()) {
			continue
		}
		a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: framedContent{
			GroupID: speaker.GroupID(), Epoch: speaker.Epoch(), Sender: MemberSender(speaker.own),
			ContentType: ContentTypeApplication, Application: []byte("still here"),
		}}
		a.Signature = leaf.Signature // of something else: the keys are what is tested
		generation, keys, err := block.take(ContentTypeApplication)
		check(t, err)
		m := must(sealPrivate(speaker.public.suite, privateSeal{Content: a, Keys: keys, Generation: generation, SenderData: speaker.secrets.senderData}))(t)
		_, _, err = g.Open(m, testLimits)
		if k.private != keep(g).private {
			t.Error("listening changed the listener")
		}
		// The signature is not one; the kept listener may have heard the generation before it was kept.
		if !errors.Is(err, InvalidSignature) && !errors.Is(err, GenerationConsumed) {
			t.Errorf("leaf %d of epoch %d hears %v", g.own, g.Epoch(), err)
		}
		return
	}
}
