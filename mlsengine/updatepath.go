package mlsengine

import (
	"bytes"
	"slices"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// HPKECiphertext is a public-key encryption (§7.6).
type HPKECiphertext struct {
	KEMOutput  []byte
	Ciphertext []byte
}

// Code walks the HPKECiphertext struct of §7.6.
func (h *HPKECiphertext) Code(c *syntax.Coder) {
	syntax.Opaque(c, &h.KEMOutput)
	syntax.Opaque(c, &h.Ciphertext)
}

// UpdatePathNode carries a new node key and its path secret, encrypted to the
// resolution of the copath child (§7.6).
type UpdatePathNode struct {
	EncryptionKey       suite.HPKEPublicKey
	EncryptedPathSecret []HPKECiphertext
}

// Code walks the UpdatePathNode struct of §7.6.
func (n *UpdatePathNode) Code(c *syntax.Coder) {
	syntax.Opaque(c, &n.EncryptionKey)
	syntax.Vector(c, &n.EncryptedPathSecret)
}

// UpdatePath replaces the keys on a committer's filtered direct path (§7.6).
type UpdatePath struct {
	LeafNode LeafNode
	Nodes    []UpdatePathNode
}

// Code walks the UpdatePath struct of §7.6.
func (p *UpdatePath) Code(c *syntax.Coder) {
	p.LeafNode.Code(c)
	syntax.Vector(c, &p.Nodes)
}

// pathSecret is the secret of one node of an update path (§7.4).
type pathSecret struct{ secret.Bytes }

// next derives the path secret one step closer to the root.
func (p pathSecret) next(s *suite.Suite) pathSecret {
	return pathSecret{secret.New(s.DeriveSecret(p.Expose(), "path"))}
}

// keyPair derives the node's keys.
func (p pathSecret) keyPair(s *suite.Suite) (suite.HPKEPrivateKey, suite.HPKEPublicKey, error) {
	nodeSecret := secret.New(s.DeriveSecret(p.Expose(), "node"))
	defer nodeSecret.Wipe()
	return s.DeriveHPKEKeyPair(nodeSecret.Expose())
}

// nodeKey is a private key of a tree node a member holds.
type nodeKey struct {
	node treemath.NodeIndex
	key  suite.HPKEPrivateKey
}

// nodeKeys are the private keys one member holds, in node order: its leaf and
// at most one per level above it. The slice is never written after creation.
type nodeKeys []nodeKey

func (k nodeKeys) get(x treemath.NodeIndex) (suite.HPKEPrivateKey, bool) {
	at, found := slices.BinarySearchFunc(k, x, compareNode)
	if !found {
		return suite.HPKEPrivateKey{}, false
	}
	return k[at].key, true
}

func compareNode(k nodeKey, x treemath.NodeIndex) int { return int(k.node) - int(x) }

// with returns the keys with fresh ones added or put in their place.
func (k nodeKeys) with(fresh []nodeKey) nodeKeys {
	next := make(nodeKeys, 0, len(k)+len(fresh))
	for _, held := range k {
		if !slices.ContainsFunc(fresh, func(f nodeKey) bool { return f.node == held.node }) {
			next = append(next, held)
		}
	}
	next = append(next, fresh...)
	slices.SortFunc(next, func(a, b nodeKey) int { return compareNode(a, b.node) })
	return next
}

// moved returns the keys that are still valid in the next tree, with fresh
// ones added: a key whose node was blanked or given another key is forgotten.
func (k nodeKeys) moved(from, to *RatchetTree, fresh []nodeKey) nodeKeys {
	kept := make(nodeKeys, 0, len(k))
	for _, held := range k {
		if to.contains(held.node) && bytes.Equal(from.at(held.node).encryptionKey(), to.at(held.node).encryptionKey()) {
			kept = append(kept, held)
		}
	}
	return kept.with(fresh)
}

// setPath puts new keys on the filtered direct path, root first so that each
// parent hash covers the one above it, and returns the parent hash that
// belongs into the leaf (§7.5, §7.9).
func (d *treeDraft) setPath(leaf LeafIndex, steps []pathStep, keys []suite.HPKEPublicKey) []byte {
	d.blankPath(leaf)
	above := []byte{}
	for i := len(steps) - 1; i >= 0; i-- {
		p := &parentNode{EncryptionKey: keys[i], ParentHash: above}
		d.setParent(steps[i].node, p)
		above = d.hashes.parentHash(p, d.hash(steps[i].copath))
	}
	return above
}

// mergePath applies a received path to the tree after its commit's proposals
// (§7.5, §12.4.2).
func (d *treeDraft) mergePath(committer LeafIndex, path *UpdatePath, added []LeafIndex) error {
	steps := d.filteredDirectPath(committer)
	if len(path.Nodes) != len(steps) {
		return broken(PathLength, "%d nodes, filtered direct path has %d", len(path.Nodes), len(steps))
	}
	if err := d.checkPathKeys(path); err != nil {
		return err
	}
	keys := make([]suite.HPKEPublicKey, len(steps))
	var resolution []treemath.NodeIndex
	for i, step := range steps {
		keys[i] = path.Nodes[i].EncryptionKey
		resolution = d.resolution(resolution[:0], step.copath, added)
		if got := len(path.Nodes[i].EncryptedPathSecret); got != len(resolution) {
			return broken(PathCiphertexts, "node %d: %d ciphertexts for a resolution of %d", step.node, got, len(resolution))
		}
		if err := path.Nodes[i].checkCiphertexts(d.suite, step.node); err != nil {
			return err
		}
	}
	above := d.setPath(committer, steps, keys)
	if !bytes.Equal(above, path.LeafNode.ParentHash) {
		return broken(PathParentHash, "leaf %d", committer)
	}
	d.setLeaf(committer, &path.LeafNode)
	return nil
}

// checkCiphertexts checks what everybody can see of a path secret's
// ciphertexts: a committer must not shut a few members out by what an outsider
// could have refused.
func (n *UpdatePathNode) checkCiphertexts(s *suite.Suite, x treemath.NodeIndex) error {
	for i := range n.EncryptedPathSecret {
		sealed := &n.EncryptedPathSecret[i]
		if len(sealed.Ciphertext) != s.HashSize()+s.AEADOverhead() || s.ValidateKEMOutput(sealed.KEMOutput) != nil {
			return broken(PathSecret, "ciphertext %d of node %d is none of a path secret", i, x)
		}
	}
	return nil
}

// checkPathKeys checks that no key of the path is malformed or already in the
// tree (§12.4.2).
func (d *treeDraft) checkPathKeys(path *UpdatePath) error {
	fresh := newKeySet(len(path.Nodes) + 1)
	fresh.add(path.LeafNode.EncryptionKey, 0)
	for i := range path.Nodes {
		key := path.Nodes[i].EncryptionKey
		if err := d.suite.ValidateHPKEPublicKey(key); err != nil {
			return broken(PathKey, "node %d of the path: %v", i, err)
		}
		if _, twice := fresh.add(key, 0); twice {
			return broken(PathKeyReused, "node %d of the path repeats a key of the path", i)
		}
	}
	return d.eachWithEncryptionKey(fresh, func(x treemath.NodeIndex, _ LeafIndex) error {
		return broken(PathKeyReused, "a key of the path is already that of node %d", x)
	})
}

// pathReceiver is what a member needs to read a path (§7.5).
type pathReceiver struct {
	tree      *RatchetTree // with the path merged
	committer LeafIndex
	own       LeafIndex
	added     []LeafIndex // by the same commit
	keys      nodeKeys    // from before the commit, own Update included
	context   []byte      // the provisional GroupContext
}

// open decrypts the path secret meant for us and derives the keys above it.
func (r *pathReceiver) open(path *UpdatePath) ([]nodeKey, commitSecret, error) {
	s := r.tree.suite
	steps := r.tree.filteredDirectPath(r.committer)
	at := slices.IndexFunc(steps, func(step pathStep) bool { return covers(step.copath, r.own) })
	if at < 0 {
		return nil, commitSecret{}, broken(PathUnreachable, "no node of the path is above leaf %d", r.own)
	}
	shared, err := r.decrypt(steps[at], &path.Nodes[at])
	if err != nil {
		return nil, commitSecret{}, err
	}
	keys := make([]suite.HPKEPublicKey, len(steps))
	for i := range path.Nodes {
		keys[i] = path.Nodes[i].EncryptionKey
	}
	defer shared.Wipe()
	fresh, last, err := climb(s, steps[at:], keys[at:], shared)
	if err != nil {
		return nil, commitSecret{}, err
	}
	return fresh, commitSecret{last.Bytes}, nil
}

// decrypt opens the ciphertext addressed to the node of the resolution whose
// key we hold. An unmerged member finds its own leaf here: it holds no key of
// the parents that it is unmerged at.
func (r *pathReceiver) decrypt(step pathStep, n *UpdatePathNode) (pathSecret, error) {
	s := r.tree.suite
	for i, x := range r.tree.resolution(nil, step.copath, r.added) {
		key, held := r.keys.get(x)
		if !held {
			continue
		}
		sealed := n.EncryptedPathSecret[i]
		plain, err := s.DecryptWithLabel(key, "UpdatePathNode", r.context, sealed.KEMOutput, sealed.Ciphertext)
		if err != nil {
			return pathSecret{}, broken(PathSecret, "ciphertext %d of node %d", i, step.node)
		}
		if len(plain) != s.HashSize() {
			return pathSecret{}, broken(PathSecret, "path secret of %d bytes", len(plain))
		}
		return pathSecret{secret.New(plain)}, nil
	}
	return pathSecret{}, broken(PathUnreachable, "no key for the resolution of node %d", step.copath)
}

// climb derives the keys of the given steps from the path secret of the first
// and checks them against the public keys. It returns the secret after the
// last, in memory of its own (§7.5).
func climb(s *suite.Suite, steps []pathStep, public []suite.HPKEPublicKey, first pathSecret) ([]nodeKey, pathSecret, error) {
	keys, derived, last, err := derivePath(s, steps, first)
	if err != nil {
		return nil, pathSecret{}, err
	}
	for i, step := range steps {
		if !bytes.Equal(derived[i], public[i]) {
			last.Wipe()
			return nil, pathSecret{}, broken(PathKeyMismatch, "node %d", step.node)
		}
	}
	return keys, last, nil
}

// derivePath derives the keys of the given steps from the path secret of the
// first. It returns the secret after the last, in memory of its own, and wipes
// those between (§7.5).
func derivePath(s *suite.Suite, steps []pathStep, first pathSecret) ([]nodeKey, []suite.HPKEPublicKey, pathSecret, error) {
	keys := make([]nodeKey, len(steps))
	public := make([]suite.HPKEPublicKey, len(steps))
	current := pathSecret{secret.Clone(first.Expose())}
	for i, step := range steps {
		private, derived, err := current.keyPair(s)
		if err != nil {
			return nil, nil, pathSecret{}, broken(PathKeyMismatch, "node %d: %v", step.node, err)
		}
		keys[i], public[i] = nodeKey{step.node, private}, derived
		above := current.next(s)
		current.Wipe()
		current = above
	}
	return keys, public, current, nil
}

// ownPath holds the secrets a committer draws for a path: everything in it
// follows from them and the tree.
type ownPath struct {
	leafSecret pathSecret // becomes the leaf's key pair
	first      pathSecret // path_secret[0]
}

func drawPath(s *suite.Suite, env Env) ownPath {
	return ownPath{
		leafSecret: pathSecret{secret.New(env.draw("leaf_secret", s.HashSize()))},
		first:      pathSecret{secret.New(env.draw("path_secret", s.HashSize()))},
	}
}

// leafKey derives the committer's new leaf key pair.
func (o ownPath) leafKey(s *suite.Suite) (suite.HPKEPrivateKey, suite.HPKEPublicKey, error) {
	return o.leafSecret.keyPair(s)
}

// secrets lists the path secrets of a path with n steps, and the one after it.
func (o ownPath) secrets(s *suite.Suite, n int) []pathSecret {
	secrets := make([]pathSecret, n+1)
	secrets[0] = o.first
	for i := range n {
		secrets[i+1] = secrets[i].next(s)
	}
	return secrets
}

// sharedStep is the lowest step of a path that is above the leaf too: its path
// secret is what a member added there receives in its Welcome (§12.4.3.1).
func sharedStep(steps []pathStep, leaf LeafIndex) int {
	for i, step := range steps {
		if covers(step.copath, leaf) {
			return i
		}
	}
	return len(steps)
}

// seal encrypts the path secrets to the members (§7.5). context is the encoded
// provisional GroupContext.
func (o ownPath) seal(tree *RatchetTree, steps []pathStep, added []LeafIndex, context []byte, env Env) ([]UpdatePathNode, error) {
	s := tree.suite
	nodes := make([]UpdatePathNode, len(steps))
	var seals []pathSeal
	var resolution []treemath.NodeIndex
	secrets := o.secrets(s, len(steps))
	for i, step := range steps {
		nodes[i].EncryptionKey = tree.at(step.node).encryptionKey()
		resolution = tree.resolution(resolution[:0], step.copath, added)
		nodes[i].EncryptedPathSecret = make([]HPKECiphertext, len(resolution))
		seals = slices.Grow(seals, len(resolution))
		for n, x := range resolution {
			seals = append(seals, pathSeal{to: &nodes[i].EncryptedPathSecret[n], key: tree.at(x).encryptionKey(), secret: &secrets[i]})
		}
	}
	encryption := s.Encryption("UpdatePathNode", context)
	draw := func(i int) { seals[i].entropy = env.draw("path_encryption", s.HPKEEntropySize()) }
	return nodes, eachPrepared(len(seals), draw, func(i int) (err error) {
		seal := &seals[i]
		seal.to.KEMOutput, seal.to.Ciphertext, err = encryption.Encrypt(seal.key, seal.secret.Expose(), seal.entropy)
		return err
	})
}

// pathSeal is one encryption of a path secret.
type pathSeal struct {
	to      *HPKECiphertext
	key     suite.HPKEPublicKey
	secret  *pathSecret
	entropy []byte
}
