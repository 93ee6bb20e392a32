package conversation

import (
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

func encodeExternalSender(s mlsengine.ExternalSender) []byte { return syntax.Encode(&s) }

func decodeExternalSender(b []byte) (mlsengine.ExternalSender, error) {
	s, err := syntax.Decode[mlsengine.ExternalSender](b)
	if err != nil {
		return s, brokenf("external sender: %v", err)
	}
	return s, nil
}

// EncodePublic is the canonical encoding of a public state: for snapshots and
// for its digest. Its size grows with the tree.
func EncodePublic(p Public) []byte { return nil }

// DecodePublic reads what EncodePublic wrote.
func DecodePublic(b []byte) (Public, error) { return Public{}, brokenf("not a public state") }

// EncodePrivate is the canonical encoding of a private state; nil has one too.
func EncodePrivate(p *Private) secret.Bytes { return secret.Bytes{} }

// Digest is SHA-256 over the canonical encoding of the public state.
func (p Public) Digest() ids.Digest { return ids.DigestOf(EncodePublic(p)) }

// Fingerprint is what the log shows of an epoch authenticator: it lets an
// auditor compare epochs and reveals nothing.
func Fingerprint(authenticator []byte) []byte {
	d := ids.DigestOf([]byte("parley epoch authenticator"), authenticator)
	return d[:]
}

// DecodeVerification reads the sealed verification part of an epoch event.
func DecodeVerification(plain []byte) (authenticator, confirmationKey []byte, err error) {
	return nil, nil, brokenf("not a verification part")
}
