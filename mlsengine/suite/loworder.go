package suite

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// lowOrder reports whether a public key of the right length is a point of low
// order on a Montgomery curve: with every private key it gives the shared
// secret zero.
func (k kemAlgorithm) lowOrder(pub []byte) bool {
	switch k {
	case dhkemX25519:
		masked := bytes.Clone(pub)
		masked[len(masked)-1] &= 0x7f // X25519 ignores the bit (RFC 7748 section 5)
		return slices.ContainsFunc(lowOrder25519(), func(p []byte) bool { return bytes.Equal(p, masked) })
	case dhkemX448:
		return slices.ContainsFunc(lowOrder448(), func(p []byte) bool { return bytes.Equal(p, pub) })
	case dhkemP256, dhkemP384, dhkemP521:
	}
	return false
}

// littleEndian encodes a coordinate from 64-bit limbs, the lowest first.
func littleEndian(limbs ...uint64) []byte {
	b := make([]byte, 0, 8*len(limbs))
	for _, l := range limbs {
		b = binary.LittleEndian.AppendUint64(b, l)
	}
	return b
}

const ones = ^uint64(0)

// lowOrder25519 lists the coordinates of the points of order 1, 2, 4 and 8 on
// Curve25519 and its twist, in every encoding below 2^255: also those of p and
// p+1, which stand for 0 and 1.
func lowOrder25519() [][]byte {
	return [][]byte{
		littleEndian(0, 0, 0, 0),
		littleEndian(1, 0, 0, 0),
		littleEndian(0xaeb8413b7c7aebe0, 0x6ac49ff1fae35616, 0xfdb1329ceb8d09da, 0x00b8495f16056286),
		littleEndian(0x248c50a3bc959c5f, 0x5bef839c55b1d0b1, 0x868e1c58c45c4404, 0x57119fd0dd4e22d8),
		littleEndian(ones-19, ones, ones, ones>>1),
		littleEndian(ones-18, ones, ones, ones>>1),
		littleEndian(ones-17, ones, ones, ones>>1),
	}
}

// lowOrder448 lists the coordinates of the points of order 1, 2 and 4 on
// Curve448 and its twist, also as p and p+1.
func lowOrder448() [][]byte {
	return [][]byte{
		littleEndian(0, 0, 0, 0, 0, 0, 0),
		littleEndian(1, 0, 0, 0, 0, 0, 0),
		littleEndian(ones-1, ones, ones, ones-1<<32, ones, ones, ones),
		littleEndian(ones, ones, ones, ones-1<<32, ones, ones, ones),
		littleEndian(0, 0, 0, ones-(1<<32-1), ones, ones, ones),
	}
}
