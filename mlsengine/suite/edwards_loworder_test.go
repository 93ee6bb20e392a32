package suite

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"testing"

	"github.com/cloudflare/circl/sign/ed448"
)

// lowOrderPoints are the encodings of points of low order on both Edwards curves.
func lowOrderPoints() (on25519, on448 [][]byte) {
	for _, limbs := range [][]uint64{
		{1, 0, 0, 0}, {0, 0, 0, 0}, {ones - 19, ones, ones, ones >> 1}, {ones - 18, ones, ones, ones >> 1}, {ones - 17, ones, ones, ones >> 1},
		{0xb027b2c28f95e826, 0xf098eff289f4c345, 0x3933c6d305acdfd5, 0x05fc536d880238b1},
		{0x4fd84d3d706a17c7, 0x0f67100d760b3cba, 0xc6cc392cfa53202a, 0x7a03ac9277fdc74e},
	} {
		for _, sign := range []byte{0, 0x80} {
			p := littleEndian(limbs...)
			p[31] |= sign
			on25519 = append(on25519, p)
		}
	}
	for _, limbs := range [][]uint64{
		{1, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0}, {ones - 1, ones, ones, ones - 1<<32, ones, ones, ones},
	} {
		for _, sign := range []byte{0, 0x80} {
			on448 = append(on448, append(littleEndian(limbs...), sign))
		}
	}
	return on25519, on448
}

// TestNobodyMaySignWithAKeyOfLowOrder shows why: with the identity as R and zero as S a signature verifies for one message in eight at
// least.
func TestNobodyMaySignWithAKeyOfLowOrder(t *testing.T) {
	s25519, s448 := must[*Suite](t)(Get(X25519_AES128GCM_SHA256_Ed25519)), must[*Suite](t)(Get(X448_AES256GCM_SHA512_Ed448))
	on25519, on448 := lowOrderPoints()
	forged := append([]byte{1}, make([]byte, ed25519.SignatureSize-1)...)
	forgeable := 0
	for _, p := range on25519 {
		for m := range 64 {
			if ed25519.Verify(p, fmt.Append(nil, m), forged) {
				forgeable++
				break
			}
		}
		if s25519.ValidateSignaturePublicKey(p) == nil {
			t.Errorf("%x is a key", p)
		}
	}
	if forgeable < 8 {
		t.Errorf("signatures verify under %d of the keys: they are no points of low order", forgeable)
	}
	forged, forgeable = append([]byte{1}, make([]byte, ed448.SignatureSize-1)...), 0
	for _, p := range on448 {
		for m := range 32 {
			if ed448.Verify(p, fmt.Append(nil, m), forged, "") {
				forgeable++
				break
			}
		}
		if s448.ValidateSignaturePublicKey(p) == nil {
			t.Errorf("%x is a key", p)
		}
	}
	if forgeable < 4 {
		t.Errorf("signatures verify under %d of the keys: they are no points of low order", forgeable)
	}
	if s25519.ValidateSignaturePublicKey(bytes.Repeat([]byte{9}, 32)) != nil {
		t.Error("another key is refused")
	}
}
