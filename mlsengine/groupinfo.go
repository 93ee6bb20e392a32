package mlsengine

import (
	"bytes"
	"errors"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// GroupInfo describes an epoch to those who want to join it (§12.4.3). A
// GroupInfo must not be changed.
type GroupInfo struct {
	GroupContext    GroupContext
	Extensions      Extensions
	ConfirmationTag []byte
	Signer          LeafIndex
	Signature       []byte
}

// Code walks the GroupInfo struct of §12.4.3.
func (g *GroupInfo) Code(c *syntax.Coder) {
	g.codeUnsigned(c)
	syntax.Opaque(c, &g.Signature)
}

func (g *GroupInfo) codeUnsigned(c *syntax.Coder) {
	g.GroupContext.Code(c)
	g.Extensions.Code(c)
	syntax.Opaque(c, &g.ConfirmationTag)
	syntax.Uint32(c, &g.Signer)
}

// groupInfoTBS is what a GroupInfo's signature covers (§12.4.3).
type groupInfoTBS struct{ *GroupInfo }

// Code writes the GroupInfoTBS struct of §12.4.3.
func (t groupInfoTBS) Code(c *syntax.Coder) { t.codeUnsigned(c) }

// sizeHint is a fair guess of how long the encoding is; it saves growing.
func (g *GroupInfo) sizeHint() int {
	size := 384
	for _, e := range g.Extensions {
		size += 8 + len(e.Data)
	}
	return size
}

// tree reads the ratchet_tree extension (§12.4.3.3); nil when there is none.
func (g *GroupInfo) tree() (*RatchetTree, error) {
	data, present := g.Extensions.Find(ExtensionTypeRatchetTree)
	if !present {
		return nil, nil
	}
	return ParseRatchetTree(g.GroupContext.CipherSuite, data)
}

// externalPub is the key an external joiner encapsulates to (§12.4.3.2).
func (g *GroupInfo) externalPub() (suite.HPKEPublicKey, error) {
	external, err := g.Extensions.externalPub()
	if err != nil {
		return nil, err
	}
	if external == nil {
		return nil, broken(GroupInfoExternalPub, "epoch %d", g.GroupContext.Epoch)
	}
	return external.Key, nil
}

// ErrIdentity is returned where the signing identity is missing or is not the
// one of the member's leaf.
var ErrIdentity = errors.New("mlsengine: no signing identity, or not that of the leaf")

// sign completes a GroupInfo.
func (g *GroupInfo) sign(identity *SigningIdentity) error {
	signature, err := identity.Sign("GroupInfoTBS", syntax.Append(make([]byte, 0, g.sizeHint()), groupInfoTBS{g}))
	if err != nil {
		return err
	}
	g.Signature = signature
	return nil
}

// verifySignature checks the signature with the key of the signer's leaf.
func (g *GroupInfo) verifySignature(tree *RatchetTree) error {
	leaf := tree.leaf(g.Signer)
	if leaf == nil {
		return broken(GroupInfoSigner, "leaf %d", g.Signer)
	}
	if err := tree.suite.VerifyWithLabel(leaf.SignatureKey, "GroupInfoTBS", syntax.Encode(groupInfoTBS{g}), g.Signature); err != nil {
		return broken(GroupInfoSignature, "leaf %d", g.Signer)
	}
	return nil
}

// NewPublicGroup checks a GroupInfo and its tree as §12.4.3.1 asks, as far as
// that needs no secret. A nil tree means the one inside the GroupInfo.
func NewPublicGroup(gi *GroupInfo, tree *RatchetTree) (*PublicGroup, error) {
	if gi == nil {
		return nil, broken(MalformedMessage, "no GroupInfo")
	}
	if gi.GroupContext.Version != VersionMLS10 {
		return nil, broken(UnsupportedVersion, "version %d", gi.GroupContext.Version)
	}
	s, err := suite.Get(gi.GroupContext.CipherSuite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", gi.GroupContext.CipherSuite)
	}
	if tree, err = chooseTree(gi, tree); err != nil {
		return nil, err
	}
	if !bytes.Equal(tree.hash(), gi.GroupContext.TreeHash) {
		return nil, broken(TreeHashMismatch, "epoch %d", gi.GroupContext.Epoch)
	}
	if err := gi.verifySignature(tree); err != nil {
		return nil, err
	}
	if err := gi.Extensions.validateUnique(); err != nil {
		return nil, err
	}
	if err := gi.GroupContext.Extensions.validateUnique(); err != nil {
		return nil, err
	}
	if err := gi.GroupContext.Extensions.validateData(); err != nil {
		return nil, err
	}
	if err := tree.verify(gi.GroupContext.GroupID, gi.GroupContext.Extensions); err != nil {
		return nil, err
	}
	return newPublicGroup(s, gi.GroupContext, tree, gi.ConfirmationTag), nil
}

// chooseTree takes the tree that came with the GroupInfo or the one beside it.
func chooseTree(gi *GroupInfo, beside *RatchetTree) (*RatchetTree, error) {
	inside, err := gi.tree()
	switch {
	case err != nil:
		return nil, err
	case inside != nil:
		return inside, nil
	case beside == nil || beside.suite.ID() != gi.GroupContext.CipherSuite:
		return nil, broken(GroupInfoTree, "epoch %d", gi.GroupContext.Epoch)
	}
	return beside, nil
}

// newPublicGroup keeps nothing that its arguments share memory with but the
// tree: they come out of messages, which may be long.
func newPublicGroup(s *suite.Suite, context GroupContext, tree *RatchetTree, tag []byte) *PublicGroup {
	encoded := syntax.Encode(&context)
	var own GroupContext
	if err := syntax.DecodeOwned(encoded, &own); err != nil {
		panic("mlsengine: an encoded context does not decode: " + err.Error())
	}
	return &PublicGroup{
		suite:           s,
		context:         own,
		encoded:         encoded,
		tree:            tree,
		confirmationTag: bytes.Clone(tag),
		interim:         interimTranscriptHash(s, context.ConfirmedTranscriptHash, tag),
		senders:         &senderKeys{suite: s},
	}
}

// GroupInfoMatches checks that a GroupInfo describes this epoch and is signed
// by a member of it.
func (g *PublicGroup) GroupInfoMatches(gi *GroupInfo) error {
	if !bytes.Equal(syntax.Encode(&gi.GroupContext), syntax.Encode(&g.context)) {
		return broken(GroupInfoContext, "epoch %d of the GroupInfo, %d of the group", gi.GroupContext.Epoch, g.context.Epoch)
	}
	if !bytes.Equal(gi.ConfirmationTag, g.confirmationTag) {
		return broken(GroupInfoContext, "another confirmation tag")
	}
	if err := gi.Extensions.validateUnique(); err != nil {
		return err
	}
	tree, err := gi.tree()
	if err != nil {
		return err
	}
	if tree != nil && !bytes.Equal(tree.hash(), g.context.TreeHash) {
		return broken(TreeHashMismatch, "ratchet_tree extension")
	}
	return gi.verifySignature(g.tree)
}

// TreeInclusion says whether a GroupInfo carries the ratchet tree.
type TreeInclusion bool

// The two ways to give a joiner the tree.
const (
	WithoutTree TreeInclusion = false
	WithTree    TreeInclusion = true
)

// GroupInfo describes the epoch to those who want to join (§12.4.3): with
// external_pub, and with the tree if asked for. It is signed by env.Identity.
func (g *Group) GroupInfo(tree TreeInclusion, env Env) (*GroupInfo, error) {
	if g.retired {
		return nil, ErrRetired
	}
	_, public, err := g.secrets.external.keyPair(g.public.suite)
	if err != nil {
		return nil, err
	}
	return g.describe(Extensions{extension(ExtensionTypeExternalPub, &externalPub{public})}, tree, env)
}

// describe makes a signed GroupInfo with these extensions, those of env and
// perhaps the tree.
func (g *Group) describe(extensions Extensions, tree TreeInclusion, env Env) (*GroupInfo, error) {
	if err := g.checkIdentity(env.Identity); err != nil {
		return nil, err
	}
	extensions = env.greaseExtensions(append(extensions, env.GroupInfo...))
	if tree == WithTree {
		extensions = append(extensions, Extension{Type: ExtensionTypeRatchetTree, Data: g.public.tree.Marshal()})
	}
	if err := extensions.validateUnique(); err != nil {
		return nil, err
	}
	gi := &GroupInfo{
		GroupContext:    g.public.context,
		Extensions:      extensions,
		ConfirmationTag: g.public.confirmationTag,
		Signer:          g.own,
	}
	if err := gi.sign(env.Identity); err != nil {
		return nil, err
	}
	return gi, nil
}

// checkIdentity checks that an identity is the one our leaf shows to others.
func (g *Group) checkIdentity(identity *SigningIdentity) error {
	leaf := g.public.tree.leaf(g.own)
	if identity == nil || !bytes.Equal(identity.Public, leaf.SignatureKey) {
		return ErrIdentity
	}
	return nil
}
