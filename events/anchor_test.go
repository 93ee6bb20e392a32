package events_test

import (
	"errors"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
)

// reserve appends a record that reserves generations, anchored before Append returns.
func (w *world) reserve(j *events.Journal, through uint32) {
	w.t.Helper()
	_, err := j.Append(w.t.Context(), events.Draft{
		Events: []events.Event{{Body: &v1.GenerationsReserved{Count: 32, From: through - 32}}}, Anchor: &events.Anchor{Epoch: 0, ApplicationReserved: through},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAnAnchorAloneWritesNoRing(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	_, before, _ := w.stores.Rings.Load(t.Context(), conversation)
	for block := range uint32(5) {
		w.reserve(j, 32*(block+1))
	}
	if _, after, _ := w.stores.Rings.Load(t.Context(), conversation); after != before {
		t.Error("the ring was written")
	}
	again, _ := w.replay(conversation)
	if a := again.Anchor(); a.Version != 6 || a.Digest != j.Head().Digest || a.ApplicationReserved != 160 {
		t.Errorf("anchor %+v", a)
	}
	keys, err := events.LoadKeys(t.Context(), w.stores.Rings, w.vault, conversation)
	if a, ok := keys.Anchor(); err != nil || !ok || a != again.Anchor() {
		t.Errorf("an auditor's anchor: %+v, %v", a, err)
	}
	// Keys that later records used are known again although the ring was last written before them.
	w.append(again, advanced(1, "p1"))
	w.append(again, consumed("c1"))
	third, records := w.replay(conversation)
	if open, ok := records[7].Events[0].Secret(events.ClassConsumption); !ok || string(open.Expose()) != "c1" || third.Head().Version != 8 {
		t.Errorf("head %v, consumption %q", third.Head(), open.Expose())
	}
}

func TestALogBehindItsLoneAnchorIsRolledBack(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.reserve(j, 32)
	w.reserve(j, 64)
	w.tear(conversation, 2)
	again, _ := w.replay(conversation)
	if err := again.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
		t.Fatalf("the log lost what was reserved: %v", err)
	}
	if a := again.Anchor(); a.Version != 3 || a.ApplicationReserved != 64 {
		t.Errorf("anchor %+v", a)
	}
	w.append(again, events.Event{Body: &v1.LogRolledBack{AnchorVersion: 3, FoundVersion: 2}})
	third, _ := w.replay(conversation)
	if err := third.CheckAnchor(t.Context()); err != nil {
		t.Errorf("the new incarnation is measured by the old one's anchor: %v", err)
	}
	w.reserve(third, 96)
	w.tear(conversation, 3)
	fourth, _ := w.replay(conversation)
	if err := fourth.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
		t.Errorf("the second loss: %v", err)
	}
}

func TestAStaleAnchorDoesNotTakeThePlaceOfALaterOne(t *testing.T) {
	w := newWorld(t)
	stale, _ := w.replay(conversation)
	w.append(stale, advanced(0, "p0"))
	owner, _ := w.replay(conversation)
	w.reserve(owner, 32)
	if err := stale.WriteAnchor(t.Context(), events.Anchor{ApplicationReserved: 99}); !errors.Is(err, events.ErrFenced) {
		t.Errorf("the stale writer's anchor: %v", err)
	}
	again, _ := w.replay(conversation)
	if a := again.Anchor(); a.Version != 2 || a.ApplicationReserved != 32 {
		t.Errorf("anchor %+v", a)
	}
}

// oddRings answer with another anchor, or lose the answer to a write.
type oddRings struct {
	events.RingStore
	anchor []byte
	lose   error
}

func (o *oddRings) LoadAnchor(ctx ctx, id events.LogID) ([]byte, uint64, error) {
	data, revision, err := o.RingStore.LoadAnchor(ctx, id)
	if o.anchor != nil {
		return o.anchor, max(revision, 1), nil
	}
	return data, revision, err
}

func (o *oddRings) StoreAnchors(ctx ctx, as []events.AnchorWrite) ([]uint64, error) {
	revisions, err := o.RingStore.StoreAnchors(ctx, as)
	if err == nil && o.lose != nil {
		return nil, o.lose
	}
	return revisions, err
}

func TestAForeignAnchorIsRefused(t *testing.T) {
	w := newWorld(t)
	hall := events.ConversationLog("alice", "hall")
	for _, id := range []events.LogID{conversation, hall} {
		j, _ := w.replay(id)
		w.append(j, advanced(0, "p0"))
		w.reserve(j, 32)
	}
	own, _, err := w.stores.Rings.LoadAnchor(t.Context(), conversation)
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := w.stores.Rings.LoadAnchor(t.Context(), hall)
	flipped := append([]byte(nil), own...)
	flipped[len(flipped)/2] ^= 1
	rings := &oddRings{RingStore: w.stores.Rings}
	w.stores.Rings = rings
	for name, data := range map[string][]byte{"another log's": other, "a damaged one": flipped, "an empty one": {}, "half of it": own[:len(own)/2]} {
		rings.anchor = data
		if _, err := events.OpenJournal(t.Context(), w.stores, w.vault, conversation, events.JournalOptions{}); !errors.Is(err, events.ErrRingCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALostRingsAnchorIsPassedOver(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.reserve(j, 32)
	orphan, _, err := w.stores.Rings.LoadAnchor(t.Context(), conversation)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.stores.Rings.Delete(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	rings := &oddRings{RingStore: w.stores.Rings, anchor: orphan}
	w.stores.Rings = rings
	again := w.open(conversation, events.JournalOptions{AcceptLoss: true})
	if err := again.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	w.append(again, events.Event{Body: &v1.SecretsLost{Reason: "the ring is gone"}})
	if third, _ := w.replay(conversation); third.CheckAnchor(t.Context()) != nil || third.Head().Version != 3 {
		t.Errorf("head %v, %v", third.Head(), third.CheckAnchor(t.Context()))
	}
}

func TestAnAnchorOfUnknownOutcomeIsLookedFor(t *testing.T) {
	w := newWorld(t)
	rings := &oddRings{RingStore: w.stores.Rings}
	w.stores.Rings = rings
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	rings.lose = events.ErrUnknownOutcome
	w.reserve(j, 32) // it arrived
	rings.lose = nil
	w.reserve(j, 64)
	if again, _ := w.replay(conversation); again.Anchor().ApplicationReserved != 64 {
		t.Errorf("anchor %+v", again.Anchor())
	}
}
