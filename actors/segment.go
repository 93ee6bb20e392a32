package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"parley/events"
)

// close closes a segment: the client's own log takes what goes with it, then everything is decided. Until the decision begins an older
// transaction may still have what we hold.
func (t *transactionActor) close(last bool, sender Identity, then func(error)) {
	if len(t.late) == 0 {
		t.decide(last, sender, then)
		return
	}
	target := ClientIdentity(t.ref.Client)
	member := t.members[target]
	if member == nil {
		member = &txMember{log: target.log(), brief: true}
		t.members[target] = member
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.listing = cancel
	q, late := txWork{Tx: t.ref, First: !member.touched, Brief: member.brief}, t.late
	t.beside(func(limit context.Context) any {
		defer context.AfterFunc(limit, cancel)()
		out := &txListed{then: func(err error) {
			if err != nil {
				then(err)
				return
			}
			t.decide(last, sender, then)
		}}
		for _, in := range late {
			q.Work = work{Client: in}
			if out.worked, out.err = t.node.enlist(ctx, target, q); out.err != nil {
				break
			}
			q.First = false
		}
		return out
	})
}

// enlist runs an input on the client's own log. Where an older transaction has it, it is waited for: that one never waits for us, since it
// takes what we hold. A refusal is an error.
func (n *Node) enlist(ctx context.Context, target Identity, q txWork) (txWorked, error) {
	for attempt := 0; ; attempt++ {
		worked, err := request[txWork, txWorked](ctx, n, target, q)
		if err == nil {
			err = refused(worked.Result.refusal())
		}
		if !errors.Is(err, ErrConflict) || !n.pause(ctx, attempt) {
			return worked, err
		}
	}
}

// listed goes on to the decision.
func (t *transactionActor) listed(m *txListed) {
	t.listing()
	t.listing = nil
	if m.err == nil && t.over == nil {
		member := t.members[ClientIdentity(t.ref.Client)]
		member.dirty, member.version, member.touched = m.worked.Dirty, m.worked.Version, true
		t.late = nil
		m.then(nil)
		return
	}
	t.spread(txAborted, true) // the first telling, where there was one, may have come before the lock
	if t.over != nil {
		m.then(t.over)
	} else {
		m.then(m.err)
	}
	t.next()
}

// decide makes all dirty participants' events durable together, or none. One that sends hears of it though it has no events.
func (t *transactionActor) decide(last bool, sender Identity, then func(error)) {
	t.closing, t.last = true, last
	targets := slices.SortedFunc(maps.Keys(t.members), func(a, b Identity) int { return strings.Compare(a.String(), b.String()) })
	s := &segment{node: t.node, tx: t.ref, number: t.segment + 1, last: last}
	for _, target := range targets {
		m := t.members[target]
		s.members = append(s.members, segmentMember{target, *m, target == sender})
		if m.dirty {
			s.dirty++
		}
	}
	if s.dirty > 0 {
		t.segment++
	}
	t.beside(func(ctx context.Context) any {
		err := s.close(ctx)
		return &txSegmentDone{err: err, then: func(err error) {
			if err == nil {
				t.durable = t.segment
				t.cleaned()
			} else if s.dirty > 0 {
				t.segment--
			}
			then(err)
		}}
	})
}

// cleaned notes that everything of the participants is durable.
func (t *transactionActor) cleaned() {
	for target, m := range t.members {
		switch {
		case m.brief:
			delete(t.members, target)
		case m.dirty:
			m.dirty, m.version = false, m.version+1
		}
	}
}

func (t *transactionActor) segmentDone(m *txSegmentDone) {
	t.closing, t.last = false, false
	if isCrash(m.err) {
		t.told = true
		t.abandon(ErrUnknownOutcome) // a dead coordinator tells nobody; its participants notice by themselves
		return
	}
	m.then(m.err)
	if t.doomed != nil {
		t.end(t.doomed)
	}
	t.aborted()
	t.next()
}

// segment is one decision of a transaction, carried out beside the coordinator.
type segment struct {
	node    *Node
	tx      txRef
	number  uint32
	members []segmentMember
	dirty   int
	last    bool

	sequences map[events.LogID]uint64 // where the records stand, once stored
}

type segmentMember struct {
	target Identity
	txMember
	sends bool // something of it leaves once the segment is durable
}

// close collects the participants' records, appends them, and spreads the verdict.
func (s *segment) close(ctx context.Context) error {
	var prepared []*events.Prepared
	err := crossing(ctx, s.node.hooks, StepCollect, s.tx.log(), func() (err error) {
		prepared, err = s.collect(ctx)
		return err
	})
	if isCrash(err) {
		return err
	}
	if err != nil {
		_ = s.spread(ctx, txAborted)
		return err
	}
	// A crash here loses the segment and nothing else: nothing of it is stored.
	err = crossing(ctx, s.node.hooks, StepDecide, s.tx.log(), func() error { return s.append(ctx, prepared) })
	// A crash here loses nothing: participants find their record, and with it the segment, in the log.
	verdict := txCommitted
	switch {
	case err == nil:
	case isCrash(err):
		return err
	case errors.Is(err, events.ErrFenced):
		verdict = txStale
	case errors.Is(err, events.ErrFull), errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrTooLarge):
		verdict = txAborted
	default:
		verdict = txUnknown
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return errors.Join(err, s.spread(ctx, verdict))
}

func isCrash(err error) bool {
	_, ok := errors.AsType[*crash](err)
	return ok
}

// append stores the records of a segment, and notes where each of them stands. It touches requests only: the journals belong to
// the participants.
func (s *segment) append(ctx context.Context, prepared []*events.Prepared) error {
	s.sequences = map[events.LogID]uint64{}
	requests := make([]events.Append, len(prepared))
	for i, p := range prepared {
		requests[i] = p.Request()
	}
	switch len(requests) {
	case 0:
		return nil
	case 1:
		sequence, err := s.node.stores.Log.Append(ctx, requests[0])
		s.sequences[requests[0].Log] = sequence
		return err
	}
	release, err := s.node.batchPermit(ctx)
	if err != nil {
		return errors.Join(events.ErrUnavailable, err)
	}
	defer release()
	var sequences []uint64
	err = crossing(ctx, s.node.hooks, events.StepAppendBatch, requests[0].Log, func() (err error) {
		sequences, err = s.node.stores.Log.AppendBatch(ctx, requests)
		return err
	})
	for i, sequence := range sequences {
		s.sequences[requests[i].Log] = sequence
	}
	return err
}

func (s *segment) collect(ctx context.Context) ([]*events.Prepared, error) {
	var batch *events.BatchInfo
	if s.dirty > 1 {
		batch = &events.BatchInfo{Transaction: s.tx.ID, Segment: s.number}
		for _, m := range s.members {
			if m.dirty {
				batch.Participants = append(batch.Participants, events.Participant{Log: m.log, Version: m.version})
			}
		}
	}
	var prepared []*events.Prepared
	for _, m := range s.members {
		if !m.dirty {
			continue
		}
		p, err := request[txSeal, *events.Prepared](ctx, s.node, m.target, txSeal{ID: s.tx.ID, Segment: s.number, Batch: batch})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.target, err)
		}
		prepared = append(prepared, p)
	}
	return prepared, nil
}

// spread tells the participants and waits until they have heard: a caller who is told that the transaction is finished finds
// its effects wherever it looks next.
func (s *segment) spread(ctx context.Context, verdict txVerdict) error {
	return crossing(ctx, s.node.hooks, StepSpread, s.tx.log(), func() error {
		for _, m := range s.members {
			release := s.last || m.brief || verdict != txCommitted
			if !m.dirty && !m.sends && !release {
				continue
			}
			out := txOutcome{ID: s.tx.ID, Verdict: verdict, Version: m.version, Sequence: s.sequences[m.log], Release: release}
			if _, err := request[txOutcome, struct{}](ctx, s.node, m.target, out); err != nil && verdict == txCommitted {
				s.node.logger.Warn("participant did not hear the outcome; it reads it in its log", "participant", m.target.String(), "err", err)
			}
		}
		return nil
	})
}

// log names the transaction in hooks: its client's log.
func (t txRef) log() events.LogID { return events.ClientLog(t.Client) }
