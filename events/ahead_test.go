package events_test

import (
	"errors"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
)

// swiftly reserves generations for a caller who calls Secure himself.
func (w *world) swiftly(j *events.Journal, through uint32) error {
	_, err := j.Append(w.t.Context(), events.Draft{
		Events: []events.Event{{Body: &v1.GenerationsReserved{Count: 32, From: through - 32}}}, Anchor: &events.Anchor{ApplicationReserved: through},
		Swift: true,
	})
	return err
}

func TestReservedGenerationsAreSpokenForBesideTheirRecord(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	before := j.Head()
	if err := w.swiftly(j, 32); err != nil {
		t.Fatal(err)
	}
	again, records := w.replay(conversation)
	if a := again.Anchor(); a.Version != before.Version || a.Digest != before.Digest || a.ApplicationReserved != 32 || len(records) != 2 {
		t.Errorf("anchor %+v of %d records", a, len(records))
	}
	// The record does not come, and the anchor speaks for what it was to reserve.
	log.fault = func([]events.Append) ([]uint64, error) { return nil, events.ErrUnavailable }
	if err := w.swiftly(j, 64); !errors.Is(err, events.ErrUnavailable) {
		t.Fatal(err)
	}
	again, records = w.replay(conversation)
	if err := again.CheckAnchor(t.Context()); err != nil || again.Anchor().ApplicationReserved != 64 || len(records) != 2 {
		t.Errorf("%v, anchor %+v of %d records", err, again.Anchor(), len(records))
	}
	// The journal goes on, and what the record was to reserve is spoken for whoever reserves it.
	if err := w.swiftly(j, 96); err != nil {
		t.Fatal(err)
	}
	// So is what the log loses before its anchor follows.
	w.tear(conversation, 2)
	again, _ = w.replay(conversation)
	if err := again.CheckAnchor(t.Context()); err != nil || again.Anchor().ApplicationReserved != 96 {
		t.Errorf("%v, anchor %+v", err, again.Anchor())
	}
}

// flakyRings refuse anchors now and then.
type flakyRings struct {
	events.RingStore
	refuse int
}

func (f *flakyRings) StoreAnchors(ctx ctx, as []events.AnchorWrite) ([]uint64, error) {
	if f.refuse > 0 {
		f.refuse--
		return nil, events.ErrConflict
	}
	return f.RingStore.StoreAnchors(ctx, as)
}

func TestAnAnchorThatFailsBesideItsRecordIsStoredAfterIt(t *testing.T) {
	w := newWorld(t)
	rings := &flakyRings{RingStore: w.stores.Rings}
	w.stores.Rings = rings
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	rings.refuse = 1
	if err := w.swiftly(j, 32); err != nil {
		t.Fatal(err)
	}
	again, _ := w.replay(conversation)
	if a := again.Anchor(); a.Version != 2 || a.Digest != j.Head().Digest || a.ApplicationReserved != 32 {
		t.Errorf("anchor %+v", a)
	}
}

func TestSwiftRecordsLeaveTheEndOfKeysToSecure(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	next := func(epoch uint64) {
		t.Helper()
		draft := events.Draft{Events: []events.Event{advanced(epoch, "p")}, Anchor: &events.Anchor{Epoch: epoch}, Swift: true}
		if _, err := j.Append(t.Context(), draft); err != nil {
			t.Fatal(err)
		}
	}
	opens := func(want ...bool) {
		t.Helper()
		again, records := w.replay(conversation)
		for i, r := range records {
			if _, open := r.Events[0].Secret(events.ClassPrivateState); open != want[i] {
				t.Errorf("of record %d the private state opens: %v", i+1, open)
			}
		}
		if err := again.CheckAnchor(t.Context()); err != nil {
			t.Error(err)
		}
	}
	next(1)
	opens(true, true) // as after a crash: who replays knows that the first key is dead, and leaves it out when he writes the ring
	if err := j.Secure(t.Context()); err != nil {
		t.Fatal(err)
	}
	opens(false, true)
	if a := j.Anchor(); a.Version != 2 || a.Epoch != 1 {
		t.Errorf("anchor %+v", a)
	}
	next(2)
	heir, _ := w.replay(conversation)
	if err := heir.WriteAnchor(t.Context(), events.Anchor{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	opens(false, false, true)
}
