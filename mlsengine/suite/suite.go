// Package suite provides the cipher suites of RFC 9420 (sections 5.1, 5.2 and
// 17.1): hashing, the labelled key derivations, AEAD, HPKE and signatures. It
// knows no MLS struct and no randomness: whatever must be fresh is an argument,
// and ECDSA signs deterministically (RFC 6979).
//
// Which library computes what is a question of speed (docs/adr/0010). X25519 and
// Ed25519 are curve25519-voi's and circl's; the other KEMs and Ed448 are circl's,
// which obeys the entropy it is given; the key schedule of HPKE and
// DeriveKeyPair are our own; the rest is the standard library's, and so is the
// meaning of "valid".
package suite

import (
	"errors"
	"fmt"
)

// ID is a cipher suite's code point (§17.1).
type ID uint16

// The registered cipher suites, all of which are supported, and an
// experimental one.
const (
	X25519_AES128GCM_SHA256_Ed25519        ID = 1
	P256_AES128GCM_SHA256_P256             ID = 2
	X25519_CHACHA20POLY1305_SHA256_Ed25519 ID = 3
	X448_AES256GCM_SHA512_Ed448            ID = 4
	P521_AES256GCM_SHA512_P521             ID = 5
	X448_CHACHA20POLY1305_SHA512_Ed448     ID = 6
	P384_AES256GCM_SHA384_P384             ID = 7

	// XWing_AES256GCM_SHA384_Ed25519 is EXPERIMENTAL: a hybrid of ML-KEM-768 and
	// X25519 (X-Wing) keeps what is said secret from who records it today and has
	// a quantum computer later. Signatures are as before. Its code point is one
	// for private use, and this is the only place that names it: it changes when
	// the working group has registered a suite.
	XWing_AES256GCM_SHA384_Ed25519 ID = 0xf0a7
)

// IDs lists the supported cipher suites: the registered ones, then the
// experimental one.
func IDs() []ID {
	ids := make([]ID, len(suites))
	for i, s := range suites {
		ids[i] = s.id
	}
	return ids
}

var (
	// ErrUnsupported is returned for a code point of no suite in IDs.
	ErrUnsupported = errors.New("cipher suite is not supported")
	// ErrKey is returned for key material that the suite cannot use.
	ErrKey = errors.New("key is malformed or not on the curve")
	// ErrSignature is returned for a signature that does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrOpen is returned for a ciphertext that does not authenticate.
	ErrOpen = errors.New("ciphertext does not authenticate")
	// ErrEntropy is returned for entropy of another length than asked for.
	ErrEntropy = errors.New("entropy has the wrong length")
)

// Suite is one cipher suite. Get makes them; they hold no state.
type Suite struct {
	id        ID
	name      string
	hash      hashAlgorithm
	aead      aeadAlgorithm
	kem       kemAlgorithm
	signature signatureAlgorithm
}

var suites = [...]*Suite{
	{X25519_AES128GCM_SHA256_Ed25519, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", sha2_256, aes128GCM, dhkemX25519, ed25519Signature},
	{P256_AES128GCM_SHA256_P256, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256", sha2_256, aes128GCM, dhkemP256, ecdsaP256},
	{X25519_CHACHA20POLY1305_SHA256_Ed25519, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", sha2_256, chacha20Poly1305, dhkemX25519, ed25519Signature},
	{X448_AES256GCM_SHA512_Ed448, "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", sha2_512, aes256GCM, dhkemX448, ed448Signature},
	{P521_AES256GCM_SHA512_P521, "MLS_256_DHKEMP521_AES256GCM_SHA512_P521", sha2_512, aes256GCM, dhkemP521, ecdsaP521},
	{X448_CHACHA20POLY1305_SHA512_Ed448, "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", sha2_512, chacha20Poly1305, dhkemX448, ed448Signature},
	{P384_AES256GCM_SHA384_P384, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384", sha2_384, aes256GCM, dhkemP384, ecdsaP384},
	{XWing_AES256GCM_SHA384_Ed25519, "MLS_192_XWING_AES256GCM_SHA384_Ed25519_EXPERIMENTAL", sha2_384, aes256GCM, xWing, ed25519Signature},
}

// Get finds a suite by its code point.
func Get(id ID) (*Suite, error) {
	for _, s := range suites {
		if s.id == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %d", ErrUnsupported, uint16(id))
}

// String is the registered name, or the number of an unsupported suite.
func (id ID) String() string {
	if s, err := Get(id); err == nil {
		return s.name
	}
	return fmt.Sprintf("suite %d", uint16(id))
}

// ID is the suite's code point.
func (s *Suite) ID() ID { return s.id }

// String is the suite's registered name.
func (s *Suite) String() string { return s.name }
