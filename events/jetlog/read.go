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

	"parley/events"
	"parley/internal/ids"
)

// One batched direct get is bounded by both; it is held in memory before any of it is handed on.
const (
	readMessagesMax = 1024
	readBytesMax    = 8 << 20
)

// Last is the newest message of a log, read from the leader. A subject whose newest message the leader cannot read is ErrDamaged:
// the server says "not found" for both, but its index knows.
func (s *Store) Last(ctx context.Context, id events.LogID) (events.Message, error) {
	at, err := s.names.log(id)
	if err != nil {
		return events.Message{}, err
	}
	m, _, err := s.last(ctx, at)
	return m, err
}

func (s *Store) last(ctx context.Context, at place) (events.Message, nats.Header, error) {
	m, header, err := s.get(ctx, at.stream, getRequest{LastFor: at.subject})
	if !errors.Is(err, events.ErrNotFound) {
		return m, header, err
	}
	n, countErr := s.count(ctx, at)
	if countErr != nil {
		return events.Message{}, nil, countErr
	}
	if n > 0 {
		// It may have been written since the first question.
		if m, header, err = s.get(ctx, at.stream, getRequest{LastFor: at.subject}); errors.Is(err, events.ErrNotFound) {
			return m, nil, fmt.Errorf("%w: the newest of %d messages of %s cannot be read", events.ErrDamaged, n, at.subject)
		}
	}
	return m, header, err
}

// Scan reads from the leader, one message at a time: slow, and sure to see everything acknowledged before it began.
func (s *Store) Scan(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	at, err := s.names.log(id)
	if err != nil {
		return err
	}
	return s.scan(ctx, at, from, fn)
}

func (s *Store) scan(ctx context.Context, at place, from uint64, fn func(events.Message) error) error {
	next := max(from, 1)
	for {
		m, _, err := s.get(ctx, at.stream, getRequest{Sequence: next, NextFor: at.subject})
		switch {
		case errors.Is(err, events.ErrNotFound):
			done, err := s.scanned(ctx, at, next)
			if done || err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := fn(m); err != nil {
				return err
			}
			next = m.Sequence + 1
		}
	}
}

// scanned reports whether a scan that found nothing from next on has really seen the end: the newest message lies before. Where one
// was appended meanwhile the scan goes on; where one is there and yet cannot be reached it is ErrDamaged.
func (s *Store) scanned(ctx context.Context, at place, next uint64) (done bool, err error) {
	last, _, err := s.last(ctx, at)
	if errors.Is(err, events.ErrNotFound) || err == nil && last.Sequence < next {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_, _, err = s.get(ctx, at.stream, getRequest{Sequence: next, NextFor: at.subject})
	if errors.Is(err, events.ErrNotFound) {
		return false, fmt.Errorf("%w: messages of %s from sequence %d on cannot be read, the newest is %d", events.ErrDamaged, at.subject, next, last.Sequence)
	}
	return false, err
}

// Read gives the messages of a log in order, by batched direct gets.
func (s *Store) Read(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	at, err := s.names.log(id)
	if err != nil {
		return err
	}
	return s.read(ctx, at, from, fn)
}

// read follows the number of messages that the answering server says are pending. Where that contradicts what it then delivers (a
// message that cannot be read, or a replica further behind than the one before), the rest comes from the leader.
func (s *Store) read(ctx context.Context, at place, from uint64, fn func(events.Message) error) error {
	if s.gone[at.stream] {
		return nil
	}
	next, pending := max(from, 1), false
	for {
		batch, more, err := s.directBatch(ctx, at, next, readMessagesMax)
		if err != nil {
			return err
		}
		for _, m := range batch {
			if err := fn(m); err != nil {
				return err
			}
			next = m.Sequence + 1
		}
		if len(batch) == 0 && (pending || more) {
			return s.scan(ctx, at, next, fn)
		}
		if !more {
			return nil
		}
		pending = true
	}
}

type directRequest struct {
	Sequence uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

// directBatch is one batched direct get. more says that the server has further messages of the subject.
func (s *Store) directBatch(ctx context.Context, at place, from uint64, limit int) (batch []events.Message, more bool, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.awaitConnection(ctx); err != nil {
		return nil, false, err
	}
	inbox := s.nc.NewInbox()
	answers, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	defer answers.Unsubscribe()
	body, err := json.Marshal(directRequest{Sequence: from, NextFor: at.subject, Batch: limit, MaxBytes: readBytesMax})
	if err != nil {
		return nil, false, fmt.Errorf("jetlog: %w", err)
	}
	if err := s.nc.PublishRequest(apiPrefix+"DIRECT.GET."+at.stream, inbox, body); err != nil {
		return nil, false, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("%w: read of %s: %w", events.ErrUnavailable, at.subject, err)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			m, err := directMessage(msg)
			if err != nil {
				return nil, false, err
			}
			batch = append(batch, m)
		case "204": // the end of the batch
			pending, err := strconv.ParseUint(msg.Header.Get("Nats-Num-Pending"), 10, 64)
			if err != nil {
				return nil, false, fmt.Errorf("%w: read of %s: %w", events.ErrUnavailable, at.subject, err)
			}
			return batch, pending > 0, nil
		case "404":
			return nil, false, nil
		default:
			return nil, false, fmt.Errorf("%w: read of %s: status %s %s", events.ErrUnavailable, at.subject, status, msg.Header.Get("Description"))
		}
	}
}

func directMessage(msg *nats.Msg) (events.Message, error) {
	seq, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return events.Message{}, fmt.Errorf("%w: sequence of a direct get: %w", events.ErrUnavailable, err)
	}
	at, err := parseTime(msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return events.Message{}, err
	}
	return events.Message{Sequence: seq, Data: msg.Data, Time: at}, nil
}

func parseTime(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, fmt.Errorf("%w: time of a message: %w", events.ErrUnavailable, err)
	}
	return at, nil
}

// List names the member logs of a client, its own one included; or, where client is empty, every log of every kind.
func (s *Store) List(ctx context.Context, client ids.ClientID) ([]events.LogID, error) {
	if client != "" {
		partition := s.names.Partition(string(client))
		filter := s.names.token(partition) + "." + StreamLog.word() + "." + ids.Token(string(client)) + ".*"
		return s.listStream(ctx, StreamLog, partition, filter)
	}
	var all []events.LogID
	for partition := range s.config.Partitions {
		for _, stream := range []Stream{StreamLog, StreamOrder, StreamDirectory} {
			found, err := s.listStream(ctx, stream, partition, s.names.Subjects(stream, partition))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	sortLogs(all)
	return all, nil
}

// listStream turns the subjects of a stream back into ids. A subject with a hashed token is told by the header of its newest message.
func (s *Store) listStream(ctx context.Context, stream Stream, partition int, filter string) ([]events.LogID, error) {
	name := s.names.Stream(stream, partition)
	if s.gone[name] {
		return nil, nil
	}
	var found []events.LogID
	var subjects []string
	if err := s.subjects(ctx, name, filter, func(subject string, _ uint64) { subjects = append(subjects, subject) }); err != nil {
		return nil, err
	}
	for _, subject := range subjects {
		var header nats.Header
		if needsHeader(subject) {
			_, h, err := s.last(ctx, place{stream: name, subject: subject})
			if s.remains && errors.Is(err, events.ErrDamaged) {
				continue // its name stood in what is lost
			}
			if err != nil {
				return nil, err
			}
			header = h
		}
		id, err := parse(stream, subject, header)
		if err != nil {
			return nil, err
		}
		found = append(found, id)
	}
	sortLogs(found)
	return found, nil
}
