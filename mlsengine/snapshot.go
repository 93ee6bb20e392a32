package mlsengine

import (
	"bytes"
	"errors"
	"fmt"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// ErrStoredState is returned for a stored state or delta that does not parse
// or does not fit: storage is damaged, no peer did this.
var ErrStoredState = errors.New("mlsengine: stored state does not parse or does not fit")

var (
	errNotThisCommit = errors.New("they are of another commit")
	errOwnLeaf       = errors.New("the own leaf is blank")
	errNodeKey       = errors.New("a node key does not fit")
	errRatchets      = errors.New("the secret tree has another size")
)

func storedError(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrStoredState, what, err)
}

// The first byte of every stored form.
const (
	publicFormat  uint8 = 0
	deltaFormat   uint8 = 0
	privateFormat uint8 = 0
)

func codeFormat(c *syntax.Coder, format uint8) {
	stored := format
	syntax.Uint8(c, &stored)
	if stored != format {
		c.Fail("unknown format")
	}
}

// storedGroup is the stored form of a PublicGroup.
type storedGroup struct {
	context         GroupContext
	tree            wireTree
	confirmationTag []byte
	interim         []byte
	reinit          *ReInit
}

// Code walks the stored form.
func (g *storedGroup) Code(c *syntax.Coder) {
	codeFormat(c, publicFormat)
	g.context.Code(c)
	g.tree.Code(c)
	syntax.Opaque(c, &g.confirmationTag)
	syntax.Opaque(c, &g.interim)
	syntax.Optional(c, &g.reinit)
}

// Marshal encodes the epoch; equal epochs have equal bytes.
func (g *PublicGroup) Marshal() []byte {
	return syntax.Encode(&storedGroup{g.context, g.tree.wire(), g.confirmationTag, g.interim, g.reinit})
}

// ParsePublicGroup reads what Marshal wrote and checks it against its tree hash
// and transcript hash. Signatures and parent hashes were checked when the
// epoch was entered.
func ParsePublicGroup(b []byte) (*PublicGroup, error) {
	stored, err := syntax.Decode[storedGroup](b)
	if err != nil {
		return nil, fmt.Errorf("%w: public group: %w", ErrStoredState, err)
	}
	s, err := suite.Get(stored.context.CipherSuite)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStoredState, err)
	}
	tree, err := stored.tree.tree(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStoredState, err)
	}
	g := newPublicGroup(s, stored.context, tree, stored.confirmationTag)
	g.reinit = stored.reinit
	if !bytes.Equal(g.interim, stored.interim) {
		return nil, fmt.Errorf("%w: interim transcript hash", ErrStoredState)
	}
	return g, g.checkStored()
}

// checkStored checks what later operations rely on for not going astray.
func (g *PublicGroup) checkStored() error {
	if !bytes.Equal(g.tree.hash(), g.context.TreeHash) {
		return fmt.Errorf("%w: tree hash of epoch %d", ErrStoredState, g.context.Epoch)
	}
	if err := g.tree.verifyUnmerged(); err != nil {
		return fmt.Errorf("%w: %w", ErrStoredState, err)
	}
	if err := g.context.Extensions.validateData(); err != nil {
		return fmt.Errorf("%w: %w", ErrStoredState, err)
	}
	return nil
}

// changedNode is a slot of the tree with its new content.
type changedNode struct {
	index treemath.NodeIndex
	node  node
}

// Code walks the index and optional<Node>.
func (n *changedNode) Code(c *syntax.Coder) {
	syntax.Uint32(c, &n.index)
	n.node.Code(c)
}

// groupDelta leads from one epoch to the next.
type groupDelta struct {
	context         GroupContext
	leaves          treemath.Size
	changed         []changedNode // in node order
	confirmationTag []byte
	interim         []byte
	reinit          *ReInit
}

// Code walks the stored form of a delta.
func (d *groupDelta) Code(c *syntax.Coder) {
	codeFormat(c, deltaFormat)
	d.context.Code(c)
	syntax.Uint32(c, &d.leaves)
	syntax.Vector(c, &d.changed)
	syntax.Opaque(c, &d.confirmationTag)
	syntax.Opaque(c, &d.interim)
	syntax.Optional(c, &d.reinit)
}

// delta encodes what leads from the old epoch to next.
func (st *staging) delta(next *PublicGroup) []byte {
	d := groupDelta{
		context: next.context, leaves: next.tree.size,
		confirmationTag: next.confirmationTag, interim: next.interim, reinit: next.reinit,
	}
	d.changed = st.from.tree.changes(next.tree)
	return syntax.Encode(&d)
}

// changes lists the slots of next that differ from t, as next has them.
func (t *RatchetTree) changes(next *RatchetTree) []changedNode {
	var changed []changedNode
	for k, c := range next.chunks {
		before := &chunk{}
		if k < len(t.chunks) {
			before = t.chunks[k]
		}
		if before == c {
			continue
		}
		for i := range chunkSize {
			x := treemath.NodeIndex(k<<(chunkBits+1) + 2*i)
			if next.contains(x) && c.leaves[i] != before.leaves[i] {
				changed = append(changed, changedNode{x, node{leaf: c.leaves[i]}})
			}
			if next.contains(x+1) && c.parents[i] != before.parents[i] {
				changed = append(changed, changedNode{x + 1, node{parent: c.parents[i]}})
			}
		}
	}
	return changed
}

// ApplyDelta computes the next epoch from a delta. It checks that the changed
// tree has the tree hash of the new context.
func (g *PublicGroup) ApplyDelta(delta []byte) (*PublicGroup, error) {
	d, err := syntax.Decode[groupDelta](delta)
	if err != nil {
		return nil, fmt.Errorf("%w: delta: %w", ErrStoredState, err)
	}
	if !bytes.Equal(d.context.GroupID, g.context.GroupID) || d.context.CipherSuite != g.context.CipherSuite ||
		d.context.Epoch != g.context.Epoch+1 {
		return nil, fmt.Errorf("%w: delta of another group or epoch", ErrStoredState)
	}
	draft := g.tree.draft()
	if err := draft.applyChanges(&d); err != nil {
		return nil, err
	}
	next := newPublicGroup(g.suite, d.context, draft.seal(), d.confirmationTag)
	next.reinit, next.senders = d.reinit, g.senders
	if !bytes.Equal(next.interim, d.interim) {
		return nil, fmt.Errorf("%w: interim transcript hash", ErrStoredState)
	}
	return next, next.checkStored()
}

func (d *treeDraft) applyChanges(delta *groupDelta) error {
	if !delta.leaves.Valid() || delta.leaves > leavesMax {
		return fmt.Errorf("%w: delta to %d leaves", ErrStoredState, delta.leaves)
	}
	if delta.leaves > d.size {
		d.grow(delta.leaves)
	} else {
		d.shrink(delta.leaves)
	}
	for i := range delta.changed {
		c := &delta.changed[i]
		ordered := i == 0 || delta.changed[i-1].index < c.index
		if !ordered || !d.contains(c.index) || c.node.misplaced(c.index) {
			return fmt.Errorf("%w: delta changes node %d", ErrStoredState, c.index)
		}
		d.set(c.index, c.node)
	}
	return nil
}

// pastPSK is the resumption key of a past epoch (§8.6).
type pastPSK struct {
	epoch Epoch
	psk   resumptionPSK
}

// Code walks the stored form.
func (p *pastPSK) Code(c *syntax.Coder) {
	syntax.Uint64(c, &p.epoch)
	codeSecret(c, &p.psk.Bytes)
}

// storedKey is the stored form of a nodeKey.
type storedKey struct {
	node treemath.NodeIndex
	raw  secret.Bytes
}

// Code walks the stored form.
func (k *storedKey) Code(c *syntax.Coder) {
	syntax.Uint32(c, &k.node)
	codeSecret(c, &k.raw)
}

// storedPrivate is the stored form of a member's secrets of one epoch.
type storedPrivate struct {
	own      LeafIndex
	retired  uint8
	keys     []storedKey
	secrets  epochSecrets
	past     []pastPSK
	ratchets secretTree // its suite must be set before reading, like the next one's
	exports  secretTree
}

// Code walks the stored form.
func (p *storedPrivate) Code(c *syntax.Coder) {
	codeFormat(c, privateFormat)
	syntax.Uint32(c, &p.own)
	syntax.Uint8(c, &p.retired)
	if p.retired > 1 {
		c.Fail("a boolean that is neither 0 nor 1")
	}
	syntax.Vector(c, &p.keys)
	p.secrets.Code(c)
	syntax.Vector(c, &p.past)
	p.ratchets.Code(c)
	if p.retired == 0 {
		p.exports.Code(c)
	}
}

// MarshalPrivate encodes the member's secrets of this epoch, except the
// signature key; equal states have equal bytes.
func (g *Group) MarshalPrivate() secret.Bytes {
	p := storedPrivate{own: g.own, secrets: g.secrets, past: g.past, ratchets: *g.ratchets}
	if g.retired {
		p.retired = 1
	} else {
		p.exports = *g.exports
	}
	for _, k := range g.keys {
		p.keys = append(p.keys, storedKey{k.node, k.key.Raw()})
	}
	return secret.New(syntax.Encode(&p))
}

// RestoreGroup joins a public state and what MarshalPrivate wrote.
func RestoreGroup(pub *PublicGroup, private []byte) (*Group, error) {
	p := storedPrivate{ratchets: secretTree{suite: pub.suite}, exports: secretTree{suite: pub.suite}}
	if err := syntax.DecodeOwned(private, &p); err != nil {
		return nil, storedError("private state", err)
	}
	if p.ratchets.size != pub.tree.size {
		return nil, storedError("private state", errRatchets)
	}
	g := &Group{public: pub, own: p.own, secrets: p.secrets, ratchets: &p.ratchets, past: p.past, retired: p.retired == 1}
	if !g.retired {
		if p.exports.size != exportLeaves {
			return nil, storedError("private state", errRatchets)
		}
		g.exports = &p.exports
	}
	if err := p.secrets.confirmation.verify(pub.suite, pub.context.ConfirmedTranscriptHash, pub.confirmationTag); err != nil {
		return nil, storedError("private state of another epoch", err)
	}
	if pub.tree.leaf(p.own) == nil {
		return nil, storedError("private state", errOwnLeaf)
	}
	for _, k := range p.keys {
		key, err := pub.suite.ParseHPKEPrivateKey(k.raw.Expose())
		ordered := len(g.keys) == 0 || g.keys[len(g.keys)-1].node < k.node
		if err != nil || !ordered || !pub.tree.contains(k.node) {
			return nil, storedError("private state", errNodeKey)
		}
		g.keys = append(g.keys, nodeKey{k.node, key})
	}
	return g, nil
}
