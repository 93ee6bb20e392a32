package jetlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
)

// Rings keeps the rings of logs. A ring is one message on a plain stream; its revision is the message's sequence.
type Rings struct{ s *Store }

// Rings is the store's ring store.
func (s *Store) Rings() *Rings { return &Rings{s} }

// Load reads a ring from the leader. What an interrupted Store has left of those before it is erased soon after.
func (r *Rings) Load(ctx context.Context, id events.LogID) (data []byte, revision uint64, err error) {
	at, err := r.s.names.beside(StreamKeys, id)
	if err != nil {
		return nil, 0, err
	}
	m, _, err := r.s.last(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	if r.s.eraser.expects(at) {
		return m.Data, m.Sequence, nil
	}
	if older, _, err := r.s.get(ctx, at.stream, getRequest{Sequence: 1, NextFor: at.subject}); err == nil && older.Sequence < m.Sequence {
		r.s.eraser.later(r, erasure{at: at, newest: m.Sequence})
	}
	return m.Data, m.Sequence, nil
}

// Store replaces a ring whose revision is expect. The old one is erased soon after: the server rewrites a whole block of its file to
// overwrite one message, megabytes where many logs are busy, and nobody should wait for hygiene. Where rings are replaced faster than
// they can be erased, the old one is only deleted, and leaves the disk when the server compacts the block.
func (r *Rings) Store(ctx context.Context, id events.LogID, data []byte, expect uint64) (revision uint64, err error) {
	at, err := r.s.names.beside(StreamKeys, id)
	if err != nil {
		return 0, err
	}
	msg := &nats.Msg{Subject: at.subject, Header: at.header(), Data: data}
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expect, 10))
	if err := r.s.fits([]*nats.Msg{msg}); err != nil {
		return 0, err
	}
	revision, err = r.replace(ctx, msg, at.stream)
	if errors.Is(err, events.ErrFenced) {
		return 0, fmt.Errorf("%w: %w", events.ErrConflict, err)
	}
	if err != nil {
		return 0, err
	}
	// A crash here, or soon after, leaves two rings; the newest one counts, and Load and Sweep erase the other.
	if expect > 0 && !r.s.eraser.later(r, erasure{at: at, newest: revision, only: expect}) {
		_ = r.remove(ctx, at.stream, deletion{Sequence: expect, NoErase: true}) // Load and Sweep find it if it is still there
	}
	return revision, nil
}

func (r *Rings) replace(ctx context.Context, msg *nats.Msg, stream string) (uint64, error) {
	ctx, cancel := r.s.bound(ctx)
	defer cancel()
	if err := r.s.awaitConnection(ctx); err != nil {
		return 0, err
	}
	return r.s.publish(ctx, msg, stream)
}

// Delete erases a ring, and removes the anchor beside it first; what does not exist is no error.
func (r *Rings) Delete(ctx context.Context, id events.LogID) error {
	at, err := r.s.names.beside(StreamKeys, id)
	if err != nil {
		return err
	}
	if err := r.deleteAnchor(ctx, id); err != nil {
		return err
	}
	// A crash here leaves a ring without the newest anchor; the next Delete finishes.
	for {
		m, _, err := r.s.last(ctx, at)
		if errors.Is(err, events.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		// The oldest first: while any is left the newest still is, and the ring is there as a whole.
		if err := r.eraseOlder(ctx, at, m.Sequence); err != nil {
			return err
		}
		if err := r.erase(ctx, at.stream, m.Sequence); err != nil {
			return err
		}
	}
}

// List names every log that has a ring.
func (r *Rings) List(ctx context.Context) ([]events.LogID, error) {
	var all []events.LogID
	for partition := range r.s.config.Partitions {
		found, err := r.s.listStream(ctx, StreamKeys, partition, r.s.names.Subjects(StreamKeys, partition))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	sortLogs(all)
	return all, nil
}

// Sweep erases every ring that has a successor, and says how many there were.
func (r *Rings) Sweep(ctx context.Context) (erased int, err error) {
	for partition := range r.s.config.Partitions {
		stream := r.s.names.Stream(StreamKeys, partition)
		var double []string
		err := r.s.subjects(ctx, stream, r.s.names.Subjects(StreamKeys, partition), func(subject string, messages uint64) {
			if messages > 1 {
				double = append(double, subject)
				erased += int(messages) - 1
			}
		})
		if err != nil {
			return 0, err
		}
		for _, subject := range double {
			at := place{stream: stream, subject: subject}
			m, _, err := r.s.last(ctx, at)
			if err != nil {
				return 0, err
			}
			if err := r.eraseOlder(ctx, at, m.Sequence); err != nil {
				return 0, err
			}
		}
	}
	return erased, nil
}

// eraseOlder erases every message of a subject before the given one.
func (r *Rings) eraseOlder(ctx context.Context, at place, revision uint64) error {
	for {
		m, _, err := r.s.get(ctx, at.stream, getRequest{Sequence: 1, NextFor: at.subject})
		if errors.Is(err, events.ErrNotFound) || err == nil && m.Sequence >= revision {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.erase(ctx, at.stream, m.Sequence); err != nil {
			return err
		}
	}
}

// erase overwrites a message on disk and removes it (SecureDeleteMsg).
func (r *Rings) erase(ctx context.Context, stream string, sequence uint64) error {
	return r.remove(ctx, stream, deletion{Sequence: sequence})
}

type deletion struct {
	Sequence uint64 `json:"seq"`
	NoErase  bool   `json:"no_erase,omitempty"`
}

// remove takes a message away. One that is gone already is no error.
func (r *Rings) remove(ctx context.Context, stream string, d deletion) error {
	var response struct {
		Success bool `json:"success"`
	}
	err := r.s.call(ctx, "STREAM.MSG.DELETE."+stream, d, &response)
	if err != nil {
		if _, _, gone := r.s.get(ctx, stream, getRequest{Sequence: d.Sequence}); errors.Is(gone, events.ErrNotFound) {
			return nil
		}
	}
	if err == nil && !response.Success {
		return fmt.Errorf("%w: message %d of %s was not erased", events.ErrUnavailable, d.Sequence, stream)
	}
	return err
}

func sortLogs(logs []events.LogID) {
	slices.SortFunc(logs, func(a, b events.LogID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Conversation, b.Conversation))
	})
}
