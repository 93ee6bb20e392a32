package suite

import (
	"github.com/cloudflare/circl/dh/x25519"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/x25519"
)

// x25519Size is the length of keys and shared secrets of X25519 (RFC 7748).
const x25519Size = 32

// publicX25519 multiplies the base point: curve25519-voi does it on the Edwards
// form of the curve, by a table.
func publicX25519(private []byte) HPKEPublicKey {
	var in, out [x25519Size]byte
	copy(in[:], private)
	voi.ScalarBaseMult(&out, &in)
	clear(in[:])
	return out[:]
}

// sharedX25519 multiplies a point, by circl's assembly. It fails where the
// standard library does: on points of low order, whose shared secret is zero.
// The lengths must be right.
func sharedX25519(out *[x25519Size]byte, private, public []byte) bool {
	in, point := x25519.Key(private), x25519.Key(public)
	ok := x25519.Shared((*x25519.Key)(out), &in, &point)
	clear(in[:])
	return ok
}
