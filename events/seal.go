package events

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"parley/internal/ids"
	"parley/internal/secret"
)

const (
	keyBytes  = 32 // of a ring key, and of an AES-256 key
	saltBytes = 32
	tagBytes  = 16 // AES-GCM adds this much
	macBytes  = sha256.Size
)

// keyID names a ring key. It is random and says nothing about the key.
type keyID [16]byte

// ringSecret is a ring key itself.
type ringSecret struct{ secret.Bytes }

// ErrUnopened is what every failure to open sealed bytes looks like; a KeyVault returns it for a blob that does not unwrap.
var ErrUnopened = errors.New("the sealed bytes do not open")

// sealBox is AES-256-GCM under a key and nonce derived from key material and a
// salt. The salt is fresh for every seal, so key and nonce never repeat.
func sealBox(key ringSecret, salt, aad, plain []byte) ([]byte, error) {
	return appendBox(nil, key, salt, aad, plain)
}

// appendBox is sealBox that writes after dst.
func appendBox(dst []byte, key ringSecret, salt, aad, plain []byte) ([]byte, error) {
	aead, nonce, err := boxCipher(key, salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(dst, nonce, plain, aad), nil
}

func openBox(key ringSecret, salt, aad, box []byte) ([]byte, error) {
	aead, nonce, err := boxCipher(key, salt)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(make([]byte, 0, len(box)), nonce, box, aad)
	if err != nil {
		return nil, ErrUnopened
	}
	return plain, nil
}

func boxCipher(key ringSecret, salt []byte) (cipher.AEAD, []byte, error) {
	if key.Len() != keyBytes || len(salt) != saltBytes {
		return nil, nil, fmt.Errorf("%w: key of %d bytes, salt of %d", ErrUnopened, key.Len(), len(salt))
	}
	derived, err := hkdf.Key(sha256.New, key.Expose(), salt, "parley seal 0", keyBytes+12)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a sealing key: %w", err)
	}
	block, err := aes.NewCipher(derived[:keyBytes])
	if err != nil {
		return nil, nil, fmt.Errorf("derive a sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a sealing key: %w", err)
	}
	clear(derived[:keyBytes])
	return aead, derived[keyBytes:], nil
}

// partAAD binds a sealed part to the public bytes of its record and to its own
// public fields.
func partAAD(public ids.Digest, class Class, label string, id keyID) []byte {
	aad := append(make([]byte, 0, 96+len(label)), "parley sealed part 0"...)
	aad = append(aad, public[:]...)
	aad = binary.BigEndian.AppendUint32(aad, uint32(class))
	aad = append(aad, id[:]...)
	return append(aad, label...)
}

// wrapAAD binds a wrapped ring key to its log, its id and the shred key.
func wrapAAD(log LogID, id keyID, version string) []byte {
	aad := append(make([]byte, 0, 96), "parley ring key 0"...)
	aad = binary.BigEndian.AppendUint32(aad, uint32(log.Kind))
	for _, field := range []string{string(log.Client), string(log.Conversation), version} {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(field)))
		aad = append(aad, field...)
	}
	return append(aad, id[:]...)
}

// The purposes of the log's MAC key.
const (
	macRecord   = "parley record 0"
	macRing     = "parley ring 0"
	macAnchor   = "parley anchor 0"
	macSnapshot = "parley snapshot 0"
)

func macOf(key ringSecret, purpose string, data []byte) []byte {
	h := hmac.New(sha256.New, key.Expose())
	h.Write([]byte(purpose))
	h.Write(data)
	return h.Sum(nil)
}

func checkMAC(key ringSecret, purpose string, data, mac []byte) bool {
	return hmac.Equal(macOf(key, purpose, data), mac)
}
