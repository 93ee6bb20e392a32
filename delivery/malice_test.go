package delivery

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine"
)

// refused submits a bundle that must be refused for a reason, and checks that nothing entered the order.
func refused(t *testing.T, s *Service, b Bundle, reason string) {
	t.Helper()
	ctx := context.Background()
	before := must(s.Newest(ctx, b.Group))(t)
	answer := must(s.SubmitBundle(ctx, b))(t)
	abort, ok := answer.(Abort)
	if !ok || !strings.HasPrefix(abort.Reason, reason) {
		t.Errorf("answer %#v, want an abort because of %s", answer, reason)
	}
	if after := must(s.Newest(ctx, b.Group))(t); after != before {
		t.Errorf("entry %d after entry %d", after, before)
	}
}

func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	if at < 0 {
		at += len(c)
	}
	c[at] ^= 1
	return c
}

func TestInvalidCommitsOfMembersAreRefused(t *testing.T) {
	s := newWorld(t).serving("a", nil)
	bots := crowd(t, s, testGroup, 3)
	alice, bob := bots[0], bots[1]
	good, out := alice.update()
	foreign, _ := bob.update()
	welcoming, _ := alice.add(newBot(t, "dave"))

	t.Run("bad signature", func(t *testing.T) {
		b := good
		b.Commit = flipped(good.Commit, -40) // in signature, confirmation tag or membership tag
		answer := must(s.SubmitBundle(context.Background(), b))(t)
		if _, ok := answer.(Abort); !ok {
			t.Errorf("answer %#v", answer)
		}
	})
	t.Run("somebody else's commit", func(t *testing.T) {
		b := good
		b.Origin.Client = bob.id
		refused(t, s, b, "not-member")
	})
	t.Run("not a member", func(t *testing.T) {
		b := good
		b.Origin.Client = "eve"
		refused(t, s, b, "not-member")
	})
	t.Run("garbage", func(t *testing.T) {
		b := good
		b.Commit = []byte("garbage")
		refused(t, s, b, "malformed")
	})
	t.Run("a proposal in the commit's place", func(t *testing.T) {
		b := good
		b.Commit = must(alice.group.Propose(&mlsengine.Remove{Removed: 1}, mlsengine.Framing{}, alice.env()))(t).Message
		refused(t, s, b, "malformed")
	})
	t.Run("group info of another commit", func(t *testing.T) {
		b := good
		b.GroupInfo = foreign.GroupInfo
		refused(t, s, b, "group-info-wrong")
	})
	t.Run("group info of this epoch", func(t *testing.T) {
		b := good
		b.GroupInfo = alice.info()
		refused(t, s, b, "group-info-wrong")
	})
	t.Run("group info with a broken signature", func(t *testing.T) {
		b := good
		b.GroupInfo = flipped(good.GroupInfo, -1)
		refused(t, s, b, "group-info-wrong")
	})
	t.Run("no group info", func(t *testing.T) {
		b := good
		b.GroupInfo = nil
		refused(t, s, b, "group-info-wrong")
	})
	t.Run("group info without the tree", func(t *testing.T) {
		b := good
		gi := must(out.Staged.Next.GroupInfo(mlsengine.WithoutTree, alice.env()))(t)
		b.GroupInfo = append([]byte{0, 1, 0, 4}, syntax.Encode(gi)...)
		refused(t, s, b, "group-info-wrong")
	})
	t.Run("welcome for nobody", func(t *testing.T) {
		b := good
		b.Welcome = welcoming.Welcome
		refused(t, s, b, "welcome-wrong")
	})
	t.Run("no welcome for somebody", func(t *testing.T) {
		b := welcoming
		b.Welcome = nil
		refused(t, s, b, "welcome-wrong")
	})
	t.Run("welcome for somebody else", func(t *testing.T) {
		b := welcoming
		other, _ := alice.add(newBot(t, "dave"))
		b.Welcome = other.Welcome
		refused(t, s, b, "welcome-wrong")
	})
	t.Run("a proposal that nothing refers to", func(t *testing.T) {
		b := good
		b.Proposals = [][]byte{must(alice.group.Propose(&mlsengine.Remove{Removed: 1}, mlsengine.Framing{}, alice.env()))(t).Message}
		refused(t, s, b, "malformed")
	})
	t.Run("a commit of an epoch to come", func(t *testing.T) {
		ahead := *alice
		ahead.group = out.Staged.Next
		b, _ := ahead.update()
		refused(t, s, b, "wrong-epoch")
	})
	t.Run("too large", func(t *testing.T) {
		b := good
		b.EncryptedMessage = make([]byte, 32<<20)
		_, err := s.SubmitBundle(context.Background(), b)
		wants(t, err, TooLarge)
	})
	if answer := must(s.SubmitBundle(context.Background(), good))(t); answer != (Answer)(Success{Position: 3}) {
		t.Fatalf("the good one: %#v", answer)
	}
}

// sealed makes an encrypted commit with what its bundle lists.
func (b *bot) sealed(in mlsengine.CommitIntent, changes ...Change) (Bundle, *mlsengine.CommitOut) {
	b.t.Helper()
	from, next, block, err := b.group.Reserve(mlsengine.ContentTypeCommit, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	b.group = next
	in.Framing = mlsengine.Framing{Encrypt: true, Block: block}
	bundle, out := b.commit(in)
	bundle.Changes, bundle.Generation = changes, uint32(from)
	return bundle, out
}

func TestEncryptedCommitsAreJudgedByTheirTree(t *testing.T) {
	s := newWorld(t).serving("a", nil)
	bots := crowd(t, s, testGroup, 3)
	alice, bob := bots[0], bots[1]
	dave := newBot(t, "dave")
	add := func() mlsengine.CommitIntent {
		return mlsengine.CommitIntent{Inline: []mlsengine.Proposal{&mlsengine.Add{KeyPackage: *dave.keyPackage()}, &mlsengine.Remove{Removed: 2}}}
	}
	// Leaf 2 is blanked and taken again by dave: bot-2 goes and dave comes.
	gone, come := Change{Kind: ChangeRemoved, Leaf: 2, Client: bots[2].id}, Change{Kind: ChangeAdded, Leaf: 2, Client: "dave"}
	unlisted, _ := alice.sealed(add(), gone)
	refused(t, s, unlisted, "tree-wrong")
	stranger, _ := alice.sealed(mlsengine.CommitIntent{ForcePath: true}, Change{Kind: ChangeRemoved, Leaf: 1, Client: bob.id})
	refused(t, s, stranger, "tree-wrong")
	update, out := alice.sealed(mlsengine.CommitIntent{ForcePath: true})
	foreign := update
	foreign.Origin.Client = bob.id
	refused(t, s, foreign, "not-member")
	stale := update
	stale.GroupInfo = alice.info()
	refused(t, s, stale, "group-info-wrong")

	e := alice.win(s, update, out)
	if !e.Encrypted || e.Number != 3 {
		t.Fatalf("entry %+v", e)
	}
	bob.process(e, nil)
	bots[2].process(e, nil)
	swap, out := bob.sealed(add(), gone, come)
	e = bob.win(s, swap, out)
	if len(e.Added) != 1 || len(e.Removed) != 1 || e.Added[0].Client != "dave" {
		t.Fatalf("entry %+v", e)
	}
	alice.process(e, nil)
	dave.join(e)
	// The tree that came with it is the state now: a commit in the open is judged against it.
	open, out := dave.update()
	e = dave.win(s, open, out)
	alice.process(e, nil)
	if !bytes.Equal(alice.group.EpochAuthenticator(), dave.group.EpochAuthenticator()) {
		t.Fatal("alice and dave are in different epochs")
	}
}
