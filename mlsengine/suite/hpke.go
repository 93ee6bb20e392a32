package suite

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"

	"github.com/cloudflare/circl/hpke"
	"github.com/cloudflare/circl/kem"

	"parley/internal/secret"
	"parley/internal/syntax"
)

// externalInitLabel is the exporter context of external commits (§8.3).
const externalInitLabel = labelPrefix + "external init secret"

type kemAlgorithm uint8

const (
	dhkemX25519 kemAlgorithm = iota
	dhkemX448
	dhkemP256
	dhkemP384
	dhkemP521
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
	}
	panic("suite: unknown KEM")
}

// montgomery reports whether every string of the right length is a key.
func (k kemAlgorithm) montgomery() bool { return k == dhkemX25519 || k == dhkemX448 }

func (s *Suite) kemScheme() kem.Scheme { return s.kem.id().Scheme() }

func (s *Suite) hpke() hpke.Suite {
	kdf := hpke.KDF_HKDF_SHA256
	switch s.hash {
	case sha2_256:
	case sha2_384:
		kdf = hpke.KDF_HKDF_SHA384
	case sha2_512:
		kdf = hpke.KDF_HKDF_SHA512
	}
	aead := hpke.AEAD_AES128GCM
	switch s.aead {
	case aes128GCM:
	case aes256GCM:
		aead = hpke.AEAD_AES256GCM
	case chacha20Poly1305:
		aead = hpke.AEAD_ChaCha20Poly1305
	}
	return hpke.NewSuite(s.kem.id(), kdf, aead)
}

// HPKEPublicKey is a public key in the KEM's own encoding.
type HPKEPublicKey []byte

// HPKEPrivateKey is a private key, parsed where parsing has a price.
type HPKEPrivateKey struct {
	secret.Bytes
	// parsed is never changed: circl's X25519 and X448 keys compute their
	// public half on first use, so only keys that have it already stand here,
	// and the others are parsed anew for each use.
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
	if s.kem.montgomery() {
		if len(raw) != scheme.PrivateKeySize() {
			return HPKEPrivateKey{}, ErrKey
		}
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
	parsed, err := s.use(k)
	if err != nil {
		return nil, err
	}
	return parsed.Public().MarshalBinary()
}

// ValidateHPKEPublicKey checks the length and, on the NIST curves, that the
// point is on the curve and not at infinity. On the others it refuses points of
// low order: nobody can encrypt to them (RFC 9180 section 7.1.4), so a member
// with such a key would keep everybody else from updating theirs.
func (s *Suite) ValidateHPKEPublicKey(pub HPKEPublicKey) error {
	if _, err := s.kemScheme().UnmarshalBinaryPublicKey(pub); err != nil {
		return ErrKey
	}
	if s.kem.lowOrder(pub) {
		return ErrKey
	}
	return nil
}

// DeriveHPKEKeyPair is DeriveKeyPair of RFC 9180 section 7.1.3. MLS feeds it
// secrets of one hash, whatever the length of the private key.
func (s *Suite) DeriveHPKEKeyPair(ikm []byte) (HPKEPrivateKey, HPKEPublicKey, error) {
	scheme := s.kemScheme()
	prk := s.Extract(nil, s.kemLabeled("dkp_prk", ikm))
	defer clear(prk)
	if s.kem.montgomery() {
		raw := make([]byte, scheme.PrivateKeySize())
		s.kemExpand(raw, prk, "sk", nil)
		return s.keyPair(raw)
	}
	for counter := range 256 {
		raw := make([]byte, scheme.PrivateKeySize())
		s.kemExpand(raw, prk, "candidate", []byte{byte(counter)})
		if s.kem == dhkemP521 {
			raw[0] &= 0x01
		}
		if _, err := s.curve().NewPrivateKey(raw); err == nil {
			return s.keyPair(raw)
		}
	}
	return HPKEPrivateKey{}, nil, ErrKey
}

func (s *Suite) curve() ecdh.Curve {
	switch s.kem {
	case dhkemP256:
		return ecdh.P256()
	case dhkemP384:
		return ecdh.P384()
	case dhkemP521:
		return ecdh.P521()
	case dhkemX25519, dhkemX448:
	}
	panic("suite: not a NIST curve")
}

func (s *Suite) keyPair(raw []byte) (HPKEPrivateKey, HPKEPublicKey, error) {
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

// kemLabeled is the input of LabeledExtract (RFC 9180 section 4) for the KEM.
func (s *Suite) kemLabeled(label string, ikm []byte) []byte {
	b := append(make([]byte, 0, 32+len(ikm)), "HPKE-v1KEM"...)
	b = binary.BigEndian.AppendUint16(b, uint16(s.kem.id()))
	return append(append(b, label...), ikm...)
}

// kemExpand is LabeledExpand (RFC 9180 section 4) for the KEM.
func (s *Suite) kemExpand(out, prk []byte, label string, info []byte) {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 32), uint16(len(out)))
	s.hash.expand(out, prk, append(b, s.kemLabeled(label, info)...))
}

// HPKEEntropySize is how much entropy one encryption takes.
func (s *Suite) HPKEEntropySize() int { return s.kemScheme().EncapsulationSeedSize() }

// encryptContext is the info of HPKE, the EncryptContext struct of §5.1.3.
func encryptContext(label string, context []byte) []byte {
	b := make([]byte, 0, len(labelPrefix)+len(label)+len(context)+8)
	b = syntax.AppendLength(b, len(labelPrefix)+len(label))
	b = append(append(b, labelPrefix...), label...)
	b = syntax.AppendLength(b, len(context))
	return append(b, context...)
}

// setupSend starts an HPKE context towards pub. The same entropy gives the
// same context.
func (s *Suite) setupSend(pub HPKEPublicKey, info, entropy []byte) ([]byte, hpke.Sealer, error) {
	if len(entropy) != s.HPKEEntropySize() {
		return nil, nil, ErrEntropy
	}
	key, err := s.kemScheme().UnmarshalBinaryPublicKey(pub)
	if err != nil {
		return nil, nil, ErrKey
	}
	sender, err := s.hpke().NewSender(key, info)
	if err != nil {
		return nil, nil, ErrKey
	}
	kemOutput, sealer, err := sender.Setup(bytes.NewReader(entropy))
	if err != nil {
		return nil, nil, ErrKey
	}
	return kemOutput, sealer, nil
}

func (s *Suite) setupReceive(priv HPKEPrivateKey, info, kemOutput []byte) (hpke.Opener, error) {
	key, err := s.use(priv)
	if err != nil {
		return nil, err
	}
	receiver, err := s.hpke().NewReceiver(key, info)
	if err != nil {
		return nil, ErrOpen
	}
	opener, err := receiver.Setup(kemOutput)
	if err != nil {
		return nil, ErrOpen
	}
	return opener, nil
}

// EncryptWithLabel encrypts to a public key (§5.1.3).
func (s *Suite) EncryptWithLabel(pub HPKEPublicKey, label string, context, plaintext, entropy []byte) (kemOutput, ciphertext []byte, err error) {
	kemOutput, sealer, err := s.setupSend(pub, encryptContext(label, context), entropy)
	if err != nil {
		return nil, nil, err
	}
	ciphertext, err = sealer.Seal(plaintext, nil)
	if err != nil {
		return nil, nil, ErrKey
	}
	return kemOutput, ciphertext, nil
}

// DecryptWithLabel decrypts what EncryptWithLabel made (§5.1.3).
func (s *Suite) DecryptWithLabel(priv HPKEPrivateKey, label string, context, kemOutput, ciphertext []byte) ([]byte, error) {
	opener, err := s.setupReceive(priv, encryptContext(label, context), kemOutput)
	if err != nil {
		return nil, err
	}
	plaintext, err := opener.Open(ciphertext, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// ExternalInitSend makes the init secret of an external commit (§8.3).
func (s *Suite) ExternalInitSend(pub HPKEPublicKey, entropy []byte) (kemOutput []byte, initSecret secret.Bytes, err error) {
	kemOutput, sealer, err := s.setupSend(pub, nil, entropy)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	return kemOutput, secret.New(sealer.Export([]byte(externalInitLabel), uint(s.HashSize()))), nil
}

// ExternalInitReceive finds the init secret of somebody's external commit (§8.3).
func (s *Suite) ExternalInitReceive(priv HPKEPrivateKey, kemOutput []byte) (secret.Bytes, error) {
	opener, err := s.setupReceive(priv, nil, kemOutput)
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.New(opener.Export([]byte(externalInitLabel), uint(s.HashSize()))), nil
}
