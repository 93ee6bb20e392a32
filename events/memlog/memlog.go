// Package memlog keeps logs, rings and snapshots in memory. It is for
// simulation and for tests of pure logic, and behaves as the store on
// JetStream does: one sequence over all logs, fenced appends, atomic batches.
package memlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"parley/events"
	"parley/internal/ids"
)

// Store implements events.Log. Rings and Snapshots give the other two stores.
// It is safe for concurrent use. The zero value is an empty store.
type Store struct {
	// Now is the clock of message times: the machine's unless set.
	Now func() time.Time

	mu        sync.Mutex
	sequence  uint64
	logs      map[events.LogID][]events.Message
	rings     map[events.LogID]entry
	anchors   map[events.LogID]entry
	snapshots map[events.LogID][]byte
	revision  uint64
}

type entry struct {
	data     []byte
	revision uint64
}

// Rings is the ring store of a Store.
type Rings struct{ store *Store }

// Snapshots is the snapshot store of a Store.
type Snapshots struct{ store *Store }

// Stores is everything a journal needs.
func (s *Store) Stores() events.Stores {
	return events.Stores{Log: s, Rings: Rings{s}, Snapshots: Snapshots{s}}
}

// Append implements events.Log.
func (s *Store) Append(ctx context.Context, a events.Append) (uint64, error) {
	sequences, err := s.AppendBatch(ctx, []events.Append{a})
	if err != nil {
		return 0, err
	}
	return sequences[0], nil
}

// AppendBatch implements events.Log.
func (s *Store) AppendBatch(ctx context.Context, as []events.Append) ([]uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	if err := check(as); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range as {
		if last := s.last(a.Log); last != a.Expect {
			return nil, fmt.Errorf("%w: %s stands at %d, not at %d", events.ErrFenced, a.Log, last, a.Expect)
		}
	}
	sequences := make([]uint64, len(as))
	for i, a := range as {
		for _, data := range a.Messages {
			sequences[i] = s.put(a.Log, data)
		}
	}
	return sequences, nil
}

// The bounds of a JetStream server.
const (
	batchMax   = 1000
	messageMax = 1 << 20
)

var errMisuse = errors.New("no such append")

func check(as []events.Append) error {
	seen, messages := map[events.LogID]bool{}, 0
	for _, a := range as {
		if err := a.Log.Validate(); err != nil {
			return err
		}
		if len(a.Messages) == 0 || seen[a.Log] {
			return fmt.Errorf("%w: %d messages of %s, in the batch before: %v", errMisuse, len(a.Messages), a.Log, seen[a.Log])
		}
		seen[a.Log] = true
		messages += len(a.Messages)
		for _, data := range a.Messages {
			if len(data) > messageMax {
				return fmt.Errorf("%w: a message of %d bytes", events.ErrTooLarge, len(data))
			}
		}
	}
	if messages == 0 {
		return fmt.Errorf("%w: it is empty", errMisuse)
	}
	if messages > batchMax {
		return fmt.Errorf("%w: %d messages", events.ErrTooLarge, messages)
	}
	return nil
}

// Put appends a message without asking what stands there: what a stranger or
// a late message does.
func (s *Store) Put(id events.LogID, data []byte) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(id, data)
}

func (s *Store) put(id events.LogID, data []byte) uint64 {
	if s.logs == nil {
		s.logs = map[events.LogID][]events.Message{}
	}
	now := s.Now
	if now == nil {
		now = time.Now
	}
	s.sequence++
	s.logs[id] = append(s.logs[id], events.Message{Sequence: s.sequence, Data: slices.Clone(data), Time: now()})
	return s.sequence
}

func (s *Store) last(id events.LogID) uint64 {
	if messages := s.logs[id]; len(messages) > 0 {
		return messages[len(messages)-1].Sequence
	}
	return 0
}

// Read implements events.Source.
func (s *Store) Read(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	return s.Scan(ctx, id, from, fn)
}

// Scan implements events.Log.
func (s *Store) Scan(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	for _, m := range s.Messages(id) {
		if m.Sequence < from {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// Messages are all messages of a log, copied.
func (s *Store) Messages(id events.LogID) []events.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := slices.Clone(s.logs[id])
	for i := range messages {
		messages[i].Data = slices.Clone(messages[i].Data)
	}
	return messages
}

// Replace makes these the messages of a log: what damage, or a restore, does.
func (s *Store) Replace(id events.LogID, messages []events.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[id] = slices.Clone(messages)
}

// Last implements events.Log.
func (s *Store) Last(_ context.Context, id events.LogID) (events.Message, error) {
	if err := id.Validate(); err != nil {
		return events.Message{}, err
	}
	messages := s.Messages(id)
	if len(messages) == 0 {
		return events.Message{}, fmt.Errorf("log %s: %w", id, events.ErrNotFound)
	}
	return messages[len(messages)-1], nil
}

// List implements events.Log.
func (s *Store) List(_ context.Context, client ids.ClientID) ([]events.LogID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []events.LogID
	for id, messages := range s.logs {
		if len(messages) > 0 && (client == "" || id.Kind == events.KindMember && id.Client == client) {
			found = append(found, id)
		}
	}
	sortLogs(found)
	return found, nil
}

func sortLogs(logs []events.LogID) {
	slices.SortFunc(logs, func(a, b events.LogID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Conversation, b.Conversation))
	})
}

// Purge removes messages before a stream sequence, never the newest.
func (s *Store) Purge(_ context.Context, id events.LogID, before uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.last(id)
	s.logs[id] = slices.DeleteFunc(s.logs[id], func(m events.Message) bool { return m.Sequence < before && m.Sequence != newest })
	return nil
}

// Damage implements events.Log: memory loses nothing.
func (s *Store) Damage(context.Context) error { return nil }

// Load implements events.RingStore.
func (r Rings) Load(_ context.Context, id events.LogID) ([]byte, uint64, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	e, ok := r.store.rings[id]
	if !ok {
		return nil, 0, fmt.Errorf("ring of %s: %w", id, events.ErrNotFound)
	}
	return slices.Clone(e.data), e.revision, nil
}

// Store implements events.RingStore.
func (r Rings) Store(_ context.Context, id events.LogID, data []byte, expect uint64) (uint64, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if have := r.store.rings[id].revision; have != expect {
		return 0, fmt.Errorf("ring of %s: %w: revision %d, not %d", id, events.ErrConflict, have, expect)
	}
	if r.store.rings == nil {
		r.store.rings = map[events.LogID]entry{}
	}
	r.store.revision++
	r.store.rings[id] = entry{slices.Clone(data), r.store.revision}
	return r.store.revision, nil
}

// LoadAnchor implements events.RingStore.
func (r Rings) LoadAnchor(_ context.Context, id events.LogID) ([]byte, uint64, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	e, ok := r.store.anchors[id]
	if !ok {
		return nil, 0, fmt.Errorf("anchor of %s: %w", id, events.ErrNotFound)
	}
	return slices.Clone(e.data), e.revision, nil
}

// StoreAnchors implements events.RingStore.
func (r Rings) StoreAnchors(_ context.Context, as []events.AnchorWrite) ([]uint64, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	for _, a := range as {
		if have := r.store.anchors[a.Log].revision; have != a.Expect {
			return nil, fmt.Errorf("anchor of %s: %w: revision %d, not %d", a.Log, events.ErrConflict, have, a.Expect)
		}
	}
	if r.store.anchors == nil {
		r.store.anchors = map[events.LogID]entry{}
	}
	revisions := make([]uint64, len(as))
	for i, a := range as {
		r.store.revision++
		r.store.anchors[a.Log] = entry{slices.Clone(a.Data), r.store.revision}
		revisions[i] = r.store.revision
	}
	return revisions, nil
}

// Delete implements events.RingStore.
func (r Rings) Delete(_ context.Context, id events.LogID) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	delete(r.store.rings, id)
	delete(r.store.anchors, id)
	return nil
}

// List implements events.RingStore.
func (r Rings) List(context.Context) ([]events.LogID, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	var found []events.LogID
	for id := range r.store.rings {
		found = append(found, id)
	}
	sortLogs(found)
	return found, nil
}

// Load implements events.SnapshotStore.
func (s Snapshots) Load(_ context.Context, id events.LogID) ([]byte, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	data, ok := s.store.snapshots[id]
	if !ok {
		return nil, fmt.Errorf("snapshot of %s: %w", id, events.ErrNotFound)
	}
	return slices.Clone(data), nil
}

// Store implements events.SnapshotStore.
func (s Snapshots) Store(_ context.Context, id events.LogID, data []byte) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.snapshots == nil {
		s.store.snapshots = map[events.LogID][]byte{}
	}
	s.store.snapshots[id] = slices.Clone(data)
	return nil
}
