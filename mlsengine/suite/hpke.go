package suite

import (
	"encoding/binary"

	"github.com/cloudflare/circl/hpke"

	"parley/internal/secret"
	"parley/internal/syntax"
)

// externalInitLabel is the exporter context of external commits (§8.3).
const externalInitLabel = labelPrefix + "external init secret"

// hpkeLabel begins every labelled input of RFC 9180.
const hpkeLabel = "HPKE-v1"

// hpkeID is the suite_id of the key schedule (RFC 9180 section 5.1).
func (s *Suite) hpkeID(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, "HPKE"...), uint16(s.kem.id()))
	kdf, aead := hpke.KDF_HKDF_SHA256, hpke.AEAD_AES128GCM
	switch s.hash {
	case sha2_256:
	case sha2_384:
		kdf = hpke.KDF_HKDF_SHA384
	case sha2_512:
		kdf = hpke.KDF_HKDF_SHA512
	}
	switch s.aead {
	case aes128GCM:
	case aes256GCM:
		aead = hpke.AEAD_AES256GCM
	case chacha20Poly1305:
		aead = hpke.AEAD_ChaCha20Poly1305
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(kdf)), uint16(aead))
}

// hpkeExtract is LabeledExtract for the key schedule.
func (s *Suite) hpkeExtract(out *[hashSizeMax]byte, salt []byte, label string, ikm []byte) {
	var stack [shortMessageMax]byte
	b := s.hpkeID(append(stack[:0], hpkeLabel...))
	s.hash.hmac(out, salt, append(append(b, label...), ikm...))
}

// hpkeExpand is LabeledExpand for the key schedule.
func (s *Suite) hpkeExpand(out []byte, prk *[hashSizeMax]byte, label string, info []byte) {
	var stack [shortMessageMax]byte
	b := binary.BigEndian.AppendUint16(stack[:0], uint16(len(out)))
	b = s.hpkeID(append(b, hpkeLabel...))
	s.hash.expand(out, prk[:s.HashSize()], append(append(b, label...), info...))
}

// hpkeBase is mode_base of RFC 9180 section 5.
const hpkeBase = 0

// Encryption encrypts one label and context to many keys: they are hashed
// once. It is never changed.
type Encryption struct {
	suite   *Suite
	context []byte // key_schedule_context of RFC 9180 section 5.1
}

// Encryption prepares EncryptWithLabel (§5.1.3).
func (s *Suite) Encryption(label string, context []byte) *Encryption {
	b := make([]byte, 0, len(labelPrefix)+len(label)+len(context)+8)
	b = syntax.AppendLength(b, len(labelPrefix)+len(label))
	b = append(append(b, labelPrefix...), label...)
	b = syntax.AppendLength(b, len(context))
	return s.encryption(append(b, context...))
}

func (s *Suite) encryption(info []byte) *Encryption {
	var hash [hashSizeMax]byte
	b := append(make([]byte, 0, 1+2*s.HashSize()), hpkeBase)
	s.hpkeExtract(&hash, nil, "psk_id_hash", nil)
	b = append(b, hash[:s.HashSize()]...)
	s.hpkeExtract(&hash, nil, "info_hash", info)
	return &Encryption{s, append(b, hash[:s.HashSize()]...)}
}

// secret begins the key schedule (RFC 9180 section 5.1) and wipes its input.
func (e *Encryption) secret(out *[hashSizeMax]byte, shared []byte) {
	e.suite.hpkeExtract(out, shared, "secret", nil)
	clear(shared)
}

// hpkeKeysMax has room for the longest key and its nonce.
const hpkeKeysMax = 32 + 12

// keys are those of the first message, the only one that MLS sends (§5.1.3).
func (e *Encryption) keys(out *[hpkeKeysMax]byte, shared []byte) (key, nonce []byte) {
	var secret [hashSizeMax]byte
	e.secret(&secret, shared)
	n := e.suite.AEADKeySize()
	key, nonce = out[:n], out[n:n+e.suite.AEADNonceSize()]
	e.suite.hpkeExpand(key, &secret, "key", e.context)
	e.suite.hpkeExpand(nonce, &secret, "base_nonce", e.context)
	clear(secret[:])
	return key, nonce
}

// export is the exporter of the context (RFC 9180 section 5.3).
func (e *Encryption) export(shared []byte, label string) secret.Bytes {
	var root, exporter [hashSizeMax]byte
	e.secret(&root, shared)
	size := e.suite.HashSize()
	e.suite.hpkeExpand(exporter[:size], &root, "exp", e.context)
	out := make([]byte, size)
	e.suite.hpkeExpand(out, &exporter, "sec", []byte(label))
	clear(root[:])
	clear(exporter[:])
	return secret.New(out)
}

// Encrypt encrypts to a public key. The same entropy, of HPKEEntropySize
// bytes, makes the same bytes.
func (e *Encryption) Encrypt(pub HPKEPublicKey, plaintext, entropy []byte) (kemOutput, ciphertext []byte, err error) {
	if e.suite.kem == dhkemX25519 {
		return e.encryptX25519(pub, plaintext, entropy)
	}
	shared, kemOutput, err := e.suite.encapsulate(pub, entropy)
	if err != nil {
		return nil, nil, err
	}
	ciphertext, err = e.seal(nil, shared, plaintext)
	return kemOutput, ciphertext, err
}

// encryptX25519 is Encrypt with one allocation beside the AEAD's own: a commit
// may encrypt to thousands.
func (e *Encryption) encryptX25519(pub HPKEPublicKey, plaintext, entropy []byte) (kemOutput, ciphertext []byte, err error) {
	b := make([]byte, x25519Size, x25519Size+len(plaintext)+e.suite.AEADOverhead())
	var shared [hashSizeMax]byte
	if err := e.suite.encapsulateX25519(&shared, (*[x25519Size]byte)(b), pub, entropy); err != nil {
		return nil, nil, err
	}
	ciphertext, err = e.seal(b[x25519Size:], shared[:e.suite.HashSize()], plaintext)
	return b[:x25519Size:x25519Size], ciphertext, err
}

// seal encrypts the only message under a shared secret, which it wipes, after dst.
func (e *Encryption) seal(dst, shared, plaintext []byte) ([]byte, error) {
	var keys [hpkeKeysMax]byte
	key, nonce := e.keys(&keys, shared)
	return e.suite.sealAfter(dst, key, nonce, nil, plaintext)
}

// EncryptWithLabel encrypts to a public key (§5.1.3).
func (s *Suite) EncryptWithLabel(pub HPKEPublicKey, label string, context, plaintext, entropy []byte) (kemOutput, ciphertext []byte, err error) {
	return s.Encryption(label, context).Encrypt(pub, plaintext, entropy)
}

// DecryptWithLabel decrypts what EncryptWithLabel made (§5.1.3).
func (s *Suite) DecryptWithLabel(priv HPKEPrivateKey, label string, context, kemOutput, ciphertext []byte) ([]byte, error) {
	shared, err := s.decapsulate(priv, kemOutput)
	if err != nil {
		return nil, err
	}
	var keys [hpkeKeysMax]byte
	key, nonce := s.Encryption(label, context).keys(&keys, shared)
	return s.OpenAEAD(key, nonce, nil, ciphertext)
}

// ExternalInitSend makes the init secret of an external commit (§8.3).
func (s *Suite) ExternalInitSend(pub HPKEPublicKey, entropy []byte) (kemOutput []byte, initSecret secret.Bytes, err error) {
	shared, kemOutput, err := s.encapsulate(pub, entropy)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	return kemOutput, s.encryption(nil).export(shared, externalInitLabel), nil
}

// ExternalInitReceive finds the init secret of somebody's external commit (§8.3).
func (s *Suite) ExternalInitReceive(priv HPKEPrivateKey, kemOutput []byte) (secret.Bytes, error) {
	shared, err := s.decapsulate(priv, kemOutput)
	if err != nil {
		return secret.Bytes{}, err
	}
	return s.encryption(nil).export(shared, externalInitLabel), nil
}
