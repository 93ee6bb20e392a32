// Package treemath does the index arithmetic of array-based ratchet trees
// (RFC 9420 appendix C). Leaf i is node 2i; parents have odd indices; a tree
// has a power of two of leaves.
package treemath

import "math/bits"

// LeafIndex counts leaves from the left.
type LeafIndex uint32

// NodeIndex counts all nodes, leaves and parents, from the left.
type NodeIndex uint32

// Size is the number of leaves of a tree: a power of two, or zero for no tree.
type Size uint32

// SizeMax is the largest tree whose nodes a NodeIndex can number.
const SizeMax Size = 1 << 31

// SizeFor is the smallest tree with room for that many leaves. It is zero
// when there is none.
func SizeFor(leaves uint32) Size {
	if leaves <= 1 {
		return Size(leaves)
	}
	if leaves > uint32(SizeMax) {
		return 0
	}
	return 1 << bits.Len32(leaves-1)
}

// Node is where the leaf lies among all nodes. The leaf must be below SizeMax.
func (l LeafIndex) Node() NodeIndex { return NodeIndex(l) << 1 }

// IsLeaf reports whether the node is a leaf.
func (x NodeIndex) IsLeaf() bool { return x&1 == 0 }

// Leaf is the leaf at this node; it means something only if IsLeaf.
func (x NodeIndex) Leaf() LeafIndex { return LeafIndex(x >> 1) }

// Level is the height above the leaves.
func (x NodeIndex) Level() uint { return uint(bits.TrailingZeros32(^uint32(x))) }

// Valid reports whether the size is one a tree can have.
func (n Size) Valid() bool { return n > 0 && n&(n-1) == 0 }

// Width is the number of nodes.
func (n Size) Width() uint32 {
	if n == 0 {
		return 0
	}
	return 2*(uint32(n)-1) + 1
}

// Contains reports whether the leaf lies within the tree.
func (n Size) Contains(l LeafIndex) bool { return uint32(l) < uint32(n) }

// Root is the node above all others. It means something only if the size is valid.
func (n Size) Root() NodeIndex { return NodeIndex(n - 1) }

// Left is the left child; leaves have none.
func (n Size) Left(x NodeIndex) (NodeIndex, bool) {
	k := x.Level()
	if k == 0 || uint32(x) >= n.Width() {
		return 0, false
	}
	return x ^ 1<<(k-1), true
}

// Right is the right child; leaves have none.
func (n Size) Right(x NodeIndex) (NodeIndex, bool) {
	k := x.Level()
	if k == 0 || uint32(x) >= n.Width() {
		return 0, false
	}
	return x ^ 3<<(k-1), true
}

// Parent is the node above; the root has none.
func (n Size) Parent(x NodeIndex) (NodeIndex, bool) {
	if x == n.Root() || uint32(x) >= n.Width() {
		return 0, false
	}
	k := x.Level()
	return (x | 1<<k) &^ (1 << (k + 1)), true
}

// Sibling is the other child of the parent; the root has none.
func (n Size) Sibling(x NodeIndex) (NodeIndex, bool) {
	if x == n.Root() || uint32(x) >= n.Width() {
		return 0, false
	}
	return x ^ 1<<(x.Level()+1), true
}

// DirectPath lists the ancestors of a leaf from its parent up to the root. It
// is empty for a leaf that is the root or lies outside the tree.
func (n Size) DirectPath(l LeafIndex) []NodeIndex {
	if !n.Contains(l) {
		return nil
	}
	path := make([]NodeIndex, 0, n.Root().Level())
	for x, ok := n.Parent(l.Node()); ok; x, ok = n.Parent(x) {
		path = append(path, x)
	}
	return path
}

// Copath lists the siblings of the leaf and of its ancestors below the root,
// from the bottom: the child that DirectPath does not pass at each step.
func (n Size) Copath(l LeafIndex) []NodeIndex {
	if !n.Contains(l) {
		return nil
	}
	path := make([]NodeIndex, 0, n.Root().Level())
	x := l.Node()
	for {
		sibling, ok := n.Sibling(x)
		if !ok {
			return path
		}
		path = append(path, sibling)
		x, _ = n.Parent(x)
	}
}

// InSubtree reports whether node x lies at or below the node top.
func (x NodeIndex) InSubtree(top NodeIndex) bool {
	reach := NodeIndex(1)<<top.Level() - 1
	return x >= top-reach && x <= top+reach
}

// CommonAncestor is the lowest node above or at both leaves.
func (n Size) CommonAncestor(a, b LeafIndex) NodeIndex {
	k := uint(bits.Len32(uint32(a ^ b)))
	return NodeIndex(a>>k)<<(k+1) | (1<<k - 1)
}
