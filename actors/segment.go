package actors

import (
	"context"
	"errors"
	"fmt"

	"parley/events"
)

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
		release := s.last || verdict != txCommitted
		for _, m := range s.members {
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
