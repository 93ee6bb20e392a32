package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"parley/events"
)

// batchMessagesMax is the most messages that nats-server takes in one atomic batch.
const batchMessagesMax = 1000

var errEmptyAppend = errors.New("jetlog: an append without messages")

// Append stores the messages of one log: a single message as a plain publish, several as one atomic batch.
func (s *Store) Append(ctx context.Context, a events.Append) (uint64, error) {
	seqs, err := s.AppendBatch(ctx, []events.Append{a})
	if err != nil {
		return 0, err
	}
	return seqs[0], nil
}

// AppendBatch stores the messages of several logs, all or none. They live in one stream: logs of one kind whose clients, or groups,
// share a partition. The server numbers the messages of a batch one after another.
func (s *Store) AppendBatch(ctx context.Context, as []events.Append) ([]uint64, error) {
	msgs, stream, err := s.messages(as)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.awaitConnection(ctx); err != nil {
		return nil, err
	}
	last, err := s.decided(ctx, func() (uint64, error) {
		if len(msgs) == 1 {
			return s.publish(ctx, msgs[0], stream)
		}
		return s.publishBatch(ctx, msgs, stream)
	})
	if err != nil {
		return nil, err
	}
	seqs := make([]uint64, len(as))
	next := last - uint64(len(msgs)) + 1
	for i, a := range as {
		next += uint64(len(a.Messages))
		seqs[i] = next - 1
	}
	return seqs, nil
}

// messages are the appends as they are published. Only the first message of a subject carries an expectation: the server would refuse
// another in the same batch, whichever number it named.
func (s *Store) messages(as []events.Append) (msgs []*nats.Msg, stream string, err error) {
	seen := make(map[string]bool, len(as))
	for _, a := range as {
		at, err := s.names.log(a.Log)
		if err != nil {
			return nil, "", err
		}
		switch {
		case len(a.Messages) == 0:
			return nil, "", fmt.Errorf("%w: %s", errEmptyAppend, a.Log)
		case stream != "" && at.stream != stream:
			return nil, "", fmt.Errorf("jetlog: %s is in stream %s, the batch in %s", a.Log, at.stream, stream)
		case seen[at.subject]:
			return nil, "", fmt.Errorf("jetlog: %s is in the batch twice", a.Log)
		}
		seen[at.subject], stream = true, at.stream
		for i, data := range a.Messages {
			msg := &nats.Msg{Subject: at.subject, Header: at.header(), Data: data}
			if i == 0 {
				msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(a.Expect, 10))
			}
			msgs = append(msgs, msg)
		}
	}
	if len(msgs) == 0 {
		return nil, "", errEmptyAppend
	}
	if len(msgs) > batchMessagesMax {
		return nil, "", fmt.Errorf("%w: %d messages in one batch, at most %d", events.ErrTooLarge, len(msgs), batchMessagesMax)
	}
	return msgs, stream, s.fits(msgs)
}

// fits refuses messages the server would refuse, before the connection is asked: it would be closed over them.
func (s *Store) fits(msgs []*nats.Msg) error {
	limit := s.nc.MaxPayload()
	for _, msg := range msgs {
		const headers = 512 // room for ours and the batch's
		if size := int64(len(msg.Data)) + headers + int64(len(msg.Header.Get(idHeader))); limit > 0 && size > limit {
			return fmt.Errorf("%w: a message of %d bytes, the server takes %d", events.ErrTooLarge, size, limit)
		}
	}
	return nil
}

// acknowledgement is the server's answer to a publish or to the commit of a batch.
type acknowledgement struct {
	Stream   string              `json:"stream"`
	Sequence uint64              `json:"seq"`
	Error    *jetstream.APIError `json:"error"`
}

// undecidedTries is how often an append is offered that the server refuses because something on its subject is still under way there. A
// replicated stream acknowledges a message a moment before it is done with it: whoever appends right behind it would be refused as if he had
// lost a race. Nothing was stored, and the expectation is checked anew: a race that was lost is told as such then.
const (
	undecidedTries = 6
	undecidedPause = 2 * time.Millisecond // before the second; it doubles
)

// decided offers an append until the server has decided it. A server that is alone decides at once.
func (s *Store) decided(ctx context.Context, offer func() (uint64, error)) (uint64, error) {
	for try := 1; ; try++ {
		sequence, err := offer()
		if try == undecidedTries || s.config.Replicas < 2 || !hasCode(err, codeWrongLastSequenceTo) {
			return sequence, err
		}
		timer := time.NewTimer(undecidedPause << (try - 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return sequence, err
		}
	}
}

// publish stores one message and returns its sequence.
func (s *Store) publish(ctx context.Context, msg *nats.Msg, stream string) (uint64, error) {
	answer, err := s.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, unanswered(err)
	}
	var ack acknowledgement
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
	}
	if ack.Error != nil {
		return 0, refused(ack.Error)
	}
	if ack.Stream != stream || ack.Sequence == 0 {
		return 0, fmt.Errorf("%w: acknowledged by stream %q, sequence %d", events.ErrUnknownOutcome, ack.Stream, ack.Sequence)
	}
	return ack.Sequence, nil
}

// publishBatch stores several messages atomically and returns the sequence of the last. The server keeps what it has of a batch aside
// and forgets it unless the last message, which commits, arrives.
func (s *Store) publishBatch(ctx context.Context, msgs []*nats.Msg, stream string) (uint64, error) {
	select {
	case s.batches <- struct{}{}:
		defer func() { <-s.batches }()
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: waiting for other batches: %w", events.ErrUnavailable, ctx.Err())
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs, jetstreamext.BatchFlowControl{AckFirst: false})
	var refusal *jetstream.APIError
	switch {
	case errors.As(err, &refusal):
		return 0, refused(refusal)
	case err != nil:
		return 0, unanswered(err)
	case ack.Stream != stream:
		return 0, fmt.Errorf("%w: acknowledged by stream %q", events.ErrUnknownOutcome, ack.Stream)
	}
	return ack.Sequence, nil
}

// unanswered translates an error of the client library. Only what it is certain never left, or never reached a stream, counts as not
// stored; everything else may still arrive.
func unanswered(err error) error {
	for _, certain := range []error{
		nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrConnectionDraining, nats.ErrBadSubject, nats.ErrHeadersNotSupported,
	} {
		if errors.Is(err, certain) {
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", events.ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", events.ErrUnknownOutcome, err)
}
