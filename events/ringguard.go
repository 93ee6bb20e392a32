package events

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	ringFieldShredVersion = 5
	// unsettledMax bounds the rings of which a guard does not know whether they were created.
	unsettledMax = 1024
)

// RingGuard is the ring store of all writers of a node. It knows under which
// shred key the node writes, so that the node can promise, in its lease, that
// it writes under no older one any more and that nothing it wrote under one is
// still on its way. It is safe for concurrent use.
type RingGuard struct {
	RingStore
	vault KeyVault

	mu        sync.Mutex
	version   string         // the oldest one that may still be written under
	writing   map[string]int // writes under way, by version
	ended     chan struct{}  // closed, and made anew, whenever a write ends
	unsettled map[LogID]unsettled
}

// unsettled is a ring that was to be created, and nobody knows whether it was
// or still will be. A ring that replaces another one needs no such care: the
// rotation wraps the other one anew, and then this one comes too late.
type unsettled struct {
	version string
	data    []byte
}

// GuardRings makes the guard of a node's writers.
func GuardRings(rings RingStore, vault KeyVault) *RingGuard {
	return &RingGuard{RingStore: rings, vault: vault, writing: map[string]int{}, ended: make(chan struct{}), unsettled: map[LogID]unsettled{}}
}

// Load implements RingStore.
func (g *RingGuard) Load(ctx context.Context, id LogID) (data []byte, revision uint64, err error) {
	if data, revision, err = g.RingStore.Load(ctx, id); err == nil {
		g.settle(id)
	}
	return data, revision, err
}

// Store implements RingStore. A ring that is wrapped under a version which the
// node has left behind is refused like one that somebody else has changed: the
// writer wraps it anew.
func (g *RingGuard) Store(ctx context.Context, id LogID, data []byte, expect uint64) (revision uint64, err error) {
	version := ringVersion(data)
	if err := g.begin(version, expect); err != nil {
		return 0, fmt.Errorf("write the key ring of %s: %w", id, err)
	}
	revision, err = g.RingStore.Store(ctx, id, data, expect)
	g.mu.Lock()
	defer g.mu.Unlock()
	if expect == 0 && err != nil && !errors.Is(err, ErrConflict) {
		g.unsettled[id] = unsettled{version, data}
	}
	if g.writing[version]--; g.writing[version] == 0 {
		delete(g.writing, version)
	}
	close(g.ended)
	g.ended = make(chan struct{})
	return revision, err
}

func (g *RingGuard) begin(version string, expect uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case version < g.version:
		return fmt.Errorf("%w: it is wrapped under shred key %s, and this node writes under %s by now", ErrConflict, version, g.version)
	case expect == 0 && len(g.unsettled) >= unsettledMax:
		return fmt.Errorf("%w: it is not known of %d rings whether they were created", ErrUnavailable, len(g.unsettled))
	}
	g.writing[version]++
	return nil
}

// Advance moves the node to the vault's current version and returns it once
// the node is done with every older one: no write under one is under way, and
// none may still arrive. The lease may name that version from then on.
func (g *RingGuard) Advance(ctx context.Context) (version string, err error) {
	current, err := g.vault.Current(ctx)
	if err != nil {
		return "", fmt.Errorf("name the shred key to write under: %w", err)
	}
	g.mu.Lock()
	g.version = max(g.version, current)
	version = g.version
	g.mu.Unlock()
	if err := g.await(ctx, version); err != nil {
		return "", err
	}
	for id, u := range g.before(version) {
		if err := g.resolve(ctx, id, u); err != nil {
			return "", fmt.Errorf("settle a write of the key ring of %s: %w", id, err)
		}
	}
	return version, nil
}

// await returns when no write under an older version is under way.
func (g *RingGuard) await(ctx context.Context, version string) error {
	for {
		g.mu.Lock()
		older, ended := false, g.ended
		for v := range g.writing {
			older = older || v < version
		}
		g.mu.Unlock()
		if !older {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("ring writes under older shred keys than %s are under way: %w", version, context.Cause(ctx))
		}
	}
}

func (g *RingGuard) before(version string) map[LogID]unsettled {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := map[LogID]unsettled{}
	for id, u := range g.unsettled {
		if u.version < version {
			old[id] = u
		}
	}
	return old
}

func (g *RingGuard) settle(id LogID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.unsettled, id)
}

// resolve makes sure that a ring which was to be created cannot arrive any
// more: another one is in its place, or the same, wrapped under the version
// that is current now.
func (g *RingGuard) resolve(ctx context.Context, id LogID, u unsettled) error {
	_, _, err := g.Load(ctx, id) // which settles it where there is one
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	r, err := decodeRing(ctx, g.vault, id, u.data)
	if err != nil {
		return err
	}
	r.number-- // the same write once more
	data, err := r.encode(ctx, g.vault)
	if err != nil {
		return err
	}
	// A crash here is clean: a ring without records is read by the next one to open the log.
	if _, err = g.RingStore.Store(ctx, id, data, 0); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	g.settle(id)
	return nil
}

// ringVersion reads the shred version of a stored ring, and nothing else.
func ringVersion(data []byte) string {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return ""
		}
		data = data[n:]
		if field == ringFieldShredVersion && kind == protowire.BytesType {
			version, _ := protowire.ConsumeString(data)
			return version
		}
		if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
			return ""
		}
		data = data[n:]
	}
	return ""
}

// strayRing tells a ring that nothing was ever sealed under from one whose key
// is missed: it is the first of its log, the log is empty, and its version was
// destroyed. Its writer died while it was on its way, and it arrived after the
// rotation. Its revision is given; why is why it cannot be opened, and comes
// back where it is no such ring.
func (j *Journal) strayRing(ctx context.Context, why error) (revision uint64, err error) {
	data, revision, err := j.stores.Rings.Load(ctx, j.id)
	if err != nil {
		return 0, err
	}
	message, err := parseRing(data)
	if err != nil {
		return 0, err
	}
	current, err := j.vault.Current(ctx)
	if err != nil {
		return 0, err
	}
	if message.Revision != 1 || message.Anchor != nil || message.AsOf != 0 || message.Origin != nil || message.ShredVersion >= current {
		return 0, why
	}
	if _, err := j.stores.Log.Last(ctx, j.id); !errors.Is(err, ErrNotFound) {
		return 0, errors.Join(why, err)
	}
	return revision, nil
}
