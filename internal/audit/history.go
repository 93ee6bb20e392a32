package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/projections"
)

// ErrBadKeys is a key file or key directory that cannot be used.
var ErrBadKeys = errors.New("the keys cannot be used")

// ErrBadFold is a record whose events do not follow from the ones before.
var ErrBadFold = errors.New("the history contradicts itself")

// Records gives the records of a log up to a place, each verified as far as its chain and, with keys, its MAC. The last one may be cut at
// the place; see Place.
func (h *History) Records(ctx context.Context, id events.LogID, place Place, fn func(*events.Record) error) error {
	return h.cut(ctx, id, &cut{place: place}, func(_, part *events.Record) error { return fn(part) })
}

// Survey gives the records of a log as far as it can be read, and says what is wrong with it: at its end, or with its key ring, without
// which the records are read all the same. Nil where nothing is.
func (h *History) Survey(ctx context.Context, id events.LogID, place Place, fn func(*events.Record) error) (*Finding, error) {
	strict := *h
	strict.strict = true
	last := uint64(0)
	note := func(r *events.Record) error {
		last = r.Version
		return fn(r)
	}
	err := strict.Records(ctx, id, place, note)
	found, err := find(id, last+1, err)
	if found == nil || found.Check != CheckRing {
		return found, err
	}
	strict.vault = nil
	err = strict.Records(ctx, id, place, note)
	if worse, err := find(id, last+1, err); worse != nil || err != nil {
		return worse, err
	}
	return found, nil
}

// cut walks a log until c is done, with each record and the part of it that lies before the place.
func (h *History) cut(ctx context.Context, id events.LogID, c *cut, fn func(whole, part *events.Record) error) error {
	_, err := h.replay(ctx, id, func(r *events.Record) error {
		part, done := c.take(r)
		if part != nil {
			if err := fn(r, part); err != nil {
				return err
			}
		}
		if done {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return c.met(id)
}

// State folds a conversation to a place. The record is the last one that is part of the state.
func (h *History) State(ctx context.Context, id events.LogID, place Place) (conversation.State, *events.Record, error) {
	state := conversation.NewState(id.Client, id.Conversation)
	var last *events.Record
	err := h.Records(ctx, id, place, func(r *events.Record) error {
		if len(r.Events) > 0 && last != nil {
			if _, lost := r.Events[0].Body.(*eventsv1.SecretsLost); lost {
				state = conversation.NewState(id.Client, id.Conversation) // as a node has it: it believes nothing of what came before
			}
		}
		next, err := conversation.Fold(state, r)
		if err != nil {
			return fmt.Errorf("%w: record %d of log %s: %w", ErrBadFold, r.Version, id, err)
		}
		state, last = next, r
		return nil
	})
	return state, last, err
}

// Tell gives each record of a log as a sentence.
func (h *History) Tell(ctx context.Context, id events.LogID, fn func(version uint64, sentence string) error) error {
	narrator := projections.NewNarrator(id)
	return h.Records(ctx, id, Newest(), func(r *events.Record) error { return fn(r.Version, narrator.Sentence(r)) })
}

// EpochAfter is the epoch in which a record leaves its log, where it says so.
func EpochAfter(r *events.Record) (epoch uint64, ok bool) {
	for _, e := range r.Events {
		if n, says := epochAt(e.Body); says {
			epoch, ok = n, true
		}
	}
	return epoch, ok
}

// followEvery is how often a follower looks for more. Reading changes nothing on the server, so there is nothing to be woken by.
const followEvery = 250 * time.Millisecond

// Follower is told what a history has, and then what is appended to it.
type Follower struct {
	Wanted func(events.LogID) bool
	Record func(events.LogID, *events.Record) error
	Rest   func() error // everything there is was given; there will be more
}

// Follow gives the records of all logs that are wanted, and then new ones as they are appended, until ctx ends.
func (h *History) Follow(ctx context.Context, f Follower) error {
	heads := map[events.LogID]events.Head{}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		err := h.catchUp(ctx, heads, f)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = f.Rest()
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (h *History) catchUp(ctx context.Context, heads map[events.LogID]events.Head, f Follower) error {
	logs, err := h.Logs(ctx)
	if err != nil {
		return err
	}
	for _, id := range logs {
		if !f.Wanted(id) {
			continue
		}
		if more, err := h.hasMore(ctx, id, heads[id]); err != nil || !more {
			if err != nil {
				return err
			}
			continue
		}
		keys, err := h.keys(ctx, id)
		if err != nil {
			return err
		}
		audit := events.OpenAudit(h.source, id, keys, events.AuditOptions{})
		if err := audit.Replay(ctx, heads[id], func(r *events.Record) error { return f.Record(id, r) }); err != nil {
			return err
		}
		heads[id] = audit.Head()
	}
	return nil
}

// hasMore looks for anything after a head: most logs are quiet most of the time, and their keys need not be read for that.
func (h *History) hasMore(ctx context.Context, id events.LogID, head events.Head) (bool, error) {
	err := h.source.Read(ctx, id, head.Sequence+1, func(events.Message) error { return errEnough })
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// errNoRing is a log whose ring is gone, though there are keys to open it with.
var errNoRing = errors.New("the log has records and no key ring")

// keys loads the ring of a log. Without keys everything but secrets and MACs can still be read; a ring that is gone is shown like no
// keys, and is a finding where the log is being verified.
func (h *History) keys(ctx context.Context, id events.LogID) (events.Keys, error) {
	if h.vault == nil || h.rings == nil {
		return events.Keys{}, nil
	}
	keys, err := events.LoadKeys(ctx, h.rings, h.vault, id)
	switch {
	case errors.Is(err, events.ErrNotFound) && h.strict && !h.some:
		return events.Keys{}, errNoRing
	case errors.Is(err, events.ErrNotFound):
		return events.Keys{}, nil
	case errors.Is(err, events.ErrKeyMissing), h.some && errors.Is(err, events.ErrRingCorrupt):
		return events.Keys{}, fmt.Errorf("%w: %w", ErrBadKeys, err)
	}
	return keys, err
}

// reading is what there is to say of a log beside its records.
type reading struct {
	anchored uint64   // version up to which an anchor vouches for it; 0 without one
	torn     bool     // it ends in what may be the remains of a torn transaction
	void     []uint64 // records that were declared void, and were not given
}

// replay reads a whole log, and finds one that is behind its anchor or has another record there.
func (h *History) replay(ctx context.Context, id events.LogID, fn func(*events.Record) error) (was reading, err error) {
	keys, err := h.keys(ctx, id)
	if err != nil {
		return was, err
	}
	void := func(r *events.Record) { was.void = append(was.void, r.Version) }
	audit := events.OpenAudit(h.source, id, keys, events.AuditOptions{Void: void})
	if err := h.prelude(ctx, id, keys, fn); err != nil {
		return was, err
	}
	anchor, ok := keys.Anchor()
	met := !ok
	err = audit.Replay(ctx, events.Head{}, func(r *events.Record) error {
		if ok && r.Version == anchor.Version {
			if met = r.Digest == anchor.Digest; !met {
				return flawed(CheckHead, "its digest is %s, and the anchor says %s", r.Digest, anchor.Digest)
			}
		}
		return fn(r)
	})
	if err == nil && !met && audit.Head().Version < anchor.Version {
		err = flawed(CheckHead, "the log ends at record %d, before its anchor at %d", audit.Head().Version, anchor.Version)
	}
	was.anchored, was.torn = anchor.Version, audit.Torn()
	return was, err
}

// has tells whether a log has a record of that version by now.
func (h *History) has(ctx context.Context, id events.LogID, version uint64) (bool, error) {
	err := h.Records(ctx, id, AtVersion(version), func(*events.Record) error { return nil })
	var missing *NotThereError
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

// prelude gives the records that lie before a ring's reach. A ring that was made in place of a lost one knows nothing of what was written
// under the old one's keys: that is read without keys, and its MACs stay unchecked.
func (h *History) prelude(ctx context.Context, id events.LogID, keys events.Keys, fn func(*events.Record) error) error {
	if h.vault == nil {
		return nil
	}
	first, err := firstVersion(ctx, events.OpenAudit(h.source, id, keys, events.AuditOptions{}))
	if err != nil || first == 1 {
		return err
	}
	open := events.OpenAudit(h.source, id, events.Keys{}, events.AuditOptions{})
	err = open.Replay(ctx, events.Head{}, func(r *events.Record) error {
		if first > 0 && r.Version >= first {
			return errEnough
		}
		return fn(r)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// firstVersion is the version of the first record an audit gives; 0 where it gives none.
func firstVersion(ctx context.Context, audit *events.Audit) (first uint64, err error) {
	err = audit.Replay(ctx, events.Head{}, func(r *events.Record) error {
		first = r.Version
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return first, err
}
