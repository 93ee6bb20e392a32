package conversation

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

const (
	keyRotationSpanMin = minuteMs // shorter spans would be a storm of commits
	ownGraceMs         = minuteMs // whoever proposes by hand gets time to commit by hand
	holdMs             = minuteMs // between a commit that failed and the next that time makes due
)

// CommitDelay is how many seconds a member waits before it commits what is
// pending, so that not all of a group do at once. The index is the member's
// place among those that stay; who is first changes with every epoch. One
// after the other they come 15 seconds apart, then closer and closer.
func CommitDelay(epoch mlsengine.Epoch, members, index uint64) uint64 {
	position := uint64(1)
	if members > 0 {
		position = (uint64(epoch)%members+index%members)%members + 1
	}
	if position <= 3 {
		return (position - 1) * 15
	}
	seconds := uint64(float32(120) * float32(math.Log(float64(position))))
	return seconds - min(seconds, 106)
}

// CommitDelay is how many seconds we should wait before we commit what is
// pending; not ok where nothing is, or where it removes us.
func (p Public) CommitDelay() (seconds uint64, ok bool) { return p.delayWith(p.Pending) }

func (p Public) delayWith(pending []PendingProposal) (seconds uint64, ok bool) {
	if p.Group == nil || len(pending) == 0 || p.Lifecycle != Active {
		return 0, false
	}
	leaving := map[mlsengine.LeafIndex]bool{}
	for _, q := range pending {
		if q.Type != mlsengine.ProposalTypeRemove {
			continue
		}
		if r, err := mlsengine.ParseProposal(q.Proposal); err == nil {
			leaving[r.(*mlsengine.Remove).Removed] = true
		}
	}
	if leaving[p.OwnLeaf] {
		return 0, false
	}
	return p.turn(leaving), true
}

// turn is how many seconds our place among those that stay makes us wait.
func (p Public) turn(leaving map[mlsengine.LeafIndex]bool) uint64 {
	var members, index uint64
	for _, m := range p.Group.Members() {
		if leaving[m.Index] {
			continue
		}
		members++
		if m.Index < p.OwnLeaf {
			index++
		}
	}
	return CommitDelay(p.Epoch(), members, index)
}

// dueWith is when we commit what is pending, counted from a time; 0: not we.
func (p Public) dueWith(fromMs uint64, pending []PendingProposal) uint64 {
	seconds, ok := p.delayWith(pending)
	if !ok {
		return 0
	}
	return later(fromMs, 1000*seconds)
}

// commitDue is when we commit once one more proposal is pending. A proposal
// does not put off what is due already.
func (p Public) commitDue(fromMs uint64, more PendingProposal) uint64 {
	due := p.dueWith(fromMs, append(slices.Clip(p.Pending), more))
	if due > 0 && p.CommitDueMs > 0 {
		return min(due, p.CommitDueMs)
	}
	return due
}

// lessProposal lists what is pending beside one proposal.
func (p Public) lessProposal(ref mlsengine.ProposalRef) []PendingProposal {
	return slices.DeleteFunc(slices.Clone(p.Pending), func(q PendingProposal) bool { return bytes.Equal(q.Ref, ref) })
}

// rotationDue is when the own keys have had their span; 0: never. Members that
// came together do not rotate together.
func (p Public) rotationDue() uint64 {
	span := p.Config.KeyRotationSpanMs
	if span == 0 {
		return 0
	}
	spread := ids.DigestOf([]byte("parley key rotation"), []byte(p.Client), []byte(p.Conversation), binary.BigEndian.AppendUint64(nil, p.RotatedMs))
	return later(p.RotatedMs, span-binary.BigEndian.Uint64(spread[:8])%(span/8+1))
}

// nextCommit is what time makes us commit next, and when; 0: nothing.
func (p Public) nextCommit() (atMs uint64, command Command) {
	if p.Lifecycle != Active || p.Group == nil || p.Group.ReInit() != nil || p.CommitInFlight() || HistoryClient(p.Client) {
		return 0, nil
	}
	command = CommitPending{}
	if atMs = p.CommitDueMs; len(p.Pending) == 0 {
		atMs = 0
	}
	if rotation := p.rotationDue(); rotation > 0 && (atMs == 0 || rotation < atMs) {
		atMs, command = rotation, UpdateKeyMaterial{}
	}
	if exposed := p.exposureDue(); exposed > 0 && (atMs == 0 || exposed < atMs) {
		atMs, command = exposed, UpdateKeyMaterial{} // every commit of ours lets new readers in
	}
	if atMs == 0 {
		return 0, nil
	}
	return max(atMs, p.HeldUntilMs), command
}

// Earlier is the earlier of two times; 0: never.
func Earlier(a, b uint64) uint64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// NextDue is when Tick has something to do if nothing else happens, in Unix
// milliseconds; 0: never. Where no commit may be sent none is due.
func (p Public) NextDue(mayCommit bool) uint64 {
	due := []uint64{p.SpoolExpiry(), p.LetterExpiry(), p.CheckpointAt(), p.Buffer.expiry(), p.RejoinDue()}
	if mayCommit {
		at, _ := p.nextCommit()
		due = append(due, at)
	}
	var next uint64
	for _, at := range due {
		next = Earlier(next, at)
	}
	return next
}

// tick does what time has made due.
func (w *work) tick(in Tick) error {
	if err := w.expireSpool(); err != nil {
		return err
	}
	if err := w.ageBuffer(); err != nil {
		return err
	}
	if err := w.checkpoint(Checkpoint{Reason: "age"}); err != nil {
		return err
	}
	if !in.MayCommit {
		return nil
	}
	at, command := w.s.nextCommit()
	if at == 0 || at > w.now() {
		return nil
	}
	due, err := w.intend(command)
	if err == nil {
		due.forcePath = true
		err = w.commit(due)
	}
	var refused *CommandError
	if !errors.As(err, &refused) {
		return err
	}
	return w.emit(event{body: &v1.CommitDelayed{UntilMs: w.now() + holdMs, Reason: bounded(refused.Error())}})
}
