package audit

import (
	"fmt"

	"parley/events"
	eventsv1 "parley/events/v1"
)

// NotThereError is a place that a history does not have.
type NotThereError struct {
	Log   events.LogID
	Place Place
	Has   string // what it has instead
}

// Error implements error.
func (e *NotThereError) Error() string {
	return fmt.Sprintf("log %s has no %s; it has %s", e.Log, e.Place, e.Has)
}

// cut ends a history at a place. Because one record may hold several epochs, a place inside a record is possible: then the record is
// given without the events that come after.
type cut struct {
	place   Place
	epoch   uint64
	entered bool // some epoch has begun
	hit     bool // the place itself was met
	last    uint64
	first   uint64 // first epoch of the log
}

// take gives the part of the next record that lies before or at the place, nil where none does, and whether the place is passed.
func (c *cut) take(r *events.Record) (part *events.Record, done bool) {
	switch c.place.kind {
	case placeVersion:
		if r.Version > c.place.value {
			return nil, true
		}
		c.hit = r.Version == c.place.value
	case placeTime:
		if r.TimeMS > c.place.value {
			return nil, true
		}
		c.hit = true
	case placeEpoch:
		return c.untilEpoch(r)
	case placeNewest:
		c.hit = true
	}
	c.last = r.Version
	return r, c.place.kind == placeVersion && c.hit
}

func (c *cut) untilEpoch(r *events.Record) (*events.Record, bool) {
	for i, e := range r.Events {
		epoch, ok := epochAt(e.Body)
		if !ok {
			continue
		}
		if epoch > c.place.value {
			return before(r, i), true
		}
		if !c.entered {
			c.first = epoch
		}
		c.epoch, c.entered = epoch, true
		c.hit = epoch == c.place.value
	}
	c.last = r.Version
	return r, false
}

// before is a record without its events from i on; nil where nothing is left.
func before(r *events.Record, i int) *events.Record {
	if i == 0 {
		return nil
	}
	part := *r
	part.Events = r.Events[:i]
	return &part
}

// epochAt is the epoch to which an event belongs or in which it leaves the log, where it says so.
func epochAt(body events.Body) (uint64, bool) {
	switch b := body.(type) {
	case *eventsv1.ConversationCreated:
		return b.GetFacts().GetEpoch(), true
	case *eventsv1.ConversationJoined:
		return b.GetFacts().GetEpoch(), true
	case *eventsv1.EpochAdvanced:
		return b.GetFacts().GetEpoch(), true
	case *eventsv1.OrderEntry:
		// A late message names the epoch it was sealed in, not the one the order is in.
		return b.GetEpoch(), b.GetKind() != eventsv1.EntryKind_ENTRY_KIND_APPLICATION
	}
	return 0, false
}

// met is nil where the history has the place, else what it has.
func (c *cut) met(id events.LogID) error {
	if c.hit {
		return nil
	}
	has := fmt.Sprintf("versions 1 to %d", c.last)
	switch {
	case c.place.kind == placeEpoch && !c.entered:
		has = "no epochs"
	case c.place.kind == placeEpoch:
		has = fmt.Sprintf("epochs %d to %d", c.first, c.epoch)
	case c.place.kind == placeTime:
		has = "only later records"
	}
	if c.last == 0 && c.place.kind != placeTime {
		has = "no such records"
	}
	return &NotThereError{id, c.place, has}
}
