package suite

import (
	"crypto/sha3"
	"encoding/binary"

	"github.com/cloudflare/circl/hpke"
	"github.com/cloudflare/circl/kem"
	"github.com/cloudflare/circl/kem/xwing"

	"parley/internal/secret"
)

type kemAlgorithm uint8

const (
	dhkemX25519 kemAlgorithm = iota
	dhkemX448
	dhkemP256
	dhkemP384
	dhkemP521
	xWing
)

func (k kemAlgorithm) id() hpke.KEM {
	switch k {
	case dhkemX25519:
		return hpke.KEM_X25519_HKDF_SHA256
	case dhkemX448:
		return hpke.KEM_X448_HKDF_SHA512
	case dhkemP256:
		return hpke.KEM_P256_HKDF_SHA256
	case dhkemP384:
		return hpke.KEM_P384_HKDF_SHA384
	case dhkemP521:
		return hpke.KEM_P521_HKDF_SHA512
	case xWing:
		return hpke.KEM_XWING
	}
	panic("suite: unknown KEM")
}

// montgomery reports whether every string of the right length is a key.
func (k kemAlgorithm) montgomery() bool { return k == dhkemX25519 || k == dhkemX448 }

func (s *Suite) kemScheme() kem.Scheme {
	if s.kem == xWing {
		return xwing.Scheme() // HPKE's is a wrapper of it, whose keys say that they are of this one
	}
	return s.kem.id().Scheme()
}

// HPKEPublicKey is a public key in the KEM's own encoding.
type HPKEPublicKey []byte

// HPKEPrivateKey is a private key, parsed where parsing has a price.
type HPKEPrivateKey struct {
	secret.Bytes
	// public is the public half of an X25519 key that was made here; keys from
	// storage are without.
	public HPKEPublicKey
	// parsed is never changed: circl's X448 keys compute their public half on
	// first use, so only keys that have it already stand here, and the others
	// are parsed anew for each use. X25519 has no use for it; X-Wing's keys are
	// expanded from their seed once.
	parsed kem.PrivateKey
}

// Raw is the key in the KEM's own encoding.
func (k HPKEPrivateKey) Raw() secret.Bytes { return k.Bytes }

// ParseHPKEPrivateKey takes a raw private key. Keys of the NIST curves whose
// leading zero bytes were stripped are padded.
func (s *Suite) ParseHPKEPrivateKey(raw []byte) (HPKEPrivateKey, error) {
	scheme := s.kemScheme()
	if len(raw) == 0 || len(raw) > scheme.PrivateKeySize() {
		return HPKEPrivateKey{}, ErrKey
	}
	if (s.kem.montgomery() || s.kem == xWing) && len(raw) != scheme.PrivateKeySize() {
		return HPKEPrivateKey{}, ErrKey
	}
	if s.kem.montgomery() {
		return HPKEPrivateKey{Bytes: secret.Clone(raw)}, nil
	}
	padded := leftPad(raw, scheme.PrivateKeySize())
	parsed, err := scheme.UnmarshalBinaryPrivateKey(padded)
	if err != nil {
		return HPKEPrivateKey{}, ErrKey
	}
	return HPKEPrivateKey{Bytes: secret.New(padded), parsed: parsed}, nil
}

func leftPad(b []byte, n int) []byte {
	padded := make([]byte, n)
	copy(padded[n-len(b):], b)
	return padded
}

// use gives the key to circl, as an object of its own unless it is immutable.
func (s *Suite) use(k HPKEPrivateKey) (kem.PrivateKey, error) {
	if k.parsed != nil {
		if k.parsed.Scheme() != s.kemScheme() {
			return nil, ErrKey
		}
		return k.parsed, nil
	}
	parsed, err := s.kemScheme().UnmarshalBinaryPrivateKey(k.Expose())
	if err != nil {
		return nil, ErrKey
	}
	return parsed, nil
}

// PublicHPKEKey is the public half of a private key.
func (s *Suite) PublicHPKEKey(k HPKEPrivateKey) (HPKEPublicKey, error) {
	if s.kem == dhkemX25519 {
		switch {
		case k.parsed != nil || k.Len() != x25519Size:
			return nil, ErrKey
		case k.public != nil:
			return k.public, nil
		}
		return publicX25519(k.Expose()), nil
	}
	parsed, err := s.use(k)
	if err != nil {
		return nil, err
	}
	return parsed.Public().MarshalBinary()
}

// ValidateHPKEPublicKey checks the length and, on the NIST curves, that the
// point is on the curve and not at infinity. On the others it refuses points of
// low order: nobody can encrypt to them (RFC 9180 section 7.1.4), so a member
// with such a key would keep everybody else from updating theirs. X-Wing encrypts
// to every key whose ML-KEM half is one: it does not ask for the order of the
// other half, because it does not depend on it.
func (s *Suite) ValidateHPKEPublicKey(pub HPKEPublicKey) error {
	if s.kem == dhkemX25519 {
		if len(pub) != x25519Size || lowOrder25519(pub) {
			return ErrKey
		}
		return nil
	}
	if _, err := s.kemScheme().UnmarshalBinaryPublicKey(pub); err != nil {
		return ErrKey
	}
	if s.kem == dhkemX448 && lowOrder448(pub) {
		return ErrKey
	}
	return nil
}

// ValidateKEMOutput checks what another one's encapsulation gave, as far as that
// needs no private key: in the KEMs of RFC 9180 it is a public key, in X-Wing
// anything of the right length, which always decapsulates to something.
func (s *Suite) ValidateKEMOutput(kemOutput []byte) error {
	if s.kem != xWing {
		return s.ValidateHPKEPublicKey(kemOutput)
	}
	if len(kemOutput) != s.kemScheme().CiphertextSize() {
		return ErrKey
	}
	return nil
}

// DeriveHPKEKeyPair is DeriveKeyPair of RFC 9180 section 7.1.3. MLS feeds it
// secrets of one hash, whatever the length of the private key. X-Wing's is
// SHAKE256 of it: its own draft takes seeds of one length only.
func (s *Suite) DeriveHPKEKeyPair(ikm []byte) (HPKEPrivateKey, HPKEPublicKey, error) {
	if s.kem == dhkemX25519 {
		raw := make([]byte, x25519Size)
		s.deriveMontgomery(raw, ikm)
		return s.keyPair(raw)
	}
	scheme := s.kemScheme()
	switch s.kem {
	case dhkemX448:
		raw := make([]byte, scheme.PrivateKeySize())
		s.deriveMontgomery(raw, ikm)
		return s.keyPair(raw)
	case xWing:
		return s.keyPair(sha3.SumSHAKE256(ikm, scheme.PrivateKeySize()))
	case dhkemX25519, dhkemP256, dhkemP384, dhkemP521:
	}
	var prk [hashSizeMax]byte
	s.kemExtract(&prk, "dkp_prk", ikm)
	defer clear(prk[:])
	for counter := range 256 {
		raw := make([]byte, scheme.PrivateKeySize())
		s.kemExpand(raw, &prk, "candidate", []byte{byte(counter)})
		if s.kem == dhkemP521 {
			raw[0] &= 0x01
		}
		if private, public, err := s.keyPair(raw); err == nil { // it is below the order of the group
			return private, public, nil
		}
	}
	return HPKEPrivateKey{}, nil, ErrKey
}

// deriveMontgomery derives the private key on a curve where every string is one.
func (s *Suite) deriveMontgomery(raw, ikm []byte) {
	var prk [hashSizeMax]byte
	s.kemExtract(&prk, "dkp_prk", ikm)
	s.kemExpand(raw, &prk, "sk", nil)
	clear(prk[:])
}

func (s *Suite) keyPair(raw []byte) (HPKEPrivateKey, HPKEPublicKey, error) {
	if s.kem == dhkemX25519 {
		pub := publicX25519(raw)
		return HPKEPrivateKey{Bytes: secret.New(raw), public: pub}, pub, nil
	}
	parsed, err := s.kemScheme().UnmarshalBinaryPrivateKey(raw)
	if err != nil {
		return HPKEPrivateKey{}, nil, ErrKey
	}
	pub, err := parsed.Public().MarshalBinary()
	if err != nil {
		return HPKEPrivateKey{}, nil, ErrKey
	}
	return HPKEPrivateKey{Bytes: secret.New(raw), parsed: parsed}, pub, nil
}

// kemID is the suite_id of the KEM's own derivations (RFC 9180 section 4.1).
func (s *Suite) kemID(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, "KEM"...), uint16(s.kem.id()))
}

// kemExtract is LabeledExtract (RFC 9180 section 4) for the KEM, without salt.
func (s *Suite) kemExtract(out *[hashSizeMax]byte, label string, ikm []byte) {
	var stack [shortMessageMax]byte
	b := s.kemID(append(stack[:0], hpkeLabel...))
	s.hash.hmac(out, nil, append(append(b, label...), ikm...))
	clear(stack[:])
}

// kemExpand is LabeledExpand (RFC 9180 section 4) for the KEM.
func (s *Suite) kemExpand(out []byte, prk *[hashSizeMax]byte, label string, info []byte) {
	var stack [shortMessageMax]byte
	b := binary.BigEndian.AppendUint16(stack[:0], uint16(len(out)))
	b = s.kemID(append(b, hpkeLabel...))
	s.hash.expand(out, prk[:s.HashSize()], append(append(b, label...), info...))
}

// HPKEEntropySize is how much entropy one encryption takes.
func (s *Suite) HPKEEntropySize() int {
	if s.kem == dhkemX25519 {
		return x25519Size
	}
	return s.kemScheme().EncapsulationSeedSize()
}

// encapsulate makes a secret shared with the holder of pub (RFC 9180 section
// 4.1). The same entropy makes the same.
func (s *Suite) encapsulate(pub HPKEPublicKey, entropy []byte) (shared, kemOutput []byte, err error) {
	if s.kem == dhkemX25519 {
		secret, out := new([hashSizeMax]byte), new([x25519Size]byte)
		err := s.encapsulateX25519(secret, out, pub, entropy)
		return secret[:s.HashSize()], out[:], err
	}
	if len(entropy) != s.HPKEEntropySize() {
		return nil, nil, ErrEntropy
	}
	scheme := s.kemScheme()
	key, err := scheme.UnmarshalBinaryPublicKey(pub)
	if err != nil {
		return nil, nil, ErrKey
	}
	kemOutput, shared, err = scheme.EncapsulateDeterministically(key, entropy)
	if err != nil {
		return nil, nil, ErrKey
	}
	return shared, kemOutput, nil
}

// encapsulateX25519 is encapsulate on X25519. The secret is as long as a hash.
func (s *Suite) encapsulateX25519(shared *[hashSizeMax]byte, kemOutput *[x25519Size]byte, pub HPKEPublicKey, entropy []byte) error {
	if len(entropy) != x25519Size {
		return ErrEntropy
	}
	if len(pub) != x25519Size {
		return ErrKey
	}
	var ephemeral [x25519Size]byte
	defer clear(ephemeral[:])
	s.deriveMontgomery(ephemeral[:], entropy)
	multiplyBase25519(kemOutput, &ephemeral)
	if !s.agreeX25519(shared, &ephemeral, (*[x25519Size]byte)(pub), kemOutput, (*[x25519Size]byte)(pub)) {
		return ErrKey
	}
	return nil
}

// decapsulate finds the secret that encapsulate made.
func (s *Suite) decapsulate(priv HPKEPrivateKey, kemOutput []byte) ([]byte, error) {
	if s.kem == dhkemX25519 {
		pub, err := s.PublicHPKEKey(priv)
		if err != nil {
			return nil, err
		}
		if len(kemOutput) != x25519Size {
			return nil, ErrOpen
		}
		secret, out := new([hashSizeMax]byte), (*[x25519Size]byte)(kemOutput)
		if !s.agreeX25519(secret, (*[x25519Size]byte)(priv.Expose()), out, out, (*[x25519Size]byte)(pub)) {
			return nil, ErrOpen
		}
		return secret[:s.HashSize()], nil
	}
	key, err := s.use(priv)
	if err != nil {
		return nil, err
	}
	scheme := s.kemScheme()
	if len(kemOutput) != scheme.CiphertextSize() {
		return nil, ErrOpen
	}
	shared, err := scheme.Decapsulate(key, kemOutput)
	if err != nil {
		return nil, ErrOpen
	}
	return shared, nil
}

// agreeX25519 is the shared secret of DHKEM (RFC 9180 section 4.1) between the
// two public keys, as long as a hash.
func (s *Suite) agreeX25519(shared *[hashSizeMax]byte, private, peer, kemOutput, recipient *[x25519Size]byte) bool {
	var dh [x25519Size]byte
	if !sharedX25519(&dh, private, peer) {
		return false
	}
	var prk [hashSizeMax]byte
	s.kemExtract(&prk, "eae_prk", dh[:])
	var context [2 * x25519Size]byte
	copy(context[copy(context[:], kemOutput[:]):], recipient[:])
	s.kemExpand(shared[:s.HashSize()], &prk, "shared_secret", context[:])
	clear(dh[:])
	clear(prk[:])
	return true
}
