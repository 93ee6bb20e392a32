package delivery

import (
	"bytes"
	"context"
	"slices"
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
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 3)
	alice, bob := bots[0], bots[1]
	good, out := alice.update()
	foreign, _ := bob.update()
	welcoming, _ := alice.add(newBot(t, "dave"))
	elsewhere, _ := alice.add(newBot(t, "dave"))
	ahead := *alice
	ahead.group = out.Staged.Next
	early, _ := ahead.update()
	proposal := must(alice.group.Propose(&mlsengine.Remove{Removed: 1}, mlsengine.Framing{}, alice.env()))(t).Message
	treeless := must(out.Staged.Next.GroupInfo(mlsengine.WithoutTree, alice.env()))(t)

	cases := map[string]struct {
		base   Bundle
		change func(b *Bundle)
		reason string
	}{
		"broken signature":             {good, func(b *Bundle) { b.Commit = flipped(b.Commit, len(b.Commit)/2) }, ""},
		"somebody else's commit":       {good, func(b *Bundle) { b.Origin.Client = bob.id }, "not-member"},
		"not a member":                 {good, func(b *Bundle) { b.Origin.Client = "eve" }, "not-member"},
		"garbage":                      {good, func(b *Bundle) { b.Commit = []byte("garbage") }, "malformed"},
		"a proposal as the commit":     {good, func(b *Bundle) { b.Commit = proposal }, "malformed"},
		"another commit's group info":  {good, func(b *Bundle) { b.GroupInfo = foreign.GroupInfo }, "group-info-wrong"},
		"group info of this epoch":     {good, func(b *Bundle) { b.GroupInfo = alice.info() }, "group-info-wrong"},
		"unsigned group info":          {good, func(b *Bundle) { b.GroupInfo = flipped(b.GroupInfo, -1) }, "group-info-wrong"},
		"no group info":                {good, func(b *Bundle) { b.GroupInfo = nil }, "group-info-wrong"},
		"group info without the tree":  {good, func(b *Bundle) { b.GroupInfo = append([]byte{0, 1, 0, 4}, syntax.Encode(treeless)...) }, "group-info-wrong"},
		"welcome for nobody":           {good, func(b *Bundle) { b.Welcome = welcoming.Welcome }, "welcome-wrong"},
		"no welcome for somebody":      {welcoming, func(b *Bundle) { b.Welcome = nil }, "welcome-wrong"},
		"welcome for somebody else":    {welcoming, func(b *Bundle) { b.Welcome = elsewhere.Welcome }, "welcome-wrong"},
		"a commit as the welcome":      {welcoming, func(b *Bundle) { b.Welcome = b.Commit }, "welcome-wrong"},
		"too many proposals":           {good, func(b *Bundle) { b.Proposals = slices.Repeat([][]byte{proposal}, 1025) }, "too-large"},
		"a proposal nothing refers to": {good, func(b *Bundle) { b.Proposals = [][]byte{proposal} }, "malformed"},
		"an epoch to come":             {early, func(*Bundle) {}, "wrong-epoch"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := c.base
			c.change(&b)
			refused(t, s, b, c.reason)
		})
	}
	large := good
	large.EncryptedMessage = make([]byte, 32<<20)
	_, err := s.SubmitBundle(ctx, large)
	wants(t, err, TooLarge)
	if answer := must(s.SubmitBundle(ctx, good))(t); answer != (Answer)(Success{Position: 3}) {
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
