//go:build parley_sim

package sim

import (
	"context"
	"errors"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
)

// order is the group's order and whoever believes to be its sequencer.
type order struct {
	world   *world
	current *sequencer
	ghost   *sequencer // was replaced and does not know
	audit   *events.Audit
	known   []conversation.Entry
	epoch   uint64 // that the known entries lead to
	info    []byte // newest GroupInfo
}

// sequencer is one life of the order's only writer.
type sequencer struct {
	journal *events.Journal
	state   *delivery.SequencerState
}

// open recovers the sequencer from the order's log.
func (o *order) open() *sequencer {
	w := o.world
	journal, err := events.OpenJournal(context.Background(), w.stores(), w.vault, events.OrderLog(w.group), events.JournalOptions{Hooks: w.hooks()})
	if err != nil {
		w.tell("sequencer does not open: %v", err)
		return nil
	}
	q := &sequencer{journal: journal, state: delivery.NewSequencerState(delivery.GroupID(w.group), delivery.Limits{})}
	if err := journal.Replay(context.Background(), events.Head{}, q.state.Fold); err != nil {
		w.tell("sequencer does not recover: %v", err)
		if !faulty(err) {
			w.fail(lawReplay, "order: %v", err)
		}
		return nil
	}
	if err := journal.CheckAnchor(context.Background()); err != nil && !faulty(err) {
		w.fail(lawReplay, "order: %v", err)
	}
	return q
}

// faulty tells the faults that the simulation makes from what is wrong.
func faulty(err error) bool {
	return errors.Is(err, errCrash) || errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrUnknownOutcome) || errors.Is(err, events.ErrFenced) ||
		errors.Is(err, events.ErrDead)
}

// submit hands a submission to whoever sequences now, or to a ghost. ok is false where the submitter is not told.
func (o *order) submit(sub delivery.Submission) (out delivery.Outcome, ok bool) {
	w := o.world
	q := &o.current
	if o.ghost != nil && w.chance(3) {
		q = &o.ghost
	} else if o.current == nil {
		o.current = o.open()
	}
	if *q == nil {
		return out, false
	}
	d := delivery.Decide((*q).state, sub, delivery.Env{NowMs: w.nowMs, Joiner: func(delivery.Identity) error { return nil }})
	if d.Event == nil {
		if err := (*q).journal.CheckHead(context.Background()); err != nil {
			w.tell("sequencer was replaced: %v", err)
			*q = nil
			return out, false
		}
		return d.Outcome, true
	}
	if err := (*q).state.Apply(d); err != nil {
		w.fail(lawSound, "apply: %v", err)
		return out, false
	}
	_, err := (*q).journal.Append(context.Background(), events.Draft{TimeMS: w.nowMs, Cause: events.Cause{Command: "submit"}, Events: []events.Event{{Body: d.Event}}})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		if !faulty(err) {
			w.fail(lawSound, "order: %v", err)
		}
		w.tell("sequencer falls: %v", err)
		*q = nil
		return out, false
	}
	if err != nil {
		*q = nil // it stands, but this process does not go on
	}
	return d.Outcome, true
}

// replace starts a successor while the old one believes to go on.
func (o *order) replace() {
	if o.current == nil {
		return
	}
	o.ghost, o.current = o.current, nil
	o.current = o.open()
}

// entries gives what the order holds behind a position. What was read stays read, so that each record is verified once.
func (o *order) entries(after uint64, most int) []conversation.Entry {
	w := o.world
	if o.audit == nil {
		o.audit = events.OpenAudit(w.store, events.OrderLog(w.group), events.Keys{}, events.AuditOptions{})
	}
	err := o.audit.Replay(context.Background(), o.audit.Head(), func(r *events.Record) error {
		for _, e := range delivery.EntriesOf(delivery.GroupID(w.group), r) {
			o.read(e)
		}
		return nil
	})
	if err != nil {
		w.fail(lawReplay, "reading the order: %v", err)
	}
	from := min(after, uint64(len(o.known)))
	return o.known[from:min(uint64(len(o.known)), from+uint64(most))]
}

// read takes an entry over, and checks that it is the next one and that no epoch ends twice.
func (o *order) read(e delivery.Entry) {
	o.known = append(o.known, e.ForMember())
	if len(e.GroupInfo) > 0 {
		o.info = e.GroupInfo
	}
	o.world.fanOut(len(o.known) - 1)
	if e.Number != uint64(len(o.known)) {
		o.world.fail(lawCommits, "entry %d stands at place %d", e.Number, len(o.known))
	}
	if e.Kind != delivery.KindCommit {
		return
	}
	if e.Epoch != o.epoch {
		o.world.fail(lawCommits, "a commit of epoch %d in epoch %d", e.Epoch, o.epoch)
	}
	o.epoch = e.Epoch + 1
	o.world.tally[tallyCommits]++
	for _, m := range e.Added {
		o.world.welcome(m.Client, e)
	}
}
