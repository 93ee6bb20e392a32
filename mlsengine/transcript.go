package mlsengine

import (
	"crypto/subtle"
	"encoding/binary"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// confirmedTranscriptHash covers every commit of the group's history, the
// given one last, as the ConfirmedTranscriptHashInput struct has it (§8.2).
func confirmedTranscriptHash(s *suite.Suite, interim []byte, commit *authenticatedContent) []byte {
	wireFormat := binary.BigEndian.AppendUint16(nil, uint16(commit.WireFormat))
	signature := syntax.AppendLength(nil, len(commit.Signature))
	return s.Hash(interim, wireFormat, commit.Content.bytes(), signature, commit.Signature)
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
