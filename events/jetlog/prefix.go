package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	"parley/internal/ids"
)

// ErrKept is a log of which nothing is ever removed.
var ErrKept = errors.New("a member log is kept whole")

type purgeRequest struct {
	Filter   string `json:"filter"`
	Sequence uint64 `json:"seq,omitempty"` // up to, not including
	Keep     uint64 `json:"keep,omitempty"`
}

func (s *Store) purge(ctx context.Context, at place, request purgeRequest) error {
	var response struct {
		Purged uint64 `json:"purged"`
	}
	return s.call(ctx, "STREAM.PURGE."+at.stream, request, &response)
}

// Purge removes the messages of an order or a directory that lie before a sequence. The newest message is never removed, whatever the
// sequence: the fence stands on it. A record in chunks begins at its first chunk; before is meant to be such a beginning.
func (s *Store) Purge(ctx context.Context, id events.LogID, before uint64) error {
	if id.Kind == events.KindMember {
		return fmt.Errorf("%w: %s", ErrKept, id)
	}
	at, err := s.names.log(id)
	if err != nil {
		return err
	}
	return s.purgeBefore(ctx, at, before)
}

// purgeBefore bounds the purge by the newest message as the leader has it. One that is appended meanwhile is newer still.
func (s *Store) purgeBefore(ctx context.Context, at place, before uint64) error {
	newest, _, err := s.last(ctx, at)
	if errors.Is(err, events.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	before = min(before, newest.Sequence)
	if before < 2 {
		return nil
	}
	return s.purge(ctx, at, purgeRequest{Filter: at.subject, Sequence: before})
}

// AgedOrders names the orders that begin with a message older than a moment and have others behind it.
func (s *Store) AgedOrders(ctx context.Context, before time.Time) (aged []events.LogID, err error) {
	for partition := range s.config.Partitions {
		stream := s.names.Stream(StreamOrder, partition)
		var several []string
		err := s.subjects(ctx, stream, s.names.Subjects(StreamOrder, partition), func(subject string, messages uint64) {
			if messages > 1 {
				several = append(several, subject)
			}
		})
		if err != nil {
			return nil, err
		}
		for _, subject := range several {
			m, header, err := s.get(ctx, stream, getRequest{Sequence: 1, NextFor: subject})
			if errors.Is(err, events.ErrNotFound) || err == nil && !m.Time.Before(before) {
				continue
			}
			if err != nil {
				return nil, err
			}
			id, err := parse(StreamOrder, subject, header)
			if err != nil {
				return nil, err
			}
			aged = append(aged, id)
		}
	}
	sortLogs(aged)
	return aged, nil
}

// Notify puts a notice into a client's inbox. The same message id within two minutes is stored once; readers of an inbox do not rely
// on that. The inbox has no fence.
func (s *Store) Notify(ctx context.Context, client ids.ClientID, messageID string, data []byte) (sequence uint64, err error) {
	at, err := s.names.inbox(client)
	if err != nil {
		return 0, err
	}
	msg := &nats.Msg{Subject: at.subject, Header: at.header(), Data: data}
	if messageID != "" {
		msg.Header.Set(nats.MsgIdHdr, messageID)
	}
	if err := s.fits([]*nats.Msg{msg}); err != nil {
		return 0, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.awaitConnection(ctx); err != nil {
		return 0, err
	}
	return s.publish(ctx, msg, at.stream)
}

// Notices are at most limit notices of a client's inbox from a sequence on.
func (s *Store) Notices(ctx context.Context, client ids.ClientID, from uint64, limit int) ([]events.Message, error) {
	at, err := s.names.inbox(client)
	if err != nil {
		return nil, err
	}
	var found []events.Message
	enough := errors.New("enough")
	err = s.read(ctx, at, from, func(m events.Message) error {
		if len(found) >= limit {
			return enough
		}
		found = append(found, m)
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return found, nil
}

// PurgeNotices removes the notices of a client's inbox that lie before a sequence, except the newest.
func (s *Store) PurgeNotices(ctx context.Context, client ids.ClientID, before uint64) error {
	at, err := s.names.inbox(client)
	if err != nil {
		return err
	}
	return s.purgeBefore(ctx, at, before)
}
