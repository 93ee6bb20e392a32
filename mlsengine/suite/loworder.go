package suite

import "encoding/binary"

// lowOrder25519 reports whether a public key of the right length is a point of
// low order on Curve25519 or its twist: with every private key it gives the
// shared secret zero. Those are the points of order 1, 2, 4 and 8, in every
// encoding below 2^255: also those of p and p+1, which stand for 0 and 1. X25519
// ignores the highest bit (RFC 7748 section 5).
func lowOrder25519(pub []byte) bool {
	var limbs [4]uint64
	for i := range limbs {
		limbs[i] = binary.LittleEndian.Uint64(pub[8*i:])
	}
	limbs[3] &= ones >> 1
	switch limbs {
	case
		[4]uint64{0, 0, 0, 0},
		[4]uint64{1, 0, 0, 0},
		[4]uint64{0xaeb8413b7c7aebe0, 0x6ac49ff1fae35616, 0xfdb1329ceb8d09da, 0x00b8495f16056286},
		[4]uint64{0x248c50a3bc959c5f, 0x5bef839c55b1d0b1, 0x868e1c58c45c4404, 0x57119fd0dd4e22d8},
		[4]uint64{ones - 19, ones, ones, ones >> 1},
		[4]uint64{ones - 18, ones, ones, ones >> 1},
		[4]uint64{ones - 17, ones, ones, ones >> 1}:
		return true
	}
	return false
}

const ones = ^uint64(0)

// lowOrder448 is lowOrder25519 for Curve448: the points of order 1, 2 and 4,
// also as p and p+1.
func lowOrder448(pub []byte) bool {
	var limbs [7]uint64
	for i := range limbs {
		limbs[i] = binary.LittleEndian.Uint64(pub[8*i:])
	}
	switch limbs {
	case
		[7]uint64{0, 0, 0, 0, 0, 0, 0},
		[7]uint64{1, 0, 0, 0, 0, 0, 0},
		[7]uint64{ones - 1, ones, ones, ones - 1<<32, ones, ones, ones},
		[7]uint64{ones, ones, ones, ones - 1<<32, ones, ones, ones},
		[7]uint64{0, 0, 0, ones - (1<<32 - 1), ones, ones, ones}:
		return true
	}
	return false
}
