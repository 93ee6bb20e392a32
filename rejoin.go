package parley

import (
	"time"

	"parley/actors"
	"parley/conversation"
)

// Lost is a member that cannot follow its group any more, although nobody has removed it: what Options.Rejoin is asked about.
//
// Where it says yes, the member comes back by itself: within Limits.RejoinSpread, at a moment drawn from its names, so that not everybody comes
// at once; then again after pauses that double up to an hour, a dozen times in all. The plan is in the log: it outlives restarts, and another
// node goes on with it. It ends for good when the group has removed the member meanwhile, or somebody refuses it for another lasting reason. The
// owner hears of each step (MembershipBehind and its like, MembershipRejoining, MembershipJoined with Missed, MembershipRejoinRefused). The
// conversation keeps its configuration; where that went with the keys or the log it gets Options.Config.
type Lost = actors.Lost

// LossCause says why a member was lost.
type LossCause = conversation.LossCause

// The causes.
const (
	LossBehind      = conversation.LossBehind      // it was away for longer than the order of its group is kept
	LossUnreachable = conversation.LossUnreachable // a commit that the group has accepted cannot be followed
	LossRolledBack  = conversation.LossRolledBack  // its log lost its end
	LossSecrets     = conversation.LossSecrets     // its keys are gone
	LossReplaced    = conversation.LossReplaced    // a commit of its own, of which its log knows nothing, took its leaf's place
)

// RejoinAlways is the Options.Rejoin that lets every lost member come back by itself.
func RejoinAlways(Lost) bool { return true }

// Loss is where a lost member stands on its way back.
type Loss struct {
	Cause    LossCause
	Epoch    uint64    // the last that was followed
	Position uint64    // the last entry that was followed
	First    uint64    // LossBehind: the oldest entry that is left; what lies between was missed
	Since    time.Time // the loss
	Due      time.Time // of the next attempt; zero: none is planned
	Attempts uint32    // planned so far
	Refused  Code      // not empty: the member does not come back by itself
}

func lossOf(s conversation.State) *Loss {
	loss := s.Loss
	if loss == nil {
		return nil
	}
	return &Loss{
		Cause: loss.Cause, Epoch: uint64(loss.Epoch), Position: loss.Position, First: loss.First, Since: timeOf(loss.SinceMs), Due: timeOf(loss.DueMs),
		Attempts: loss.Attempt, Refused: loss.Refused,
	}
}
