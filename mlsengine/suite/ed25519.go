package suite

import (
	"crypto/ed25519"

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
