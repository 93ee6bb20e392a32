package treemath

import "testing"

func TestEveryNodeOfSmallTreesIsConsistent(t *testing.T) {
	for n := Size(1); n <= 256; n *= 2 {
		if !n.Valid() || n.Width() != 2*uint32(n)-1 {
			t.Fatalf("size %d: width %d", n, n.Width())
		}
		for x := NodeIndex(0); uint32(x) < n.Width(); x++ {
			checkNode(t, n, x)
		}
		for l := LeafIndex(0); n.Contains(l); l++ {
			checkPaths(t, n, l)
		}
	}
}

func checkNode(t *testing.T, n Size, x NodeIndex) {
	t.Helper()
	parent, ok := n.Parent(x)
	if ok == (x == n.Root()) {
		t.Fatalf("size %d node %d: parent %d, %v", n, x, parent, ok)
	}
	if ok {
		left, _ := n.Left(parent)
		right, _ := n.Right(parent)
		sibling, _ := n.Sibling(x)
		if !(left == x && right == sibling || right == x && left == sibling) {
			t.Fatalf("size %d node %d: parent %d has children %d and %d, sibling %d", n, x, parent, left, right, sibling)
		}
		if parent.Level() != x.Level()+1 || !x.InSubtree(parent) || sibling.InSubtree(x) {
			t.Fatalf("size %d node %d: levels or subtrees are wrong", n, x)
		}
	}
	if _, ok := n.Left(x); ok == x.IsLeaf() {
		t.Fatalf("size %d node %d: left child of a leaf, or none of a parent", n, x)
	}
	if x.IsLeaf() && x.Leaf().Node() != x {
		t.Fatalf("node %d: not the node of its leaf", x)
	}
}

func checkPaths(t *testing.T, n Size, l LeafIndex) {
	t.Helper()
	direct, copath := n.DirectPath(l), n.Copath(l)
	if len(direct) != len(copath) || uint(len(direct)) != n.Root().Level() {
		t.Fatalf("size %d leaf %d: paths %v, %v", n, l, direct, copath)
	}
	for i, x := range copath {
		if p, ok := n.Parent(x); !ok || p != direct[i] {
			t.Fatalf("size %d leaf %d: copath node %d is not below %d", n, l, x, direct[i])
		}
	}
	for other := LeafIndex(0); n.Contains(other); other++ {
		want := l.Node()
		for i := 0; !other.Node().InSubtree(want); i++ {
			want = direct[i]
		}
		if got := n.CommonAncestor(l, other); got != want {
			t.Fatalf("size %d: common ancestor of %d and %d is %d, want %d", n, l, other, got, want)
		}
	}
}

func TestNothingOutsideTheTree(t *testing.T) {
	n := Size(4)
	if _, ok := n.Left(7); ok {
		t.Error("left child of a node outside the tree")
	}
	if _, ok := n.Right(9); ok {
		t.Error("right child of a node outside the tree")
	}
	if _, ok := n.Parent(8); ok {
		t.Error("parent of a node outside the tree")
	}
	if _, ok := n.Sibling(8); ok {
		t.Error("sibling of a node outside the tree")
	}
	if n.DirectPath(4) != nil || n.Copath(4) != nil {
		t.Error("paths of a leaf outside the tree")
	}
}

func TestSizeForRoundsUp(t *testing.T) {
	for leaves, want := range map[uint32]Size{
		0: 0, 1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 1000: 1024, 1 << 31: 1 << 31, 1<<31 + 1: 0, 1<<32 - 1: 0,
	} {
		if got := SizeFor(leaves); got != want {
			t.Errorf("SizeFor(%d) = %d, want %d", leaves, got, want)
		}
	}
	if Size(0).Valid() || Size(3).Valid() || Size(0).Width() != 0 {
		t.Error("a size that no tree has")
	}
	if SizeMax.Width() != 1<<32-1 || SizeMax.Root() != 1<<31-1 {
		t.Error("the largest tree overflows")
	}
}
