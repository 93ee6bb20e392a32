package mlsengine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

func testTree(t testing.TB, size treemath.Size) *secretTree {
	t.Helper()
	s, err := suite.Get(1)
	if err != nil {
		t.Fatal(err)
	}
	return newSecretTree(s, encryptionSecret{secret.New(newSeededEntropy("secret tree").Draw("encryption", s.HashSize()))}, size)
}

func mustConsume(t *testing.T, tree *secretTree, leaf LeafIndex, ct ContentType, g Generation, limits Limits) (messageKeys, *secretTree) {
	t.Helper()
	keys, next, err := tree.consume(leaf, ct, g, limits)
	if err != nil {
		t.Fatal(err)
	}
	return keys, next
}

func (k messageKeys) text() string {
	return fmt.Sprintf("%x/%x", k.key.Expose(), k.nonce.Expose())
}

func TestKeysAreUsedOnce(t *testing.T) {
	limits := Limits{OutOfOrderTolerance: 5, MaximumForwardDistance: 10}
	tree := testTree(t, 4)
	seen := map[string]bool{}
	for _, g := range []Generation{0, 3, 1, 2, 4} {
		keys, next := mustConsume(t, tree, 2, ContentTypeApplication, g, limits)
		if seen[keys.text()] {
			t.Errorf("generation %d has the keys of another", g)
		}
		seen[keys.text()] = true
		_, _, err := next.consume(2, ContentTypeApplication, g, limits)
		wantRule(t, GenerationConsumed, err)
		tree = next
	}
	handshake, _ := mustConsume(t, tree, 2, ContentTypeCommit, 0, limits)
	other, _ := mustConsume(t, tree, 3, ContentTypeApplication, 0, limits)
	if seen[handshake.text()] || seen[other.text()] {
		t.Error("another ratchet has the same keys")
	}
}

func TestConsumingLeavesTheOldTreeAsItWas(t *testing.T) {
	tree := testTree(t, 8)
	_, tree = mustConsume(t, tree, 5, ContentTypeApplication, 3, wide)
	before := syntax.Encode(tree)
	first, next := mustConsume(t, tree, 5, ContentTypeApplication, 7, wide)
	mustConsume(t, next, 5, ContentTypeApplication, 1, wide)
	mustConsume(t, next, 5, ContentTypeApplication, 20, wide)
	mustConsume(t, next, 1, ContentTypeProposal, 2, wide)
	if _, _, block, err := tree.reserve(5, ContentTypeApplication, 40); err != nil {
		t.Fatal(err)
	} else {
		block.Discard()
	}
	wantBytes(t, "the old tree", syntax.Encode(tree), before)
	again, _ := mustConsume(t, tree, 5, ContentTypeApplication, 7, wide)
	if first.text() != again.text() {
		t.Error("the old tree gives other keys")
	}
}

func TestToleranceCountsFromTheNextGeneration(t *testing.T) {
	limits := Limits{OutOfOrderTolerance: 2, MaximumForwardDistance: 1000}
	_, tree := mustConsume(t, testTree(t, 2), 0, ContentTypeApplication, 7, limits)
	mustConsume(t, tree, 0, ContentTypeApplication, 6, limits)
	_, _, err := tree.consume(0, ContentTypeApplication, 5, limits)
	wantRule(t, GenerationConsumed, err)

	_, tree = mustConsume(t, tree, 0, ContentTypeApplication, 8, limits)
	_, _, err = tree.consume(0, ContentTypeApplication, 6, limits) // was kept, is too old by now
	wantRule(t, GenerationConsumed, err)

	none := Limits{MaximumForwardDistance: 1000}
	_, tree = mustConsume(t, testTree(t, 2), 0, ContentTypeApplication, 3, none)
	_, _, err = tree.consume(0, ContentTypeApplication, 2, none)
	wantRule(t, GenerationConsumed, err)
}

func TestForwardDistanceIsWhatAMessageMaySkip(t *testing.T) {
	limits := Limits{OutOfOrderTolerance: 2, MaximumForwardDistance: 1000}
	tree := testTree(t, 2)
	mustConsume(t, tree, 0, ContentTypeApplication, 1000, limits)
	for _, g := range []Generation{1001, 1 << 30, generationMax} {
		_, _, err := tree.consume(0, ContentTypeApplication, g, limits)
		wantRule(t, GenerationTooFar, err)
	}
	_, _, err := tree.consume(2, ContentTypeApplication, 0, limits)
	wantRule(t, UnknownSender, err)
	_, _, err = tree.consume(1<<31, ContentTypeApplication, 0, limits)
	wantRule(t, UnknownSender, err)
}

func TestTheLastGenerationIsNotUsed(t *testing.T) {
	tree := testTree(t, 1)
	tree.root = &secretNode{ratchets: &leafRatchets{application: &ratchet{
		secret: ratchetSecret{secret.New(make([]byte, 32))}, next: generationMax - 1,
	}}}
	unlimited := Limits{OutOfOrderTolerance: 1<<32 - 1, MaximumForwardDistance: 1<<32 - 1}
	_, next := mustConsume(t, tree, 0, ContentTypeApplication, generationMax-1, unlimited)
	_, _, err := next.consume(0, ContentTypeApplication, generationMax, unlimited)
	wantRule(t, GenerationTooFar, err)
	if _, _, _, err := tree.reserve(0, ContentTypeApplication, 2); !errors.Is(err, ErrGenerationsExhausted) {
		t.Errorf("reserving past the end: %v", err)
	}
}

func TestABlockGivesTheKeysOfItsGenerationsOnce(t *testing.T) {
	tree := testTree(t, 4)
	from, next, block, err := tree.reserve(1, ContentTypeApplication, 3)
	if err != nil || from != 0 || block.Remaining() != 3 {
		t.Fatalf("from %d, %v", from, err)
	}
	for i := range Generation(3) {
		want, _ := mustConsume(t, tree, 1, ContentTypeApplication, i, wide)
		g, keys, err := block.take(ContentTypeApplication)
		if err != nil || g != i || keys.text() != want.text() {
			t.Errorf("generation %d: took %d, %v", i, g, err)
		}
	}
	if _, _, err := block.take(ContentTypeApplication); !errors.Is(err, ErrBlockExhausted) {
		t.Errorf("an empty block gives keys: %v", err)
	}
	_, _, err = next.consume(1, ContentTypeApplication, 2, wide)
	wantRule(t, GenerationConsumed, err)
	from, _, block, err = next.reserve(1, ContentTypeApplication, 2)
	if err != nil || from != 3 || block.Next() != 3 {
		t.Errorf("the next block is from %d, %v", from, err)
	}
	block.Discard()
	if _, _, err := block.take(ContentTypeApplication); !errors.Is(err, ErrBlockExhausted) {
		t.Errorf("a discarded block gives keys: %v", err)
	}
}

func TestABlockIsForItsKindOfMessage(t *testing.T) {
	_, _, block, err := testTree(t, 1).reserve(0, ContentTypeCommit, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := block.take(ContentTypeProposal); err != nil {
		t.Errorf("proposals and commits share a ratchet: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_, _, _ = block.take(ContentTypeApplication)
}

func TestARetiredTreeOpensOnlyLateApplicationMessagesOfOthers(t *testing.T) {
	tree := testTree(t, 4)
	_, tree = mustConsume(t, tree, 2, ContentTypeApplication, 4, wide)
	_, tree = mustConsume(t, tree, 2, ContentTypeCommit, 4, wide)
	_, tree, _, err := tree.reserve(1, ContentTypeApplication, 4)
	if err != nil {
		t.Fatal(err)
	}
	retired := tree.retire(1)
	mustConsume(t, retired, 2, ContentTypeApplication, 3, wide)
	mustConsume(t, retired, 2, ContentTypeApplication, 9, wide)
	mustConsume(t, retired, 3, ContentTypeApplication, 0, wide)
	_, _, err = retired.consume(2, ContentTypeCommit, 3, wide)
	wantRule(t, GenerationConsumed, err)
	_, _, err = retired.consume(1, ContentTypeApplication, 9, wide)
	wantRule(t, GenerationConsumed, err)
	alone := testTree(t, 1).retire(0)
	if alone.root != nil || alone.retire(0).root != nil {
		t.Error("a group of one keeps keys of a past epoch")
	}
	_, _, err = alone.consume(0, ContentTypeApplication, 0, wide)
	wantRule(t, GenerationConsumed, err)
	wantBytes(t, "snapshot", syntax.Encode(readTree(t, alone)), syntax.Encode(alone))
}

func readTree(t testing.TB, tree *secretTree) *secretTree {
	t.Helper()
	read := secretTree{suite: tree.suite}
	if err := syntax.DecodeOwned(syntax.Encode(tree), &read); err != nil {
		t.Fatal(err)
	}
	return &read
}

func TestSnapshotsHoldOnlyWhatIsUnconsumed(t *testing.T) {
	tree := testTree(t, 1024)
	if n := len(syntax.Encode(tree)); n != 4+1+32 {
		t.Errorf("a fresh tree takes %d bytes", n)
	}
	_, tree, _, err := tree.reserve(700, ContentTypeApplication, 30)
	if err != nil {
		t.Fatal(err)
	}
	b := syntax.Encode(tree)
	if len(b) > 11*(32+2)+100 {
		t.Errorf("a tree of 1024 leaves in which one sent takes %d bytes", len(b))
	}
	if bytes.Contains(b, testTree(t, 1024).root.secret.Expose()) {
		t.Error("the snapshot holds a consumed secret")
	}
}

// TestRandomUseOfATree compares a tree with a plain list of what was used, and
// takes it through a snapshot now and then.
func TestRandomUseOfATree(t *testing.T) {
	const leaves, steps = 8, 1000
	r := rand.New(rand.NewPCG(1, 2))
	limits := Limits{OutOfOrderTolerance: 6, MaximumForwardDistance: 12}
	type line struct {
		leaf LeafIndex
		ct   ContentType
	}
	used, next := map[line]map[Generation]bool{}, map[line]Generation{}
	fresh := testTree(t, leaves)
	tree := fresh
	for range steps {
		l := line{LeafIndex(r.IntN(leaves)), ContentTypeApplication}
		if r.IntN(2) == 0 {
			l.ct = ContentTypeProposal
		}
		if used[l] == nil {
			used[l] = map[Generation]bool{}
		}
		g := Generation(max(0, int(next[l])+r.IntN(24)-8))
		keys, successor, err := tree.consume(l.leaf, l.ct, g, limits)
		switch {
		case g > next[l]+12:
			wantRule(t, GenerationTooFar, err)
		case used[l][g] || g+6 < next[l]:
			wantRule(t, GenerationConsumed, err)
		case err != nil:
			t.Fatalf("%v generation %d, next is %d: %v", l, g, next[l], err)
		default:
			unlimited := Limits{MaximumForwardDistance: 1 << 20}
			want, _ := mustConsume(t, fresh, l.leaf, l.ct, g, unlimited)
			if keys.text() != want.text() {
				t.Fatalf("%v generation %d has other keys", l, g)
			}
			used[l][g], next[l], tree = true, max(next[l], g+1), successor
		}
		if r.IntN(50) == 0 {
			tree = readTree(t, tree)
		}
	}
}

func FuzzSecretTreeSnapshotIsCanonical(f *testing.F) {
	tree := testTree(f, 8)
	f.Add(syntax.Encode(tree))
	for _, g := range []Generation{2, 9} {
		_, next, err := tree.consume(LeafIndex(g)%8, ContentTypeApplication, g, wide)
		if err != nil {
			f.Fatal(err)
		}
		tree = next
		f.Add(syntax.Encode(tree))
		f.Add(syntax.Encode(tree.retire(2)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := secretTree{suite: tree.suite}
		if err := syntax.DecodeOwned(bytes.Clone(b), &read); err == nil && !bytes.Equal(syntax.Encode(&read), b) {
			t.Error("malleable")
		}
	})
}
