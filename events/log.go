package events

import (
	"context"
	"time"

	"parley/internal/ids"
)

// Message is one stored message of a log.
type Message struct {
	Sequence uint64
	Data     []byte
	Time     time.Time
}

// Append is what one log gets: chunks first, the record last. Where it has
// more than one message they are stored as one atomic batch, of which only the
// first carries the expectation.
type Append struct {
	Log      LogID
	Expect   uint64 // sequence of the newest message of this log; 0: it has none
	Messages [][]byte
}

// Source is where records can be read from: a Log, or an exported file.
type Source interface {
	// Read gives the messages of a log from a stream sequence on (inclusive; 0: from the beginning) in order. It may answer from
	// a replica that lags. An error of fn ends it and is returned as it is. No message at all is no error.
	Read(ctx context.Context, id LogID, from uint64, fn func(Message) error) error
}

// Log is where the messages of logs are kept. It knows no keys. Its errors are
// those of this package; anything else is treated as an unknown outcome.
type Log interface {
	Source
	// Append stores the messages if the newest one of the log is the expected one, and returns the sequence of the last.
	Append(ctx context.Context, a Append) (uint64, error)
	// AppendBatch stores the messages of several logs, all or nothing, and returns the sequence of the last message of each.
	AppendBatch(ctx context.Context, as []Append) ([]uint64, error)
	// Last is the newest message of a log, read from the leader; ErrNotFound.
	Last(ctx context.Context, id LogID) (Message, error)
	// Scan is Read from the leader: it sees every message that was acknowledged before it began.
	Scan(ctx context.Context, id LogID, from uint64, fn func(Message) error) error
	// List names the member logs of a client, or those of every client and the other kinds as well where client is empty.
	List(ctx context.Context, client ids.ClientID) ([]LogID, error)
	// Damage is ErrDamaged where the server reports lost data.
	Damage(ctx context.Context) error
}

// AnchorWrite is an anchor for one log, sealed by its journal.
type AnchorWrite struct {
	Log    LogID
	Data   []byte
	Expect uint64 // revision of the anchor it replaces; 0: there is none
}

// RingStore keeps one ring for each log, and beside it the newest anchor that was stored alone.
type RingStore interface {
	// Load reads the ring and its revision from the leader; ErrNotFound.
	Load(ctx context.Context, id LogID) (data []byte, revision uint64, err error)
	// Store replaces the ring if its revision is still the expected one (0: there is none), then erases the one before as far
	// as the store can. ErrConflict where the revision is another. After any other error the outcome is unknown.
	Store(ctx context.Context, id LogID, data []byte, expect uint64) (revision uint64, err error)
	// LoadAnchor reads the anchor beside the ring, and its revision, from the leader; ErrNotFound.
	LoadAnchor(ctx context.Context, id LogID) (data []byte, revision uint64, err error)
	// StoreAnchors replaces the anchors of several logs, all or none of them, if each still has the expected revision. ErrConflict
	// where one has not. After any other error the outcome is unknown. An anchor holds no key: nothing need be erased.
	StoreAnchors(ctx context.Context, as []AnchorWrite) (revisions []uint64, err error)
	// Delete removes the ring, and the anchor beside it.
	Delete(ctx context.Context, id LogID) error
	// List names every log that has a ring.
	List(ctx context.Context) ([]LogID, error)
}

// SnapshotStore keeps the newest snapshot of each log.
type SnapshotStore interface {
	// Load reads the snapshot; ErrNotFound.
	Load(ctx context.Context, id LogID) ([]byte, error)
	Store(ctx context.Context, id LogID, data []byte) error
}

// Stores is everything a journal needs to be kept.
type Stores struct {
	Log       Log
	Rings     RingStore
	Snapshots SnapshotStore
}
