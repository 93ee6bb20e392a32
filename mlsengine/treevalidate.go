package mlsengine

import (
	"bytes"
	"slices"

	"parley/mlsengine/treemath"
)

// verify checks everything §12.4.3.1 asks of a tree somebody hands us: node
// structure, parent hashes and every leaf. Lifetimes are left to whoever adds
// a leaf; one that is in the tree stays valid for its group.
func (t *RatchetTree) verify(groupID GroupID, extensions Extensions) error {
	if err := t.verifyUniqueKeys(); err != nil {
		return err
	}
	if err := t.verifyCredentialTypes(); err != nil {
		return err
	}
	if err := t.verifyParents(); err != nil {
		return err
	}
	return t.verifyLeaves(groupID, extensions)
}

// verifyParents checks every parent node (§7.9.2, §12.4.3.1).
func (t *RatchetTree) verifyParents() error {
	if err := t.verifyUnmerged(); err != nil {
		return err
	}
	hasher := &nodeHasher{suite: t.suite}
	for x, n := range t.nodes {
		if n.parent == nil {
			continue
		}
		if err := t.suite.ValidateHPKEPublicKey(n.parent.EncryptionKey); err != nil {
			return broken(TreeParentKey, "node %d: %v", x, err)
		}
		if !t.parentHashValid(hasher, x) {
			return broken(TreeParentHash, "node %d", x)
		}
	}
	return nil
}

func (t *RatchetTree) verifyLeaves(groupID GroupID, extensions Extensions) error {
	asked, err := extensions.requirements()
	if err != nil {
		return err
	}
	return eachInParallel(len(t.chunks), func(k int) error {
		for i, leaf := range t.chunks[k].leaves {
			if leaf == nil {
				continue
			}
			if err := leaf.validateAlone(t.suite); err != nil {
				return err
			}
			if err := leaf.validateInGroup(asked); err != nil {
				return err
			}
			if err := leaf.verifySignature(t.suite, groupID, LeafIndex(k*chunkSize+i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// verifyUnmerged checks the unmerged leaves of every parent (§7.1, §12.4.3.1).
func (t *RatchetTree) verifyUnmerged() error {
	for x, n := range t.nodes {
		if n.parent == nil {
			continue
		}
		for i, leaf := range n.parent.UnmergedLeaves {
			if i > 0 && leaf <= n.parent.UnmergedLeaves[i-1] {
				return broken(TreeUnmergedLeaf, "node %d", x)
			}
			if err := t.verifyUnmergedLeaf(x, leaf); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *RatchetTree) verifyUnmergedLeaf(x treemath.NodeIndex, leaf LeafIndex) error {
	if t.leaf(leaf) == nil || !covers(x, leaf) {
		return broken(TreeUnmergedLeaf, "node %d lists leaf %d", x, leaf)
	}
	for below := x; ; {
		below = t.childAbove(below, leaf)
		if below.IsLeaf() {
			return nil
		}
		p := t.at(below).parent
		if p == nil {
			continue
		}
		if !contains(p.UnmergedLeaves, leaf) {
			return broken(TreeUnmergedGap, "node %d lists leaf %d, node %d between them does not", x, leaf, below)
		}
	}
}

// childAbove returns the child of x on the way down to leaf.
func (t *slots) childAbove(x treemath.NodeIndex, leaf LeafIndex) treemath.NodeIndex {
	left, right := t.children(x)
	if covers(left, leaf) {
		return left
	}
	return right
}

// verifyUniqueKeys checks that no two nodes share an encryption key and no two
// leaves a signature key (§7.3, §12.4.3.1).
func (t *RatchetTree) verifyUniqueKeys() error {
	encryption := make(map[string]treemath.NodeIndex, t.size.Width())
	signature := make(map[string]struct{}, t.size)
	for x, n := range t.nodes {
		if other, twice := encryption[string(n.encryptionKey())]; twice {
			if n.leaf != nil && other.IsLeaf() {
				return broken(LeafDuplicateEncryptionKey, "leaves %d and %d", other/2, x/2)
			}
			return broken(TreeDuplicateKey, "nodes %d and %d", other, x)
		}
		encryption[string(n.encryptionKey())] = x
		if n.leaf == nil {
			continue
		}
		if _, twice := signature[string(n.leaf.SignatureKey)]; twice {
			return broken(LeafDuplicateSignatureKey, "leaf %d", x/2)
		}
		signature[string(n.leaf.SignatureKey)] = struct{}{}
	}
	return nil
}

// verifyCredentialTypes checks that every member supports every credential
// type in use (§7.3).
func (t *RatchetTree) verifyCredentialTypes() error {
	inUse := t.credentialTypes()
	for i, leaf := range t.Members {
		for _, kind := range inUse {
			if !leaf.Capabilities.supportsCredential(kind) {
				return broken(LeafCredentialUnsupported, "leaf %d does not support credential type %d", i, kind)
			}
		}
	}
	return nil
}

// credentialTypes lists the credential types in use, each once.
func (t *slots) credentialTypes() []CredentialType {
	inUse := make([]CredentialType, len(t.credentials))
	for i, c := range t.credentials {
		inUse[i] = c.kind
	}
	return inUse
}

// parentHashValid reports whether exactly one descendant vouches for parent x
// (§7.9.2): the one that was set in the same path.
func (t *RatchetTree) parentHashValid(h *nodeHasher, x treemath.NodeIndex) bool {
	left, right := t.children(x)
	return t.vouched(h, x, left, right) != t.vouched(h, x, right, left)
}

// vouched reports whether a node in the resolution of child carries the parent
// hash of parent x with copath child sibling.
func (t *RatchetTree) vouched(h *nodeHasher, x, child, sibling treemath.NodeIndex) bool {
	parent := t.at(x).parent
	d, ok := t.updatedWith(parent, child)
	if !ok {
		return false
	}
	var carried []byte
	switch n := t.at(d); {
	case n.parent != nil:
		carried = n.parent.ParentHash
	case n.leaf != nil && n.leaf.Source == LeafNodeSourceCommit:
		carried = n.leaf.ParentHash
	default:
		return false
	}
	original := t.hashWithout(h, sibling, parent.UnmergedLeaves)
	return bytes.Equal(carried, h.parentHash(parent, original))
}

// updatedWith finds the only node D in the resolution of child that is not an
// unmerged leaf of parent, provided the parent's other unmerged leaves under
// child are exactly the rest of that resolution (§7.9.2).
func (t *RatchetTree) updatedWith(parent *parentNode, child treemath.NodeIndex) (treemath.NodeIndex, bool) {
	low, high := leafSpan(child)
	from, _ := slices.BinarySearch(parent.UnmergedLeaves, low)
	to, _ := slices.BinarySearch(parent.UnmergedLeaves, high)
	unmerged := parent.UnmergedLeaves[from:to]
	resolution := t.resolution(nil, child, nil)
	if len(resolution) != len(unmerged)+1 {
		return 0, false
	}
	var d treemath.NodeIndex
	found := 0
	for _, x := range resolution {
		if x.IsLeaf() {
			if contains(unmerged, x.Leaf()) {
				continue
			}
		}
		d = x
		found++
	}
	return d, found == 1
}
