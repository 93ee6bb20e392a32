// Package gather lets the writers of one node share atomic batches. A fsynced append costs the same for one message as for a thousand in
// a batch, and a batch costs as much as about ten appends: so a few waiting appends go one by one, and many go together. Journals see
// ordinary stores.
package gather

import (
	"context"
	"errors"
	"time"

	"parley/events"
)

// Gatherer stands before the stores of a node. It is safe for concurrent use.
type Gatherer struct {
	stores  events.Stores
	appends *lanes[events.Append]
	anchors *lanes[events.AnchorWrite]
}

// New gathers appends and anchors. Lane says which stream a log lives in: what lives in different streams never shares a batch; false: its
// appends always go alone.
func New(stores events.Stores, now func() time.Time, lane func(events.LogID) (int, bool)) *Gatherer {
	g := &Gatherer{stores: stores}
	g.appends = newLanes(now, lane, store[events.Append]{
		one: stores.Log.Append, many: stores.Log.AppendBatch, lost: events.ErrFenced,
		log:  func(a events.Append) events.LogID { return a.Log },
		size: sizeOfAppend,
	})
	g.anchors = newLanes(now, lane, store[events.AnchorWrite]{
		one: func(ctx context.Context, a events.AnchorWrite) (uint64, error) {
			revisions, err := stores.Rings.StoreAnchors(ctx, []events.AnchorWrite{a})
			if err != nil {
				return 0, err
			}
			return revisions[0], nil
		},
		many: stores.Rings.StoreAnchors, lost: events.ErrConflict,
		log:  func(a events.AnchorWrite) events.LogID { return a.Log },
		size: func(a events.AnchorWrite) (messages, bytes int) { return 1, len(a.Data) },
	})
	return g
}

func sizeOfAppend(a events.Append) (messages, bytes int) {
	for _, m := range a.Messages {
		bytes += len(m)
	}
	return len(a.Messages), bytes
}

// Stores are the stores, gathered.
func (g *Gatherer) Stores() events.Stores {
	out := g.stores
	out.Log, out.Rings = gatheredLog{g.stores.Log, g.appends}, gatheredRings{g.stores.Rings, g.anchors}
	return out
}

// Wait blocks until nothing is under way.
func (g *Gatherer) Wait() {
	g.appends.running.Wait()
	g.anchors.running.Wait()
}

type gatheredLog struct {
	events.Log
	lanes *lanes[events.Append]
}

// Append waits for its own outcome. When the context ends first the outcome is unknown: the append is under way.
func (l gatheredLog) Append(ctx context.Context, a events.Append) (uint64, error) {
	if len(a.Messages) > 1 {
		return l.lanes.alone(ctx, a) // a batch of its own
	}
	return l.lanes.write(ctx, a)
}

type gatheredRings struct {
	events.RingStore
	lanes *lanes[events.AnchorWrite]
}

// StoreAnchors gathers an anchor that comes by itself; several are a batch already.
func (r gatheredRings) StoreAnchors(ctx context.Context, as []events.AnchorWrite) ([]uint64, error) {
	if len(as) != 1 {
		return r.RingStore.StoreAnchors(ctx, as)
	}
	revision, err := r.lanes.write(ctx, as[0])
	if err != nil {
		return nil, err
	}
	return []uint64{revision}, nil
}

// errGone is how a write ends whose caller has left: taken back, or under way.
func errGone(ctx context.Context, taken bool) error {
	if taken {
		return errors.Join(events.ErrUnavailable, context.Cause(ctx))
	}
	return errors.Join(events.ErrUnknownOutcome, context.Cause(ctx))
}
