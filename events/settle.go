package events

import (
	"context"
	"errors"
	"fmt"

	v1 "parley/events/v1"
)

// Outcome is what became of an append.
type Outcome int

// The outcomes. Until one of them is certain Settle returns an error.
const (
	Stored Outcome = iota + 1 // it is durable, and the journal stands on it
	Lost                      // it is not stored and never will be: reopen the journal
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Stored:
		return "stored"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Settle finds out what became of an append of unknown outcome: our digest at
// our version, or another record there. Where there is neither the record may
// still be on its way, and a no-op of ours takes the place it wants, so that
// it can no longer arrive. ErrUnknownOutcome, and errors of the store, mean
// that Settle must be called again.
//
// The journal stays dead whatever comes out: reopen it.
func (j *Journal) Settle(ctx context.Context, p *Prepared) (Outcome, error) {
	if p == nil || p.journal != j || p.settled || p.base != j.head {
		return 0, badDraft("log %s has no such append to settle", j.id)
	}
	if j.unwell == nil { // its fate was in other hands, a coordinator's
		_ = j.die(fmt.Errorf("record %d of log %s: %w", p.record.Version, j.id, ErrUnknownOutcome))
	}
	for range settleTries {
		outcome, after, err := j.look(ctx, p)
		if err != nil || outcome != 0 {
			return outcome, err
		}
		if err := j.occupy(ctx, after); err != nil && !errors.Is(err, ErrFenced) {
			return 0, fmt.Errorf("settle record %d of log %s: %w", p.record.Version, j.id, err)
		}
		// The no-op stands, or something else has arrived in its place: either way there is more to see now.
	}
	return 0, fmt.Errorf("settle record %d of log %s: %w", p.record.Version, j.id, ErrUnknownOutcome)
}

const settleTries = 4

// tail is what look found after the head that the record expected.
type tail struct {
	head     Head // the newest record there, or the journal's own head
	timeMS   uint64
	sequence uint64 // the newest message
	ours     *Record
	noop     bool // a no-op follows ours
	outcome  Outcome
}

// look searches for the record from the head it expected, on the leader. The
// outcome is 0 where what was found decides nothing yet.
func (j *Journal) look(ctx context.Context, p *Prepared) (Outcome, tail, error) {
	t := tail{head: j.head, timeMS: j.timeMS, sequence: j.expect}
	r := &reader{log: j.id, mac: j.ring.mac(), head: j.head, timeMS: j.timeMS, sequence: j.expect, start: startDone}
	if j.head.Version == 0 {
		r.start = startEmpty
	}
	err := j.stores.Log.Scan(ctx, j.id, j.expect+1, func(m Message) error {
		t.sequence = m.Sequence
		if isChunk(m.Data) {
			return r.message(m)
		}
		v, err := r.open(m)
		if err != nil {
			return err
		}
		r.advance(v.record)
		t.head, t.timeMS = r.head, r.timeMS
		return t.judge(v.record, p.record)
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, t, fmt.Errorf("settle record %d of log %s: %w", p.record.Version, j.id, err)
	}
	if t.outcome != 0 || t.ours == nil {
		return t.outcome, t, nil
	}
	if b := t.ours.Batch; b == nil || b.Participants[len(b.Participants)-1].Log == j.id {
		return Stored, t, nil
	}
	whole, err := j.whole(ctx, t.ours)
	switch {
	case err != nil:
		return 0, t, err
	case whole:
		return Stored, t, nil
	case t.noop:
		return Lost, t, nil // torn: a batch is stored in one go, and something came after it
	}
	return 0, t, nil
}

// judge takes the records after the expected head one by one. It stops the
// walk once they decide.
func (t *tail) judge(r, wanted *Record) error {
	switch {
	case t.ours == nil && r.Digest == wanted.Digest:
		t.ours = r
		return nil
	case t.ours == nil:
		t.outcome = Lost
	case isNoop(r):
		t.noop = true
		return nil
	case supersedes(r, t.ours):
		t.outcome = Lost
	default:
		t.outcome = Stored
	}
	return errFound
}

// occupy puts a no-op after what was found, where the record wants to be or
// where its batch goes on.
func (j *Journal) occupy(ctx context.Context, after tail) error {
	body := Body(&v1.Claimed{})
	if after.ours == nil && after.sequence != j.expect {
		body = &v1.TransactionTorn{Version: j.head.Version + 1} // chunks without their record
	}
	scratch := *j
	scratch.head, scratch.timeMS, scratch.expect, scratch.mustSync = after.head, after.timeMS, after.sequence, false
	noop, err := scratch.prepare(ctx, Draft{Events: []Event{{Body: body}}}, nil)
	if err != nil {
		return err
	}
	if err := j.options.Hooks.before(ctx, StepSettle, j.id); err != nil {
		return err
	}
	if _, err := j.stores.Log.Append(ctx, noop.request); err != nil {
		return err
	}
	// A crash here is clean: the no-op stands where the record wanted to be, and the record can no longer be stored.
	return j.options.Hooks.after(ctx, StepSettle, j.id)
}
