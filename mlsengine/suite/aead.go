package suite

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/chacha20poly1305"
)

type aeadAlgorithm uint8

const (
	aes128GCM aeadAlgorithm = iota
	aes256GCM
	chacha20Poly1305
)

// AEADKeySize is AEAD.Nk.
func (s *Suite) AEADKeySize() int {
	if s.aead == aes128GCM {
		return 16
	}
	return 32
}

// AEADNonceSize is AEAD.Nn.
func (s *Suite) AEADNonceSize() int { return 12 }

// AEADOverhead is by how much a ciphertext is longer than its plaintext.
func (s *Suite) AEADOverhead() int { return 16 }

// cipher keys the AEAD. MLS uses each key once, so there is nothing to cache.
func (s *Suite) cipher(key, nonce []byte) (cipher.AEAD, error) {
	if len(key) != s.AEADKeySize() || len(nonce) != s.AEADNonceSize() {
		return nil, ErrKey
	}
	if s.aead == chacha20Poly1305 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, ErrKey
	}
	return cipher.NewGCM(block)
}

// SealAEAD encrypts and authenticates. It fails only on a key or nonce of the
// wrong length.
func (s *Suite) SealAEAD(key, nonce, aad, plaintext []byte) ([]byte, error) {
	return s.sealAfter(make([]byte, 0, len(plaintext)+s.AEADOverhead()), key, nonce, aad, plaintext)
}

// SealAEADInPlace is SealAEAD that overwrites the plaintext. It allocates
// nothing for the result if the plaintext has room behind it for AEADOverhead.
func (s *Suite) SealAEADInPlace(key, nonce, aad, plaintext []byte) ([]byte, error) {
	return s.sealAfter(plaintext[:0], key, nonce, aad, plaintext)
}

// sealAfter appends to dst. All encryption passes here, so that the simulation
// sees every key and nonce.
func (s *Suite) sealAfter(dst, key, nonce, aad, plaintext []byte) ([]byte, error) {
	a, err := s.cipher(key, nonce)
	if err != nil {
		return nil, err
	}
	s.record(key, nonce)
	return a.Seal(dst, nonce, plaintext, aad), nil
}

// OpenAEAD decrypts what SealAEAD made.
func (s *Suite) OpenAEAD(key, nonce, aad, ciphertext []byte) ([]byte, error) {
	a, err := s.cipher(key, nonce)
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(nil, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}
