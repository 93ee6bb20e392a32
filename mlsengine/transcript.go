package mlsengine

import (
	"crypto/subtle"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// confirmedTranscriptHashInput is the part of a commit that the confirmed
// transcript hash covers (§8.2).
type confirmedTranscriptHashInput struct{ commit *authenticatedContent }

// Code writes the ConfirmedTranscriptHashInput struct of §8.2.
func (i confirmedTranscriptHashInput) Code(c *syntax.Coder) {
	syntax.Uint16(c, &i.commit.WireFormat)
	i.commit.Content.Code(c)
	syntax.Opaque(c, &i.commit.Signature)
}

// confirmedTranscriptHash covers every commit of the group's history, the
// given one last (§8.2).
func confirmedTranscriptHash(s *suite.Suite, interim []byte, commit *authenticatedContent) []byte {
	input := append(make([]byte, 0, 1024), interim...)
	return s.Hash(syntax.Append(input, confirmedTranscriptHashInput{commit}))
}

// interimTranscriptHash adds the commit's confirmation tag (§8.2).
func interimTranscriptHash(s *suite.Suite, confirmed, tag []byte) []byte {
	input := make([]byte, 0, len(confirmed)+len(tag)+4)
	input = append(input, confirmed...)
	input = syntax.AppendLength(input, len(tag))
	return s.Hash(append(input, tag...))
}

// tag is the confirmation tag of an epoch: it authenticates the group's
// agreement on the epoch (§6.1).
func (k confirmationKey) tag(s *suite.Suite, confirmedTranscriptHash []byte) []byte {
	return s.MAC(k.Expose(), confirmedTranscriptHash)
}

// verify checks a confirmation tag.
func (k confirmationKey) verify(s *suite.Suite, confirmedTranscriptHash, tag []byte) error {
	if subtle.ConstantTimeCompare(k.tag(s, confirmedTranscriptHash), tag) != 1 {
		return broken(InvalidConfirmationTag, "%d bytes", len(tag))
	}
	return nil
}
