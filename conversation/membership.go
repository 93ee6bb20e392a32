package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// MembershipKind says what a record changed for the conversation's owner,
// messages apart.
type MembershipKind uint8

// The kinds of membership events.
const (
	MembershipCreated       MembershipKind = iota + 1 // we created the group; Added is the roster
	MembershipJoined                                  // we joined; Added is the roster
	MembershipChanged                                 // a commit was made; the epoch advanced
	MembershipEvicted                                 // the commit removed us
	MembershipWiped                                   // destroyed on request
	MembershipUnreachable                             // rejoin
	MembershipRolledBack                              // rejoin, or wait for the next epoch
	MembershipSecretsLost                             // rejoin
	MembershipClosed                                  // the group goes on as Successor
	MembershipUnresolved                              // an own commit got no answer: see Unresolved
	MembershipBehind                                  // the group's order was purged past us: what lies between Position and First was missed; rejoin
	MembershipRejoining                               // we come back by ourselves, at Due
	MembershipRejoinRefused                           // we do not come back by ourselves: Code says why
)

// Membership is one such change, from the open parts of a record.
type Membership struct {
	Kind      MembershipKind
	Epoch     mlsengine.Epoch // that it led to
	TimeMs    uint64
	Position  uint64
	Committer ids.ClientID
	Added     []Member
	Removed   []Member
	Updated   []Member
	Own       bool // our own commit
	External  bool // the committer joined by this commit
	Warnings  []string
	Reason    string
	Successor ids.ConversationID
	First     uint64  // Behind: the oldest entry that the group's order has
	Missed    *Missed // Joined: we were a member before, and have missed what came after this
	DueMs     uint64  // Rejoining, in Unix milliseconds
	Attempt   uint32  // Rejoining, RejoinRefused
	Code      Code    // RejoinRefused
	// DistributionPoints are revocation lists that the credentials of who came in name and nobody had registered.
	DistributionPoints []string
}

// Memberships reads what a record changed for the owner, in order. It needs no
// keys.
func Memberships(r *events.Record) []Membership {
	var list []Membership
	for i := range r.Events {
		if m, ok := MembershipAt(r, i); ok {
			list = append(list, m)
		}
	}
	return list
}

// MembershipAt is the change that one of a record's events made, if it made
// one. What was found in the credentials stands behind it.
func MembershipAt(r *events.Record, i int) (Membership, bool) {
	m, ok := membershipOf(r.Events[i].Body)
	if !ok {
		return Membership{}, false
	}
	m.TimeMs = r.TimeMS
	for _, e := range r.Events[i+1:] {
		if found, ok := e.Body.(*v1.CrlDistributionPointsFound); ok {
			m.DistributionPoints = found.GetUrls()
		}
		if _, another := membershipOf(e.Body); another || m.DistributionPoints != nil {
			break
		}
	}
	return m, true
}

func membershipOf(body events.Body) (Membership, bool) {
	switch e := body.(type) {
	case *v1.ConversationCreated:
		return Membership{
			Kind: MembershipCreated, Epoch: mlsengine.Epoch(e.GetFacts().GetEpoch()), Added: membersFromProto(e.GetRoster()), Own: true,
		}, true
	case *v1.ConversationJoined:
		return Membership{
			Kind: MembershipJoined, Epoch: mlsengine.Epoch(e.GetFacts().GetEpoch()), Position: e.GetPosition(),
			Added: membersFromProto(e.GetRoster()), Warnings: e.GetWarnings(), Missed: missedFrom(e.GetMissed()),
		}, true
	case *v1.EpochAdvanced:
		return Membership{
			Kind: MembershipChanged, Epoch: mlsengine.Epoch(e.GetFacts().GetEpoch()), Position: e.GetPosition(),
			Committer: ids.ClientID(e.GetCommitter()), Added: membersFromProto(e.GetAdded()), Removed: membersFromProto(e.GetRemoved()),
			Updated: membersFromProto(e.GetUpdated()), Own: e.GetCause() == v1.EpochCause_EPOCH_CAUSE_OWN,
			External: e.GetCause() == v1.EpochCause_EPOCH_CAUSE_EXTERNAL, Warnings: e.GetWarnings(),
		}, true
	case *v1.MemberEvicted:
		return Membership{
			Kind: MembershipEvicted, Epoch: mlsengine.Epoch(e.GetEpoch()), Position: e.GetPosition(), Committer: ids.ClientID(e.GetCommitter()),
		}, true
	case *v1.ConversationWiped:
		return Membership{Kind: MembershipWiped, Reason: e.GetReason()}, true
	case *v1.EpochUnreachable:
		m := Membership{
			Kind: MembershipUnreachable, Epoch: mlsengine.Epoch(e.GetEpoch()), Position: e.GetPosition(), Reason: e.GetDetail(), First: e.GetFirst(),
		}
		if m.First > 0 {
			m.Kind = MembershipBehind
		}
		return m, true
	case *v1.RejoinPlanned:
		return Membership{Kind: MembershipRejoining, DueMs: e.GetDueMs(), Attempt: e.GetAttempt()}, true
	case *v1.RejoinRefused:
		return Membership{Kind: MembershipRejoinRefused, Code: Code(e.GetCode()), Reason: e.GetDetail(), Attempt: e.GetAttempts()}, true
	case *v1.CommitUnanswered:
		return Membership{Kind: MembershipUnresolved, Reason: e.GetReason(), Own: true}, true
	case *v1.LogRolledBack:
		return Membership{Kind: MembershipRolledBack, Reason: e.GetReason()}, true
	case *v1.SecretsLost:
		return Membership{Kind: MembershipSecretsLost, Reason: e.GetReason()}, true
	case *v1.GroupRestarted:
		return Membership{Kind: MembershipClosed, Reason: e.GetReason(), Successor: ids.ConversationID(e.GetSuccessor())}, true
	}
	return Membership{}, false
}

func missedFrom(m *v1.Missed) *Missed {
	if m == nil {
		return nil
	}
	return &Missed{AfterEpoch: mlsengine.Epoch(m.GetAfterEpoch()), AfterPosition: m.GetAfterPosition()}
}
