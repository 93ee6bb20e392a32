package audit

import (
	"errors"
	"fmt"
	"testing"

	"parley/events"
	eventsv1 "parley/events/v1"
)

// history is five records: epoch 0, traffic, epochs 1 and 2 in one record with traffic between, traffic, epoch 3.
func history() []*events.Record {
	advanced := func(n uint64) events.Event {
		return events.Event{Body: &eventsv1.EpochAdvanced{Facts: &eventsv1.EpochFacts{Epoch: n}}}
	}
	traffic := events.Event{Body: &eventsv1.MessagesConsumed{Count: 1}}
	list := [][]events.Event{
		{{Body: &eventsv1.ConversationCreated{Facts: &eventsv1.EpochFacts{}}}},
		{traffic},
		{advanced(1), traffic, advanced(2)},
		{traffic},
		{advanced(3)},
	}
	var records []*events.Record
	for i, evs := range list {
		records = append(records, &events.Record{Head: events.Head{Version: uint64(i + 1)}, TimeMS: uint64(100 * (i + 1)), Events: evs})
	}
	return records
}

func TestPlacesCutAHistory(t *testing.T) {
	for _, c := range []struct {
		place Place
		want  string // version:events of what is given
	}{
		{Newest(), "1:1 2:1 3:3 4:1 5:1 "},
		{AtEpoch(0), "1:1 2:1 "},
		{AtEpoch(1), "1:1 2:1 3:2 "},
		{AtEpoch(2), "1:1 2:1 3:3 4:1 "},
		{AtEpoch(3), "1:1 2:1 3:3 4:1 5:1 "},
		{AtVersion(2), "1:1 2:1 "},
		{AtTime(399), "1:1 2:1 3:3 "},
		{AtTime(400), "1:1 2:1 3:3 4:1 "},
	} {
		got, err := walk(c.place)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.place, got, err, c.want)
		}
	}
}

func TestPlacesThatAreNotThere(t *testing.T) {
	for place, has := range map[Place]string{
		AtEpoch(4): "epochs 0 to 3", AtVersion(6): "versions 1 to 5", AtVersion(0): "no such records", AtTime(99): "only later records",
	} {
		_, err := walk(place)
		var missing *NotThereError
		if !errors.As(err, &missing) || missing.Has != has {
			t.Errorf("%s: %v, want %q", place, err, has)
		}
	}
}

func walk(place Place) (string, error) {
	c := cut{place: place}
	var got string
	for _, r := range history() {
		part, done := c.take(r)
		if part != nil {
			got += fmt.Sprintf("%d:%d ", part.Version, len(part.Events))
		}
		if done {
			break
		}
	}
	return got, c.met(events.ConversationLog("ann", "team"))
}
