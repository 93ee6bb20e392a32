package events

import (
	"errors"
	"fmt"
)

// What can go wrong in a store. Callers branch on ErrFenced and
// ErrUnknownOutcome: after either a journal is dead and must be reopened.
var (
	// ErrFenced is a lost race: the log has another head than the append expected. Nothing was stored.
	ErrFenced = errors.New("the log has moved on")
	// ErrUnknownOutcome is an append of which nobody knows whether it is or will be stored; Journal.Settle finds out.
	ErrUnknownOutcome = errors.New("the outcome of the append is unknown")
	// ErrFull is a store at its limit. Nothing was stored.
	ErrFull = errors.New("the store is full")
	// ErrUnavailable is a store that cannot be reached. Nothing was stored.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrNotFound is a message, ring or snapshot that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a ring that somebody else has changed in the meantime.
	ErrConflict = errors.New("the ring was changed by somebody else")
	// ErrDamaged is a server that reports lost data.
	ErrDamaged = errors.New("the store reports lost data")
)

// What can be wrong with a log or its keys.
var (
	// ErrBadLog is an id that names no log.
	ErrBadLog = errors.New("no such kind of log")
	// ErrBadDraft is a draft that cannot become a record: the caller's mistake.
	ErrBadDraft = errors.New("the draft cannot become a record")
	// ErrTooLarge is a record that does not fit a message even with its public parts moved out.
	ErrTooLarge = errors.New("the record is too large")
	// ErrRingFull is a ring that has no room for the keys a record needs.
	ErrRingFull = errors.New("the key ring is full")
	// ErrRolledBack is a log that ends before its anchor: records that were durable are gone.
	ErrRolledBack = errors.New("the log is behind its anchor")
	// ErrSecretsLost is a log whose ring is gone.
	ErrSecretsLost = errors.New("the key ring of the log is gone")
	// ErrKeyMissing is a ring wrapped under a shred key that the vault does not have.
	ErrKeyMissing = errors.New("the key that wraps the ring is missing")
	// ErrNoErasure is a vault whose key cannot be replaced or destroyed.
	ErrNoErasure = errors.New("a static key cannot be destroyed")
	// ErrRingBehind comes with a durable record: the record stands, but the ring write that should have followed has not
	// happened. Nothing that waits for the anchor may leave; Journal.Sweep or Journal.WriteAnchor makes up for it.
	ErrRingBehind = errors.New("the key ring has not been written yet")
	// ErrDead is a journal that lost its race, or does not know whether it did.
	ErrDead = errors.New("the journal must be reopened")
	// ErrReadOnly is a journal that was opened without the means to write.
	ErrReadOnly = errors.New("the journal is read-only")
)

// ErrCorrupt is a record that is not what was once stored. Match it with
// errors.As(err, **ErrCorrupt).
type ErrCorrupt struct {
	Log      LogID
	Version  uint64 // the version that stands there or should
	Sequence uint64 // where in the stream; 0 where it is not known
	Reason   string
}

// Error implements error.
func (e *ErrCorrupt) Error() string {
	return fmt.Sprintf("log %s: record %d (stream sequence %d) is corrupt: %s", e.Log, e.Version, e.Sequence, e.Reason)
}

func badDraft(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadDraft}, args...)...)
}
