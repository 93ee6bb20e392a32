package delivery

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"parley/mlsengine"
)

const (
	attemptsMax = 6 // the first and five repetitions
	pauseFirst  = 20 * time.Millisecond
	pauseMost   = 5 * time.Second
	doublings   = 8 // that lead from the one to the other
)

// PauseAfter is how long to wait after so many failures in a row, the first being 0: doubling from 20 ms up to 5 s, with half of it by
// chance so that many do not come back at once.
func PauseAfter(failures int) time.Duration {
	wait := min(pauseFirst<<min(max(failures, 0), doublings), pauseMost)
	return wait/2 + rand.N(wait/2)
}

// Backoff waits before a repetition, as PauseAfter says. False when ctx ended.
func Backoff(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(PauseAfter(attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// passing tells an error that the identical submission may overcome: whatever was done already is found again by its command id or digest.
func passing(err error) bool {
	return errors.Is(err, Unknown) || errors.Is(err, Unavailable) || errors.Is(err, NotHere) || errors.Is(err, Busy)
}

// insist tries up to six times while the failure may pass.
func insist(ctx context.Context, attempt func() error) error {
	var err error
	for i := range attemptsMax {
		if err = attempt(); err == nil || !passing(err) {
			return err
		}
		if i == attemptsMax-1 || !Backoff(ctx, i) {
			break
		}
	}
	return err
}

// SubmitMessages puts application messages of one group into the order, as one record where they fit. Receipts stand in the order of the
// messages; only those without a number are tried again.
func (s *Service) SubmitMessages(ctx context.Context, ms []Message) ([]Receipt, error) {
	receipts := make([]Receipt, len(ms))
	if len(ms) == 0 {
		return receipts, nil
	}
	open := make([]int, len(ms))
	for i := range ms {
		if ms[i].Group != ms[0].Group {
			return nil, refuse(Malformed, "messages of several groups")
		}
		open[i] = i
	}
	_ = insist(ctx, func() error {
		subs := make([]Submission, len(open))
		for i, at := range open {
			subs[i] = &ms[at]
		}
		outcomes, err := s.submit(ctx, ms[0].Group, subs)
		var again []int
		for i, at := range open {
			if err != nil {
				receipts[at] = Receipt{Err: err}
			} else {
				receipts[at] = Receipt{Position: outcomes[i].Position, Err: outcomes[i].Err}
			}
			if passing(receipts[at].Err) {
				again = append(again, at)
			}
		}
		if open = again; len(open) > 0 {
			return receipts[open[0]].Err
		}
		return nil
	})
	return receipts, nil
}

// Known tells where a group's order has what a client sent under a command id; false where it does not know the id. A message without
// bytes asks: no sequencer takes one, and a known command is answered before anything else is looked at.
func (s *Service) Known(ctx context.Context, g GroupID, o Origin) (uint64, bool, error) {
	position, err := s.position(ctx, &Message{Group: g, Origin: o})
	if err == nil || passing(err) || errors.Is(err, CommandReused) {
		return position, err == nil, err
	}
	return 0, false, nil
}

// Transport returns the built-in transport: submissions with the repetitions its contract promises.
func (s *Service) Transport() Transport { return transport{s} }

type transport struct{ service *Service }

// SendCommitBundle offers the identical bundle again, at most five times, while the answer may still become Success: after a Retry that
// names the bundle's own epoch, and while the outcome is unknown. A Retry that names a later epoch is final: the submitter is behind.
func (t transport) SendCommitBundle(ctx context.Context, b Bundle) (Answer, error) {
	var answer Answer
	err := insist(ctx, func() error {
		got, err := t.service.SubmitBundle(ctx, b)
		if err != nil {
			answer = nil // what was said before is no longer the last word
			return err
		}
		answer = got
		if retry, ok := got.(Retry); ok && retry.Epoch <= epochOf(b.Commit) {
			return refuse(Busy, "the delivery service asks to try again")
		}
		return nil
	})
	if answer != nil {
		return answer, nil
	}
	return nil, err
}

// SendProposal implements Transport.
func (t transport) SendProposal(ctx context.Context, p Proposal) (uint64, error) {
	return t.service.SubmitProposal(ctx, p)
}

// SendMessages implements Transport.
func (t transport) SendMessages(ctx context.Context, ms []Message) ([]Receipt, error) {
	return t.service.SubmitMessages(ctx, ms)
}

// epochOf is the epoch a commit says it belongs to; the last one there can be where it says nothing.
func epochOf(commit []byte) uint64 {
	m, err := mlsengine.ParseMessage(commit)
	if err != nil {
		return math.MaxUint64
	}
	return uint64(m.Epoch())
}
