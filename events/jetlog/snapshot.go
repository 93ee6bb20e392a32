package jetlog

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"parley/events"
)

const (
	// partHeader says which part of how many a message of a snapshot is.
	partHeader = "Parley-Part"
	// snapshotPartBytes is a part's size: a message with headers stays far below a server's limit of 1 MiB.
	snapshotPartBytes = 512 << 10
)

// Snapshots keeps the newest snapshot of each log, in parts where it is large. Snapshots are never trusted: package events checks them
// against the chain, and they can always be rebuilt.
type Snapshots struct{ s *Store }

// Snapshots is the store's snapshot store.
func (s *Store) Snapshots() *Snapshots { return &Snapshots{s} }

// Store keeps a snapshot and drops the one before it.
func (n *Snapshots) Store(ctx context.Context, id events.LogID, data []byte) error {
	at, err := n.s.names.beside(StreamSnapshots, id)
	if err != nil {
		return err
	}
	parts := (len(data) + snapshotPartBytes - 1) / snapshotPartBytes
	parts = max(parts, 1)
	if parts > batchMessagesMax {
		return fmt.Errorf("%w: a snapshot of %d bytes", events.ErrTooLarge, len(data))
	}
	msgs := make([]*nats.Msg, parts)
	for i := range msgs {
		part := data[i*snapshotPartBytes : min((i+1)*snapshotPartBytes, len(data))]
		msgs[i] = &nats.Msg{Subject: at.subject, Header: at.header(), Data: part}
		msgs[i].Header.Set(partHeader, fmt.Sprintf("%d/%d", i+1, parts))
	}
	if err := n.s.fits(msgs); err != nil {
		return err
	}
	if err := n.publish(ctx, msgs, at.stream); err != nil {
		return err
	}
	// A crash here leaves the older snapshot beside the new one; the next Store drops both.
	return n.s.purge(ctx, at, purgeRequest{Filter: at.subject, Keep: uint64(parts)})
}

func (n *Snapshots) publish(ctx context.Context, msgs []*nats.Msg, stream string) (err error) {
	ctx, cancel := n.s.bound(ctx)
	defer cancel()
	if err := n.s.awaitConnection(ctx); err != nil {
		return err
	}
	if len(msgs) == 1 {
		_, err = n.s.publish(ctx, msgs[0], stream)
	} else {
		_, err = n.s.publishBatch(ctx, msgs, stream)
	}
	return err
}

// Load reads the newest snapshot of a log. One that is not whole is as good as none: ErrNotFound.
func (n *Snapshots) Load(ctx context.Context, id events.LogID) ([]byte, error) {
	at, err := n.s.names.beside(StreamSnapshots, id)
	if err != nil {
		return nil, err
	}
	m, header, err := n.s.get(ctx, at.stream, getRequest{LastFor: at.subject})
	if err != nil {
		return nil, err
	}
	part, parts, ok := parsePart(header)
	if !ok || part != parts || uint64(parts) > m.Sequence {
		return nil, fmt.Errorf("%w: the snapshot at sequence %d is not whole", events.ErrNotFound, m.Sequence)
	}
	if parts == 1 {
		return m.Data, nil
	}
	// The parts were one atomic batch: their sequences follow one another.
	data := make([]byte, 0, parts*snapshotPartBytes)
	for i := 1; i < parts; i++ {
		piece, header, err := n.s.get(ctx, at.stream, getRequest{Sequence: m.Sequence - uint64(parts-i)})
		if err != nil {
			return nil, err
		}
		if p, of, ok := parsePart(header); !ok || p != i || of != parts {
			return nil, fmt.Errorf("%w: the snapshot at sequence %d is not whole", events.ErrNotFound, m.Sequence)
		}
		data = append(data, piece.Data...)
	}
	return append(data, m.Data...), nil
}

func parsePart(header nats.Header) (part, parts int, ok bool) {
	n, err := fmt.Sscanf(header.Get(partHeader), "%d/%d", &part, &parts)
	return part, parts, err == nil && n == 2 && part >= 1 && parts >= part && parts <= batchMessagesMax
}
