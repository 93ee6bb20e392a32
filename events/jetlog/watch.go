package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"parley/events"
	"parley/internal/ids"
)

// Wake says that a log has grown: its message at Sequence is new. It carries no data; who is woken reads from where it was.
type Wake struct {
	Log      events.LogID // for an inbox the client's own log
	Sequence uint64
}

// Watch reports what is appended to a stream of every partition, StreamOrder or StreamInbox, until ctx ends, fn fails or the store
// refuses: then watch again. Each partition has one durable consumer of the given name, however many watch under it: each message
// wakes one of them, and once more where fn failed or its process died. A new name starts at the beginning of what is kept, and stays
// on the server; names are therefore those of nodes and purposes, not of processes.
func (s *Store) Watch(ctx context.Context, stream Stream, durable string, fn func(Wake) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for partition := range s.config.Partitions {
		group.Go(func() error { return s.watch(ctx, stream, partition, durable, fn) })
	}
	return group.Wait()
}

// wakesInFlight bounds what a consumer hands out before it is acknowledged.
const wakesInFlight = 1024

// wakePatience is when a wake goes to another one because whoever took it has not acknowledged it: how long a process that is killed then
// holds up what it was about to do, a Welcome for example. One that is only slow is woken twice, which changes nothing.
const wakePatience = 5 * time.Second

func (s *Store) watch(ctx context.Context, stream Stream, partition int, durable string, fn func(Wake) error) error {
	name := s.names.Stream(stream, partition)
	bounded, cancel := s.bound(ctx)
	defer cancel()
	consumer, err := s.js.CreateOrUpdateConsumer(bounded, name, jetstream.ConsumerConfig{
		Durable:       durable,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       wakePatience,
		MaxAckPending: wakesInFlight,
		HeadersOnly:   true,
	})
	if err != nil {
		return fmt.Errorf("%w: consumer %s of %s: %w", events.ErrUnavailable, durable, name, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(wakesInFlight / 4))
	if err != nil {
		return fmt.Errorf("%w: consumer %s of %s: %w", events.ErrUnavailable, durable, name, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // the connection was away; the consumer keeps our place
		case err != nil:
			return fmt.Errorf("%w: consumer %s of %s: %w", events.ErrUnavailable, durable, name, err)
		}
		wake, err := wakeOf(stream, msg)
		if err != nil {
			return err
		}
		if err := fn(wake); err != nil {
			_ = msg.Nak() // at once, and not only when the server loses its patience
			return err
		}
		// A crash here wakes somebody once more, and so does an acknowledgement that does not arrive.
		_ = msg.Ack()
	}
}

func wakeOf(stream Stream, msg jetstream.Msg) (Wake, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Wake{}, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	id, err := parse(stream, msg.Subject(), msg.Headers())
	if err != nil {
		return Wake{}, err
	}
	return Wake{Log: id, Sequence: meta.Sequence.Stream}, nil
}

// Subject is where a log is kept, for those who look at a server from outside.
func (n Names) Subject(id events.LogID) (stream, subject string, err error) {
	at, err := n.log(id)
	return at.stream, at.subject, err
}

// RingSubject is where the ring of a log is kept.
func (n Names) RingSubject(id events.LogID) (stream, subject string, err error) {
	at, err := n.beside(StreamKeys, id)
	return at.stream, at.subject, err
}

// AnchorSubject is where the anchor beside a log's ring is kept.
func (n Names) AnchorSubject(id events.LogID) (stream, subject string, err error) {
	at, err := n.beside(StreamAnchors, id)
	return at.stream, at.subject, err
}

// SnapshotSubject is where the snapshot of a log is kept.
func (n Names) SnapshotSubject(id events.LogID) (stream, subject string, err error) {
	at, err := n.beside(StreamSnapshots, id)
	return at.stream, at.subject, err
}

// InboxSubject is where notices to a client are kept.
func (n Names) InboxSubject(client ids.ClientID) (stream, subject string, err error) {
	at, err := n.inbox(client)
	return at.stream, at.subject, err
}
