package mlsengine

import (
	"errors"

	"parley/internal/secret"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// exportLeaves is the size of the exporter tree: a leaf for every component.
const exportLeaves = treemath.Size(componentCount)

// ErrExported is returned where a component asks again for its secret.
var ErrExported = errors.New("mlsengine: the component's secret of this epoch was exported before")

// newExportTree is the exporter tree of an epoch (ext., Exported Secrets). It is
// a secret tree whose leaves are never split.
func newExportTree(s *suite.Suite, root applicationExport) *secretTree {
	return &secretTree{suite: s, size: exportLeaves, root: &secretNode{secret: treeNodeSecret{root.Bytes}}}
}

// SafeExport takes the secret of a component out of the epoch (ext., Exported
// Secrets): one hash long, the same for all members, and gone from the
// successor, so that a state stolen later does not tell it.
func (g *Group) SafeExport(id ComponentID) (secret.Bytes, *Group, error) {
	if g.retired {
		return secret.Bytes{}, nil, ErrRetired
	}
	out, root, err := g.exports.puncture(g.exports.root, exportLeaves.Root(), LeafIndex(id))
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	next := *g
	next.exports = &secretTree{suite: g.exports.suite, size: exportLeaves, root: root}
	return out, &next, nil
}

// puncture takes a leaf's secret out of the subtree n at x.
func (t *secretTree) puncture(n *secretNode, x treemath.NodeIndex, leaf LeafIndex) (secret.Bytes, *secretNode, error) {
	if n == nil {
		return secret.Bytes{}, nil, ErrExported
	}
	if x.IsLeaf() {
		return secret.Clone(n.secret.Expose()), nil, nil
	}
	left, right := n.left, n.right
	if !n.secret.IsZero() {
		left, right = n.secret.split(t.suite)
	}
	var out secret.Bytes
	var err error
	if leaf.Node() < x {
		l, _ := t.size.Left(x)
		out, left, err = t.puncture(left, l, leaf)
	} else {
		r, _ := t.size.Right(x)
		out, right, err = t.puncture(right, r, leaf)
	}
	return out, parentNodeOf(left, right), err
}
