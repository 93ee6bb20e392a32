package suite

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"

	"github.com/cloudflare/circl/sign/ed448"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"parley/internal/secret"
	"parley/internal/syntax"
)

type signatureAlgorithm uint8

const (
	ed25519Signature signatureAlgorithm = iota
	ed448Signature
	ecdsaP256
	ecdsaP384
	ecdsaP521
)

// SignaturePublicKey is a public key as MLS encodes it (§5.1.1): raw for the
// Edwards curves, an uncompressed point for the NIST curves.
type SignaturePublicKey []byte

// SignaturePrivateKey is a parsed private key.
type SignaturePrivateKey struct {
	secret.Bytes
	algorithm signatureAlgorithm
	edwards   []byte // seed and public key; Bytes is its front
	ecdsa     *ecdsa.PrivateKey
}

// Raw is the key's encoding: the seed on the Edwards curves, the scalar on
// the NIST curves.
func (k SignaturePrivateKey) Raw() secret.Bytes { return k.Bytes }

func (a signatureAlgorithm) curve() elliptic.Curve {
	switch a {
	case ecdsaP256:
		return elliptic.P256()
	case ecdsaP384:
		return elliptic.P384()
	case ecdsaP521:
		return elliptic.P521()
	case ed25519Signature, ed448Signature:
	}
	panic("suite: not an ECDSA curve")
}

// hash is what ECDSA hashes with on the curve: the hash of the curve's suite.
func (a signatureAlgorithm) hash() hashAlgorithm {
	switch a {
	case ecdsaP256:
		return sha2_256
	case ecdsaP384:
		return sha2_384
	case ecdsaP521:
		return sha2_512
	case ed25519Signature, ed448Signature:
	}
	panic("suite: not an ECDSA curve")
}

func (a signatureAlgorithm) privateKeySize() int {
	switch a {
	case ed25519Signature:
		return ed25519.SeedSize
	case ed448Signature:
		return ed448.SeedSize
	case ecdsaP256, ecdsaP384, ecdsaP521:
		return (a.curve().Params().BitSize + 7) / 8
	}
	panic("suite: unknown signature algorithm")
}

// SignatureSeedSize is how much entropy a new key takes.
func (s *Suite) SignatureSeedSize() int { return s.signature.privateKeySize() }

// ParseSignaturePrivateKey takes a raw private key. Keys of the NIST curves
// whose leading zero bytes were stripped are padded.
func (s *Suite) ParseSignaturePrivateKey(raw []byte) (SignaturePrivateKey, error) {
	size := s.signature.privateKeySize()
	if len(raw) == 0 || len(raw) > size {
		return SignaturePrivateKey{}, ErrKey
	}
	k := SignaturePrivateKey{algorithm: s.signature}
	switch s.signature {
	case ed25519Signature, ed448Signature:
		if len(raw) != size {
			return SignaturePrivateKey{}, ErrKey
		}
		if s.signature == ed25519Signature {
			k.edwards = newEd25519Key(raw)
		} else {
			k.edwards = ed448.NewKeyFromSeed(raw)
		}
		k.Bytes = secret.New(k.edwards[:size:size])
	case ecdsaP256, ecdsaP384, ecdsaP521:
		padded := leftPad(raw, size)
		key, err := ecdsa.ParseRawPrivateKey(s.signature.curve(), padded)
		if err != nil {
			return SignaturePrivateKey{}, ErrKey
		}
		k.ecdsa, k.Bytes = key, secret.New(padded)
	}
	return k, nil
}

// GenerateSignatureKeyPair makes a key pair from fresh entropy of
// SignatureSeedSize bytes; the same seed makes the same pair.
func (s *Suite) GenerateSignatureKeyPair(seed []byte) (SignaturePrivateKey, SignaturePublicKey, error) {
	if len(seed) != s.SignatureSeedSize() {
		return SignaturePrivateKey{}, nil, ErrEntropy
	}
	if s.signature == ed25519Signature || s.signature == ed448Signature {
		k, err := s.ParseSignaturePrivateKey(seed)
		return k, k.public(), err
	}
	// Candidates are drawn until one is a scalar of the curve, so that the
	// scalar is uniform; P-521 scalars have one bit in their first byte.
	for counter := range uint32(256) {
		raw := s.DeriveTreeSecret(seed, "signature key", counter, len(seed))
		if s.signature == ecdsaP521 {
			raw[0] &= 0x01
		}
		k, err := s.ParseSignaturePrivateKey(raw)
		clear(raw)
		if err == nil {
			return k, k.public(), nil
		}
	}
	return SignaturePrivateKey{}, nil, ErrKey
}

// PublicSignatureKey is the public half of a private key.
func (s *Suite) PublicSignatureKey(k SignaturePrivateKey) (SignaturePublicKey, error) {
	if k.IsZero() || k.algorithm != s.signature {
		return nil, ErrKey
	}
	return k.public(), nil
}

func (k SignaturePrivateKey) public() SignaturePublicKey {
	if k.ecdsa == nil {
		return SignaturePublicKey(append([]byte{}, k.edwards[k.Len():]...))
	}
	pub, err := k.ecdsa.PublicKey.Bytes()
	if err != nil {
		panic("suite: a parsed key has no encoding")
	}
	return pub
}

// ValidateSignaturePublicKey checks the length and, on the NIST curves, that
// the point is on the curve. On the others it refuses points of low order, under
// which anybody can sign.
func (s *Suite) ValidateSignaturePublicKey(pub SignaturePublicKey) error {
	switch s.signature {
	case ed25519Signature:
		if len(pub) != ed25519.PublicKeySize || lowOrderEd25519(pub) {
			return ErrKey
		}
	case ed448Signature:
		if len(pub) != ed448.PublicKeySize || lowOrderEd448(pub) {
			return ErrKey
		}
	case ecdsaP256, ecdsaP384, ecdsaP521:
		if _, err := ecdsa.ParseUncompressedPublicKey(s.signature.curve(), pub); err != nil {
			return ErrKey
		}
	}
	return nil
}

// shortContentMax bounds the contents that Ed25519 needs no memory for.
const shortContentMax = 2048

// signContent is the SignContent struct of §5.1.2.
func signContent(label string, content ...[]byte) []byte {
	return appendSignContent(nil, label, content...)
}

// appendSignContent writes it after b if there is room, and elsewhere if not.
func appendSignContent(b []byte, label string, content ...[]byte) []byte {
	n := 0
	for _, part := range content {
		n += len(part)
	}
	if size := len(labelPrefix) + len(label) + n + 8; size > cap(b)-len(b) {
		b = make([]byte, 0, size)
	}
	b = syntax.AppendLength(b, len(labelPrefix)+len(label))
	b = append(append(b, labelPrefix...), label...)
	b = syntax.AppendLength(b, n)
	for _, part := range content {
		b = append(b, part...)
	}
	return b
}

// signContentParts is how many parts signContentIn makes of four.
const signContentParts = 5

// signContentIn is signContent in parts, which saves copying the content.
func signContentIn(parts [][]byte, label string, content [][]byte) [][]byte {
	n := 0
	for _, part := range content {
		n += len(part)
	}
	head := syntax.AppendLength(make([]byte, 0, len(labelPrefix)+len(label)+8), len(labelPrefix)+len(label))
	head = syntax.AppendLength(append(append(head, labelPrefix...), label...), n)
	return append(append(parts, head), content...)
}

// SignWithLabel signs (§5.1.2). It is deterministic: signing again, after a
// crash or in a replay, makes the same bytes.
func (s *Suite) SignWithLabel(k SignaturePrivateKey, label string, content []byte) ([]byte, error) {
	if k.algorithm != s.signature {
		return nil, ErrKey
	}
	return k.SignWithLabel(label, content)
}

// SignWithLabel is Suite.SignWithLabel for whoever holds just the key: its
// curve fixes the hash.
func (k SignaturePrivateKey) SignWithLabel(label string, content []byte) ([]byte, error) {
	if k.IsZero() {
		return nil, ErrKey
	}
	switch k.algorithm {
	case ed25519Signature:
		var short [shortContentMax]byte
		return signEd25519(k.edwards, appendSignContent(short[:0], label, content)), nil
	case ed448Signature:
		return ed448.Sign(ed448.PrivateKey(k.edwards), signContent(label, content), ""), nil
	case ecdsaP256, ecdsaP384, ecdsaP521:
		// A nil reader selects RFC 6979.
		h := k.algorithm.hash()
		var digest [hashSizeMax]byte
		h.sum(&digest, signContent(label, content))
		return k.ecdsa.Sign(nil, digest[:h.size()], h.crypto())
	}
	return nil, ErrKey
}

// VerificationKey is a public key that is prepared for many signatures.
type VerificationKey struct {
	suite    *Suite
	key      SignaturePublicKey
	expanded *voi.ExpandedPublicKey // of Ed25519; nil for no point of the curve
	tabled   bool                   // by TabulateVerification
	table    *ed25519Table          // nil for no point of the curve
}

// PrepareVerification prepares a key, which need not be valid: nothing
// verifies under one that is not. It pays from the third signature on.
func (s *Suite) PrepareVerification(pub SignaturePublicKey) *VerificationKey {
	k := &VerificationKey{suite: s, key: pub}
	if s.signature == ed25519Signature {
		k.expanded = expandEd25519(pub)
	}
	return k
}

// TabulateVerification prepares a key of an Ed25519 suite for very many
// signatures, in about 40 KiB; it pays from the tenth on. It is nil for other
// suites, where nothing is gained.
func (s *Suite) TabulateVerification(pub SignaturePublicKey) *VerificationKey {
	if s.signature != ed25519Signature {
		return nil
	}
	return &VerificationKey{suite: s, key: pub, tabled: true, table: tableEd25519(pub)}
}

// VerifyPartsWithLabel is Suite.VerifyPartsWithLabel with the prepared key.
func (k *VerificationKey) VerifyPartsWithLabel(label string, signature []byte, content ...[]byte) error {
	if k.suite.signature != ed25519Signature {
		return k.suite.VerifyPartsWithLabel(k.key, label, signature, content...)
	}
	if k.tabled {
		var parts [signContentParts][]byte
		if !k.table.verify(signature, signContentIn(parts[:0], label, content)...) {
			return ErrSignature
		}
		return nil
	}
	var short [shortContentMax]byte
	if !verifyExpanded(k.expanded, appendSignContent(short[:0], label, content...), signature) {
		return ErrSignature
	}
	return nil
}

// VerifyWithLabel checks a signature (§5.1.2).
func (s *Suite) VerifyWithLabel(pub SignaturePublicKey, label string, content, signature []byte) error {
	return s.VerifyPartsWithLabel(pub, label, signature, content)
}

// VerifyPartsWithLabel is VerifyWithLabel for the concatenation of the parts.
func (s *Suite) VerifyPartsWithLabel(pub SignaturePublicKey, label string, signature []byte, content ...[]byte) error {
	if s.signature == ed25519Signature {
		var short [shortContentMax]byte
		if !verifyEd25519(pub, appendSignContent(short[:0], label, content...), signature) {
			return ErrSignature
		}
		return nil
	}
	message := signContent(label, content...)
	valid := false
	switch s.signature {
	case ed25519Signature: // above
	case ed448Signature:
		valid = len(pub) == ed448.PublicKeySize && len(signature) == ed448.SignatureSize &&
			ed448.Verify(ed448.PublicKey(pub), message, signature, "")
	case ecdsaP256, ecdsaP384, ecdsaP521:
		key, err := ecdsa.ParseUncompressedPublicKey(s.signature.curve(), pub)
		if err != nil {
			return ErrKey
		}
		valid = ecdsa.VerifyASN1(key, s.Hash(message), signature)
	}
	if !valid {
		return ErrSignature
	}
	return nil
}
