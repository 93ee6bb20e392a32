package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
)

const (
	ringFormat   = 0
	ringKeysMax  = 512
	ringBytesMax = 512 << 10
	ringFieldMAC = 9
	spareKeys    = 8 // made ahead at a ring write; where keys die, only once half of them are used
	spareKeysLow = 3 // below this a ring write is due
)

// ErrRingCorrupt is a ring that is not what was once stored.
var ErrRingCorrupt = errors.New("the key ring is corrupt")

// ringKey is one key of a ring and what it is known to seal.
type ringKey struct {
	id      keyID
	key     ringSecret
	wrapped []byte // under the ring's shred version; nil until it is wrapped
	class   Class  // 0: made ahead, unused
	label   string // labelled classes: the label; shared ones: the stream
	madeAt  uint64 // version of the record that first used it
	sinceMS uint64 // time of that record
	// Shared classes: items sealed, the span of their numbers, and how far they are forgotten.
	items          uint32
	first, last    uint64
	forgottenBelow uint64
	// proven: it was read back from the store. Only then may it seal: a key that never arrived would take what it sealed along.
	proven bool
}

// ring is the key ring of one log, as of a place in that log.
type ring struct {
	log          LogID
	number       uint64 // counts the writes
	revision     uint64 // the store's, for compare-and-set
	shredVersion string
	incarnation  Incarnation
	anchor       Anchor
	asOf         uint64 // the stored keys are as of the record of this version
	note         uint64 // revision of the anchor that is stored beside the ring
	origin       Head   // where it takes over from a ring that was lost; zero: from the beginning
	keys         []ringKey
	killed       []deadKey // since the last write
	recent       int       // where find found something last
}

// deadKey is a key that the stored ring may still have.
type deadKey struct {
	id  keyID
	key ringSecret
}

// clone is a copy whose changes do not show in r. Key material is shared.
func (r *ring) clone() *ring {
	c := *r
	c.keys = slices.Clone(r.keys)
	c.killed = slices.Clip(r.killed)
	return &c
}

func (r *ring) find(id keyID) *ringKey {
	if r.recent < len(r.keys) && r.keys[r.recent].id == id {
		return &r.keys[r.recent]
	}
	for i := range r.keys {
		if r.keys[i].id == id {
			r.recent = i
			return &r.keys[i]
		}
	}
	return nil
}

// lasting is the key of a class that lives as long as the log; zero where the
// ring has none.
func (r *ring) lasting(class Class) (keyID, ringSecret) {
	for _, k := range r.keys {
		if k.class == class {
			return k.id, k.key
		}
	}
	return keyID{}, ringSecret{}
}

func (r *ring) mac() ringSecret {
	_, key := r.lasting(classMAC)
	return key
}

func (r *ring) spares() int {
	n := 0
	for _, k := range r.keys {
		if k.class == 0 {
			n++
		}
	}
	return n
}

// kill removes the keys that match. The memory of a key is shared with clones
// and is wiped only when the write that leaves it out has succeeded.
func (r *ring) kill(match func(ringKey) bool) {
	r.keys = slices.DeleteFunc(r.keys, func(k ringKey) bool {
		if !match(k) {
			return false
		}
		r.killed = append(r.killed, deadKey{k.id, k.key})
		return true
	})
}

// newRingKey draws a key.
func newRingKey(random io.Reader, class Class) (ringKey, error) {
	k := ringKey{class: class}
	if _, err := io.ReadFull(random, k.id[:]); err != nil {
		return ringKey{}, fmt.Errorf("draw a key: %w", err)
	}
	raw := make([]byte, keyBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return ringKey{}, fmt.Errorf("draw a key: %w", err)
	}
	k.key = ringSecret{secret.New(raw)}
	return k, nil
}

// newRing is the ring of a log that has none: the keys that live as long as
// the log, and spares.
func newRing(log LogID, random io.Reader) (*ring, error) {
	r := &ring{log: log}
	if _, err := io.ReadFull(random, r.incarnation[:]); err != nil {
		return nil, fmt.Errorf("draw an incarnation: %w", err)
	}
	classes := []Class{classMAC, ClassAudit}
	if log.Kind != KindMember {
		classes = append(classes, ClassOrder)
	}
	for _, class := range classes {
		k, err := newRingKey(random, class)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, k)
	}
	return r, r.addSpares(random, spareKeys)
}

// addSpares makes keys ahead until there are n, as far as there is room.
func (r *ring) addSpares(random io.Reader, n int) error {
	for have := r.spares(); have < n && len(r.keys) < ringKeysMax; have++ {
		k, err := newRingKey(random, 0)
		if err != nil {
			return err
		}
		r.keys = append(r.keys, k)
	}
	return nil
}

// encode wraps what is not wrapped under the vault's current version, or the
// ring's where that is later, and returns the bytes to store.
func (r *ring) encode(ctx context.Context, vault KeyVault) ([]byte, error) {
	version, err := vault.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("wrap the key ring: %w", err)
	}
	version = max(version, r.shredVersion) // what the vault says may be old news, and the ring knows better
	if version != r.shredVersion {
		for i := range r.keys {
			r.keys[i].wrapped = nil
		}
		r.shredVersion = version
	}
	message := &v1.Ring{
		Format: ringFormat, Client: []byte(r.log.Client), Conversation: []byte(r.log.Conversation), Kind: uint32(r.log.Kind),
		Revision: r.number + 1, ShredVersion: version, Incarnation: r.incarnation[:], Anchor: anchorMessage(r.anchor), AsOf: r.asOf,
	}
	if r.origin.Version > 0 {
		message.Origin = &v1.Origin{Version: r.origin.Version, Digest: r.origin.Digest[:], Sequence: r.origin.Sequence}
	}
	for i := range r.keys {
		k := &r.keys[i]
		if k.wrapped == nil {
			if k.wrapped, err = vault.Wrap(ctx, version, wrapAAD(r.log, k.id, version), k.key.Expose()); err != nil {
				return nil, fmt.Errorf("wrap the key ring: %w", err)
			}
		}
		message.Keys = append(message.Keys, &v1.WrappedKey{
			Id: k.id[:], Class: uint32(k.class), Label: k.label, Wrapped: k.wrapped, MadeAtVersion: k.madeAt, SinceMs: k.sinceMS,
			Items: k.items, FirstItem: k.first, LastItem: k.last, ForgottenBelow: k.forgottenBelow,
		})
	}
	body, err := marshal(message)
	if err != nil {
		return nil, err
	}
	return appendBytesField(body, ringFieldMAC, macOf(r.mac(), macRing, body)), nil
}

func anchorMessage(a Anchor) *v1.Anchor {
	if a == (Anchor{}) {
		return nil
	}
	return &v1.Anchor{
		Version: a.Version, Digest: a.Digest[:], Epoch: a.Epoch, ApplicationReserved: a.ApplicationReserved, HandshakeReserved: a.HandshakeReserved,
	}
}

// parseRing reads a ring's public part; nothing in it is verified.
func parseRing(data []byte) (*v1.Ring, error) {
	if len(data) > ringBytesMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrRingCorrupt, len(data))
	}
	message := &v1.Ring{}
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, fmt.Errorf("%w: it is no protobuf message", ErrRingCorrupt)
	}
	switch {
	case message.Format != ringFormat:
		return nil, fmt.Errorf("%w: format %d is not known", ErrRingCorrupt, message.Format)
	case len(message.Keys) > ringKeysMax:
		return nil, fmt.Errorf("%w: %d keys", ErrRingCorrupt, len(message.Keys))
	case len(message.Incarnation) != len(Incarnation{}):
		return nil, fmt.Errorf("%w: an incarnation of %d bytes", ErrRingCorrupt, len(message.Incarnation))
	}
	for _, d := range [][]byte{message.Anchor.GetDigest(), message.Origin.GetDigest()} {
		if len(d) != 0 && len(d) != len(ids.Digest{}) {
			return nil, fmt.Errorf("%w: a digest of %d bytes", ErrRingCorrupt, len(d))
		}
	}
	return message, nil
}

func ringLog(message *v1.Ring) LogID {
	return LogID{Kind: Kind(message.Kind), Client: ids.ClientID(message.Client), Conversation: ids.ConversationID(message.Conversation)}
}

// PeekRing reads which log a stored ring belongs to, without verifying
// anything.
func PeekRing(data []byte) (id LogID, ok bool) {
	message, err := parseRing(data)
	if err != nil {
		return LogID{}, false
	}
	id = ringLog(message)
	return id, id.Validate() == nil
}

// PeekAnchor reads the anchor of a stored ring, without verifying anything.
func PeekAnchor(data []byte) (a Anchor, ok bool) {
	message, err := parseRing(data)
	if err != nil || message.Anchor == nil {
		return Anchor{}, false
	}
	return anchorOf(message.Anchor), true
}

func anchorOf(a *v1.Anchor) Anchor {
	anchor := Anchor{
		Version: a.GetVersion(), Epoch: a.GetEpoch(), ApplicationReserved: a.GetApplicationReserved(), HandshakeReserved: a.GetHandshakeReserved(),
	}
	copy(anchor.Digest[:], a.GetDigest())
	return anchor
}

// decodeRing unwraps a stored ring and verifies it. Every key in it counts as
// proven: it was read from the store.
func decodeRing(ctx context.Context, vault KeyVault, log LogID, data []byte) (*ring, error) {
	message, err := parseRing(data)
	if err != nil {
		return nil, err
	}
	if ringLog(message) != log {
		return nil, fmt.Errorf("%w: it is the ring of %s", ErrRingCorrupt, ringLog(message))
	}
	r := &ring{log: log, number: message.Revision, shredVersion: message.ShredVersion, anchor: anchorOf(message.Anchor)}
	if r.asOf = message.AsOf; r.asOf == 0 {
		r.asOf = r.anchor.Version
	}
	copy(r.incarnation[:], message.Incarnation)
	if o := message.Origin; o != nil {
		r.origin = Head{Version: o.Version, Sequence: o.Sequence}
		copy(r.origin.Digest[:], o.Digest)
	}
	for _, wrapped := range message.Keys {
		k, err := unwrapKey(ctx, vault, r, wrapped)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, k)
	}
	return r, r.verify(data)
}

func unwrapKey(ctx context.Context, vault KeyVault, r *ring, w *v1.WrappedKey) (ringKey, error) {
	if len(w.Id) != len(keyID{}) {
		return ringKey{}, fmt.Errorf("%w: a key id of %d bytes", ErrRingCorrupt, len(w.Id))
	}
	k := ringKey{
		id: keyID(w.Id), wrapped: w.Wrapped, class: Class(w.Class), label: w.Label, madeAt: w.MadeAtVersion, sinceMS: w.SinceMs,
		items: w.Items, first: w.FirstItem, last: w.LastItem, forgottenBelow: w.ForgottenBelow, proven: true,
	}
	raw, err := vault.Unwrap(ctx, r.shredVersion, wrapAAD(r.log, k.id, r.shredVersion), w.Wrapped)
	switch {
	case errors.Is(err, ErrUnopened):
		return ringKey{}, fmt.Errorf("%w: key %x does not unwrap", ErrRingCorrupt, k.id)
	case err != nil:
		return ringKey{}, fmt.Errorf("unwrap the key ring of %s: %w", r.log, err)
	case len(raw) != keyBytes:
		return ringKey{}, fmt.Errorf("%w: a key of %d bytes", ErrRingCorrupt, len(raw))
	}
	k.key = ringSecret{secret.New(raw)}
	return k, nil
}

// verify checks the MAC, the last field of the stored bytes.
func (r *ring) verify(data []byte) error {
	body, tag, ok := cutMAC(data, ringFieldMAC)
	if mac := r.mac(); !ok || mac.IsZero() || !checkMAC(mac, macRing, body, tag) {
		return fmt.Errorf("%w: its MAC is not the log's", ErrRingCorrupt)
	}
	return nil
}
