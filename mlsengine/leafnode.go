package mlsengine

import (
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// LeafNodeSource says how a leaf came into the tree (§7.2).
type LeafNodeSource uint8

// The sources of §7.2.
const (
	LeafNodeSourceKeyPackage LeafNodeSource = 1
	LeafNodeSourceUpdate     LeafNodeSource = 2
	LeafNodeSourceCommit     LeafNodeSource = 3
)

// Capabilities lists the protocol features a client supports (§7.2). Default
// proposal and extension types are supported by everybody and never listed.
type Capabilities struct {
	Versions     []ProtocolVersion
	CipherSuites []CipherSuite
	Extensions   []ExtensionType
	Proposals    []ProposalType
	Credentials  []CredentialType
}

// Code walks the Capabilities struct of §7.2.
func (cap *Capabilities) Code(c *syntax.Coder) {
	syntax.VectorFunc(c, &cap.Versions, syntax.Uint16[ProtocolVersion])
	syntax.VectorFunc(c, &cap.CipherSuites, syntax.Uint16[CipherSuite])
	syntax.VectorFunc(c, &cap.Extensions, syntax.Uint16[ExtensionType])
	syntax.VectorFunc(c, &cap.Proposals, syntax.Uint16[ProposalType])
	syntax.VectorFunc(c, &cap.Credentials, syntax.Uint16[CredentialType])
}

// equal reports whether two clients support the same, listed in the same order.
func (cap *Capabilities) equal(other *Capabilities) bool {
	return slices.Equal(cap.Versions, other.Versions) && slices.Equal(cap.CipherSuites, other.CipherSuites) &&
		slices.Equal(cap.Extensions, other.Extensions) && slices.Equal(cap.Proposals, other.Proposals) &&
		slices.Equal(cap.Credentials, other.Credentials)
}

// capabilityPool lets leaves share the memory of equal capabilities, which are
// those of the few programs that the members use.
type capabilityPool [4]Capabilities

// share lets the capabilities take the memory of equal ones seen before.
func (p *capabilityPool) share(capabilities *Capabilities) {
	for i := range p {
		if p[i].Versions == nil {
			p[i] = *capabilities
			return
		}
		if p[i].equal(capabilities) {
			*capabilities = p[i]
			return
		}
	}
}

func (cap *Capabilities) supportsCredential(t CredentialType) bool {
	return slices.Contains(cap.Credentials, t)
}

// Lifetime bounds when clients consider a published leaf valid, in seconds
// since 1970 (§7.2).
type Lifetime struct {
	NotBefore uint64
	NotAfter  uint64
}

// Code walks the Lifetime struct of §7.2.
func (l *Lifetime) Code(c *syntax.Coder) {
	syntax.Uint64(c, &l.NotBefore)
	syntax.Uint64(c, &l.NotAfter)
}

// Contains reports whether now lies within the lifetime.
func (l Lifetime) Contains(now uint64) bool {
	return l.NotBefore <= now && now <= l.NotAfter
}

// LeafNode is one client's appearance in a group, signed by that client
// (§7.2). A LeafNode that is part of a tree or message must not be changed.
type LeafNode struct {
	EncryptionKey suite.HPKEPublicKey
	SignatureKey  suite.SignaturePublicKey
	Credential    Credential
	Capabilities  Capabilities
	Source        LeafNodeSource
	Lifetime      Lifetime // meaningful when Source is KeyPackage
	ParentHash    []byte   // meaningful when Source is Commit
	Extensions    Extensions
	Signature     []byte
}

// Code walks the LeafNode struct of §7.2.
func (l *LeafNode) Code(c *syntax.Coder) {
	l.codeUnsigned(c)
	syntax.Opaque(c, &l.Signature)
}

func (l *LeafNode) codeUnsigned(c *syntax.Coder) {
	syntax.Opaque(c, &l.EncryptionKey)
	syntax.Opaque(c, &l.SignatureKey)
	l.Credential.Code(c)
	l.Capabilities.Code(c)
	syntax.Uint8(c, &l.Source)
	switch l.Source {
	case LeafNodeSourceKeyPackage:
		l.Lifetime.Code(c)
	case LeafNodeSourceUpdate:
	case LeafNodeSourceCommit:
		syntax.Opaque(c, &l.ParentHash)
	default:
		c.Fail("unknown leaf_node_source")
	}
	l.Extensions.Code(c)
}

// leafNodeTBS is what a leaf's signature covers (§7.2): for leaves made inside
// a group also the group and the place, so that they fit nowhere else.
type leafNodeTBS struct {
	leaf    *LeafNode
	groupID GroupID
	index   LeafIndex
}

// Code writes the LeafNodeTBS struct of §7.2.
func (t *leafNodeTBS) Code(c *syntax.Coder) {
	t.leaf.codeUnsigned(c)
	if t.leaf.Source != LeafNodeSourceKeyPackage {
		syntax.Opaque(c, &t.groupID)
		syntax.Uint32(c, &t.index)
	}
}

// sign returns a copy of the leaf with a signature for the given place.
func (l *LeafNode) sign(signer Signer, groupID GroupID, index LeafIndex) (*LeafNode, error) {
	signed := *l
	tbs := leafNodeTBS{&signed, groupID, index}
	sig, err := signer.Sign("LeafNodeTBS", syntax.Encode(&tbs))
	if err != nil {
		return nil, err
	}
	signed.Signature = sig
	return &signed, nil
}

// verifySignature checks the leaf's signature at its place in a group.
func (l *LeafNode) verifySignature(v verifier, groupID GroupID, index LeafIndex) error {
	tbs := leafNodeTBS{l, groupID, index}
	if err := v.VerifyPartsWithLabel(l.SignatureKey, "LeafNodeTBS", l.Signature, syntax.Encode(&tbs)); err != nil {
		return broken(LeafSignature, "leaf %d", index)
	}
	return nil
}

// validateAlone checks what §7.3 asks of a leaf without looking at others.
func (l *LeafNode) validateAlone(s *suite.Suite) error {
	if err := s.ValidateHPKEPublicKey(l.EncryptionKey); err != nil {
		return broken(LeafKey, "encryption key: %v", err)
	}
	if err := s.ValidateSignaturePublicKey(l.SignatureKey); err != nil {
		return broken(LeafKey, "signature key: %v", err)
	}
	if err := l.Credential.certifies(s, l.SignatureKey); err != nil {
		return err
	}
	if !slices.Contains(l.Capabilities.Versions, VersionMLS10) {
		return broken(LeafVersion, "capabilities list versions %v", l.Capabilities.Versions)
	}
	if !slices.Contains(l.Capabilities.CipherSuites, s.ID()) {
		return broken(LeafCipherSuite, "capabilities lack cipher suite %d", s.ID())
	}
	if !l.Capabilities.supportsCredential(l.Credential.Type()) {
		return broken(LeafCredentialUnlisted, "credential type %d", l.Credential.Type())
	}
	if t, found := lacking(l.Extensions.types(), l.Capabilities.Extensions); found {
		return broken(LeafExtension, "extension type %d", t)
	}
	return l.Extensions.validateUnique()
}

// validateLifetime checks a published leaf against the clock (§7.2, §7.3).
func (l *LeafNode) validateLifetime(env Env) error {
	if l.Source != LeafNodeSourceKeyPackage {
		return nil
	}
	if !l.Lifetime.Contains(env.Now) {
		return broken(LeafLifetime, "valid %d to %d, now %d", l.Lifetime.NotBefore, l.Lifetime.NotAfter, env.Now)
	}
	if total := l.Lifetime.NotAfter - l.Lifetime.NotBefore; env.LifetimeMax > 0 && total > env.LifetimeMax {
		return broken(LeafLifetimeTotal, "%d seconds, at most %d", total, env.LifetimeMax)
	}
	return nil
}

// Equal reports whether two leaves are byte for byte the same.
func (l *LeafNode) Equal(other *LeafNode) bool {
	return slices.Equal(syntax.Encode(l), syntax.Encode(other))
}

// leafParams says what a published leaf offers.
type leafParams struct {
	identity     SigningIdentity
	capabilities Capabilities
	lifetime     Lifetime
	extensions   Extensions
}

// newLeaf makes a leaf that belongs to no group yet, and its private key.
func newLeaf(s *suite.Suite, p leafParams, env Env) (*LeafNode, suite.HPKEPrivateKey, error) {
	private, public, err := s.DeriveHPKEKeyPair(env.draw("leaf_key", s.HashSize()))
	if err != nil {
		return nil, suite.HPKEPrivateKey{}, err
	}
	p.capabilities = p.capabilities.filled(s.ID(), p.identity.Credential.Type())
	p = env.greaseLeaf(p)
	leaf := LeafNode{
		EncryptionKey: public,
		SignatureKey:  p.identity.Public,
		Credential:    p.identity.Credential,
		Capabilities:  p.capabilities,
		Source:        LeafNodeSourceKeyPackage,
		Lifetime:      p.lifetime,
		Extensions:    p.extensions,
	}
	signed, err := leaf.sign(&p.identity, nil, 0)
	if err != nil {
		return nil, suite.HPKEPrivateKey{}, err
	}
	if err := signed.validateAlone(s); err != nil {
		return nil, suite.HPKEPrivateKey{}, err
	}
	return signed, private, signed.verifySignature(s, nil, 0) // the identity's two halves may not fit
}

// renewed is the unsigned leaf that replaces l: with a fresh key, and an
// identity that may be the old one.
func (l *LeafNode) renewed(source LeafNodeSource, key suite.HPKEPublicKey, identity *SigningIdentity) *LeafNode {
	next := *l
	next.Source = source
	next.EncryptionKey = key
	next.Credential = identity.Credential
	next.SignatureKey = identity.Public
	next.Lifetime, next.ParentHash, next.Signature = Lifetime{}, nil, nil
	return &next
}

// LeafContent is what a member says of itself in its leaf beside its identity.
type LeafContent struct {
	Capabilities Capabilities // empty fields are filled in with what this engine supports
	Extensions   Extensions
}

// saying is the unsigned leaf with another content; nil leaves it as it is.
func (l *LeafNode) saying(content *LeafContent, id CipherSuite, env Env) *LeafNode {
	if content == nil {
		return l
	}
	like := env.greaseLeaf(leafParams{capabilities: content.Capabilities.filled(id, l.Credential.Type()), extensions: content.Extensions})
	next := *l
	next.Capabilities, next.Extensions = like.capabilities, like.extensions
	return &next
}

// filled completes capabilities so that they state at least the protocol in use.
func (cap Capabilities) filled(id CipherSuite, credential CredentialType) Capabilities {
	if len(cap.Versions) == 0 {
		cap.Versions = []ProtocolVersion{VersionMLS10}
	}
	if len(cap.CipherSuites) == 0 {
		cap.CipherSuites = []CipherSuite{id}
	}
	if len(cap.Credentials) == 0 {
		cap.Credentials = []CredentialType{credential}
	}
	return cap
}

func (cap Capabilities) withExtension(t ExtensionType) Capabilities {
	if !slices.Contains(cap.Extensions, t) {
		cap.Extensions = append(slices.Clone(cap.Extensions), t)
	}
	return cap
}
