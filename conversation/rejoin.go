package conversation

import (
	"encoding/binary"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// LossCause says why a member cannot follow its group any more.
type LossCause uint8

// The causes.
const (
	LossBehind      LossCause = iota + 1 // the group's order was purged past us
	LossUnreachable                      // an accepted commit cannot be followed
	LossRolledBack                       // the log lost its end
	LossSecrets                          // the key ring is gone
	LossReplaced                         // a commit of the own client, of which the log knows nothing, took the place of our leaf
)

var lossNames = [...]string{
	LossBehind: "behind", LossUnreachable: "unreachable", LossRolledBack: "rolled back", LossSecrets: "secrets lost", LossReplaced: "replaced",
}

// String names the cause.
func (c LossCause) String() string {
	if int(c) < len(lossNames) {
		return lossNames[c]
	}
	return "unknown"
}

// Loss is that a member cannot follow its group any more although nobody has
// removed it: it may come back by an external commit. It ends with the new
// membership.
type Loss struct {
	Cause    LossCause
	Epoch    mlsengine.Epoch // the last that was followed
	Position uint64          // the last entry that was followed
	First    uint64          // Behind: the oldest entry that is left; what lies between was missed
	SinceMs  uint64
	DueMs    uint64 // the member comes back by itself then; 0: nobody has planned it
	Attempt  uint32 // how often it was planned
	Refused  Code   // not empty: it does not come back by itself
}

// Code walks the loss.
func (l *Loss) Code(c *syntax.Coder) {
	syntax.Uint8(c, &l.Cause)
	syntax.Uint64(c, &l.Epoch)
	syntax.Uint64(c, &l.Position)
	syntax.Uint64(c, &l.First)
	syntax.Uint64(c, &l.SinceMs)
	syntax.Uint64(c, &l.DueMs)
	syntax.Uint32(c, &l.Attempt)
	codeString(c, &l.Refused)
}

// Missed is what has passed between the last epoch that a member had followed
// and the one in which it came back. It can read nothing of it.
type Missed struct {
	AfterEpoch    mlsengine.Epoch
	AfterPosition uint64
}

// RejoinsMax is how often a member tries to come back by itself.
const RejoinsMax = 12

// rejoinPauseMost bounds the pause between two attempts.
const rejoinPauseMost = hourMs

// PlanRejoin has a member that is lost come back by itself: at a time that is
// drawn from its names, so that not all of a group come at once, later after
// each attempt. The plan is made before the attempt that it follows, so that
// whoever dies in one does not try again at once.
type PlanRejoin struct {
	SpreadMs uint64 // the first attempt comes within so long
}

// RefuseRejoin ends that: there is no way back, or none by itself.
type RefuseRejoin struct {
	Code   Code
	Detail string
}

func (PlanRejoin) isInput()   {}
func (RefuseRejoin) isInput() {}

func (w *work) planRejoin(in PlanRejoin) error {
	loss := w.s.Loss
	if loss == nil || loss.Refused != "" {
		return nil
	}
	if loss.Attempt >= RejoinsMax {
		return w.refuseRejoin(RefuseRejoin{Code: RetriesExhausted, Detail: "it was tried often enough"})
	}
	return w.emit(event{body: &v1.RejoinPlanned{DueMs: later(w.now(), w.s.rejoinPause(in.SpreadMs)), Attempt: loss.Attempt + 1}})
}

// rejoinPause is within the spread before the first attempt, and then doubles.
func (p Public) rejoinPause(spreadMs uint64) uint64 {
	spreadMs = max(spreadMs, 1)
	var numbers []byte
	numbers = binary.BigEndian.AppendUint64(numbers, uint64(p.Loss.Epoch))
	numbers = binary.BigEndian.AppendUint32(numbers, p.Loss.Attempt)
	drawn := ids.DigestOf([]byte("parley rejoin"), []byte(p.Client), []byte(p.Conversation), numbers)
	chance := binary.BigEndian.Uint64(drawn[:8])
	if p.Loss.Attempt == 0 {
		return chance % spreadMs
	}
	pause := min(spreadMs<<min(p.Loss.Attempt, 20), max(rejoinPauseMost, spreadMs))
	return pause/2 + chance%(pause/2+1)
}

func (w *work) refuseRejoin(in RefuseRejoin) error {
	loss := w.s.Loss
	if loss == nil || loss.Refused != "" {
		return nil
	}
	return w.emit(event{body: &v1.RejoinRefused{Code: string(in.Code), Detail: bounded(in.Detail), Attempts: loss.Attempt}})
}

// RejoinDue is when the member comes back by itself; 0: it does not, or is on
// its way.
func (p Public) RejoinDue() uint64 {
	if p.Loss == nil || p.Loss.Refused != "" || p.Joining != nil {
		return 0
	}
	return p.Loss.DueMs
}

// MemberIn reports whether a client has a leaf in the group of a GroupInfo.
func MemberIn(groupInfo []byte, client ids.ClientID) (bool, *CommandError) {
	_, public, err := openGroupInfo(groupInfo)
	if err != nil {
		return false, refuseRule(InvalidGroupInfo, err)
	}
	for _, m := range public.Members() {
		if ClientOf(m.Credential) == client {
			return true, nil
		}
	}
	return false, nil
}

// missed is what has passed since the membership that a new one replaces.
func (p Public) missed() *v1.Missed {
	switch {
	case p.Loss != nil:
		return &v1.Missed{AfterEpoch: uint64(p.Loss.Epoch), AfterPosition: p.Loss.Position}
	case p.Group != nil:
		return &v1.Missed{AfterEpoch: uint64(p.Epoch()), AfterPosition: p.Position}
	}
	return nil
}

// evolveLoss is what the end of following makes of the public state. It sees
// the state before anything else of it is forgotten.
func (p *Public) evolveLoss(body events.Body) {
	lost := &Loss{Epoch: p.Epoch(), Position: p.Position, SinceMs: p.TimeMs}
	if p.Returns > 0 && p.TimeMs < p.ReturnedMs+hourMs {
		lost.Attempt = p.Returns // who is lost again and again comes back later and later, and in the end no more
	}
	switch e := body.(type) {
	case *v1.EpochUnreachable:
		lost.Cause, lost.First = LossUnreachable, e.GetFirst()
		if lost.First > 0 {
			lost.Cause = LossBehind
		}
	case *v1.LogRolledBack:
		switch p.Lifecycle {
		case Wiped, Evicted, Closed:
			return // whether we had come back is lost, and not to be guessed
		}
		lost.Cause = LossRolledBack
	case *v1.SecretsLost:
		lost.Cause = LossSecrets
	case *v1.MemberEvicted:
		if ids.ClientID(e.GetCommitter()) != p.Client {
			p.Loss = nil // removed by somebody: there is no way back by itself
			return
		}
		lost.Cause = LossReplaced
	default:
		p.Loss = nil
		return
	}
	p.Loss = lost
}

// returned counts a way back.
func (p *Public) returned() {
	if p.TimeMs >= p.ReturnedMs+hourMs {
		p.Returns = 0
	}
	p.Returns, p.ReturnedMs = p.Returns+1, p.TimeMs
}

// evolveRejoin is what plans and refusals make of the public state.
func (p *Public) evolveRejoin(body events.Body) {
	if p.Loss == nil {
		return
	}
	loss := *p.Loss
	switch e := body.(type) {
	case *v1.RejoinPlanned:
		loss.DueMs, loss.Attempt = e.GetDueMs(), e.GetAttempt()
	case *v1.RejoinRefused:
		loss.DueMs, loss.Refused = 0, Code(e.GetCode())
	}
	p.Loss = &loss
}
