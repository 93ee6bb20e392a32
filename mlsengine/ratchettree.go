package mlsengine

import (
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// leavesMax bounds a tree. A tree that needs more is refused, not built.
const leavesMax = 1 << 16

// ParentNode holds the key of a subgroup (§7.1). A ParentNode that is part of
// a tree must not be changed.
type ParentNode struct {
	EncryptionKey  suite.HPKEPublicKey
	ParentHash     []byte
	UnmergedLeaves []LeafIndex
}

// Code walks the ParentNode struct of §7.1.
func (p *ParentNode) Code(c *syntax.Coder) {
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

// node is one slot of a tree: blank, a leaf or a parent. Nodes are shared
// between the trees of successive epochs; one reachable from a RatchetTree is
// never written again.
type node struct {
	leaf   *LeafNode
	parent *ParentNode
	hash   []byte // tree hash of the subtree under the slot (§7.8); nil while a draft has not computed it
}

func (n *node) blank() bool { return n.leaf == nil && n.parent == nil }

// encryptionKey returns the slot's HPKE key, nil when it is blank.
func (n *node) encryptionKey() suite.HPKEPublicKey {
	switch {
	case n.leaf != nil:
		return n.leaf.EncryptionKey
	case n.parent != nil:
		return n.parent.EncryptionKey
	}
	return nil
}

// slots is the array form of a tree (Appendix C): every operation that only
// reads, shared by RatchetTree and treeDraft.
type slots struct {
	nodes []*node
	size  treemath.Size
}

func (t *slots) at(x treemath.NodeIndex) *node { return t.nodes[x] }

// leaf returns the leaf at i, nil when i is blank or outside the tree.
func (t *slots) leaf(i LeafIndex) *LeafNode {
	if uint64(i) >= uint64(t.size) {
		return nil
	}
	return t.nodes[i.Node()].leaf
}

// members calls yield for every member in leaf order until it returns false.
func (t *slots) members(yield func(LeafIndex, *LeafNode) bool) {
	for x := 0; x < len(t.nodes); x += 2 {
		if leaf := t.nodes[x].leaf; leaf != nil && !yield(LeafIndex(x/2), leaf) {
			return
		}
	}
}

// resolution appends the resolution of x (§4.1.1) to dst: the nodes that
// together cover every member under x. Leaves in without, which is sorted, are
// left out: §7.6 excludes those added by the same commit.
func (t *slots) resolution(dst []treemath.NodeIndex, x treemath.NodeIndex, without []LeafIndex) []treemath.NodeIndex {
	n := t.nodes[x]
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
	if !t.nodes[x].blank() {
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

// Hash is the tree hash of the root (§7.8).
func (t *RatchetTree) Hash() []byte { return slices.Clone(t.hash()) }

func (t *RatchetTree) hash() []byte { return t.nodes[t.size.Root()].hash }

// Marshal encodes the tree as the ratchet_tree extension does (§12.4.3.3).
func (t *RatchetTree) Marshal() []byte {
	w := t.wire()
	return syntax.Encode(&w)
}

func (t *RatchetTree) wire() wireTree {
	w := make(wireTree, 0, len(t.nodes))
	for _, n := range t.nodes {
		w = append(w, wireNode{n.leaf, n.parent})
	}
	for len(w) > 0 && w[len(w)-1].blank() {
		w = w[:len(w)-1]
	}
	return w
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
type wireTree []wireNode

// Code walks the ratchet_tree vector of §12.4.3.3.
func (w *wireTree) Code(c *syntax.Coder) { syntax.Vector(c, (*[]wireNode)(w)) }

// wireNode is an optional<Node>: blank, a leaf or a parent.
type wireNode struct {
	leaf   *LeafNode
	parent *ParentNode
}

func (n *wireNode) blank() bool { return n.leaf == nil && n.parent == nil }

// misplaced reports whether a leaf stands in a parent's slot or a parent in a
// leaf's.
func (n *wireNode) misplaced(x treemath.NodeIndex) bool {
	return n.leaf != nil && !x.IsLeaf() || n.parent != nil && x.IsLeaf()
}

// Code walks the optional<Node> of §12.4.3.3.
func (n *wireNode) Code(c *syntax.Coder) {
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

func (n *wireNode) codeNode(c *syntax.Coder) {
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
	backing := make([]node, size.Width())
	d := treeDraft{slots{make([]*node, len(backing)), size}, s}
	for x := range backing {
		d.nodes[x] = &backing[x]
		if x >= len(w) {
			continue
		}
		if w[x].misplaced(treemath.NodeIndex(x)) {
			return nil, broken(TreeMalformed, "node %d", x)
		}
		backing[x].leaf, backing[x].parent = w[x].leaf, w[x].parent
	}
	return d.seal(), nil
}

// treeDraft is a tree under construction. It shares untouched nodes with the
// tree it started from and replaces the others.
type treeDraft struct {
	slots
	suite *suite.Suite
}

// draft starts a successor of t.
func (t *RatchetTree) draft() *treeDraft {
	return &treeDraft{slots{slices.Clone(t.nodes), t.size}, t.suite}
}

// newTree returns a tree with one member (§11).
func newTree(s *suite.Suite, leaf *LeafNode) *RatchetTree {
	d := treeDraft{slots{[]*node{{leaf: leaf}}, 1}, s}
	return d.seal()
}

// set replaces the content of slot x and marks the hashes above it as stale.
func (d *treeDraft) set(x treemath.NodeIndex, leaf *LeafNode, parent *ParentNode) {
	d.nodes[x] = &node{leaf: leaf, parent: parent}
	for {
		p, ok := d.size.Parent(x)
		if !ok {
			return
		}
		above := d.nodes[p]
		if above.hash == nil {
			return // everything above is stale already
		}
		d.nodes[p] = &node{parent: above.parent}
		x = p
	}
}

func (d *treeDraft) setLeaf(i LeafIndex, leaf *LeafNode) { d.set(i.Node(), leaf, nil) }

func (d *treeDraft) setParent(x treemath.NodeIndex, p *ParentNode) { d.set(x, nil, p) }

// blankPath blanks every node on the direct path of a leaf.
func (d *treeDraft) blankPath(leaf LeafIndex) {
	for _, step := range d.directPath(leaf) {
		if !d.nodes[step.node].blank() {
			d.setParent(step.node, nil)
		}
	}
}

// leftmostBlank returns the first free leaf slot, extending the tree to the
// right when it is full (§7.7). No slot before from is free.
func (d *treeDraft) leftmostBlank(from LeafIndex) (LeafIndex, error) {
	for i := from; d.size.Contains(i); i++ {
		if d.nodes[i.Node()].leaf == nil {
			return i, nil
		}
	}
	free := LeafIndex(d.size)
	if d.size >= leavesMax {
		return 0, broken(TreeTooLarge, "%d leaves", d.size)
	}
	d.extend(d.size * 2)
	return free, nil
}

// extend grows the tree to size leaves; the new part is blank.
func (d *treeDraft) extend(size treemath.Size) {
	fresh := make([]node, int(size.Width())-len(d.nodes))
	for i := range fresh {
		d.nodes = append(d.nodes, &fresh[i])
	}
	d.size = size
}

// add places leaves in the leftmost free slots, in their order (§12.1.1), and
// returns where. Parents above them do not hold secrets the new members know,
// so they are unmerged there.
func (d *treeDraft) add(leaves ...*LeafNode) ([]LeafIndex, error) {
	placed := make([]LeafIndex, 0, len(leaves))
	next := LeafIndex(0)
	for _, leaf := range leaves {
		i, err := d.leftmostBlank(next)
		if err != nil {
			return nil, err
		}
		d.setLeaf(i, leaf)
		placed, next = append(placed, i), i+1
	}
	unmerged := make(map[treemath.NodeIndex][]LeafIndex)
	for _, i := range placed {
		for x, ok := d.size.Parent(i.Node()); ok; x, ok = d.size.Parent(x) {
			if d.nodes[x].parent != nil {
				unmerged[x] = append(unmerged[x], i)
			}
		}
	}
	for x, fresh := range unmerged {
		d.setParent(x, d.nodes[x].parent.withUnmerged(fresh))
	}
	return placed, nil
}

// withUnmerged returns a copy of p with more unmerged leaves, sorted.
func (p *ParentNode) withUnmerged(leaves []LeafIndex) *ParentNode {
	changed := *p
	changed.UnmergedLeaves = slices.Concat(p.UnmergedLeaves, leaves)
	slices.Sort(changed.UnmergedLeaves)
	return &changed
}

// update replaces a member's leaf and blanks its path (§12.1.2).
func (d *treeDraft) update(i LeafIndex, leaf *LeafNode) {
	d.setLeaf(i, leaf)
	d.blankPath(i)
}

// remove blanks members' leaves and paths and truncates the tree (§12.1.3).
func (d *treeDraft) remove(leaves ...LeafIndex) {
	for _, i := range leaves {
		d.blankPath(i)
		d.setLeaf(i, nil)
	}
	d.truncate()
}

// truncate halves the tree while its right half holds no member (§7.7).
func (d *treeDraft) truncate() {
	for d.size > 1 && !d.anyLeaf(d.size/2, d.size) {
		d.size /= 2
		d.nodes = d.nodes[:d.size.Width()]
	}
}

func (d *treeDraft) anyLeaf(from, to treemath.Size) bool {
	for i := from; i < to; i++ {
		if d.nodes[LeafIndex(i).Node()].leaf != nil {
			return true
		}
	}
	return false
}

// seal computes the missing hashes and ends the draft.
func (d *treeDraft) seal() *RatchetTree {
	d.hash(d.size.Root())
	return &RatchetTree{d.slots, d.suite}
}
