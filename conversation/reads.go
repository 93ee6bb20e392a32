package conversation

import (
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Exists reports whether we are a member of the group.
func (p Public) Exists() bool { return p.Lifecycle == Active || p.Lifecycle == RolledBack }

// Epoch is the epoch's number, 0 while there is no group.
func (p Public) Epoch() mlsengine.Epoch {
	if p.Group == nil {
		return 0
	}
	return p.Group.Epoch()
}

// Roster lists the members in leaf order.
func (p Public) Roster() []Member { return nil }

// ClientIDs lists the members' client ids in leaf order.
func (p Public) ClientIDs() []ids.ClientID { return nil }

// PendingProposals lists the proposals of the epoch that are not committed.
func (p Public) PendingProposals() []PendingProposal { return p.Pending }

// CheckpointDue reports whether the private state should be sealed anew.
func (p Public) CheckpointDue(nowMs uint64) bool { return false }

// UpdateDue reports whether so many own generations are not in the group's
// order yet that the own keys should be updated: others could soon be unable
// to read us.
func (p Public) UpdateDue() bool { return false }

// SpoolExpiry is when the oldest message that was not acknowledged expires; 0:
// there is none.
func (p Public) SpoolExpiry() uint64 { return 0 }

// SpoolVersion is the version of the oldest record that may hold a message
// that was not acknowledged; 0: there is none. From there on the shell reads
// the log with Messages.
func (p Public) SpoolVersion() uint64 { return 0 }

// Anchor is what the ring has to know of the state.
func (p Public) Anchor() events.Anchor { return events.Anchor{} }

// EpochAuthenticator is the epoch authenticator (§8.7), nil without secrets.
func (s State) EpochAuthenticator() []byte { return nil }

// Unsent lists what was stored and is not known to have been sent: after a
// restart the shell first asks the delivery service who won the staged
// commit's epoch, and then sends these.
func (s State) Unsent() []Effect { return nil }

// Register makes the effect that registers a group we created, again.
func Register(s State, env Env) (RegisterGroup, error) { return RegisterGroup{}, nil }
