package mlsengine

import (
	"slices"

	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// treeDraft is a tree under construction. It shares untouched chunks with the
// tree it started from and replaces the others.
type treeDraft struct {
	slots
	suite  *suite.Suite
	owned  []bool // chunks that are not shared
	hashes nodeHasher
	pool   capabilityPool
}

// newDraft starts a blank tree.
func newDraft(s *suite.Suite, size treemath.Size) *treeDraft {
	d := &treeDraft{suite: s, hashes: nodeHasher{suite: s}}
	d.grow(size)
	return d
}

// draft starts a successor of t.
func (t *RatchetTree) draft() *treeDraft {
	return &treeDraft{
		slots:  slots{slices.Clone(t.chunks), t.size, slices.Clone(t.credentials)},
		suite:  t.suite,
		owned:  make([]bool, len(t.chunks)),
		hashes: nodeHasher{suite: t.suite},
	}
}

// newTree returns a tree with one member (§11).
func newTree(s *suite.Suite, leaf *LeafNode) *RatchetTree {
	d := newDraft(s, 1)
	d.setLeaf(0, leaf)
	return d.seal()
}

// grow makes room for size leaves; the new part is blank.
func (d *treeDraft) grow(size treemath.Size) {
	for fresh := make([]chunk, chunksFor(size)-len(d.chunks)); len(fresh) > 0; fresh = fresh[1:] {
		d.chunks = append(d.chunks, &fresh[0])
		d.owned = append(d.owned, true)
	}
	d.size = size
}

// own gives the chunk of x for writing.
func (d *treeDraft) own(k int) *chunk {
	if !d.owned[k] {
		copied := *d.chunks[k]
		d.chunks[k], d.owned[k] = &copied, true
	}
	return d.chunks[k]
}

// put replaces the content of slot x and leaves the hashes alone.
func (d *treeDraft) put(x treemath.NodeIndex, n node) {
	k, i := place(x)
	c := d.own(k)
	if !x.IsLeaf() {
		c.parents[i], c.parentPrints[i], c.hashes[i] = n.parent, printOf(n.encryptionKey()), nil
		return
	}
	d.count(c.leaves[i], -1)
	d.count(n.leaf, +1)
	c.leaves[i], c.leafPrints[i], c.signaturePrints[i] = n.leaf, printOf(n.encryptionKey()), 0
	if n.leaf != nil {
		c.signaturePrints[i] = printOf(n.leaf.SignatureKey)
	}
}

// count notes that a leaf comes into the tree or leaves it.
func (d *treeDraft) count(leaf *LeafNode, by int) {
	if leaf == nil {
		return
	}
	kind := leaf.Credential.Type()
	at, known := slices.BinarySearchFunc(d.credentials, kind, func(c credentialCount, t CredentialType) int { return int(c.kind) - int(t) })
	if !known {
		d.credentials = slices.Insert(d.credentials, at, credentialCount{kind: kind})
	}
	if d.credentials[at].members += by; d.credentials[at].members == 0 {
		d.credentials = slices.Delete(d.credentials, at, at+1)
	}
}

// set replaces the content of slot x by a copy and marks the hashes above it as
// stale.
func (d *treeDraft) set(x treemath.NodeIndex, n node) {
	n = n.detached()
	if n.leaf != nil {
		d.pool.share(&n.leaf.Capabilities)
	}
	d.put(x, n)
	for {
		p, ok := d.size.Parent(x)
		if !ok {
			return
		}
		k, i := place(p)
		if d.chunks[k].hashes[i] == nil {
			return // everything above is stale already
		}
		d.own(k).hashes[i] = nil
		x = p
	}
}

func (d *treeDraft) setLeaf(i LeafIndex, leaf *LeafNode) { d.set(i.Node(), node{leaf: leaf}) }

func (d *treeDraft) setParent(x treemath.NodeIndex, p *parentNode) { d.set(x, node{parent: p}) }

// blankPath blanks every node on the direct path of a leaf.
func (d *treeDraft) blankPath(leaf LeafIndex) {
	for _, step := range d.directPath(leaf) {
		if !d.at(step.node).blank() {
			d.setParent(step.node, nil)
		}
	}
}

// leftmostBlank returns the first free leaf slot, extending the tree to the
// right when it is full (§7.7). No slot before from is free.
func (d *treeDraft) leftmostBlank(from LeafIndex) (LeafIndex, error) {
	for i := from; d.size.Contains(i); i++ {
		if d.leaf(i) == nil {
			return i, nil
		}
	}
	free := LeafIndex(d.size)
	if d.size >= leavesMax {
		return 0, broken(TreeTooLarge, "%d leaves", d.size)
	}
	d.grow(d.size * 2)
	return free, nil
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
			if d.at(x).parent != nil {
				unmerged[x] = append(unmerged[x], i)
			}
		}
	}
	for x, fresh := range unmerged {
		d.setParent(x, d.at(x).parent.withUnmerged(fresh))
	}
	return placed, nil
}

// withUnmerged returns a copy of p with more unmerged leaves, sorted.
func (p *parentNode) withUnmerged(leaves []LeafIndex) *parentNode {
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
	size := d.size
	for size > 1 && !d.anyLeaf(size/2, size) {
		size /= 2
	}
	d.shrink(size)
}

// shrink cuts the tree to its first leaves. What shares a chunk with them is
// blanked: the tree may grow again.
func (d *treeDraft) shrink(size treemath.Size) {
	end := min(d.size.Width(), uint32(chunksFor(size))<<(chunkBits+1))
	for x := size.Width(); x < end; x++ {
		d.put(treemath.NodeIndex(x), node{})
	}
	d.size = size
	for _, c := range d.chunks[chunksFor(size):] {
		for _, leaf := range c.leaves {
			d.count(leaf, -1)
		}
	}
	d.chunks, d.owned = d.chunks[:chunksFor(size)], d.owned[:chunksFor(size)]
}

func (d *treeDraft) anyLeaf(from, to treemath.Size) bool {
	for i := from; i < to; i++ {
		if d.leaf(LeafIndex(i)) != nil {
			return true
		}
	}
	return false
}

// seal computes the missing hashes and ends the draft.
func (d *treeDraft) seal() *RatchetTree {
	d.hash(d.size.Root())
	return &RatchetTree{slots: d.slots, suite: d.suite}
}
