package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

// An anchor is stored in the ring, and between two writes of the ring as a note of its own beside it: the note holds no key, so writing
// one costs no erasure, and the notes of many logs may share a batch. Of the two anchors the later one counts.

const (
	noteFormat   = 0
	noteFieldMAC = 9
	noteBytesMax = 8 << 10
)

// loadRing reads a ring and the anchor beside it. Where the key that wraps it is gone it is read again: between the reading and the
// opening a rotation may have ended, and the ring that is there now is wrapped under another.
func loadRing(ctx context.Context, rings RingStore, vault KeyVault, id LogID) (*ring, error) {
	var r *ring
	var revision uint64
	for opened := uint64(0); ; opened = revision {
		data, at, err := rings.Load(ctx, id)
		if err != nil {
			return nil, err
		}
		revision = at
		r, err = decodeRing(ctx, vault, id, data)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrKeyMissing) || opened == revision {
			return nil, err
		}
	}
	r.revision = revision
	note, revision, err := rings.LoadAnchor(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("read the anchor of %s: %w", id, err)
	}
	r.note = revision
	return r, r.adoptNote(note)
}

// encodeNote is an anchor as it is stored beside the ring.
func (r *ring) encodeNote(a Anchor) ([]byte, error) {
	body, err := marshal(&v1.AnchorNote{
		Format: noteFormat, Client: []byte(r.log.Client), Conversation: []byte(r.log.Conversation), Kind: uint32(r.log.Kind),
		Incarnation: r.incarnation[:], Anchor: anchorMessage(a),
	})
	if err != nil {
		return nil, err
	}
	return appendBytesField(body, noteFieldMAC, macOf(r.mac(), macAnchor, body)), nil
}

// adoptNote takes over the anchor beside the ring where it is the later one. A note whose MAC is not the log's is refused, not passed
// over: it may stand in the place of the one that tells of a loss. Only a ring that replaced a lost one may find the note of that
// one's, which nobody can check any more.
func (r *ring) adoptNote(data []byte) error {
	body, tag, ok := cutMAC(data, noteFieldMAC)
	if !ok || len(data) > noteBytesMax || !checkMAC(r.mac(), macAnchor, body, tag) {
		if r.origin.Version > 0 {
			return nil
		}
		return fmt.Errorf("%w: the MAC of the anchor beside it is not the log's", ErrRingCorrupt)
	}
	m := &v1.AnchorNote{}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: the anchor beside it is no protobuf message", ErrRingCorrupt)
	}
	id := LogID{Kind: Kind(m.Kind), Client: ids.ClientID(m.Client), Conversation: ids.ConversationID(m.Conversation)}
	if d := m.Anchor.GetDigest(); m.Format != noteFormat || id != r.log || len(d) != len(ids.Digest{}) {
		return fmt.Errorf("%w: the anchor beside it is another log's", ErrRingCorrupt)
	}
	if bytes.Equal(m.Incarnation, r.incarnation[:]) {
		r.anchor = laterAnchor(r.anchor, anchorOf(m.Anchor))
	}
	return nil
}

// laterAnchor is the anchor of the later record. Of one record's, the one that speaks for more: what is spoken for only grows.
func laterAnchor(a, b Anchor) Anchor {
	if b.Version > a.Version || b.Version == a.Version && b.Epoch > a.Epoch {
		a, b = b, a
	}
	if a.Version == b.Version && a.Epoch == b.Epoch {
		a.ApplicationReserved = max(a.ApplicationReserved, b.ApplicationReserved)
		a.HandshakeReserved = max(a.HandshakeReserved, b.HandshakeReserved)
	}
	return a
}

// WriteAnchor writes the anchor: the head as it is, and what of an epoch is
// spoken for. It follows durable records and never leads them. What is sent
// under reserved generations waits for it.
func (j *Journal) WriteAnchor(ctx context.Context, a Anchor) error {
	if err := j.usable(); err != nil {
		return err
	}
	j.reserve(a)
	return j.secure(ctx)
}

// secure stores what the ring lags behind in: the whole ring where keys died or are due, or where a new incarnation began, the anchor
// alone elsewhere.
func (j *Journal) secure(ctx context.Context) error {
	switch {
	case len(j.ring.killed) > 0 && j.ring.spares() >= spareKeys/2:
		return j.writeRing(ctx, StepKeyDeath, 0) // without new keys there is nothing to read back
	case len(j.ring.killed) > 0:
		return j.writeRing(ctx, StepKeyDeath, spareKeys)
	case j.mustSync, j.ring.spares() < spareKeysLow, !j.reached, j.head.Version == 0, j.head.Incarnation != j.ring.incarnation:
		return j.writeRing(ctx, StepAnchor, spareKeys)
	}
	return j.writeNote(ctx)
}

// writeNote stores the anchor alone, at the head. What it does is safe to repeat and to lose.
func (j *Journal) writeNote(ctx context.Context) error {
	if err := j.options.Hooks.before(ctx, StepAnchor, j.id); err != nil {
		return err
	}
	for range ringTries {
		anchor := j.ring.anchor
		anchor.Version, anchor.Digest = j.head.Version, j.head.Digest
		data, err := j.ring.encodeNote(anchor)
		if err != nil {
			return err
		}
		revision, err := j.storeNote(ctx, data)
		if errors.Is(err, ErrConflict) {
			if err := j.mergeRing(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		j.ring.anchor, j.ring.note = anchor, revision
		j.lags, j.unspoken = false, false
		// A crash here loses nothing: the anchor is a note of what the log says.
		return j.options.Hooks.after(ctx, StepAnchor, j.id)
	}
	return fmt.Errorf("write the anchor of %s: %w", j.id, ErrConflict)
}

// storeNote stores a note and, where the store did not say whether it has it, looks.
func (j *Journal) storeNote(ctx context.Context, data []byte) (uint64, error) {
	revisions, err := j.stores.Rings.StoreAnchors(ctx, []AnchorWrite{{Log: j.id, Data: data, Expect: j.ring.note}})
	if err == nil && len(revisions) == 1 {
		return revisions[0], nil
	}
	if errors.Is(err, ErrConflict) {
		return 0, err
	}
	found, revision, again := j.stores.Rings.LoadAnchor(ctx, j.id)
	if again != nil || !bytes.Equal(found, data) {
		return 0, fmt.Errorf("write the anchor of %s: %w", j.id, errors.Join(err, again))
	}
	return revision, nil
}

// reserve notes what of an epoch is spoken for. Within an epoch it only grows.
func (j *Journal) reserve(a Anchor) {
	anchor := &j.ring.anchor
	j.unspoken = j.unspoken || anchor.lacks(a)
	if a.Epoch == anchor.Epoch {
		a.ApplicationReserved = max(a.ApplicationReserved, anchor.ApplicationReserved)
		a.HandshakeReserved = max(a.HandshakeReserved, anchor.HandshakeReserved)
	}
	anchor.Epoch, anchor.ApplicationReserved, anchor.HandshakeReserved = a.Epoch, a.ApplicationReserved, a.HandshakeReserved
}

// Secure writes to the ring what swift records have left to be written: the death of keys, spares, the anchor of a new epoch.
func (j *Journal) Secure(ctx context.Context) error {
	if !j.lags {
		return nil
	}
	if err := j.usable(); err != nil {
		return err
	}
	return j.secure(ctx)
}

// Sweep kills keys whose time is over and writes the ring if it lags behind
// the log: what a crash or an unreachable store left undone.
func (j *Journal) Sweep(ctx context.Context, nowMS uint64) error {
	if err := j.usable(); err != nil {
		return err
	}
	if j.open == nil { // a record on its way may use a key that looks idle
		j.ring.sweep(nowMS)
	}
	if len(j.ring.killed) == 0 && j.ring.anchor.Version == j.head.Version && !j.mustSync && j.ring.spares() >= spareKeysLow {
		return nil
	}
	return j.secure(ctx)
}
