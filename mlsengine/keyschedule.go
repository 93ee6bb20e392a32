package mlsengine

import (
	"errors"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// GroupContext summarizes the state of a group in one epoch (§8.1). All
// members have the same one.
type GroupContext struct {
	Version                 ProtocolVersion
	CipherSuite             CipherSuite
	GroupID                 GroupID
	Epoch                   Epoch
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Extensions              Extensions
}

// Code walks the GroupContext struct of §8.1.
func (gc *GroupContext) Code(c *syntax.Coder) {
	gc.Version.Code(c)
	syntax.Uint16(c, &gc.CipherSuite)
	syntax.Opaque(c, &gc.GroupID)
	syntax.Uint64(c, &gc.Epoch)
	syntax.Opaque(c, &gc.TreeHash)
	syntax.Opaque(c, &gc.ConfirmedTranscriptHash)
	gc.Extensions.Code(c)
}

// One type per secret of §8; each is consumed by one function.
type (
	// initSecret carries an epoch's entropy into the next.
	initSecret struct{ secret.Bytes }
	// commitSecret is what a commit's path adds, zeroes without a path.
	commitSecret struct{ secret.Bytes }
	// joinerSecret is what a new member gets in its Welcome.
	joinerSecret struct{ secret.Bytes }
	// memberSecret follows from joinerSecret and the pre-shared keys. The RFC
	// has no name for it.
	memberSecret struct{ secret.Bytes }
	// welcomeSecret protects the GroupInfo inside a Welcome.
	welcomeSecret struct{ secret.Bytes }
	// epochSecret is the root of everything below.
	epochSecret struct{ secret.Bytes }

	encryptionSecret   struct{ secret.Bytes }
	applicationExport  struct{ secret.Bytes } // of draft-ietf-mls-extensions
	senderDataSecret   struct{ secret.Bytes }
	exporterSecret     struct{ secret.Bytes }
	externalSecret     struct{ secret.Bytes }
	confirmationKey    struct{ secret.Bytes }
	membershipKey      struct{ secret.Bytes }
	resumptionPSK      struct{ secret.Bytes }
	epochAuthenticator struct{ secret.Bytes }
)

// zeroCommitSecret is the commit secret of a commit without a path (§12.4.1).
func zeroCommitSecret(s *suite.Suite) commitSecret {
	return commitSecret{secret.New(make([]byte, s.HashSize()))}
}

// deriveJoinerSecret enters a new epoch. The context is the new epoch's,
// encoded.
func deriveJoinerSecret(s *suite.Suite, from initSecret, commit commitSecret, context []byte) joinerSecret {
	extracted := s.Extract(from.Expose(), commit.Expose())
	defer clear(extracted)
	return joinerSecret{secret.New(s.ExpandWithLabel(extracted, "joiner", context, s.HashSize()))}
}

// deriveMemberSecret is where an epoch's members and its joiners meet.
func deriveMemberSecret(s *suite.Suite, joiner joinerSecret, psk pskSecret) memberSecret {
	return memberSecret{secret.New(s.Extract(joiner.Expose(), psk.Expose()))}
}

// welcomeSecret derives what opens the Welcome's GroupInfo.
func (m memberSecret) welcomeSecret(s *suite.Suite) welcomeSecret {
	return welcomeSecret{secret.New(s.DeriveSecret(m.Expose(), "welcome"))}
}

// epochSecret derives the root of the new epoch under its encoded context.
func (m memberSecret) epochSecret(s *suite.Suite, context []byte) epochSecret {
	return epochSecret{secret.New(s.ExpandWithLabel(m.Expose(), "epoch", context, s.HashSize()))}
}

// keyAndNonce are those of the encrypted GroupInfo (§12.4.3.1).
func (w welcomeSecret) keyAndNonce(s *suite.Suite) (key, nonce secret.Bytes) {
	return secret.New(s.ExpandWithLabel(w.Expose(), "key", nil, s.AEADKeySize())),
		secret.New(s.ExpandWithLabel(w.Expose(), "nonce", nil, s.AEADNonceSize()))
}

// epochRoots are the secrets of an epoch from which trees grow that consume
// them at once.
type epochRoots struct {
	encryption encryptionSecret
	export     applicationExport
}

// epochSecrets is what a member keeps of an epoch's key schedule, beside the
// trees that grow from its roots.
type epochSecrets struct {
	init          initSecret
	senderData    senderDataSecret
	exporter      exporterSecret
	external      externalSecret
	confirmation  confirmationKey
	membership    membershipKey
	resumption    resumptionPSK
	authenticator epochAuthenticator
}

// deriveEpochSecrets spreads the epoch secret, which the caller then wipes.
func deriveEpochSecrets(s *suite.Suite, root epochSecret) (epochSecrets, epochRoots) {
	derive := func(label string) secret.Bytes { return secret.New(s.DeriveSecret(root.Expose(), label)) }
	return epochSecrets{
		init:          initSecret{derive("init")},
		senderData:    senderDataSecret{derive("sender data")},
		exporter:      exporterSecret{derive("exporter")},
		external:      externalSecret{derive("external")},
		confirmation:  confirmationKey{derive("confirm")},
		membership:    membershipKey{derive("membership")},
		resumption:    resumptionPSK{derive("resumption")},
		authenticator: epochAuthenticator{derive("authentication")},
	}, epochRoots{encryptionSecret{derive("encryption")}, applicationExport{derive("application_export")}}
}

// Code walks the secrets in a snapshot. Secrets that were dropped are empty.
func (e *epochSecrets) Code(c *syntax.Coder) {
	codeSecret(c, &e.init.Bytes)
	codeSecret(c, &e.senderData.Bytes)
	codeSecret(c, &e.exporter.Bytes)
	codeSecret(c, &e.external.Bytes)
	codeSecret(c, &e.confirmation.Bytes)
	codeSecret(c, &e.membership.Bytes)
	codeSecret(c, &e.resumption.Bytes)
	codeSecret(c, &e.authenticator.Bytes)
}

// retire keeps what a past epoch still needs: to open late messages, to inject
// its resumption key, and to prove which epoch it was.
func (e *epochSecrets) retire() epochSecrets {
	return epochSecrets{senderData: e.senderData, resumption: e.resumption, confirmation: e.confirmation, authenticator: e.authenticator}
}

// keyPair is the group's own HPKE key pair, to which external joiners
// encapsulate (§8).
func (x externalSecret) keyPair(s *suite.Suite) (suite.HPKEPrivateKey, suite.HPKEPublicKey, error) {
	return s.DeriveHPKEKeyPair(x.Expose())
}

// ErrExportLength is returned for an exported secret that the KDF cannot make.
var ErrExportLength = errors.New("an exported secret is at most 255 hashes long")

// export is MLS-Exporter (§8.5).
func (x exporterSecret) export(s *suite.Suite, label string, context []byte, n int) (secret.Bytes, error) {
	if n < 0 || n > 255*s.HashSize() {
		return secret.Bytes{}, ErrExportLength
	}
	derived := s.DeriveSecret(x.Expose(), label)
	defer clear(derived)
	return secret.New(s.ExpandWithLabel(derived, "exported", s.Hash(context), n)), nil
}
