package mlsengine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// TestDraftsAreWhatTheirEncodingIs changes a tree at random, over and over, and
// holds each successor against the tree that its encoding gives: hashes, key
// prints and counts of credentials are kept by the one and computed anew by the
// other. The predecessor must not change.
func TestDraftsAreWhatTheirEncodingIs(t *testing.T) {
	s := must(suite.Get(1))(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		serial := 0
		fresh := func() *LeafNode {
			serial++
			leaf := &LeafNode{
				EncryptionKey: fmt.Appendf(nil, "key %d", serial), SignatureKey: fmt.Appendf(nil, "sig %d", serial),
				Credential: BasicCredential([]byte{byte(serial)}), Source: LeafNodeSourceUpdate,
			}
			if r.IntN(3) == 0 {
				leaf.Credential = X509Credential([][]byte{{1}})
			}
			return leaf
		}
		tree := newTree(s, fresh())
		for range 60 {
			before, bytesBefore := tree, tree.Marshal()
			d := tree.draft()
			switch present := memberIndices(tree); {
			case r.IntN(5) > 1:
				leaves := make([]*LeafNode, 1+r.IntN(12))
				for i := range leaves {
					leaves[i] = fresh()
				}
				must(d.add(leaves...))(t)
			case len(present) > 1:
				r.Shuffle(len(present), func(i, j int) { present[i], present[j] = present[j], present[i] })
				gone := present[:1+r.IntN(len(present)-1)]
				d.remove(gone...)
			}
			committer := memberIndices(&RatchetTree{slots: d.slots})[0]
			steps := d.filteredDirectPath(committer)
			keys := make([]suite.HPKEPublicKey, len(steps))
			for i := range keys {
				serial++
				keys[i] = fmt.Appendf(nil, "key %d", serial)
			}
			d.setPath(committer, steps, keys)
			tree = d.seal()
			wantSameTree(t, tree, must(ParseRatchetTree(1, tree.Marshal()))(t))
			if !bytes.Equal(before.Marshal(), bytesBefore) {
				t.Fatal("a draft changed the tree it came from")
			}
			wantSameTree(t, before, must(ParseRatchetTree(1, bytesBefore))(t))
			delta := before.changes(tree)
			again := before.draft()
			check(t, again.applyChanges(&groupDelta{leaves: tree.size, changed: delta}))
			wantSameTree(t, again.seal(), tree)
		}
	}
}

func memberIndices(t *RatchetTree) []LeafIndex {
	var present []LeafIndex
	for i := range t.Members {
		present = append(present, i)
	}
	return present
}

func wantSameTree(t *testing.T, got, want *RatchetTree) {
	t.Helper()
	if got.size != want.size || !bytes.Equal(got.hash(), want.hash()) || !bytes.Equal(got.Marshal(), want.Marshal()) {
		t.Fatalf("%d leaves with hash %x, want %d with %x", got.size, got.hash(), want.size, want.hash())
	}
	if !slices.Equal(got.credentials, want.credentials) {
		t.Fatalf("credentials %v, want %v", got.credentials, want.credentials)
	}
	for x := range treemath.NodeIndex(got.size.Width()) {
		if !bytes.Equal(got.subtreeHash(x), want.subtreeHash(x)) {
			t.Fatalf("another hash of node %d", x)
		}
	}
	for k := range got.chunks {
		g, w := got.chunks[k], want.chunks[k]
		if g.leafPrints != w.leafPrints || g.parentPrints != w.parentPrints || g.signaturePrints != w.signaturePrints {
			t.Fatalf("other prints in chunk %d", k)
		}
	}
}

// TestKeysAreFoundWhateverTheirPrints looks for keys of which some have one
// print, as somebody may arrange.
func TestKeysAreFoundWhateverTheirPrints(t *testing.T) {
	s := must(suite.Get(1))(t)
	leaf := func(key string) *LeafNode {
		return &LeafNode{EncryptionKey: []byte(key), SignatureKey: []byte("s" + key), Credential: BasicCredential(nil), Source: LeafNodeSourceUpdate}
	}
	tree := newTree(s, leaf("a-same"))
	d := tree.draft()
	must(d.add(leaf("b-same"), leaf("c-same"), leaf("other"), leaf("x")))(t)
	set := newKeySet(2)
	set.add([]byte("b-same"), 7)
	set.add([]byte("x"), 8)
	if _, twice := set.add([]byte("x"), 9); !twice {
		t.Error("a key is in the set once")
	}
	var found []string
	check(t, d.eachWithEncryptionKey(set, func(x treemath.NodeIndex, i LeafIndex) error {
		found = append(found, fmt.Sprint(x, " ", i))
		return nil
	}))
	if want := []string{"2 7", "8 8"}; !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

// TestSenderKeysAreBounded lets more senders speak than are remembered; what
// they sign verifies all the same, and nothing else does.
func TestSenderKeysAreBounded(t *testing.T) {
	for _, id := range []CipherSuite{1, 2} {
		s := must(suite.Get(id))(t)
		keys := &senderKeys{suite: s}
		type sender struct {
			public    suite.SignaturePublicKey
			signature []byte
		}
		var senders []sender
		for i := range 2 * senderKeysMax {
			key, public, err := s.GenerateSignatureKeyPair(newSeededEntropy(fmt.Sprint("sender ", i)).Draw("signature", s.SignatureSeedSize()))
			check(t, err)
			senders = append(senders, sender{public, must(s.SignWithLabel(key, "l", []byte("content")))(t)})
		}
		r := rand.New(rand.NewPCG(1, uint64(id)))
		for range 200 {
			at := r.IntN(3 * len(senders) / 2)
			one := senders[min(at, len(senders)-1)] // the last one speaks most
			check(t, keys.VerifyPartsWithLabel(one.public, "l", one.signature, []byte("con"), []byte("tent")))
			if keys.VerifyPartsWithLabel(one.public, "l", one.signature, []byte("contents")) == nil {
				t.Fatal("another content verifies")
			}
			if n := len(keys.recent); n > senderKeysMax {
				t.Fatalf("%d keys are kept", n)
			}
		}
		for range 3 {
			if keys.VerifyPartsWithLabel(make([]byte, 5), "l", nil) == nil {
				t.Error("a malformed key verifies")
			}
		}
	}
}

// TestKeyTablesAreBounded lets more senders than there can be tables sign as often as earns one. Signatures of each verify in its turn, others
// never do, and who comes again finds a place.
func TestKeyTablesAreBounded(t *testing.T) {
	s := must(suite.Get(1))(t)
	keys, tables := &senderKeys{suite: s}, &KeyTables{}
	verifier := tabledKeys{keys, tables}
	var last string
	for i := range keyTablesMax + 4 {
		key, public, err := s.GenerateSignatureKeyPair(newSeededEntropy(fmt.Sprint("sender ", i)).Draw("signature", s.SignatureSeedSize()))
		check(t, err)
		signature := must(s.SignWithLabel(key, "l", []byte("content")))(t)
		for range tableAfter + 2 {
			check(t, verifier.VerifyPartsWithLabel(public, "l", signature, []byte("con"), []byte("tent")))
		}
		if verifier.VerifyPartsWithLabel(public, "l", signature, []byte("contents")) == nil {
			t.Fatal("another content verifies")
		}
		if n := len(tables.places); n != tables.recent.Len() || n > keyTablesMax {
			t.Fatalf("%d tables in %d places", tables.recent.Len(), n)
		}
		if i < keyTablesMax && tables.places[string(public)] == nil {
			t.Fatalf("sender %d has no table although there was room", i)
		}
		for range replaceAfter {
			check(t, verifier.VerifyPartsWithLabel(public, "l", signature, []byte("content")))
		}
		last = string(public)
	}
	if tables.places[last] == nil {
		t.Error("who speaks now does not take the place of who has fallen silent")
	}
	for _, id := range []CipherSuite{2, 3} {
		s := must(suite.Get(id))(t)
		key, public, err := s.GenerateSignatureKeyPair(newSeededEntropy("other suite").Draw("signature", s.SignatureSeedSize()))
		check(t, err)
		signature, other := must(s.SignWithLabel(key, "l", []byte("content")))(t), tabledKeys{&senderKeys{suite: s}, tables}
		for range tableAfter + 2 {
			check(t, other.VerifyPartsWithLabel(public, "l", signature, []byte("content")))
		}
	}
	if (tabledKeys{keys, tables}).VerifyPartsWithLabel(make([]byte, 5), "l", nil) == nil {
		t.Error("a malformed key verifies")
	}
}

// TestGroupsKeepNoMemoryOfMessages overwrites a commit that was put into effect:
// a group that still used its memory would keep 100 KB for one leaf.
func TestGroupsKeepNoMemoryOfMessages(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	alice, bob := clients[0], clients[1]
	newcomer := newTestClient(t, 1, "dave")
	extensions := &GroupContextExtensions{Extensions: Extensions{extension(ExtensionTypeExternalSenders, &ExternalSenders{})}}
	in := CommitIntent{Inline: []Proposal{&Add{KeyPackage: *newcomer.keyPackage(t)}, extensions}, ForcePath: true}
	out := must(alice.group.Commit(in, alice.env))(t)
	content := bob.open(t, out.Message)
	next := bob.stage(t, content, nil).Next
	before := next.public.Marshal()
	clear(content.authenticated.Content.encoded)
	clear(content.authenticated.ConfirmationTag)
	if !bytes.Equal(next.public.Marshal(), before) {
		t.Error("the group shares memory with the commit")
	}
}
