package mlsengine

import (
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// leavesMax bounds a tree. A tree that needs more is refused, not built.
const leavesMax = 1 << 16

// parentNode holds the key of a subgroup (§7.1). A parentNode that is part of
// a tree must not be changed.
type parentNode struct {
	EncryptionKey  suite.HPKEPublicKey
	ParentHash     []byte
	UnmergedLeaves []LeafIndex
}

// Code walks the parentNode struct of §7.1.
func (p *parentNode) Code(c *syntax.Coder) {
	syntax.Opaque(c, &p.EncryptionKey)
	syntax.Opaque(c, &p.ParentHash)
	syntax.VectorFunc(c, &p.UnmergedLeaves, syntax.Uint32[LeafIndex])
}

// nodeType is the tag of §7.8 and §12.4.3.3.
type nodeType uint8

const (
	nodeTypeLeaf   nodeType = 1
	nodeTypeParent nodeType = 2
)

// node is the content of one slot of a tree: nothing, a leaf or a parent.
type node struct {
	leaf   *LeafNode
	parent *parentNode
}

func (n node) blank() bool { return n.leaf == nil && n.parent == nil }

// misplaced reports whether a leaf stands in a parent's slot or a parent in a
// leaf's.
func (n node) misplaced(x treemath.NodeIndex) bool {
	return n.leaf != nil && !x.IsLeaf() || n.parent != nil && x.IsLeaf()
}

// detached is a copy in memory of its own: a node stays in its tree long after
// the message that brought it.
func (n node) detached() node {
	switch {
	case n.leaf != nil:
		leaf := new(LeafNode)
		if err := syntax.DecodeOwned(syntax.Encode(n.leaf), leaf); err != nil {
			panic("mlsengine: an encoded leaf does not decode: " + err.Error())
		}
		return node{leaf: leaf}
	case n.parent != nil:
		keys := slices.Concat(n.parent.EncryptionKey, n.parent.ParentHash)
		end := len(n.parent.EncryptionKey)
		return node{parent: &parentNode{keys[:end:end], keys[end:], slices.Clone(n.parent.UnmergedLeaves)}}
	}
	return n
}

// encryptionKey returns the slot's HPKE key, nil when it is blank.
func (n node) encryptionKey() suite.HPKEPublicKey {
	switch {
	case n.leaf != nil:
		return n.leaf.EncryptionKey
	case n.parent != nil:
		return n.parent.EncryptionKey
	}
	return nil
}

// chunkSize is how many leaves share a chunk. A commit copies the chunks on its
// path, and one pointer for each of the others.
const (
	chunkBits = 3
	chunkSize = 1 << chunkBits
)

// chunk holds the nodes 16k to 16k+15 of a tree: eight leaves, and the parents
// that follow each of them. Trees of successive epochs share chunks; one
// reachable from a RatchetTree is never written again.
type chunk struct {
	leaves  [chunkSize]*LeafNode
	parents [chunkSize]*parentNode
	// hashes are the tree hashes of the subtrees under the parents (§7.8), nil
	// while a draft has not computed them. Those of leaves cost more to keep
	// than to compute.
	hashes [chunkSize][]byte
	// Of the keys of the nodes above, to find one without touching the nodes.
	leafPrints, signaturePrints, parentPrints [chunkSize]keyPrint
}

// place finds a node: its chunk and its place there.
func place(x treemath.NodeIndex) (chunk, slot int) {
	return int(x >> (chunkBits + 1)), int(x>>1) % chunkSize
}

// slots is the array form of a tree (Appendix C): every operation that only
// reads, shared by RatchetTree and treeDraft.
type slots struct {
	chunks      []*chunk
	size        treemath.Size
	credentials []credentialCount // in use, in the order of their types
}

// credentialCount is how many members have credentials of a type.
type credentialCount struct {
	kind    CredentialType
	members int
}

// chunksFor is how many chunks hold a tree of that size.
func chunksFor(size treemath.Size) int { return (int(size) + chunkSize - 1) / chunkSize }

// contains reports whether the tree has a node of that index.
func (t *slots) contains(x treemath.NodeIndex) bool { return uint32(x) < t.size.Width() }

// at returns the content of slot x.
func (t *slots) at(x treemath.NodeIndex) node {
	k, i := place(x)
	if x.IsLeaf() {
		return node{leaf: t.chunks[k].leaves[i]}
	}
	return node{parent: t.chunks[k].parents[i]}
}

// leaf returns the leaf at i, nil when i is blank or outside the tree.
func (t *slots) leaf(i LeafIndex) *LeafNode {
	if uint64(i) >= uint64(t.size) {
		return nil
	}
	k, s := place(i.Node())
	return t.chunks[k].leaves[s]
}

// nodes calls yield for every node that is not blank, in order, until it
// returns false.
func (t *slots) nodes(yield func(treemath.NodeIndex, node) bool) {
	for k, c := range t.chunks {
		for i := range chunkSize {
			x := treemath.NodeIndex(k<<(chunkBits+1) + 2*i)
			if c.leaves[i] != nil && !yield(x, node{leaf: c.leaves[i]}) {
				return
			}
			if c.parents[i] != nil && !yield(x+1, node{parent: c.parents[i]}) {
				return
			}
		}
	}
}

// members calls yield for every member in leaf order until it returns false.
func (t *slots) members(yield func(LeafIndex, *LeafNode) bool) {
	for k, c := range t.chunks {
		for i, leaf := range c.leaves {
			if leaf != nil && !yield(LeafIndex(k*chunkSize+i), leaf) {
				return
			}
		}
	}
}

// resolution appends the resolution of x (§4.1.1) to dst: the nodes that
// together cover every member under x. Leaves in without, which is sorted, are
// left out: §7.6 excludes those added by the same commit.
func (t *slots) resolution(dst []treemath.NodeIndex, x treemath.NodeIndex, without []LeafIndex) []treemath.NodeIndex {
	n := t.at(x)
	switch {
	case n.parent != nil:
		dst = append(dst, x)
		for _, leaf := range n.parent.UnmergedLeaves {
			if !contains(without, leaf) {
				dst = append(dst, leaf.Node())
			}
		}
	case n.leaf != nil:
		if !contains(without, x.Leaf()) {
			dst = append(dst, x)
		}
	case !x.IsLeaf():
		left, right := t.children(x)
		dst = t.resolution(t.resolution(dst, left, without), right, without)
	}
	return dst
}

// contains searches a sorted list.
func contains(sorted []LeafIndex, leaf LeafIndex) bool {
	_, found := slices.BinarySearch(sorted, leaf)
	return found
}

// occupied reports whether x has a non-empty resolution.
func (t *slots) occupied(x treemath.NodeIndex) bool {
	if !t.at(x).blank() {
		return true
	}
	if x.IsLeaf() {
		return false
	}
	left, right := t.children(x)
	return t.occupied(left) || t.occupied(right)
}

// children returns the two nodes below parent x.
func (t *slots) children(x treemath.NodeIndex) (left, right treemath.NodeIndex) {
	left, _ = t.size.Left(x)
	right, _ = t.size.Right(x)
	return left, right
}

// pathStep is a node of a direct path and its child on the copath.
type pathStep struct {
	node   treemath.NodeIndex
	copath treemath.NodeIndex
}

// directPath lists the path from a leaf's parent to the root (§4.1.2).
func (t *slots) directPath(leaf LeafIndex) []pathStep {
	var path []pathStep
	x := leaf.Node()
	for {
		p, ok := t.size.Parent(x)
		if !ok {
			return path
		}
		sibling, _ := t.size.Sibling(x)
		path = append(path, pathStep{p, sibling})
		x = p
	}
}

// filteredDirectPath leaves out nodes whose copath child has an empty
// resolution (§4.1.2): nobody could receive their path secret.
func (t *slots) filteredDirectPath(leaf LeafIndex) []pathStep {
	return slices.DeleteFunc(t.directPath(leaf), func(s pathStep) bool { return !t.occupied(s.copath) })
}

// covers reports whether the subtree under x contains leaf.
func covers(x treemath.NodeIndex, leaf LeafIndex) bool {
	low, high := leafSpan(x)
	return low <= leaf && leaf < high
}

// leafSpan returns the half-open range of leaves under x.
func leafSpan(x treemath.NodeIndex) (low, high LeafIndex) {
	if x.IsLeaf() {
		return x.Leaf(), x.Leaf() + 1
	}
	width := uint64(1) << x.Level()
	middle := (uint64(x) + 1) / 2
	return LeafIndex(middle - width/2), LeafIndex(middle + width/2)
}

// RatchetTree is the public tree of one epoch (§4.1, §7): immutable, with the
// tree hash of every subtree at hand.
type RatchetTree struct {
	slots
	suite *suite.Suite
}

// LeafCount is the number of leaf slots, blank ones included.
func (t *RatchetTree) LeafCount() uint32 { return uint32(t.size) }

// Leaf returns the leaf at i, or nil when no member is there. The leaf must
// not be changed.
func (t *RatchetTree) Leaf(i LeafIndex) *LeafNode { return t.leaf(i) }

// Members calls yield for every member in leaf order until it returns false.
func (t *RatchetTree) Members(yield func(LeafIndex, *LeafNode) bool) { t.members(yield) }

// hash is the tree hash of the root (§7.8).
func (t *RatchetTree) hash() []byte { return t.subtreeHash(t.size.Root()) }

// Marshal encodes the tree as the ratchet_tree extension does (§12.4.3.3).
func (t *RatchetTree) Marshal() []byte {
	w := t.wire()
	return syntax.Append(make([]byte, 0, nodeSizeHint*len(w)), &w)
}

// nodeSizeHint is a fair guess of how long the encoding of a node is, every other one being a leaf; it saves growing.
const nodeSizeHint = 112

func (t *RatchetTree) wire() wireTree {
	w := make(wireTree, t.size.Width())
	end := 0
	for x, n := range t.nodes {
		w[x] = n
		end = int(x) + 1
	}
	return w[:end]
}

// ParseRatchetTree reads a ratchet_tree (§12.4.3.3) and computes its hashes. The
// tree is well formed, but nothing in it has been verified yet.
func ParseRatchetTree(id CipherSuite, b []byte) (*RatchetTree, error) {
	s, err := suite.Get(id)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", id)
	}
	w, err := parse[wireTree](b)
	if err != nil {
		return nil, err
	}
	return w.tree(s)
}

// wireTree is optional<Node> ratchet_tree<V> (§12.4.3.3).
type wireTree []node

// Code walks the ratchet_tree vector of §12.4.3.3.
func (w *wireTree) Code(c *syntax.Coder) {
	syntax.Vector(c, (*[]node)(w))
	if !c.Reading() {
		return
	}
	var pool capabilityPool
	for _, n := range *w {
		if n.leaf != nil {
			pool.share(&n.leaf.Capabilities)
		}
	}
}

// Code walks the optional<Node> of §12.4.3.3.
func (n *node) Code(c *syntax.Coder) {
	var present uint8
	if !n.blank() {
		present = 1
	}
	syntax.Uint8(c, &present)
	switch present {
	case 0:
	case 1:
		n.codeNode(c)
	default:
		c.Fail("presence octet is neither 0 nor 1")
	}
}

func (n *node) codeNode(c *syntax.Coder) {
	kind := nodeTypeLeaf
	if n.parent != nil {
		kind = nodeTypeParent
	}
	syntax.Uint8(c, &kind)
	switch kind {
	case nodeTypeLeaf:
		syntax.Arm(c, &n.leaf)
	case nodeTypeParent:
		syntax.Arm(c, &n.parent)
	default:
		c.Fail("unknown node_type")
	}
}

// tree builds the full tree around the encoded nodes.
func (w wireTree) tree(s *suite.Suite) (*RatchetTree, error) {
	if len(w) == 0 || w[len(w)-1].blank() {
		return nil, broken(TreeMalformed, "%d nodes", len(w))
	}
	if len(w) > 2*leavesMax-1 {
		return nil, broken(TreeTooLarge, "%d nodes", len(w))
	}
	size := treemath.Size(1)
	for int(size.Width()) < len(w) {
		size *= 2
	}
	d := newDraft(s, size)
	for x, n := range w {
		if n.misplaced(treemath.NodeIndex(x)) {
			return nil, broken(TreeMalformed, "node %d", x)
		}
		d.put(treemath.NodeIndex(x), n)
	}
	return d.seal(), nil
}
