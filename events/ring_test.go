package events_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/events"
	"parley/events/memlog"
	v1 "parley/events/v1"
)

// steps records the durable steps that a journal takes.
type steps []events.Step

func (s *steps) hooks() events.Hooks {
	return events.Hooks{After: func(_ ctx, step events.Step, _ events.LogID) error {
		*s = append(*s, step)
		return nil
	}}
}

func (w *world) watched(id events.LogID) (*events.Journal, *steps) {
	w.t.Helper()
	s := &steps{}
	j := w.open(id, events.JournalOptions{Hooks: s.hooks()})
	if err := j.Replay(w.t.Context(), events.Head{}, ignore); err != nil {
		w.t.Fatal(err)
	}
	*s = nil
	return j, s
}

func TestNoRingWritePrecedesAnAppend(t *testing.T) {
	w := newWorld(t)
	j, seen := w.watched(conversation)
	for epoch := range uint64(100) {
		w.append(j, advanced(epoch, "p"), events.Event{Body: &v1.SecretExported{}, Secrets: []events.Secret{
			{Class: events.ClassVerification, Label: events.Item("epoch", epoch), Plain: plain("v")},
			{Class: events.ClassSpool, Label: events.Item("message", epoch), Plain: plain("m")},
		}})
		w.append(j, consumed("c"))
	}
	for i, step := range *seen {
		if step == events.StepRingKeys {
			t.Fatalf("step %d makes keys before an append: %v", i, (*seen)[:i+1])
		}
	}
}

// A key is used only after it was read back from the store.
func TestKeysThatNeverArrivedSealNothing(t *testing.T) {
	w := newWorld(t)
	rings := &forgetfulRings{RingStore: w.stores.Rings}
	w.stores.Rings = rings
	j, _ := w.replay(clientLog)
	rings.forget = true
	var err error
	sealed := 0
	for i := 0; err == nil && i < 20; i++ {
		var r *events.Record
		if r, err = j.Append(t.Context(), events.Draft{Events: []events.Event{keyPackage(i)}}); r != nil {
			sealed++
		}
	}
	if err == nil {
		t.Fatal("20 keys from a store that keeps none")
	}
	rings.forget = false
	_, records := w.replay(clientLog)
	if len(records) != sealed || sealed == 0 {
		t.Errorf("%d records, %d were acknowledged", len(records), sealed)
	}
	for i, r := range records {
		if got := string(r.Events[0].Secrets[0].Plain.Expose()); got != fmt.Sprint("keys of ", i) {
			t.Errorf("record %d holds %q", r.Version, got)
		}
	}
}

// forgetfulRings acknowledges writes and drops them.
type forgetfulRings struct {
	events.RingStore
	forget bool
}

func (f *forgetfulRings) Store(ctx ctx, id events.LogID, data []byte, expect uint64) (uint64, error) {
	if f.forget {
		return expect + 1, nil
	}
	return f.RingStore.Store(ctx, id, data, expect)
}

func keyPackage(i int) events.Event {
	ref := fmt.Sprintf("ref-%d", i)
	return events.Event{
		Body:    &v1.KeyPackagesGenerated{KeyPackages: []*v1.KeyPackageEntry{{Ref: []byte(ref)}}},
		Secrets: []events.Secret{{Class: events.ClassKeyPackage, Label: ref, Plain: plain(fmt.Sprint("keys of ", i))}},
	}
}

func TestManyKeysAtOnceAreMadeBeforeTheyAreUsed(t *testing.T) {
	w := newWorld(t)
	j, seen := w.watched(clientLog)
	event := events.Event{Body: &v1.KeyPackagesGenerated{}}
	for i := range 100 {
		event.Secrets = append(event.Secrets, events.Secret{Class: events.ClassKeyPackage, Label: fmt.Sprint(i), Plain: plain(fmt.Sprint("k", i))})
	}
	w.append(j, event)
	if !slices.Equal(*seen, steps{events.StepRingKeys, events.StepAppend}) {
		t.Errorf("steps %v", *seen)
	}
	w.append(j, events.Event{Body: &v1.KeyPackagesConsumed{}, Forget: []string{events.Forget(events.ClassKeyPackage, "7")}})
	_, records := w.replay(clientLog)
	for i, s := range records[0].Events[0].Secrets {
		if s.Plain.IsZero() != (i == 7) {
			t.Errorf("key package %d: dead %v", i, s.Plain.IsZero())
		}
	}
}

func TestRingHoldsAtMost512Keys(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(clientLog)
	var err error
	n := 0
	for ; err == nil && n < 600; n++ {
		_, err = j.Append(t.Context(), events.Draft{Events: []events.Event{keyPackage(n)}})
	}
	if !errors.Is(err, events.ErrRingFull) || n < 500 || j.Keys() > 512 {
		t.Fatalf("after %d keys: %v, ring of %d", n, err, j.Keys())
	}
	w.append(j, events.Event{Body: &v1.KeyPackagesExpired{}, Forget: []string{events.Forget(events.ClassKeyPackage, "ref-0"), events.Forget(events.ClassKeyPackage, "ref-1")}})
	w.append(j, keyPackage(1000))
	again, _ := w.replay(clientLog)
	if again.Keys() > 512 {
		t.Errorf("ring of %d", again.Keys())
	}
}

func TestSameLabelAgainReplacesItsKey(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(clientLog)
	psk := func(text string) events.Event {
		return events.Event{Body: &v1.PreSharedKeyAdded{Id: []byte("id")}, Secrets: []events.Secret{{Class: events.ClassPSK, Label: "id", Plain: plain(text)}}}
	}
	w.append(j, psk("old"))
	w.append(j, psk("new"))
	_, records := w.replay(clientLog)
	if _, ok := records[0].Events[0].Secret(events.ClassPSK); ok {
		t.Error("the replaced key lives")
	}
	if got, ok := records[1].Events[0].Secret(events.ClassPSK); !ok || string(got.Expose()) != "new" {
		t.Errorf("the new key is %q", got.Expose())
	}
}

// spool appends one record of count messages from a number on, at a time.
func (w *world) spool(j *events.Journal, from uint64, count int, timeMS uint64, forget ...string) {
	w.t.Helper()
	event := events.Event{Body: &v1.MessagesConsumed{Count: uint32(count)}, Forget: forget}
	for i := range count {
		event.Secrets = append(event.Secrets, events.Secret{Class: events.ClassSpool, Label: events.Item("message", from+uint64(i)), Plain: plain("m")})
	}
	if _, err := j.Append(w.t.Context(), events.Draft{TimeMS: timeMS, Events: []events.Event{event}}); err != nil {
		w.t.Fatal(err)
	}
}

func openSpool(records []*events.Record) (open, dead int) {
	for _, r := range records {
		for _, e := range r.Events {
			for _, s := range e.Secrets {
				if s.Class != events.ClassSpool {
					continue
				}
				if s.Plain.IsZero() {
					dead++
				} else {
					open++
				}
			}
		}
	}
	return open, dead
}

const minute = 60_000

func TestSpoolKeysDieWithWhatTheyCover(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	before := j.Keys()
	w.spool(j, 1, 600, 1*minute)
	w.spool(j, 601, 600, 2*minute)   // more than 1,000, but younger than ten minutes
	w.spool(j, 1201, 600, 12*minute) // another key
	if _, records := w.replay(conversation); len(records) != 3 {
		t.Fatal(len(records))
	}
	if got := j.Keys() - before; got < 0 {
		t.Errorf("%d keys more", got)
	}
	through := func(n uint64) string { return events.ForgetThrough(events.ClassSpool, "message", n) }
	for _, step := range []struct{ through, open uint64 }{{600, 1800}, {1199, 1800}, {1200, 600}, {1500, 600}} {
		w.append(j, events.Event{Body: &v1.MessagesDelivered{Through: step.through}, Forget: []string{through(step.through)}})
		_, records := w.replay(conversation)
		if open, _ := openSpool(records); open != int(step.open) {
			t.Errorf("delivered through %d: %d open, want %d", step.through, open, step.open)
		}
	}
	// Everything is delivered: the newest key goes once it is ten minutes old.
	w.append(j, events.Event{Body: &v1.MessagesDelivered{Through: 1800}, Forget: []string{through(1800)}})
	if err := j.Sweep(t.Context(), 15*minute); err != nil {
		t.Fatal(err)
	}
	_, records := w.replay(conversation)
	if open, _ := openSpool(records); open != 600 {
		t.Errorf("before its time %d are open", open)
	}
	if err := j.Sweep(t.Context(), 23*minute); err != nil {
		t.Fatal(err)
	}
	_, records = w.replay(conversation)
	if open, dead := openSpool(records); open != 0 || dead != 1800 {
		t.Errorf("after the sweep %d are open, %d dead", open, dead)
	}
}

func TestVerificationKeysSpan64Epochs(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	for epoch := range uint64(200) {
		e := advanced(epoch, "p")
		e.Secrets = append(e.Secrets, events.Secret{Class: events.ClassVerification, Label: events.Item("epoch", epoch), Plain: plain("v")})
		if epoch >= 3 {
			e.Forget = []string{events.ForgetThrough(events.ClassVerification, "epoch", epoch-3)}
		}
		w.append(j, e)
	}
	_, records := w.replay(conversation)
	for i, r := range records {
		_, open := r.Events[0].Secret(events.ClassVerification)
		if want := i >= 192; open != want { // epochs 192 to 255 share a key; those before are forgotten
			t.Errorf("epoch %d: open %v", i, open)
		}
	}
}

func TestWipeKillsEverythingButTheRecord(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	w.spool(j, 1, 3, 5)
	w.append(j, events.Event{Body: &v1.ProposalReceived{}, Secrets: []events.Secret{{Class: events.ClassAudit, Plain: plain("signed bytes")}}})
	w.append(j, events.Event{Body: &v1.ConversationWiped{}, Forget: []string{events.ForgetAll()}})
	_, records := w.replay(conversation)
	for _, r := range records {
		for _, s := range r.Events[0].Secrets {
			if s.Plain.IsZero() == (s.Class == events.ClassAudit) {
				t.Errorf("after the wipe a %s secret is dead: %v", s.Class, s.Plain.IsZero())
			}
		}
	}
	again, _ := w.replay(conversation)
	w.append(again, advanced(0, "created again"))
}

func TestIntermediatePrivateStatesNeverReachTheRing(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.append(j, consumed("c0"), advanced(1, "p1"), consumed("c1"), advanced(2, "p2"), consumed("c2"))
	if _, err := w.store.Last(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	_, records := w.replay(conversation)
	var open []string
	for _, e := range records[1].Events {
		for _, s := range e.Secrets {
			open = append(open, string(s.Plain.Expose()))
		}
	}
	if !slices.Equal(open, []string{"", "", "", "p2", "c2"}) {
		t.Errorf("open: %q", open)
	}
}

func TestTwoWhoOpenANewLogShareOneRing(t *testing.T) {
	w := newWorld(t)
	race := &racingRings{RingStore: w.stores.Rings}
	first := w.stores
	w.stores.Rings = race
	race.before = func() {
		if _, err := events.OpenJournal(t.Context(), first, w.vault, conversation, events.JournalOptions{}); err != nil {
			t.Error(err)
		}
	}
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	w.stores = first
	if _, records := w.replay(conversation); len(records) != 1 || records[0].Events[0].Secrets[0].Plain.IsZero() {
		t.Error("the record is under keys that nobody has")
	}
}

// racingRings lets something happen just before the next write.
type racingRings struct {
	events.RingStore
	before func()
}

func (r *racingRings) Store(ctx ctx, id events.LogID, data []byte, expect uint64) (uint64, error) {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.RingStore.Store(ctx, id, data, expect)
}

func TestLostRingWriteIsMergedWhileTheHeadStands(t *testing.T) {
	w := newWorld(t)
	plainStores := w.stores
	race := &racingRings{RingStore: w.stores.Rings}
	w.stores.Rings = race
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	race.before = func() { // a rotation in the middle of the journal's own write
		if _, err := (events.Shred{Rings: plainStores.Rings, Vault: w.vault}).Run(t.Context()); err != nil {
			t.Error(err)
		}
	}
	w.append(j, advanced(1, "p1"))
	if race.before != nil {
		t.Fatal("nothing was written to the ring")
	}
	w.append(j, consumed("c1"))
	_, records := w.replay(conversation)
	if open, ok := records[2].Events[0].Secret(events.ClassConsumption); !ok || string(open.Expose()) != "c1" {
		t.Errorf("after the merge the consumption is %q", open.Expose())
	}
	if _, ok := records[0].Events[0].Secret(events.ClassPrivateState); ok {
		t.Error("a key that died came back with the merge")
	}
	if v, _ := w.vault.Current(t.Context()); j.ShredVersion() != v {
		t.Errorf("the ring is under %s, current is %s", j.ShredVersion(), v)
	}
}

func TestFencedWriterDoesNotTouchTheRing(t *testing.T) {
	w := newWorld(t)
	stale, _ := w.replay(conversation)
	w.append(stale, advanced(0, "p0"))
	owner, _ := w.replay(conversation)
	w.append(owner, advanced(1, "p1"))
	before, revision, _ := w.stores.Rings.Load(t.Context(), conversation)
	if _, err := stale.Append(t.Context(), events.Draft{Events: []events.Event{advanced(1, "x")}, Anchor: &events.Anchor{Epoch: 1}}); !errors.Is(err, events.ErrFenced) {
		t.Fatalf("the stale writer's record: %v", err)
	}
	if err := stale.WriteAnchor(t.Context(), events.Anchor{Epoch: 0, ApplicationReserved: 99}); !errors.Is(err, events.ErrFenced) {
		t.Fatalf("the stale writer's anchor: %v", err)
	}
	after, again, _ := w.stores.Rings.Load(t.Context(), conversation)
	if revision != again || !slices.Equal(before, after) {
		t.Error("the stale writer changed the ring")
	}
	if !errors.Is(stale.Err(), events.ErrFenced) {
		t.Errorf("the stale writer lives: %v", stale.Err())
	}
}

func TestUnreachableRingLeavesTheRecordDurable(t *testing.T) {
	w := newWorld(t)
	rings := &brokenRings{RingStore: w.stores.Rings}
	w.stores.Rings = rings
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	rings.err = events.ErrUnavailable
	r, err := j.Append(t.Context(), events.Draft{Events: []events.Event{advanced(1, "p1")}, Anchor: &events.Anchor{Epoch: 1}})
	if !errors.Is(err, events.ErrRingBehind) || errors.Is(err, events.ErrUnavailable) || r == nil { // unavailable would say that nothing was stored
		t.Fatalf("append: %v, %v", r, err)
	}
	rings.err = nil
	w.append(j, consumed("c1"))
	if err := j.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	again, records := w.replay(conversation)
	if again.Anchor().Version != 3 || again.Anchor().Epoch != 1 {
		t.Errorf("anchor %+v", again.Anchor())
	}
	if _, ok := records[0].Events[0].Secret(events.ClassPrivateState); ok {
		t.Error("the key that should have died lives on")
	}
}

type brokenRings struct {
	events.RingStore
	err error
}

func (b *brokenRings) Store(ctx ctx, id events.LogID, data []byte, expect uint64) (uint64, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.RingStore.Store(ctx, id, data, expect)
}

func (b *brokenRings) StoreAnchors(ctx ctx, as []events.AnchorWrite) ([]uint64, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.RingStore.StoreAnchors(ctx, as)
}

func (b *brokenRings) Load(ctx ctx, id events.LogID) ([]byte, uint64, error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	return b.RingStore.Load(ctx, id)
}

func TestDamagedRingIsRefused(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	if err := j.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	data, revision, _ := w.stores.Rings.Load(t.Context(), conversation)
	store := &memlog.Store{}
	for at := range data {
		damaged := slices.Clone(data)
		damaged[at] ^= 1 << (at % 8)
		if revision, _ = store.Stores().Rings.Store(t.Context(), conversation, damaged, revision); at == 0 {
			revision, _ = store.Stores().Rings.Store(t.Context(), conversation, damaged, 0)
		}
		stores := w.stores
		stores.Rings = store.Stores().Rings
		if _, err := events.OpenJournal(t.Context(), stores, w.vault, conversation, events.JournalOptions{}); !errors.Is(err, events.ErrRingCorrupt) && !errors.Is(err, events.ErrKeyMissing) {
			t.Fatalf("bit flipped in byte %d of the ring: %v", at, err)
		}
	}
}
