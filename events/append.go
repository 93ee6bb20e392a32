package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Append makes a draft the next record of the log.
//
// ErrFenced and ErrUnknownOutcome leave the journal dead: reopen it, after an
// unknown outcome settle Pending first. After ErrFull, ErrUnavailable and
// ErrBadDraft nothing was stored and the journal lives. A record together with
// ErrRingBehind is durable.
func (j *Journal) Append(ctx context.Context, d Draft) (*Record, error) {
	p, err := j.Prepare(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	return p.append(ctx, StepAppend)
}

func (p *Prepared) append(ctx context.Context, step Step) (*Record, error) {
	j := p.journal
	note, err := p.speak(ctx)
	if err != nil {
		return nil, err
	}
	sequence, err := p.offer(ctx, step)
	ahead := note.wait() // whatever became of the record: what a dead process had begun is over when its successor looks
	if err != nil {
		return nil, err
	}
	// A crash here loses nothing: the record is durable and replay finds it. What it superseded dies when it is replayed.
	if err := j.options.Hooks.after(ctx, step, j.id); err != nil {
		return nil, j.die(err)
	}
	if ahead {
		if err := j.options.Hooks.after(ctx, StepAnchor, j.id); err != nil {
			return nil, j.die(err)
		}
	}
	return p.Commit(ctx, sequence)
}

// offer hands the record to the store.
func (p *Prepared) offer(ctx context.Context, step Step) (sequence uint64, err error) {
	j := p.journal
	// A crash here leaves at most an anchor that speaks for generations which nothing was made with: its reader gives them up.
	if err := j.options.Hooks.before(ctx, step, j.id); err != nil {
		return 0, err
	}
	if sequence, err = j.stores.Log.Append(ctx, p.request); err != nil {
		return 0, p.Fail(err)
	}
	return sequence, nil
}

// Fail tells the journal what became of an append that was not acknowledged,
// and returns the error with the log's name.
func (p *Prepared) Fail(err error) error {
	j := p.journal
	err = fmt.Errorf("append to log %s at version %d: %w", j.id, p.record.Version, err)
	switch {
	case errors.Is(err, ErrFenced):
		return j.die(err)
	case errors.Is(err, ErrFull), errors.Is(err, ErrUnavailable), errors.Is(err, ErrTooLarge):
		return err
	}
	j.pending = p
	if !errors.Is(err, ErrUnknownOutcome) { // what the store does not name might have happened
		err = errors.Join(ErrUnknownOutcome, err)
	}
	return j.die(err)
}

// Commit takes note that the record is durable at a stream sequence, and then
// writes the ring where keys have died, an anchor is due or spares run low. Of
// a swift record only what speaks for generations is written, where it was not
// before; the rest waits for Secure.
func (p *Prepared) Commit(ctx context.Context, sequence uint64) (*Record, error) {
	j := p.journal
	if p.settled || p.base != j.head {
		return nil, badDraft("record %d of log %s was prepared on another head", p.record.Version, j.id)
	}
	p.settled = true
	p.record.Sequence = sequence
	j.adopt(p.record, p.parts)
	if restarts(p.record.Events) {
		j.reached, j.mustSync = true, true
	}
	if p.anchor != nil {
		j.lags = j.lags || !p.swift || p.anchor.Epoch != j.ring.anchor.Epoch
		j.reserve(*p.anchor)
	}
	j.lags = j.lags || j.unspoken || len(j.ring.killed) > 0 || j.mustSync || j.ring.spares() < spareKeysLow
	if !j.lags || p.swift && !j.unspoken {
		return p.record, nil
	}
	if err := j.secure(ctx); err != nil {
		// Why is for people only: what the ring write ran into must not be taken for what became of the record.
		return p.record, fmt.Errorf("after record %d of log %s: %w: %v", p.record.Version, j.id, ErrRingBehind, err)
	}
	return p.record, nil
}

// adopt moves the journal to a durable record: its ring is what the record
// leaves of it.
func (j *Journal) adopt(r *Record, parts []usedPart) {
	j.head, j.timeMS, j.expect, j.open = r.Head, r.TimeMS, r.Sequence, nil
	j.ring.apply(r.Events, parts, place{r.Version, r.TimeMS})
}

// AppendAll appends records of several journals as one atomic batch, and
// commits them. Either all carry the same BatchInfo and stand in its order, a
// transaction; or none has one, and they merely travel together.
//
// After ErrFenced nothing was stored and one of the journals has lost its
// race; CheckHead says which. After ErrUnknownOutcome each is dead and has its
// record Pending.
func AppendAll(ctx context.Context, log Log, ps []*Prepared) error {
	if err := checkBatch(ps); err != nil {
		return err
	}
	requests := make([]Append, len(ps))
	for i, p := range ps {
		requests[i] = p.request
	}
	first := ps[0].journal
	if err := first.options.Hooks.before(ctx, StepAppendBatch, first.id); err != nil {
		return err
	}
	sequences, err := log.AppendBatch(ctx, requests)
	if err == nil && len(sequences) != len(ps) {
		err = fmt.Errorf("the store acknowledged %d records of %d", len(sequences), len(ps))
	}
	if errors.Is(err, ErrFenced) {
		return fmt.Errorf("append a batch of %d logs: %w", len(ps), err)
	}
	if err != nil {
		var all []error
		for _, p := range ps {
			all = append(all, p.Fail(err))
		}
		return errors.Join(all...)
	}
	// A crash here loses nothing: the batch is durable, and every participant finds its record.
	if err := first.options.Hooks.after(ctx, StepAppendBatch, first.id); err != nil {
		for _, p := range ps {
			_ = p.journal.die(err) // the same error is returned below
		}
		return err
	}
	var all []error
	for i, p := range ps {
		if _, err := p.Commit(ctx, sequences[i]); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func checkBatch(ps []*Prepared) error {
	if len(ps) == 0 {
		return badDraft("an empty batch")
	}
	batch := ps[0].record.Batch
	if batch != nil && len(batch.Participants) != len(ps) {
		return badDraft("%d records for a batch of %d logs", len(ps), len(batch.Participants))
	}
	seen := map[LogID]bool{}
	for i, p := range ps {
		if seen[p.journal.id] {
			return badDraft("two records of log %s in one batch", p.journal.id)
		}
		seen[p.journal.id] = true
		if p.settled || p.base != p.journal.head {
			return badDraft("record %d of log %s was prepared on another head", p.record.Version, p.journal.id)
		}
		b := p.record.Batch
		switch {
		case batch == nil && b == nil:
		case batch == nil || b == nil, !sameBatch(batch, b), b.Participants[i] != (Participant{p.journal.id, p.record.Version}):
			return badDraft("log %s does not stand in the batch as it says", p.journal.id)
		}
	}
	return nil
}

func sameBatch(a, b *BatchInfo) bool {
	return a.Transaction == b.Transaction && a.Segment == b.Segment && slices.Equal(a.Participants, b.Participants)
}
