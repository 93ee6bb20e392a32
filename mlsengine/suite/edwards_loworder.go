package suite

import (
	"crypto/ed25519"
	"encoding/binary"

	"github.com/cloudflare/circl/sign/ed448"
)

// lowOrderEd25519 reports whether a public key of the right length encodes a
// point of low order on edwards25519: one of the eight points whose order divides
// the cofactor, in every encoding that decodes. Anybody can make signatures that
// verify under such a key, for every message under that of order 1, so that a
// member with it speaks for nobody.
func lowOrderEd25519(pub []byte) bool {
	if len(pub) != ed25519.PublicKeySize {
		return false
	}
	var y [4]uint64
	for i := range y {
		y[i] = binary.LittleEndian.Uint64(pub[8*i:])
	}
	y[3] &= ones >> 1 // the sign of x
	switch y {
	case
		[4]uint64{1, 0, 0, 0},
		[4]uint64{0, 0, 0, 0},
		[4]uint64{ones - 19, ones, ones, ones >> 1}, // -1
		[4]uint64{ones - 18, ones, ones, ones >> 1}, // 0 again, as p
		[4]uint64{ones - 17, ones, ones, ones >> 1}, // 1 again, as p+1
		[4]uint64{0xb027b2c28f95e826, 0xf098eff289f4c345, 0x3933c6d305acdfd5, 0x05fc536d880238b1},
		[4]uint64{0x4fd84d3d706a17c7, 0x0f67100d760b3cba, 0xc6cc392cfa53202a, 0x7a03ac9277fdc74e}:
		return true
	}
	return false
}

// lowOrderEd448 is lowOrderEd25519 for edwards448: the points of order 1, 2 and 4. Their y are 1, -1 and 0, the same values as the u of
// Curve448's.
func lowOrderEd448(pub []byte) bool {
	return len(pub) == ed448.PublicKeySize && pub[56]&0x7f == 0 && lowOrder448(pub)
}
