package mlsengine

import (
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// treeHashInput is what the tree hash of a node covers (§7.8).
type treeHashInput struct {
	kind      nodeType
	index     LeafIndex // of a leaf
	leaf      *LeafNode
	parent    *parentNode
	leftHash  []byte // of a parent
	rightHash []byte
}

// Code writes the TreeHashInput struct of §7.8.
func (in *treeHashInput) Code(c *syntax.Coder) {
	syntax.Uint8(c, &in.kind)
	switch in.kind {
	case nodeTypeLeaf:
		syntax.Uint32(c, &in.index)
		syntax.Optional(c, &in.leaf)
	case nodeTypeParent:
		syntax.Optional(c, &in.parent)
		syntax.Opaque(c, &in.leftHash)
		syntax.Opaque(c, &in.rightHash)
	}
}

// parentHashInput is what a parent hash covers (§7.9).
type parentHashInput struct {
	encryptionKey           suite.HPKEPublicKey
	parentHash              []byte
	originalSiblingTreeHash []byte
}

// Code writes the ParentHashInput struct of §7.9.
func (in *parentHashInput) Code(c *syntax.Coder) {
	syntax.Opaque(c, &in.encryptionKey)
	syntax.Opaque(c, &in.parentHash)
	syntax.Opaque(c, &in.originalSiblingTreeHash)
}

// nodeHasher hashes nodes of a tree, many with one buffer. It serves one
// goroutine.
type nodeHasher struct {
	suite   *suite.Suite
	tree    treeHashInput
	parents parentHashInput
	scratch syntax.Scratch
}

// leaf is the tree hash of a leaf, which may be blank (§7.8).
func (h *nodeHasher) leaf(index LeafIndex, leaf *LeafNode) []byte {
	h.tree = treeHashInput{kind: nodeTypeLeaf, index: index, leaf: leaf}
	return h.suite.Hash(h.scratch.Encode(&h.tree))
}

// parent is the tree hash of a parent, which may be blank (§7.8).
func (h *nodeHasher) parent(p *parentNode, left, right []byte) []byte {
	h.tree = treeHashInput{kind: nodeTypeParent, parent: p, leftHash: left, rightHash: right}
	return h.suite.Hash(h.scratch.Encode(&h.tree))
}

// parentHash is the parent hash of p with the given original tree hash of its
// copath child (§7.9).
func (h *nodeHasher) parentHash(p *parentNode, siblingHash []byte) []byte {
	h.parents = parentHashInput{p.EncryptionKey, p.ParentHash, siblingHash}
	return h.suite.Hash(h.scratch.Encode(&h.parents))
}

// hash returns the tree hash of x, computing it only where the draft changed
// something below: a commit costs as many hashes as it touched nodes.
func (d *treeDraft) hash(x treemath.NodeIndex) []byte {
	k, i := place(x)
	if x.IsLeaf() {
		return d.hashes.leaf(x.Leaf(), d.chunks[k].leaves[i])
	}
	if h := d.chunks[k].hashes[i]; h != nil {
		return h
	}
	left, right := d.children(x)
	leftHash, rightHash := d.hash(left), d.hash(right)
	h := d.hashes.parent(d.chunks[k].parents[i], leftHash, rightHash)
	d.own(k).hashes[i] = h
	return h
}

// subtreeHash is the tree hash of x.
func (t *RatchetTree) subtreeHash(x treemath.NodeIndex) []byte {
	return t.hashWithout(&nodeHasher{suite: t.suite}, x, nil)
}

// hashWithout is the tree hash of x as it was before the leaves in without
// were added (§7.9): they are blank and unmerged nowhere. without is sorted.
func (t *RatchetTree) hashWithout(h *nodeHasher, x treemath.NodeIndex, without []LeafIndex) []byte {
	low, high := leafSpan(x)
	from, _ := slices.BinarySearch(without, low)
	to, _ := slices.BinarySearch(without, high)
	without = without[from:to]
	k, i := place(x)
	switch {
	case x.IsLeaf() && len(without) > 0:
		return h.leaf(x.Leaf(), nil)
	case x.IsLeaf():
		return h.leaf(x.Leaf(), t.chunks[k].leaves[i])
	case len(without) == 0:
		return t.chunks[k].hashes[i]
	}
	parent := t.chunks[k].parents[i]
	if parent != nil {
		original := *parent
		original.UnmergedLeaves = slices.DeleteFunc(slices.Clone(parent.UnmergedLeaves), func(l LeafIndex) bool {
			return contains(without, l)
		})
		parent = &original
	}
	left, right := t.children(x)
	return h.parent(parent, t.hashWithout(h, left, without), t.hashWithout(h, right, without))
}
