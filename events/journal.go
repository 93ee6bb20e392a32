package events

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// JournalOptions are what a journal does not have to be told.
type JournalOptions struct {
	Hooks Hooks
	// Random is where keys, salts and incarnations come from: the operating system unless set.
	Random io.Reader
	// MessageMax is the largest message of the store in bytes: 1 MiB unless set.
	MessageMax int
	// Void is told of a record that a torn batch left behind. Replay passes it over: it never happened.
	Void func(*Record)
	// AcceptLoss lets OpenJournal make a new ring for a log whose ring is gone. What lies before cannot be verified any more and
	// Replay passes it over; the first record must say SecretsLost.
	AcceptLoss bool
}

const messageMaxDefault = 1 << 20

// Journal is one log's session: the only way to write to a log. It belongs to
// one goroutine. After ErrFenced or ErrUnknownOutcome it is dead.
type Journal struct {
	id      LogID
	stores  Stores
	vault   KeyVault
	options JournalOptions

	ring *ring // as of head

	head     Head
	timeMS   uint64 // of the record at head
	expect   uint64 // newest message of the log: head.Sequence, or the last chunk that a torn batch left
	replayed bool
	reached  bool   // the log reached its stored anchor
	loss     string // what is wrong where it did not
	unwell   error
	open     *Prepared // prepared and not yet durable
	pending  *Prepared // its outcome is unknown
	mustSync bool      // the ring must be written before anything else is: a new incarnation began
	lags     bool      // a ring write is due
	unspoken bool      // generations are reserved that no stored anchor speaks for yet
}

// OpenJournal reads the ring of a log, or makes one for a log that is empty.
// Call Replay next.
func OpenJournal(ctx context.Context, stores Stores, vault KeyVault, id LogID, options JournalOptions) (*Journal, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if vault == nil || stores.Log == nil || stores.Rings == nil {
		return nil, fmt.Errorf("open log %s: %w: use OpenAudit", id, ErrReadOnly)
	}
	if options.Random == nil {
		options.Random = rand.Reader
	}
	if options.MessageMax == 0 {
		options.MessageMax = messageMaxDefault
	}
	j := &Journal{id: id, stores: stores, vault: vault, options: options}
	r, err := j.loadRing(ctx)
	replaces := uint64(0)
	if errors.Is(err, ErrKeyMissing) {
		if replaces, err = j.strayRing(ctx, err); err == nil {
			err = ErrNotFound
		}
	}
	if errors.Is(err, ErrNotFound) {
		r, err = j.createRing(ctx, replaces)
	}
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", id, err)
	}
	j.ring = r
	return j, nil
}

func (j *Journal) loadRing(ctx context.Context) (*ring, error) {
	return loadRing(ctx, j.stores.Rings, j.vault, j.id)
}

// createRing makes the ring that must exist before the first record, in place of the one of a revision (0: there is none).
func (j *Journal) createRing(ctx context.Context, replaces uint64) (*ring, error) {
	r, err := newRing(j.id, j.options.Random)
	if err != nil {
		return nil, err
	}
	last, err := j.stores.Log.Last(ctx, j.id)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if r.origin, err = j.lostOrigin(ctx, last); err != nil {
			return nil, err
		}
	}
	if err := j.options.Hooks.before(ctx, StepRingCreate, j.id); err != nil {
		return nil, err
	}
	for range ringTries {
		data, err := r.encode(ctx, j.vault)
		if err != nil {
			return nil, err
		}
		if _, err := j.stores.Rings.Store(ctx, j.id, data, replaces); err != nil && !errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("create the key ring: %w", err)
		}
		// A crash here leaves a ring without records: the next one to open the log reads it.
		if err := j.options.Hooks.after(ctx, StepRingCreate, j.id); err != nil {
			return nil, err
		}
		// Whoever lost the race reads the winner's; the winner makes sure that its keys arrived. Where nobody has won, the ring was
		// wrapped under a shred key that is not to be used any more.
		found, err := j.loadRing(ctx)
		if !errors.Is(err, ErrNotFound) {
			return found, err
		}
	}
	return nil, fmt.Errorf("create the key ring: %w", ErrConflict)
}

// lostOrigin is where a new ring takes over: the log has records, and the ring
// that belonged to them is gone.
func (j *Journal) lostOrigin(ctx context.Context, last Message) (Head, error) {
	if !j.options.AcceptLoss {
		// Nothing is concluded from one answer: the ring is read again.
		if _, err := j.loadRing(ctx); !errors.Is(err, ErrNotFound) {
			return Head{}, errors.Join(ErrUnavailable, err)
		}
		return Head{}, ErrSecretsLost
	}
	stored, err := splitStored(last.Data)
	if err != nil {
		return Head{}, &ErrCorrupt{Log: j.id, Sequence: last.Sequence, Reason: err.Error()}
	}
	record, _, err := parseRecord(stored.encoding)
	if err != nil {
		return Head{}, &ErrCorrupt{Log: j.id, Sequence: last.Sequence, Reason: err.Error()}
	}
	return Head{Version: record.Version, Digest: stored.digest, Sequence: last.Sequence}, nil
}

// ID is the log of the journal.
func (j *Journal) ID() LogID { return j.id }

// Head is the place the journal has reached.
func (j *Journal) Head() Head { return j.head }

// TimeMS is the time of the record at the head.
func (j *Journal) TimeMS() uint64 { return j.timeMS }

// Anchor is the anchor of the ring: after CheckAnchor failed, the place the
// log once had reached and what was reserved there.
func (j *Journal) Anchor() Anchor { return j.ring.anchor }

// Keys is how many keys the ring holds.
func (j *Journal) Keys() int { return len(j.ring.keys) }

// ShredVersion names the shred key that wraps the ring as this journal last
// wrote or read it.
func (j *Journal) ShredVersion() string { return j.ring.shredVersion }

// Pending is the append whose outcome is unknown, or nil.
func (j *Journal) Pending() *Prepared { return j.pending }

// Err is why the journal is dead, or nil.
func (j *Journal) Err() error { return j.unwell }

// die makes the journal useless but for Settle, and returns why.
func (j *Journal) die(err error) error {
	if j.unwell == nil {
		j.unwell = err
	}
	return err
}

// usable refuses a journal that must not write.
func (j *Journal) usable() error {
	switch {
	case j.unwell != nil:
		return errors.Join(ErrDead, j.unwell)
	case !j.replayed:
		return fmt.Errorf("%w: it was not replayed", ErrDead)
	}
	return nil
}

// CheckHead reads the newest message of the log from the leader: ErrFenced,
// and the journal dead, if it is not the one the journal knows.
func (j *Journal) CheckHead(ctx context.Context) error {
	if err := j.usable(); err != nil {
		return err
	}
	last, err := j.stores.Log.Last(ctx, j.id)
	switch {
	case errors.Is(err, ErrNotFound) && j.expect == 0:
		return nil
	case errors.Is(err, ErrNotFound):
		return j.die(fmt.Errorf("log %s: %w: it is empty", j.id, ErrFenced))
	case err != nil:
		return fmt.Errorf("read the head of log %s: %w", j.id, err)
	case last.Sequence != j.expect:
		return j.die(fmt.Errorf("log %s: %w to stream sequence %d from %d", j.id, ErrFenced, last.Sequence, j.expect))
	}
	if stored, err := splitStored(last.Data); j.expect == j.head.Sequence && (err != nil || stored.digest != j.head.Digest) {
		return j.die(fmt.Errorf("log %s: %w: another record stands at stream sequence %d", j.id, ErrFenced, last.Sequence))
	}
	return nil
}

const ringTries = 8

// writeRing stores the ring with its anchor at the head, and with keys made
// ahead. What it does is safe to repeat and to lose.
func (j *Journal) writeRing(ctx context.Context, step Step, spares int) error {
	if err := j.options.Hooks.before(ctx, step, j.id); err != nil {
		return err
	}
	for range ringTries {
		next := j.ring.clone()
		if j.head.Version > 0 && j.reached { // while the log is behind its anchor the anchor is the evidence
			next.anchor.Version, next.anchor.Digest, next.incarnation = j.head.Version, j.head.Digest, j.head.Incarnation
		}
		next.asOf = j.head.Version
		if err := next.addSpares(j.options.Random, spares); err != nil {
			return err
		}
		data, err := next.encode(ctx, j.vault)
		if err != nil {
			return err
		}
		revision, err := j.stores.Rings.Store(ctx, j.id, data, next.revision)
		if errors.Is(err, ErrConflict) {
			if err := j.mergeRing(ctx); err != nil {
				return err
			}
			continue
		}
		overtaken, err := j.adoptRing(ctx, next, data, answer{revision, err})
		if err != nil {
			return err
		}
		if !overtaken {
			// A crash here loses nothing: the ring is a note of what the log says, and of keys that nothing uses yet.
			return j.options.Hooks.after(ctx, step, j.id)
		}
		if err := j.mergeRing(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("write the key ring of %s: %w", j.id, ErrConflict)
}

// answer is what the store said to a ring write.
type answer struct {
	revision uint64
	err      error
}

// adoptRing makes the ring that was stored the journal's. It is read back
// where it has new keys, or where the store did not say whether it has it.
func (j *Journal) adoptRing(ctx context.Context, next *ring, data []byte, got answer) (overtaken bool, err error) {
	if got.err != nil || !next.allProven() {
		found, revision, err := j.stores.Rings.Load(ctx, j.id)
		if err != nil {
			return false, errors.Join(got.err, fmt.Errorf("read the key ring of %s back: %w", j.id, err))
		}
		if !bytes.Equal(found, data) {
			// Not ours: it was lost, or is overtaken already. The ring in memory, and what is still to be written, stays as it was.
			if got.err != nil {
				return false, fmt.Errorf("write the key ring of %s: %w", j.id, got.err)
			}
			return true, nil
		}
		got.revision = revision
	}
	for i := range next.keys {
		next.keys[i].proven = true
	}
	for _, k := range next.killed {
		k.key.Wipe()
	}
	next.number, next.revision, next.killed = next.number+1, got.revision, nil
	j.ring, j.mustSync, j.lags, j.unspoken = next, false, false, false
	return false, nil
}

func (r *ring) allProven() bool {
	for _, k := range r.keys {
		if !k.proven {
			return false
		}
	}
	return true
}

// mergeRing takes over what somebody else wrote into the ring. The journal
// goes on only if its head still stands: then all it knows of keys and anchor
// is newer than what it reads.
func (j *Journal) mergeRing(ctx context.Context) error {
	if err := j.adoptTheirs(ctx); err != nil {
		return err
	}
	if j.replayed {
		return j.CheckHead(ctx)
	}
	return nil
}

// adoptTheirs reads the ring again and takes over what it has and the
// journal's has not. Where keys are known to both, the journal knows better.
func (j *Journal) adoptTheirs(ctx context.Context) error {
	theirs, err := j.loadRing(ctx)
	if err != nil {
		return fmt.Errorf("read the key ring of %s again: %w", j.id, err)
	}
	merged := j.ring.clone()
	merged.number, merged.revision, merged.asOf, merged.note = theirs.number, theirs.revision, theirs.asOf, theirs.note
	if theirs.shredVersion != merged.shredVersion {
		for i := range merged.keys {
			merged.keys[i].wrapped = nil // wrapped anew by whatever is current now
		}
		merged.shredVersion = theirs.shredVersion
	}
	merged.adoptStrange(theirs)
	if theirs.incarnation == merged.incarnation && theirs.anchor.Version >= merged.anchor.Version {
		reserved := theirs.anchor
		if reserved.Epoch == merged.anchor.Epoch {
			reserved.ApplicationReserved = max(reserved.ApplicationReserved, merged.anchor.ApplicationReserved)
			reserved.HandshakeReserved = max(reserved.HandshakeReserved, merged.anchor.HandshakeReserved)
		}
		merged.anchor = reserved
	}
	j.ring = merged
	return nil
}

// adoptStrange keeps the keys that the other ring has and r neither has nor
// has killed: keys made ahead by another writer. None of ours is dropped.
func (r *ring) adoptStrange(other *ring) {
	dead := map[keyID]bool{}
	for _, k := range r.killed {
		dead[k.id] = true
	}
	for _, k := range other.keys {
		if r.find(k.id) == nil && !dead[k.id] && len(r.keys) < ringKeysMax {
			r.keys = append(r.keys, k)
		}
	}
	for i := range r.keys {
		r.keys[i].proven = other.find(r.keys[i].id) != nil
	}
}

// makeKeys puts keys into the ring for a draft that needs more than there are.
func (j *Journal) makeKeys(ctx context.Context, missing int) error {
	want := j.ring.spares() + missing
	if len(j.ring.keys)+missing > ringKeysMax {
		return fmt.Errorf("log %s: %w: %d keys, %d more needed", j.id, ErrRingFull, len(j.ring.keys), missing)
	}
	return j.writeRing(ctx, StepRingKeys, want+spareKeys/2)
}
