package mlsengine

import (
	"bytes"
	"slices"
	"sync/atomic"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// KeyPackage is what a client publishes so that others can add it to groups
// (§10). A KeyPackage must not be changed.
//
// It is for one use (§16.8). The engine remembers nothing and cannot tell a
// second one: whoever adds members takes each key package once from where they
// are published, and its owner forgets the private keys once the group that it
// joined by them is stored. Only one that says LastResort may be kept.
type KeyPackage struct {
	Version     ProtocolVersion
	CipherSuite CipherSuite
	InitKey     suite.HPKEPublicKey
	LeafNode    LeafNode
	Extensions  Extensions
	Signature   []byte

	// verified holds the hash of the encoding whose signatures Validate has found
	// good: those are not verified again. What was read has it; copies share it.
	verified *atomic.Pointer[[]byte]
}

// Code walks the KeyPackage struct of §10.
func (k *KeyPackage) Code(c *syntax.Coder) {
	k.codeUnsigned(c)
	syntax.Opaque(c, &k.Signature)
	if c.Reading() {
		k.verified = new(atomic.Pointer[[]byte])
	}
}

func (k *KeyPackage) codeUnsigned(c *syntax.Coder) {
	syntax.Uint16(c, &k.Version)
	syntax.Uint16(c, &k.CipherSuite)
	syntax.Opaque(c, &k.InitKey)
	k.LeafNode.Code(c)
	k.Extensions.Code(c)
}

// keyPackageTBS is what a key package's signature covers (§10).
type keyPackageTBS struct{ *KeyPackage }

// Code writes the KeyPackageTBS struct of §10.
func (t keyPackageTBS) Code(c *syntax.Coder) { t.codeUnsigned(c) }

// ParseKeyPackage reads a key package, bare or as an MLSMessage. Validate it
// before use.
func ParseKeyPackage(b []byte) (*KeyPackage, error) {
	if m, err := ParseMessage(b); err == nil {
		if k := m.KeyPackage(); k != nil {
			return k, nil
		}
	}
	k, err := parse[KeyPackage](b)
	if err != nil {
		return nil, err
	}
	return &k, nil
}

// Bytes encodes the key package.
func (k *KeyPackage) Bytes() []byte { return syntax.Encode(k) }

// Ref identifies the key package (§5.2). It is nil for a cipher suite that is
// not supported.
func (k *KeyPackage) Ref() KeyPackageRef {
	s, err := suite.Get(k.CipherSuite)
	if err != nil {
		return nil
	}
	return KeyPackageRef(s.RefHash("MLS 1.0 KeyPackage Reference", k.Bytes()))
}

// LastResort reports whether the client allows this key package to be used
// more than once: by the extension that deployed clients use, or by the
// component of draft-ietf-mls-extensions.
func (k *KeyPackage) LastResort() bool {
	if k.Extensions.Has(ExtensionTypeLastResort) {
		return true
	}
	d, err := k.Extensions.AppData()
	_, marked := d.Find(ComponentLastResortKeyPackage)
	return err == nil && marked
}

// Validate checks everything §10.1 and §7.3 ask of a key package by itself,
// the clock included: what a client checks before it adds somebody.
func (k *KeyPackage) Validate(env Env) error {
	s, err := suite.Get(k.CipherSuite)
	if err != nil {
		return broken(UnsupportedCipherSuite, "%d", k.CipherSuite)
	}
	if err := k.validate(s); err != nil {
		return err
	}
	if k.verified != nil {
		hash := s.Hash(k.Bytes())
		k.verified.Store(&hash)
	}
	return k.LeafNode.validateLifetime(env)
}

// ValidateKeyPackages is Validate for several, on as many goroutines as may run at once. It returns how many come before the first that
// is not good, and what is wrong with that one.
func ValidateKeyPackages(all []*KeyPackage, env Env) (good int, err error) {
	faults := make([]error, len(all))
	err = eachInParallel(len(all), func(i int) error {
		faults[i] = all[i].Validate(env)
		return faults[i]
	})
	if err == nil {
		return len(all), nil
	}
	return slices.IndexFunc(faults, func(fault error) bool { return fault != nil }), err
}

// validate is Validate for a group of suite s, without the clock: an Add that
// was accepted by its order must not be refused because time passed since.
func (k *KeyPackage) validate(s *suite.Suite) error {
	if k.Version != VersionMLS10 {
		return broken(KeyPackageVersion, "version %d", k.Version)
	}
	if k.CipherSuite != s.ID() {
		return broken(KeyPackageCipherSuite, "cipher suite %d", k.CipherSuite)
	}
	if k.LeafNode.Source != LeafNodeSourceKeyPackage {
		return broken(LeafSource, "leaf_node_source %d", k.LeafNode.Source)
	}
	if bytes.Equal(k.InitKey, k.LeafNode.EncryptionKey) {
		return broken(KeyPackageInitKey, "init_key equals the leaf's encryption_key")
	}
	if err := s.ValidateHPKEPublicKey(k.InitKey); err != nil {
		return broken(KeyPackageInitKeyInvalid, "%v", err)
	}
	if err := k.LeafNode.validateAlone(s); err != nil {
		return err
	}
	if t, found := lacking(k.understood(), k.LeafNode.Capabilities.Extensions); found {
		return broken(KeyPackageExtension, "extension type %d", t)
	}
	if err := k.Extensions.validateUnique(); err != nil {
		return err
	}
	if k.isVerified(s) {
		return nil
	}
	if err := k.LeafNode.verifySignature(s, nil, 0); err != nil {
		return err
	}
	if err := s.VerifyWithLabel(k.LeafNode.SignatureKey, "KeyPackageTBS", syntax.Encode(keyPackageTBS{k}), k.Signature); err != nil {
		return broken(KeyPackageSignature, "%v", err)
	}
	return nil
}

// isVerified reports whether Validate has found the signatures good, of these very bytes.
func (k *KeyPackage) isVerified(s *suite.Suite) bool {
	if k.verified == nil {
		return false
	}
	hash := k.verified.Load()
	return hash != nil && bytes.Equal(*hash, s.Hash(k.Bytes()))
}

// understood lists the types of the extensions that the engine gives a meaning,
// without the default ones. All others are ignored, whether or not the leaf
// lists them (§10, §13.4): who does not know them cannot tell GREASE, which need
// not be listed (§13.5), from an extension that should have been.
func (k *KeyPackage) understood() []ExtensionType {
	return slices.DeleteFunc(k.Extensions.types(), func(t ExtensionType) bool {
		return t != ExtensionTypeLastResort && t != ExtensionTypeAppDataDictionary
	})
}

// ValidateForOthers is what Validate does not ask: that the leaf lists every
// extension of the key package, GREASE too. Others read §10 so, and a member that
// refuses the key package cannot follow the commit that adds its owner: whoever
// adds somebody to a group that others may be in asks for it.
func (k *KeyPackage) ValidateForOthers() error {
	if t, found := lacking(k.Extensions.types(), k.LeafNode.Capabilities.Extensions); found {
		return broken(KeyPackageExtension, "extension type %d, which members of other implementations would refuse", t)
	}
	return nil
}

// KeyPackageParams says what a new key package offers.
type KeyPackageParams struct {
	Suite        CipherSuite
	Identity     SigningIdentity
	Lifetime     Lifetime
	Capabilities Capabilities // zero values are filled in with what this engine supports
	Extensions   Extensions   // of the leaf
	Outside      Extensions   // of the key package itself
	LastResort   bool         // the key package may be used more than once
}

// KeyPackageSecrets are the private halves of a key package.
type KeyPackageSecrets struct {
	InitKey secret.Bytes
	LeafKey secret.Bytes
}

// NewKeyPackage makes a key package and its private keys (§10).
func NewKeyPackage(p KeyPackageParams, env Env) (*KeyPackage, KeyPackageSecrets, error) {
	s, err := suite.Get(p.Suite)
	if err != nil {
		return nil, KeyPackageSecrets{}, broken(UnsupportedCipherSuite, "%d", p.Suite)
	}
	initPrivate, initPublic, err := s.DeriveHPKEKeyPair(env.draw("init_key", s.HashSize()))
	if err != nil {
		return nil, KeyPackageSecrets{}, err
	}
	k := &KeyPackage{Version: VersionMLS10, CipherSuite: p.Suite, InitKey: initPublic}
	k.Extensions = slices.Clone(p.Outside)
	if p.LastResort {
		k.Extensions = k.Extensions.With(ExtensionTypeLastResort, nil)
	}
	k.Extensions = env.greaseExtensions(k.Extensions)
	for _, t := range k.Extensions.types() {
		p.Capabilities = p.Capabilities.withExtension(t)
	}
	leaf, leafKey, err := newLeaf(s, leafParams{p.Identity, p.Capabilities, p.Lifetime, p.Extensions}, env)
	if err != nil {
		return nil, KeyPackageSecrets{}, err
	}
	k.LeafNode = *leaf
	if k.Signature, err = p.Identity.Sign("KeyPackageTBS", syntax.Encode(keyPackageTBS{k})); err != nil {
		return nil, KeyPackageSecrets{}, err
	}
	if err := k.validate(s); err != nil {
		return nil, KeyPackageSecrets{}, err
	}
	return k, KeyPackageSecrets{InitKey: initPrivate.Raw(), LeafKey: leafKey.Raw()}, nil
}
