package mlsengine

import (
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// treeHashInput is what the tree hash of a node covers (§7.8).
type treeHashInput struct {
	index     LeafIndex // of a leaf
	kind      nodeType
	node      *node
	leftHash  []byte // of a parent
	rightHash []byte
}

// Code writes the TreeHashInput struct of §7.8.
func (in *treeHashInput) Code(c *syntax.Coder) {
	syntax.Uint8(c, &in.kind)
	switch in.kind {
	case nodeTypeLeaf:
		syntax.Uint32(c, &in.index)
		syntax.Optional(c, &in.node.leaf)
	case nodeTypeParent:
		syntax.Optional(c, &in.node.parent)
		syntax.Opaque(c, &in.leftHash)
		syntax.Opaque(c, &in.rightHash)
	}
}

func leafHash(s *suite.Suite, index LeafIndex, n *node) []byte {
	in := treeHashInput{kind: nodeTypeLeaf, index: index, node: n}
	return s.Hash(syntax.Encode(&in))
}

func parentNodeHash(s *suite.Suite, n *node, left, right []byte) []byte {
	in := treeHashInput{kind: nodeTypeParent, node: n, leftHash: left, rightHash: right}
	return s.Hash(syntax.Encode(&in))
}

// hash returns the tree hash of x, computing it only where the draft changed
// something below: a commit costs as many hashes as it touched nodes.
func (d *treeDraft) hash(x treemath.NodeIndex) []byte {
	n := d.nodes[x]
	if n.hash != nil {
		return n.hash
	}
	if x.IsLeaf() {
		n.hash = leafHash(d.suite, x.Leaf(), n)
	} else {
		left, right := d.children(x)
		n.hash = parentNodeHash(d.suite, n, d.hash(left), d.hash(right))
	}
	return n.hash
}

// hashWithout is the tree hash of x as it was before the leaves in without
// were added (§7.9): they are blank and unmerged nowhere. without is sorted.
func (t *RatchetTree) hashWithout(x treemath.NodeIndex, without []LeafIndex) []byte {
	low, high := leafSpan(x)
	from, _ := slices.BinarySearch(without, low)
	to, _ := slices.BinarySearch(without, high)
	n := t.nodes[x]
	if from == to {
		return n.hash
	}
	if x.IsLeaf() {
		return leafHash(t.suite, x.Leaf(), &node{})
	}
	original := &node{}
	if n.parent != nil {
		parent := *n.parent
		parent.UnmergedLeaves = slices.DeleteFunc(slices.Clone(parent.UnmergedLeaves), func(l LeafIndex) bool {
			return contains(without[from:to], l)
		})
		original.parent = &parent
	}
	left, right := t.children(x)
	without = without[from:to]
	return parentNodeHash(t.suite, original, t.hashWithout(left, without), t.hashWithout(right, without))
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

// parentHash is the parent hash of p with the given original tree hash of its
// copath child (§7.9).
func parentHash(s *suite.Suite, p *ParentNode, siblingHash []byte) []byte {
	in := parentHashInput{p.EncryptionKey, p.ParentHash, siblingHash}
	return s.Hash(syntax.Encode(&in))
}
