package events

import (
	"context"
	"errors"
	"fmt"

	v1 "parley/events/v1"
)

// Replay reads the log from a head on (the zero Head: from the beginning) and
// gives each record to fn once it is verified: digest, MAC, chain, chunks,
// seals. Secrets are open where their key lives. A record that is not what was
// once stored is an *ErrCorrupt, after the records before it were given.
//
// A batch that was torn is void: its records are passed over, and Replay
// appends the TransactionTorn that says so. ErrFenced then means that somebody
// else writes this log.
//
// Called again, with Head, it catches up with what others have appended.
func (j *Journal) Replay(ctx context.Context, from Head, fn func(*Record) error) error {
	if j.unwell != nil {
		return errors.Join(ErrDead, j.unwell)
	}
	watch := &anchorWatch{anchor: j.ring.anchor, asOf: j.ring.asOf, life: j.ring.incarnation}
	if j.replayed {
		if from != j.head {
			return badDraft("log %s was replayed to %v and cannot go on from %v", j.id, j.head, from)
		}
		if err := j.adoptTheirs(ctx); err != nil {
			return err
		}
		// The ring in memory is as of the head, whatever its stored anchor says.
		watch.anchor.Version, watch.anchor.Digest, watch.asOf = j.head.Version, j.head.Digest, j.head.Version
		if j.head.Version > 0 {
			watch.life = j.head.Incarnation
		}
		watch.matched = j.reached
	}
	r := &reader{log: j.id, ring: j.ring, mac: j.ring.mac(), passed: watch.pass, resumed: watch.resume}
	r.void = func(torn, by *Record) {
		watch.void(torn.Head, by.Head)
		if j.options.Void != nil {
			j.options.Void(torn)
		}
	}
	r.fn = func(v verified) error {
		if !watch.accounted(v.record.Head) {
			j.ring.apply(v.record.Events, v.parts, place{v.record.Version, v.record.TimeMS})
		}
		return fn(v.record)
	}
	if err := r.walk(ctx, j.stores.Log, from); err != nil {
		return j.die(fmt.Errorf("replay log %s: %w", j.id, err))
	}
	gone := r.start == startAt || r.start == startOrigin
	if r.start != startDone {
		r.head = Head{} // nothing was read
	}
	j.head, j.timeMS, j.expect, j.replayed = r.head, r.timeMS, r.sequence, true
	if err := j.settleTail(ctx, r); err != nil {
		return fmt.Errorf("replay log %s: %w", j.id, err)
	}
	// The record to resume from is gone, or so are some that others have anchored: CheckAnchor says it.
	behind := j.ring.incarnation == j.head.Incarnation && j.head.Version < j.ring.anchor.Version
	j.reached = watch.reached() && !gone && !behind
	j.loss = fmt.Sprintf("it ends at version %d", j.head.Version)
	if watch.undone {
		j.loss = "a batch that was whole has lost its end"
	}
	return nil
}

// anchorWatch compares the records that pass with the anchor of the ring.
type anchorWatch struct {
	anchor   Anchor
	asOf     uint64 // records up to this version were in the ring when it was stored
	life     Incarnation
	met      bool // a record of the anchor's incarnation has passed
	matched  bool // the anchored record itself, or the walk began after it
	outlived bool // a later incarnation follows the anchor's
	undone   bool // a record up to the anchor became void after it was anchored
}

// resume: the walk begins after this record, which is there. The chain to it
// was followed before.
func (w *anchorWatch) resume(head Head) {
	w.pass(head)
	w.matched = w.matched || head.Incarnation == w.life && head.Version > w.anchor.Version
}

func (w *anchorWatch) pass(head Head) {
	switch {
	case head.Incarnation == w.life:
		w.met = true
		w.matched = w.matched || head.Version == w.anchor.Version && head.Digest == w.anchor.Digest
	case w.met:
		w.outlived = true
	}
}

// void: a torn batch's record was superseded. If the anchor had passed it, the
// batch was whole once and acknowledged, and its end was lost afterwards.
func (w *anchorWatch) void(torn, by Head) {
	if torn.Incarnation == w.life && torn.Version <= w.anchor.Version && by.Version > w.anchor.Version {
		w.undone = true
	}
}

// reached: the log holds the anchored record and all before it, or has said
// itself that it lost them.
func (w *anchorWatch) reached() bool {
	return w.anchor.Version == 0 || w.outlived || w.matched && !w.undone
}

// accounted: the ring knows what the record did to its keys, for it was stored after it.
func (w *anchorWatch) accounted(head Head) bool {
	if head.Incarnation == w.life {
		return head.Version <= w.asOf
	}
	return !w.outlived
}

// settleTail decides about what stands at the end of the log and may be the
// remains of a torn batch.
func (j *Journal) settleTail(ctx context.Context, r *reader) error {
	if len(r.chunks) > 0 {
		// If the record of these chunks is still on its way the fence refuses ours.
		return j.appendTorn(ctx, r, &v1.TransactionTorn{Version: j.head.Version + 1})
	}
	if len(r.held) == 0 {
		return nil
	}
	torn := r.held[0].record
	whole, err := j.whole(ctx, torn)
	if err != nil {
		return err
	}
	if !whole && len(r.held) == 1 {
		// A batch becomes visible message by message. A no-op of ours is stored after all of it: what is missing then stays missing.
		if err := j.appendOwn(ctx, r, StepTorn, &v1.Claimed{}); err != nil {
			return err
		}
		if whole, err = j.whole(ctx, torn); err != nil {
			return err
		}
	}
	if whole {
		return r.release()
	}
	return j.appendTorn(ctx, r, &v1.TransactionTorn{
		TransactionId: []byte(torn.Batch.Transaction), Version: torn.Version, Digest: torn.Digest[:],
	})
}

func (j *Journal) appendTorn(ctx context.Context, r *reader, body *v1.TransactionTorn) error {
	return j.appendOwn(ctx, r, StepTorn, body)
}

// appendOwn appends a record of the journal's own during replay, and lets it
// take its place in the walk like one that was read. The ring is not written:
// its anchor must not pass a record that is still held.
func (j *Journal) appendOwn(ctx context.Context, r *reader, step Step, body Body) error {
	p, err := j.prepare(ctx, Draft{Events: []Event{{Body: body}}}, nil)
	if err != nil {
		return err
	}
	if err := j.options.Hooks.before(ctx, step, j.id); err != nil {
		return err
	}
	sequence, err := j.stores.Log.Append(ctx, p.request)
	if err != nil {
		return p.Fail(err)
	}
	// A crash here is clean: the next replay reads the record where this one would have gone on.
	if err := j.options.Hooks.after(ctx, step, j.id); err != nil {
		return j.die(err)
	}
	p.settled, p.record.Sequence = true, sequence
	j.adopt(p.record, nil)
	return r.place(verified{record: p.record})
}

// errFound ends a walk that has seen enough.
var errFound = errors.New("found")

// whole tells whether the batch of a record is all there: the record of its
// last log proves it. It is read from the leader.
func (j *Journal) whole(ctx context.Context, r *Record) (bool, error) {
	last := r.Batch.Participants[len(r.Batch.Participants)-1]
	var data []byte
	err := j.stores.Log.Scan(ctx, last.Log, r.Sequence, func(m Message) error {
		if isChunk(m.Data) {
			return nil
		}
		data = m.Data
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return false, fmt.Errorf("look for the end of a batch in log %s: %w", last.Log, err)
	}
	if data == nil || !endsBatch(data, r) {
		return false, nil
	}
	return j.believed(ctx, last, data)
}

// endsBatch tells whether a stored message is the last record of r's batch.
func endsBatch(data []byte, r *Record) bool {
	stored, err := splitStored(data)
	if err != nil {
		return false
	}
	message, _, err := parseRecord(stored.encoding)
	if err != nil {
		return false
	}
	last := r.Batch.Participants[len(r.Batch.Participants)-1]
	batch := batchOf(message.Batch)
	return batch != nil && message.Version == last.Version && sameBatch(batch, r.Batch)
}

// believed checks the MAC of a record of another log. One whose ring is gone,
// or was made anew since, is taken at its word: its owner could no longer check
// it either.
func (j *Journal) believed(ctx context.Context, at Participant, data []byte) (bool, error) {
	ring, _, err := j.stores.Rings.Load(ctx, at.Log)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the key ring of %s: %w", at.Log, err)
	}
	other, err := decodeRing(ctx, j.vault, at.Log, ring)
	if err != nil {
		return false, err
	}
	if at.Version <= other.origin.Version {
		return true, nil
	}
	stored, err := splitStored(data)
	return err == nil && checkMAC(other.mac(), macRecord, stored.digest[:], stored.mac), nil
}

// lost: the ring is a new one, and the log does not say so yet.
func (j *Journal) lost() bool {
	return j.ring.origin.Version > 0 && j.head.Version == j.ring.origin.Version
}

// CheckAnchor compares the log with the anchor of its ring, after Replay:
// ErrRolledBack when records that were durable are gone. It concludes that
// only after it has read ring and head again from their leaders; where those
// say something else than Replay saw, the journal is dead with ErrFenced.
//
// After ErrRolledBack the journal takes only a record that begins with
// LogRolledBack, and with it a new incarnation of the log begins. ErrSecretsLost
// says the same of a log whose ring had to be made anew, and SecretsLost.
func (j *Journal) CheckAnchor(ctx context.Context) error {
	if err := j.usable(); err != nil {
		return err
	}
	if j.lost() {
		return fmt.Errorf("log %s: %w", j.id, ErrSecretsLost)
	}
	if j.reached {
		return nil
	}
	again, err := j.loadRing(ctx)
	if err != nil {
		return fmt.Errorf("read the key ring of %s again: %w", j.id, err)
	}
	if again.anchor != j.ring.anchor || again.incarnation != j.ring.incarnation {
		return j.die(fmt.Errorf("log %s: %w: its anchor is another", j.id, ErrFenced))
	}
	if err := j.CheckHead(ctx); err != nil {
		return err
	}
	return fmt.Errorf("log %s: %w: %s, and the anchor is %d:%s", j.id, ErrRolledBack, j.loss, again.anchor.Version, again.anchor.Digest)
}
