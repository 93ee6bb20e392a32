package events

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

const (
	snapshotFormat   = 0
	snapshotFieldMAC = 9
	snapshotBytesMax = 256 << 20
)

// Snapshot is public state at a head. It saves reading what lies before, and
// can always be made again.
type Snapshot struct {
	Head  Head
	State []byte
}

// Snapshot reads the newest snapshot of the log, or nil where there is none
// that can be believed: its MAC is the log's, and the record at its head
// stands in the log. Replay from its Head is what follows.
func (j *Journal) Snapshot(ctx context.Context) (*Snapshot, error) {
	data, err := j.stores.Snapshots.Load(ctx, j.id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the snapshot of log %s: %w", j.id, err)
	}
	snapshot, ok := decodeSnapshot(j.id, j.ring.mac(), data)
	if !ok {
		return nil, nil
	}
	stands := false
	err = j.stores.Log.Read(ctx, j.id, snapshot.Head.Sequence, func(m Message) error {
		stored, err := splitStored(m.Data)
		stands = err == nil && m.Sequence == snapshot.Head.Sequence && stored.digest == snapshot.Head.Digest
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, fmt.Errorf("read the snapshot of log %s: %w", j.id, err)
	}
	if !stands {
		return nil, nil
	}
	return snapshot, nil
}

// SaveSnapshot stores public state at the head. The ring is brought up to the
// head first: a replay from here does not see which keys were used before.
func (j *Journal) SaveSnapshot(ctx context.Context, state []byte) error {
	if err := j.usable(); err != nil {
		return err
	}
	if j.head.Version == 0 || !j.reached {
		return badDraft("a snapshot of log %s at version %d", j.id, j.head.Version)
	}
	if j.ring.asOf != j.head.Version || len(j.ring.killed) > 0 {
		if err := j.writeRing(ctx, StepAnchor, spareKeys); err != nil {
			return err
		}
	}
	data, err := encodeSnapshot(j.id, j.ring.mac(), Snapshot{Head: j.head, State: state})
	if err != nil {
		return err
	}
	if err := j.options.Hooks.before(ctx, StepSnapshot, j.id); err != nil {
		return err
	}
	if err := j.stores.Snapshots.Store(ctx, j.id, data); err != nil {
		return fmt.Errorf("store the snapshot of log %s: %w", j.id, err)
	}
	// A crash here is clean: the snapshot says which record it stands on.
	return j.options.Hooks.after(ctx, StepSnapshot, j.id)
}

func encodeSnapshot(id LogID, mac ringSecret, s Snapshot) ([]byte, error) {
	body, err := marshal(&v1.Snapshot{
		Format: snapshotFormat, Kind: uint32(id.Kind), Client: []byte(id.Client), Conversation: []byte(id.Conversation),
		Incarnation: s.Head.Incarnation[:], Version: s.Head.Version, Digest: s.Head.Digest[:], Sequence: s.Head.Sequence, State: s.State,
	})
	if err != nil {
		return nil, err
	}
	return appendBytesField(body, snapshotFieldMAC, macOf(mac, macSnapshot, body)), nil
}

// decodeSnapshot verifies the MAC before it parses anything.
func decodeSnapshot(id LogID, mac ringSecret, data []byte) (*Snapshot, bool) {
	body, tag, ok := cutMAC(data, snapshotFieldMAC)
	if !ok || len(data) > snapshotBytesMax || !checkMAC(mac, macSnapshot, body, tag) {
		return nil, false
	}
	m := &v1.Snapshot{}
	if err := proto.Unmarshal(body, m); err != nil || m.Format != snapshotFormat {
		return nil, false
	}
	log := LogID{Kind(m.Kind), ids.ClientID(m.Client), ids.ConversationID(m.Conversation)}
	if log != id || len(m.Incarnation) != len(Incarnation{}) || len(m.Digest) != len(ids.Digest{}) || m.Version == 0 {
		return nil, false
	}
	s := &Snapshot{Head: Head{Version: m.Version, Sequence: m.Sequence}, State: m.State}
	copy(s.Head.Incarnation[:], m.Incarnation)
	copy(s.Head.Digest[:], m.Digest)
	return s, true
}
