package audit

import (
	"bytes"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/mlsengine/suite"
)

// secrets recomputes what the keys of the retention window allow: the fingerprint of the epoch authenticator, and the confirmation tag
// from the confirmation key. Outside the window both are compared only, with every other log that has the epoch.
func (m *memberCheck) secrets(e events.Event, facts *eventsv1.EpochFacts) error {
	if len(facts.GetAuthenticatorFingerprint()) == 0 {
		return flawed(CheckAuthenticator, "epoch %d has no fingerprint of its authenticator", facts.GetEpoch())
	}
	part, ok := e.Secret(events.ClassVerification)
	if !ok {
		m.tally.Authenticators.Skipped++
		m.tally.Tags.Skipped++
		return nil
	}
	authenticator, confirmationKey, err := conversation.DecodeVerification(part.Expose())
	if err != nil {
		return flawed(CheckAuthenticator, "epoch %d: %v", facts.GetEpoch(), err)
	}
	if !bytes.Equal(conversation.Fingerprint(authenticator), facts.GetAuthenticatorFingerprint()) {
		return flawed(CheckAuthenticator, "the authenticator of epoch %d has another fingerprint than recorded", facts.GetEpoch())
	}
	m.tally.Authenticators.Done++
	s, err := suite.Get(m.group.CipherSuite())
	if err != nil {
		return flawed(CheckAuthenticator, "%v", err)
	}
	if !s.VerifyMAC(confirmationKey, facts.GetConfirmedTranscriptHash(), facts.GetConfirmationTag()) {
		return flawed(CheckTranscript, "the confirmation tag of epoch %d is not the one its key makes", facts.GetEpoch())
	}
	m.tally.Tags.Done++
	return nil
}

// end checks that the secrets Fold arrived at, where there were keys for it, are those of the epoch the log ends in.
func (m *memberCheck) end() error {
	authenticator := m.state.EpochAuthenticator()
	if authenticator == nil || m.state.Fingerprint == nil {
		return nil
	}
	if !bytes.Equal(conversation.Fingerprint(authenticator), m.state.Fingerprint) {
		return flawed(CheckAuthenticator, "the private state of epoch %d belongs to another epoch", m.state.Epoch())
	}
	return nil
}
