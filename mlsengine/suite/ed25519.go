package suite

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// Ed25519 is computed by curve25519-voi, in the standard library's meaning of
// "valid" to the last bit: members who judge one signature differently are in
// different groups from then on. Signatures are the bytes of RFC 8032, which
// leaves no choice. A fuzz test holds both against the standard library.

// newEd25519Key expands a seed to seed and public key.
func newEd25519Key(seed []byte) []byte { return voi.NewKeyFromSeed(seed) }

func signEd25519(key, message []byte) []byte { return voi.Sign(key, message) }

// verifyEd25519 has the verdict of the standard library, which is the one
// without a cofactor, for every key, message and signature of whatever length.
func verifyEd25519(pub, message, signature []byte) bool {
	if len(pub) != ed25519.PublicKeySize {
		return false
	}
	return voi.VerifyWithOptions(pub, message, signature, &voi.Options{Verify: voi.VerifyOptionsStdLib})
}

// expandEd25519 prepares a key for many verifications, in about 1.5 KiB. It
// returns nil for a string that is no point: nothing verifies under it.
func expandEd25519(pub []byte) *voi.ExpandedPublicKey {
	expanded, err := voi.NewExpandedPublicKey(pub)
	if err != nil {
		return nil
	}
	return expanded
}

// verifyExpanded is verifyEd25519 under a prepared key.
func verifyExpanded(key *voi.ExpandedPublicKey, message, signature []byte) bool {
	return key != nil && voi.VerifyExpandedWithOptions(key, message, signature, &voi.Options{Verify: voi.VerifyOptionsStdLib})
}

// ed25519Table is a key with so many multiples of its point, in about 40 KiB,
// that verifying is additions alone: two thirds of the work under a prepared
// key. Making it costs more than a verification by the standard library.
type ed25519Table struct {
	encoded curve.CompressedEdwardsY
	negated *curve.EdwardsBasepointTable // of -A
}

// tableEd25519 returns nil for a string that is no point.
func tableEd25519(pub []byte) *ed25519Table {
	var t ed25519Table
	var point curve.EdwardsPoint
	if _, err := t.encoded.SetBytes(pub); err != nil {
		return nil
	}
	if _, err := point.SetCompressedY(&t.encoded); err != nil {
		return nil
	}
	t.negated = curve.NewEdwardsBasepointTable(point.Neg(&point))
	return &t
}

// verify is verifyEd25519 for the concatenation of the parts: the scalar is
// below the order, and sB - kA has the encoding R (RFC 8032 §5.1.7, without
// the cofactor).
func (t *ed25519Table) verify(signature []byte, message ...[]byte) bool {
	if t == nil || len(signature) != ed25519.SignatureSize || !scalar.ScMinimalVartime(signature[32:]) {
		return false
	}
	h := sha512.New()
	h.Write(signature[:32])
	h.Write(t.encoded[:])
	for _, part := range message {
		h.Write(part)
	}
	var digest [sha512.Size]byte
	var k, s scalar.Scalar
	if _, err := k.SetBytesModOrderWide(h.Sum(digest[:0])); err != nil {
		return false
	}
	if _, err := s.SetBytesModOrder(signature[32:]); err != nil {
		return false
	}
	var r, a curve.EdwardsPoint
	r.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, &s)
	r.Add(&r, a.MulBasepoint(t.negated, &k))
	var encoded curve.CompressedEdwardsY
	return bytes.Equal(encoded.SetEdwardsPoint(&r)[:], signature[:32])
}
