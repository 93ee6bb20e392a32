package events

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"parley/internal/ids"
)

// Keys are what a reader of a log may hold: all of its ring, what an auditor
// gets of it, or nothing. The zero Keys open and verify nothing but the chain.
type Keys struct {
	mac    ringSecret
	ring   *ring
	anchor Anchor
	life   Incarnation
}

// LoadKeys reads the ring of a log and unwraps it. It writes nothing:
// ErrNotFound where the log has no ring.
func LoadKeys(ctx context.Context, rings RingStore, vault KeyVault, id LogID) (Keys, error) {
	r, err := loadRing(ctx, rings, vault, id)
	if err != nil {
		return Keys{}, fmt.Errorf("read the key ring of %s: %w", id, err)
	}
	return Keys{mac: r.mac(), ring: r, anchor: r.anchor, life: r.incarnation}, nil
}

// SealAudit is the part of k that an auditor gets, wrapped under a vault of
// his: a ring of the log that holds the log's MAC key and its audit key, its
// anchor and its origin, and no other key. LoadKeys reads it like any ring.
func (k Keys) SealAudit(ctx context.Context, vault KeyVault) ([]byte, error) {
	if k.ring == nil {
		return nil, fmt.Errorf("seal keys for an auditor: %w: there is no ring they could come from", ErrNotFound)
	}
	r := k.ring.clone()
	r.shredVersion, r.anchor = "", k.anchor
	r.keys = slices.DeleteFunc(r.keys, func(key ringKey) bool { return key.class != classMAC && key.class != ClassAudit })
	for i := range r.keys {
		r.keys[i].wrapped = nil
	}
	return r.encode(ctx, vault)
}

// Anchor is the anchor of the ring, whose MAC was verified; ok is false
// without a ring, and where nothing was anchored yet.
func (k Keys) Anchor() (a Anchor, ok bool) { return k.anchor, k.anchor.Version > 0 }

// Audit is a log for one who only reads. Nothing it does writes anything.
type Audit struct {
	source Source
	log    LogID
	keys   Keys
	void   func(*Record)
	head   Head
	torn   bool
}

// AuditOptions are what an audit does not have to be told.
type AuditOptions struct {
	// Void is told of a record that a torn batch left behind; Replay passes it over.
	Void func(*Record)
}

// OpenAudit reads a log from any source: a store, or an exported file.
func OpenAudit(source Source, id LogID, keys Keys, options AuditOptions) *Audit {
	return &Audit{source: source, log: id, keys: keys, void: options.Void}
}

// Head is the place the audit has reached. Replay from it follows a log that
// grows.
func (a *Audit) Head() Head { return a.head }

// Torn reports whether the log ends in what may be the remains of a torn
// batch: chunks without a record, or a record whose batch has no end. The
// record was not given; a node that opens the log settles the matter.
func (a *Audit) Torn() bool { return a.torn }

// Replay reads the log from a head on (the zero Head: from the beginning; a
// Head with a stream sequence alone: from there, whatever stands there) and
// gives each record to fn once it is verified as far as the keys reach.
func (a *Audit) Replay(ctx context.Context, from Head, fn func(*Record) error) error {
	r := &reader{log: a.log, ring: a.keys.ring, mac: a.keys.mac}
	if a.void != nil {
		r.void = func(torn, _ *Record) { a.void(torn) }
	}
	given := from
	r.fn = func(v verified) error {
		given = v.record.Head
		return fn(v.record)
	}
	r.resumed = func(head Head) { given = head }
	err := r.walk(ctx, a.source, from)
	if err == nil && len(r.held) > 0 {
		err = a.settleHeld(ctx, r)
	}
	a.head, a.torn = given, len(r.held) > 0 || len(r.chunks) > 0
	if err != nil {
		return fmt.Errorf("audit log %s: %w", a.log, err)
	}
	return nil
}

// settleHeld gives the last record on if its batch is whole. A source that
// knows nothing of the batch's last log, a file with one log for example,
// proves nothing against it.
func (a *Audit) settleHeld(ctx context.Context, r *reader) error {
	batch := r.held[0].record.Batch
	last := batch.Participants[len(batch.Participants)-1]
	known, whole := false, false
	err := a.source.Read(ctx, last.Log, 0, func(m Message) error {
		if id, ok := PeekLog(m.Data); !ok || id != last.Log {
			return nil
		}
		known = true
		whole = whole || endsBatch(m.Data, r.held[0].record)
		return nil
	})
	if err != nil {
		return err
	}
	if _, store := a.source.(Log); whole || !known && !store {
		return r.release()
	}
	return nil
}

// VerifyRecord checks a stored record on its own: digest, and MAC where the
// keys have one. It gives its place and what it follows.
func VerifyRecord(data []byte, keys Keys) (place Head, previous ids.Digest, err error) {
	stored, err := splitStored(data)
	if err != nil {
		return Head{}, ids.Digest{}, err
	}
	if !keys.mac.IsZero() && !checkMAC(keys.mac, macRecord, stored.digest[:], stored.mac) {
		return Head{}, ids.Digest{}, errors.New("its MAC is not the log's")
	}
	m, _, err := parseRecord(stored.encoding)
	if err != nil {
		return Head{}, ids.Digest{}, err
	}
	r := recordOf(m)
	return Head{Version: r.Version, Digest: stored.digest, Incarnation: r.Incarnation}, r.Previous, nil
}
