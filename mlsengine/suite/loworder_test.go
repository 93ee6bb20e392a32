package suite

import (
	"bytes"
	"testing"
)

// TestNobodyCanEncryptToPointsOfLowOrder holds the lists against the KEM: what
// they name it refuses to encrypt to, and so do we before anything is built on
// such a key.
func TestNobodyCanEncryptToPointsOfLowOrder(t *testing.T) {
	for id, points := range map[ID][][]byte{
		X25519_AES128GCM_SHA256_Ed25519: lowOrder25519(),
		X448_AES256GCM_SHA512_Ed448:     lowOrder448(),
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
