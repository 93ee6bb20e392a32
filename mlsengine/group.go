package mlsengine

import (
	"bytes"
	"errors"
	"slices"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// Group is one epoch as one member knows it: the public state and the
// member's secrets. It is immutable: every operation returns a successor.
type Group struct {
	public   *PublicGroup
	own      LeafIndex
	keys     nodeKeys // of the tree; none when retired
	secrets  epochSecrets
	ratchets *secretTree
	exports  *secretTree // for the components; nil when retired
	past     []pastPSK   // resumption keys of past epochs, oldest first
	retired  bool
}

// pastPSKsMax bounds how many past epochs a resumption key can name (§8.6).
const pastPSKsMax = 16

var (
	// ErrRetired is returned by operations that a past epoch no longer has.
	ErrRetired = errors.New("mlsengine: the epoch is past and only opens late messages")
	// ErrSendBlock is returned where a message should be encrypted and no
	// reserved generation of its kind and epoch is at hand.
	ErrSendBlock = errors.New("mlsengine: no reserved generation to encrypt with")
)

// Public is the part of the epoch that holds no secret.
func (g *Group) Public() *PublicGroup { return g.public }

// GroupID names the group.
func (g *Group) GroupID() GroupID { return g.public.GroupID() }

// Epoch is the epoch's number.
func (g *Group) Epoch() Epoch { return g.public.Epoch() }

// OwnLeaf is the member's place in the tree.
func (g *Group) OwnLeaf() LeafIndex { return g.own }

// Retired reports whether this is a past epoch that only opens late messages.
func (g *Group) Retired() bool { return g.retired }

// GroupParams says what a new group is like.
type GroupParams struct {
	GroupID        GroupID
	Suite          CipherSuite
	Identity       SigningIdentity
	Capabilities   Capabilities // empty fields are filled in with what this engine supports
	Lifetime       Lifetime
	Extensions     Extensions
	LeafExtensions Extensions
}

// NewGroup creates a group whose only member is the creator (§11).
func NewGroup(p GroupParams, env Env) (*Group, error) {
	s, err := suite.Get(p.Suite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", p.Suite)
	}
	if err := p.Extensions.withoutGREASE(); err != nil {
		return nil, err
	}
	if err := p.Extensions.validateUnique(); err != nil {
		return nil, err
	}
	if err := p.Extensions.validateData(); err != nil {
		return nil, err
	}
	leaf, leafKey, err := newLeaf(s, leafParams{p.Identity, p.Capabilities, p.Lifetime, p.LeafExtensions}, env)
	if err != nil {
		return nil, err
	}
	asked, err := p.Extensions.requirements()
	if err != nil {
		return nil, err
	}
	if err := leaf.validateInGroup(asked); err != nil {
		return nil, err
	}
	tree := newTree(s, leaf)
	context := GroupContext{
		Version: VersionMLS10, CipherSuite: p.Suite, GroupID: slices.Clone(p.GroupID),
		TreeHash: tree.hash(), ConfirmedTranscriptHash: []byte{}, Extensions: p.Extensions,
	}
	root := epochSecret{secret.New(env.draw("epoch_secret", s.HashSize()))}
	defer root.Wipe()
	secrets, roots := deriveEpochSecrets(s, root)
	tag := secrets.confirmation.tag(s, context.ConfirmedTranscriptHash)
	return &Group{
		public:   newPublicGroup(s, context, tree, tag),
		keys:     nodeKeys{{LeafIndex(0).Node(), leafKey}},
		secrets:  secrets,
		ratchets: newSecretTree(s, roots.encryption, tree.size),
		exports:  newExportTree(s, roots.export),
	}, nil
}

// EpochAuthenticator lets members compare epochs out of band (§8.7).
func (g *Group) EpochAuthenticator() []byte {
	return slices.Clone(g.secrets.authenticator.Expose())
}

// ConfirmationKey recomputes the confirmation tag of this epoch (§6.1).
func (g *Group) ConfirmationKey() secret.Bytes { return g.secrets.confirmation.Bytes }

// ResumptionPSK proves membership in this epoch to a later one, or to another
// group (§8.6).
func (g *Group) ResumptionPSK() secret.Bytes { return g.secrets.resumption.Bytes }

// Export derives a secret for use outside MLS (§8.5).
func (g *Group) Export(label string, context []byte, n int) (secret.Bytes, error) {
	if g.retired {
		return secret.Bytes{}, ErrRetired
	}
	return g.secrets.exporter.export(g.public.suite, label, context, n)
}

// rememberedPSKs are the past resumption keys of the next epoch.
func (g *Group) rememberedPSKs() []pastPSK {
	past := append(slices.Clone(g.past), pastPSK{g.public.context.Epoch, g.secrets.resumption})
	if len(past) > pastPSKsMax {
		past = past[len(past)-pastPSKsMax:]
	}
	return past
}

// Open authenticates a message of this epoch and decrypts it. The successor
// has the used key deleted; it is the same group for a PublicMessage. Our own
// messages break the rule OwnMessage.
func (g *Group) Open(m *Message, limits Limits) (*Content, *Group, error) {
	return g.OpenWith(m, limits, nil)
}

// OpenWith is Open by somebody who opens so much that tables pay; nil: there are
// none.
func (g *Group) OpenWith(m *Message, limits Limits, tables *KeyTables) (*Content, *Group, error) {
	switch {
	case m.public != nil && !g.retired:
		c, err := g.openPublic(m.public)
		return c, g, err
	case m.private != nil && (!g.retired || m.private.contentType == ContentTypeApplication):
		return g.openPrivate(m.private, limits, tables)
	case m.public != nil || m.private != nil:
		return nil, nil, broken(WrongEpoch, "epoch %d is past", g.public.context.Epoch)
	}
	return nil, nil, broken(UnsupportedWireFormat, "wire format %d is not for a group", m.wireFormat)
}

func (g *Group) openPublic(p *publicMessage) (*Content, error) {
	if err := g.public.checkPlace(p.content.Content.GroupID, p.content.Content.Epoch); err != nil {
		return nil, err
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	if err := p.verifyMembership(g.public.suite, g.secrets.membership, g.public.encoded); err != nil {
		return nil, err
	}
	if err := g.public.verifyAuthenticated(&p.content); err != nil {
		return nil, err
	}
	if p.content.Content.Sender == MemberSender(g.own) {
		return nil, broken(OwnMessage, "leaf %d", g.own)
	}
	return newContent(g.public.suite, &p.content, 0), nil
}

func (g *Group) openPrivate(p *privateMessage, limits Limits, tables *KeyTables) (*Content, *Group, error) {
	if err := g.public.checkPlace(p.groupID, p.epoch); err != nil {
		return nil, nil, err
	}
	s := g.public.suite
	data, err := openSenderData(s, g.secrets.senderData, p)
	if err != nil {
		return nil, nil, err
	}
	if g.public.tree.leaf(data.Leaf) == nil {
		return nil, nil, broken(UnknownSender, "leaf %d", data.Leaf)
	}
	if data.Leaf == g.own {
		return nil, nil, broken(OwnMessage, "generation %d", data.Generation)
	}
	keys, ratchets, err := g.ratchets.consume(data.Leaf, p.contentType, data.Generation, limits)
	if err != nil {
		return nil, nil, err
	}
	a, err := openPrivate(s, p, data, keys)
	if err != nil {
		return nil, nil, err
	}
	if err := g.public.verifyAuthenticatedBy(tabledKeys{g.public.senders, tables}, a); err != nil {
		return nil, nil, err
	}
	next := *g
	next.ratchets = ratchets
	return newContent(s, a, data.Generation), &next, nil
}

// Consume repeats a consumption that Open made: with the same limits it gives
// the same successor, without the message.
func (g *Group) Consume(leaf LeafIndex, ct ContentType, gen Generation, limits Limits) (*Group, error) {
	if g.public.tree.leaf(leaf) == nil {
		return nil, broken(UnknownSender, "leaf %d", leaf)
	}
	_, ratchets, err := g.ratchets.consume(leaf, ct, gen, limits)
	if err != nil {
		return nil, err
	}
	next := *g
	next.ratchets = ratchets
	return &next, nil
}

// Retire keeps only what opens late application messages of this epoch.
func (g *Group) Retire() *Group {
	return &Group{
		public:   g.public,
		own:      g.own,
		secrets:  g.secrets.retire(),
		ratchets: g.ratchets.retire(g.own),
		retired:  true,
	}
}

// Reserve moves the own ratchet past n generations and hands out their keys.
func (g *Group) Reserve(ct ContentType, n uint32) (Generation, *Group, *SendBlock, error) {
	if g.retired {
		return 0, nil, nil, ErrRetired
	}
	from, ratchets, block, err := g.ratchets.reserve(g.own, ct, n)
	if err != nil {
		return 0, nil, nil, err
	}
	block.epoch = g.public.ConfirmationTag()
	next := *g
	next.ratchets = ratchets
	return from, &next, block, nil
}

// Plaintext is an application message before encryption.
type Plaintext struct {
	AAD     []byte
	Data    []byte
	Padding int // the ciphertext is a multiple of it long; 0 and 1 pad nothing
}

// SealApplication encrypts an application message with the next generation of
// the block (§6.3), signed by env.Identity.
func (g *Group) SealApplication(block *SendBlock, p Plaintext, env Env) ([]byte, Generation, error) {
	if err := g.checkSending(env.Identity); err != nil {
		return nil, 0, err
	}
	f := Framing{Encrypt: true, AAD: p.AAD, Block: block, Padding: p.Padding}
	content, err := g.frame(framedContent{ContentType: ContentTypeApplication, Application: p.Data}, f, env)
	if err != nil {
		return nil, 0, err
	}
	m, generation, err := g.seal(content, f, env)
	if err != nil {
		return nil, 0, err
	}
	return m.Bytes(), generation, nil
}

// Framing says how a handshake message travels.
type Framing struct {
	Encrypt bool
	AAD     []byte
	Block   *SendBlock // of handshake generations; needed when Encrypt is set
	Padding int        // the ciphertext is a multiple of it long, when Encrypt is set
}

// frame completes a content of ours and signs it (§6.1).
func (g *Group) frame(f framedContent, how Framing, env Env) (*authenticatedContent, error) {
	f.GroupID = g.public.context.GroupID
	f.Epoch = g.public.context.Epoch
	f.Sender = MemberSender(g.own)
	f.AAD = how.AAD
	if err := g.public.context.checkAAD(f.AAD); err != nil {
		return nil, err
	}
	a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: f}
	if how.Encrypt {
		a.WireFormat = WireFormatPrivateMessage
	}
	if how.Block != nil {
		return a, how.Block.scratch.sign(env.Identity, a, g.public.encoded)
	}
	return a, signContent(env.Identity, a, g.public.encoded)
}

// protect makes the message of a signed content (§6.2, §6.3).
func (g *Group) protect(a *authenticatedContent, how Framing, env Env) (*Message, error) {
	if !how.Encrypt {
		return sealPublic(g.public.suite, a, g.secrets.membership, g.public.encoded), nil
	}
	m, _, err := g.seal(a, how, env)
	return m, err
}

// seal encrypts a signed content with the next generation of its block.
func (g *Group) seal(a *authenticatedContent, how Framing, env Env) (*Message, Generation, error) {
	if how.Block == nil || !bytes.Equal(how.Block.epoch, g.public.ConfirmationTag()) {
		return nil, 0, ErrSendBlock
	}
	generation, keys, err := how.Block.take(a.Content.ContentType)
	if err != nil {
		return nil, 0, err
	}
	m, err := sealPrivate(g.public.suite, privateSeal{
		Content:    a,
		Keys:       keys,
		Generation: generation,
		Guard:      reuseGuard(env.draw("reuse_guard", len(reuseGuard{}))),
		SenderData: g.secrets.senderData,
		Padding:    how.Padding,
		Scratch:    &how.Block.scratch,
	})
	return m, generation, err
}

// Proposed is a proposal message ready to be sent.
type Proposed struct {
	Message []byte
	Content *Content
	Ref     ProposalRef
	Secrets secret.Bytes // of an Update: what OwnUpdates needs when it is committed
}

// Propose makes a proposal message (§12.1), signed by env.Identity. For an
// *Update it is ProposeUpdate that keeps the identity. The empty nonce of a
// PreSharedKey is drawn.
func (g *Group) Propose(p Proposal, how Framing, env Env) (*Proposed, error) {
	if _, isUpdate := p.(*Update); isUpdate {
		return g.ProposeUpdate(env.Identity, nil, how, env)
	}
	return g.propose(withNonce(p, g.public.suite, env), how, env)
}

// ProposeUpdate proposes to replace our leaf by one with a fresh encryption
// key and with the given identity's credential and signature key (§12.1.2), and
// with other capabilities and extensions unless content is nil. The message
// itself is signed by env.Identity.
func (g *Group) ProposeUpdate(identity *SigningIdentity, content *LeafContent, how Framing, env Env) (*Proposed, error) {
	if identity == nil {
		return nil, ErrIdentity
	}
	s := g.public.suite
	private, public, err := s.DeriveHPKEKeyPair(env.draw("leaf_key", s.HashSize()))
	if err != nil {
		return nil, err
	}
	renewed := g.public.tree.leaf(g.own).renewed(LeafNodeSourceUpdate, public, identity).saying(content, s.ID(), env)
	leaf, err := renewed.sign(identity, g.public.context.GroupID, g.own)
	if err != nil {
		return nil, err
	}
	out, err := g.propose(&Update{LeafNode: *leaf}, how, env)
	if err != nil {
		return nil, err
	}
	out.Secrets = private.Raw()
	return out, nil
}

func (g *Group) propose(p Proposal, how Framing, env Env) (*Proposed, error) {
	if err := g.checkSending(env.Identity); err != nil {
		return nil, err
	}
	if err := g.public.checkSent(committed{proposal: p, sender: MemberSender(g.own), encrypted: how.Encrypt}, env); err != nil {
		return nil, err
	}
	content, err := g.frame(framedContent{ContentType: ContentTypeProposal, Proposal: p}, how, env)
	if err != nil {
		return nil, err
	}
	m, err := g.protect(content, how, env)
	if err != nil {
		return nil, err
	}
	c := newContent(g.public.suite, content, 0)
	return &Proposed{Message: m.Bytes(), Content: c, Ref: c.ProposalRef()}, nil
}

// checkSending checks that we can send messages of this epoch as this identity.
func (g *Group) checkSending(identity *SigningIdentity) error {
	switch {
	case g.retired:
		return ErrRetired
	case g.public.reinit != nil:
		return broken(GroupEnded, "reinitialized in epoch %d", g.public.context.Epoch)
	}
	return g.checkIdentity(identity)
}

// OwnUpdates are the secrets of own Update proposals by the reference of the
// proposal (as a string).
type OwnUpdates map[string]secret.Bytes
