package mlsengine

import (
	"testing"
	"time"
)

// quickly fails the test if a check takes more of a processor than its input
// can excuse, whatever else the machine does. Work that grows with the product
// of two lists of a peer takes minutes here.
func quickly(t *testing.T, what string, run func()) {
	t.Helper()
	const patience = 5 * time.Second
	began := processorTime()
	run()
	if took := processorTime() - began; took > patience {
		t.Errorf("%s took %v", what, took)
	}
}

// longListMax is how many types a list has in these tests: two of them fit a
// message of a megabyte.
const longListMax = 250_000

// longLeaf spoils a leaf so that everything it lists is long, and what it
// needs stands last.
func longLeaf(l *LeafNode) {
	l.Capabilities.Extensions = make([]ExtensionType, longListMax)
	l.Extensions = make(Extensions, longListMax)
	for i := range longListMax {
		l.Capabilities.Extensions[i] = privateExtension + 1
		l.Extensions[i].Type = privateExtension
	}
	l.Capabilities.Extensions[longListMax-1] = privateExtension
}

func TestLongListsOfALeafAreCheckedOnce(t *testing.T) {
	k := spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { longLeaf(&k.LeafNode) })
	quickly(t, "a leaf with long lists", func() { wantRule(t, DuplicateExtension, refusedKeyPackage(t, k)) })
	k = spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
		longLeaf(&k.LeafNode)
		k.Extensions, k.LeafNode.Extensions = k.LeafNode.Extensions, nil
	})
	quickly(t, "a key package with long lists", func() { wantRule(t, DuplicateExtension, refusedKeyPackage(t, k)) })
}

// TestLongRequirementsAreReadOnce lets a group require a quarter of a million
// types: what everybody supports, again and again, and in the end something
// that nobody does.
func TestLongRequirementsAreReadOnce(t *testing.T) {
	required := &RequiredCapabilities{ExtensionTypes: make([]ExtensionType, longListMax), ProposalTypes: make([]ProposalType, longListMax)}
	for i := range longListMax {
		required.ExtensionTypes[i], required.ProposalTypes[i] = ExtensionTypeApplicationID, ProposalTypeAdd
	}
	group := newTestGroup(t, 1, manyNames(60)...)
	accepted := &GroupContextExtensions{Extensions: Extensions{extension(ExtensionTypeRequiredCapabilities, required)}}
	message := (&rogueCommit{proposals: byValue(accepted)}).make(t, group[0])
	quickly(t, "requirements that hold", func() { check(t, refusedBy(t, group[1], message, nil)) })
	required.ProposalTypes[longListMax-1] = 0xF002
	refused := &GroupContextExtensions{Extensions: Extensions{extension(ExtensionTypeRequiredCapabilities, required)}}
	message = (&rogueCommit{proposals: byValue(refused)}).make(t, group[0])
	quickly(t, "requirements that do not", func() { wantRule(t, GroupContextRequirements, refusedBy(t, group[1], message, nil)) })
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	return names
}

// TestCommitsOfManyMembersAtOnce adds two thousand members by one commit and
// removes half of them by another, as an outsider and as a member see it.
func TestCommitsOfManyMembersAtOnce(t *testing.T) {
	group := newTestGroup(t, 1, "alice", "bob")
	var adds, removes []Proposal
	for _, name := range manyNames(2000) {
		adds = append(adds, &Add{KeyPackage: *newTestClient(t, 1, name).keyPackage(t)})
	}
	quickly(t, "two thousand Adds", func() { commit(t, group, 0, CommitIntent{Inline: adds}) })
	for i := range LeafIndex(2000) {
		if i%2 == 0 {
			removes = append(removes, &Remove{Removed: i + 2})
		}
	}
	quickly(t, "a thousand Removes", func() { commit(t, group, 1, CommitIntent{Inline: removes}) })
}
