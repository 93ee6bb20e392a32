package suite

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// littleEndian encodes a coordinate from 64-bit limbs, the lowest first.
func littleEndian(limbs ...uint64) []byte {
	b := make([]byte, 0, 8*len(limbs))
	for _, l := range limbs {
		b = binary.LittleEndian.AppendUint64(b, l)
	}
	return b
}

// TestNobodyCanEncryptToPointsOfLowOrder holds the lists against the KEM: what
// they name it refuses to encrypt to, and so do we before anything is built on
// such a key.
func TestNobodyCanEncryptToPointsOfLowOrder(t *testing.T) {
	for id, points := range map[ID][][]byte{
		X25519_AES128GCM_SHA256_Ed25519: {
			littleEndian(0, 0, 0, 0),
			littleEndian(1, 0, 0, 0),
			littleEndian(0xaeb8413b7c7aebe0, 0x6ac49ff1fae35616, 0xfdb1329ceb8d09da, 0x00b8495f16056286),
			littleEndian(0x248c50a3bc959c5f, 0x5bef839c55b1d0b1, 0x868e1c58c45c4404, 0x57119fd0dd4e22d8),
			littleEndian(ones-19, ones, ones, ones>>1),
			littleEndian(ones-18, ones, ones, ones>>1),
			littleEndian(ones-17, ones, ones, ones>>1),
		},
		X448_AES256GCM_SHA512_Ed448: {
			littleEndian(0, 0, 0, 0, 0, 0, 0),
			littleEndian(1, 0, 0, 0, 0, 0, 0),
			littleEndian(ones-1, ones, ones, ones-1<<32, ones, ones, ones),
			littleEndian(ones, ones, ones, ones-1<<32, ones, ones, ones),
			littleEndian(0, 0, 0, ones-(1<<32-1), ones, ones, ones),
		},
	} {
		s, err := Get(id)
		if err != nil {
			t.Fatal(err)
		}
		entropy := bytes.Repeat([]byte{7}, s.HPKEEntropySize())
		for i, p := range points {
			if len(p) != s.kemScheme().PublicKeySize() {
				t.Fatalf("%v: point %d has %d bytes", id, i, len(p))
			}
			if _, _, err := s.EncryptWithLabel(p, "label", nil, []byte("secret"), entropy); err == nil {
				t.Errorf("%v: point %d is not of low order", id, i)
			}
			if s.ValidateHPKEPublicKey(p) == nil {
				t.Errorf("%v: point %d is accepted as a key", id, i)
			}
		}
		if id == X25519_AES128GCM_SHA256_Ed25519 {
			ignored := bytes.Clone(points[1])
			ignored[31] |= 0x80
			if s.ValidateHPKEPublicKey(ignored) == nil {
				t.Error("a bit that X25519 ignores hides a point of low order")
			}
		}
		_, pub, err := s.DeriveHPKEKeyPair(bytes.Repeat([]byte{7}, s.HashSize()))
		if err != nil || s.ValidateHPKEPublicKey(pub) != nil {
			t.Errorf("%v: an honest key is refused", id)
		}
	}
}
