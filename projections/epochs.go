package projections

import (
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// Epoch is one epoch of a group as the log tells it: who made it, what it changed, when and why.
type Epoch struct {
	Number                  uint64
	Version                 uint64 // the record that entered the epoch
	TimeMS                  uint64
	How                     string // created, joined, own, peer, external
	Committer               ids.ClientID
	CommitterLeaf           uint32
	Added, Removed, Updated []ids.ClientID
	Proposals               int
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Fingerprint             []byte // of the epoch authenticator; reveals nothing
	Position                uint64 // in the group's order; 0 where there is none
	Encrypted               bool   // the commit travelled as a PrivateMessage
	Command                 string
	Principal               string
}

// Epochs lists the epochs of one log. The zero value is a log without any.
type Epochs struct{ rows []Epoch }

// Rows are the epochs in order.
func (m *Epochs) Rows() []Epoch { return m.rows }

// Apply takes the next record.
func (m *Epochs) Apply(r *events.Record) {
	for _, e := range r.Events {
		row, ok := epochOf(e.Body)
		if !ok {
			continue
		}
		row.Version, row.TimeMS = r.Version, r.TimeMS
		row.Command, row.Principal = r.Cause.Command, r.Cause.Principal
		m.rows = append(m.rows, row)
	}
}

func epochOf(body eventsv1.Body) (Epoch, bool) {
	switch b := body.(type) {
	case *eventsv1.ConversationCreated:
		return withFacts(Epoch{How: "created"}, b.GetFacts()), true
	case *eventsv1.ConversationJoined:
		return withFacts(Epoch{How: "joined", Position: b.GetPosition()}, b.GetFacts()), true
	case *eventsv1.EpochAdvanced:
		row := Epoch{
			How: causeName(b.GetCause()), Committer: ids.ClientID(b.GetCommitter()), CommitterLeaf: b.GetCommitterLeaf(),
			Added: clientsOf(b.GetAdded()), Removed: clientsOf(b.GetRemoved()), Updated: clientsOf(b.GetUpdated()),
			Proposals: len(b.GetProposals()), Position: b.GetPosition(), Encrypted: b.GetEncrypted(),
		}
		return withFacts(row, b.GetFacts()), true
	}
	return Epoch{}, false
}

func withFacts(row Epoch, f *eventsv1.EpochFacts) Epoch {
	row.Number = f.GetEpoch()
	row.TreeHash = f.GetTreeHash()
	row.ConfirmedTranscriptHash = f.GetConfirmedTranscriptHash()
	row.Fingerprint = f.GetAuthenticatorFingerprint()
	return row
}

func causeName(c eventsv1.EpochCause) string {
	switch c {
	case eventsv1.EpochCause_EPOCH_CAUSE_OWN:
		return "own"
	case eventsv1.EpochCause_EPOCH_CAUSE_PEER:
		return "peer"
	case eventsv1.EpochCause_EPOCH_CAUSE_EXTERNAL:
		return "external"
	}
	return "unknown"
}

func clientsOf(members []*eventsv1.MemberChange) []ids.ClientID {
	clients := make([]ids.ClientID, len(members))
	for i, m := range members {
		clients[i] = ids.ClientID(m.GetClient())
	}
	return clients
}
