package suite

import (
	"github.com/cloudflare/circl/dh/x25519"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/x25519"
)

// x25519Size is the length of keys and shared secrets of X25519 (RFC 7748).
const x25519Size = 32

// publicX25519 is the public half of a private key of the right length.
func publicX25519(private []byte) HPKEPublicKey {
	var out [x25519Size]byte
	multiplyBase25519(&out, (*[x25519Size]byte)(private))
	return out[:]
}

// multiplyBase25519 multiplies the base point: curve25519-voi does it on the
// Edwards form of the curve, by a table.
func multiplyBase25519(out, private *[x25519Size]byte) { voi.ScalarBaseMult(out, private) }

// sharedX25519 multiplies a point, by circl's assembly. It fails where the
// standard library does: on points of low order, whose shared secret is zero.
func sharedX25519(out, private, public *[x25519Size]byte) bool {
	return x25519.Shared((*x25519.Key)(out), (*x25519.Key)(private), (*x25519.Key)(public))
}
