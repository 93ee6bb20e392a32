package events_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"parley/events"
	v1 "parley/events/v1"
)

func TestRolledBackLogIsFoundAndBeginsAnew(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	for epoch := range uint64(5) {
		w.append(j, advanced(epoch, fmt.Sprint("p", epoch)))
	}
	if err := j.WriteAnchor(t.Context(), events.Anchor{Epoch: 4, ApplicationReserved: 64, HandshakeReserved: 2}); err != nil {
		t.Fatal(err)
	}
	w.tear(conversation, 3)

	again, records := w.replay(conversation)
	err := again.CheckAnchor(t.Context())
	if !errors.Is(err, events.ErrRolledBack) || len(records) != 3 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	anchor := again.Anchor()
	if anchor.Version != 5 || anchor.Epoch != 4 || anchor.ApplicationReserved != 64 || anchor.HandshakeReserved != 2 {
		t.Errorf("anchor %+v", anchor)
	}
	if _, err := again.Append(t.Context(), events.Draft{Events: []events.Event{advanced(9, "x")}}); !errors.Is(err, events.ErrRolledBack) {
		t.Fatalf("a log behind its anchor takes records: %v", err)
	}
	w.append(again, events.Event{Body: &v1.LogRolledBack{AnchorVersion: 5, FoundVersion: 3}})
	if again.Head().Incarnation == j.Head().Incarnation {
		t.Error("the incarnation is the old one")
	}
	w.append(again, advanced(5, "rejoined"))

	// From here on it is a log like any other, and reservations of the lost epoch still stand.
	third, records := w.replay(conversation)
	if err := third.CheckAnchor(t.Context()); err != nil || len(records) != 5 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if third.Anchor().Epoch != 4 || third.Anchor().ApplicationReserved != 64 {
		t.Errorf("anchor %+v", third.Anchor())
	}
	w.tear(conversation, 4) // and again
	fourth, _ := w.replay(conversation)
	if err := fourth.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
		t.Errorf("the second loss: %v", err)
	}
}

func TestNumbersThatComeRoundAgainAreNotTheOldOnes(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	for epoch := range uint64(4) {
		w.append(j, advanced(epoch, "p"))
	}
	w.tear(conversation, 2)
	// A node without the ring's knowledge, or an older one, goes on: versions 3 and 4 exist again.
	old, _, err := w.stores.Rings.Load(t.Context(), conversation)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := w.replay(conversation)
	w.append(again, events.Event{Body: &v1.LogRolledBack{}})
	w.append(again, advanced(7, "other"))
	_, revision, _ := w.stores.Rings.Load(t.Context(), conversation)
	if _, err := w.stores.Rings.Store(t.Context(), conversation, old, revision); err != nil {
		t.Fatal(err)
	}
	third, _ := w.replay(conversation)
	// The ring with the old anchor is back: the log itself says that it lost what the anchor names.
	if err := third.CheckAnchor(t.Context()); err != nil {
		t.Errorf("a log that says it was rolled back: %v", err)
	}
}

func TestEmptyLogWithAnAnchorIsRolledBack(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	w.append(j, advanced(1, "p"))
	w.tear(conversation, 0)
	again, _ := w.replay(conversation)
	if err := again.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
		t.Fatal(err)
	}
	w.append(again, events.Event{Body: &v1.LogRolledBack{AnchorVersion: 2}})
	third, _ := w.replay(conversation)
	if err := third.Sweep(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// laggingLog answers reads from a replica that has not seen the newest record.
type laggingLog struct {
	events.Log
	behind int
}

func (l laggingLog) Read(ctx ctx, id events.LogID, from uint64, fn func(events.Message) error) error {
	var all []events.Message
	err := l.Log.Read(ctx, id, from, func(m events.Message) error { all = append(all, m); return nil })
	if err != nil {
		return err
	}
	for _, m := range all[:max(0, len(all)-l.behind)] {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

func TestLaggingReplicaIsNotALoss(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	w.append(j, advanced(1, "p"))
	w.stores.Log = laggingLog{w.store, 1}
	stale, records := w.replay(conversation)
	if len(records) != 1 {
		t.Fatal(len(records))
	}
	if err := stale.CheckAnchor(t.Context()); !errors.Is(err, events.ErrFenced) || errors.Is(err, events.ErrRolledBack) {
		t.Errorf("a stale read: %v", err)
	}
}

func TestLostRingIsSecretsLost(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	w.append(j, advanced(1, "p"))
	if err := w.stores.Rings.Delete(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	if _, err := events.OpenJournal(t.Context(), w.stores, w.vault, conversation, events.JournalOptions{}); !errors.Is(err, events.ErrSecretsLost) {
		t.Fatalf("open: %v", err)
	}
	if _, _, err := w.stores.Rings.Load(t.Context(), conversation); !errors.Is(err, events.ErrNotFound) {
		t.Error("a ring was made without being asked for")
	}
	again := w.open(conversation, events.JournalOptions{AcceptLoss: true})
	var records []*events.Record
	if err := again.Replay(t.Context(), events.Head{}, collect(&records)); err != nil || len(records) != 0 {
		t.Fatalf("records that nobody can verify were given: %d, %v", len(records), err)
	}
	if _, err := again.Append(t.Context(), events.Draft{Events: []events.Event{advanced(2, "x")}}); !errors.Is(err, events.ErrSecretsLost) {
		t.Fatalf("append: %v", err)
	}
	w.append(again, events.Event{Body: &v1.SecretsLost{Reason: "the ring is gone"}})
	w.append(again, advanced(9, "rejoined"))
	third, records := w.replay(conversation)
	if err := third.CheckAnchor(t.Context()); err != nil || third.Head().Version != 4 {
		t.Errorf("head %v, %v", third.Head(), err)
	}
	if got := kindsOf(records); !slices.Equal(got, []string{"SecretsLost", "EpochAdvanced"}) {
		t.Errorf("replay gives %v", got)
	}
	// An auditor without keys still follows the whole chain.
	records = nil
	if err := events.OpenAudit(w.store, conversation, events.Keys{}, events.AuditOptions{}).Replay(t.Context(), events.Head{}, collect(&records)); err != nil || len(records) != 4 {
		t.Errorf("audit: %d records, %v", len(records), err)
	}
}

func TestSnapshotIsBelievedOnlyOnTheChain(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	if s, err := j.Snapshot(t.Context()); s != nil || err != nil {
		t.Fatalf("snapshot of nothing: %v, %v", s, err)
	}
	w.append(j, advanced(0, "p0"))
	w.append(j, advanced(1, "p1"))
	if err := j.SaveSnapshot(t.Context(), []byte("state at 2")); err != nil {
		t.Fatal(err)
	}
	head := j.Head()
	w.append(j, consumed("c1"))

	again := w.open(conversation, events.JournalOptions{})
	s, err := again.Snapshot(t.Context())
	if err != nil || s == nil || s.Head != head || string(s.State) != "state at 2" {
		t.Fatalf("snapshot %+v, %v", s, err)
	}
	var records []*events.Record
	if err := again.Replay(t.Context(), s.Head, collect(&records)); err != nil || len(records) != 1 || again.Head() != j.Head() {
		t.Fatalf("replay from the snapshot: %d records, %v", len(records), err)
	}
	if err := again.CheckAnchor(t.Context()); err != nil {
		t.Error(err)
	}
	w.append(again, consumed("c1 too"))

	data, err := w.stores.Snapshots.Load(t.Context(), conversation)
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		damaged := bytes.Clone(data)
		damaged[at] ^= 1 << (at % 8)
		_ = w.stores.Snapshots.Store(t.Context(), conversation, damaged)
		if s, err := again.Snapshot(t.Context()); s != nil || err != nil {
			t.Fatalf("bit flipped in byte %d: %+v, %v", at, s, err)
		}
	}
	_ = w.stores.Snapshots.Store(t.Context(), conversation, data)
	w.tear(conversation, 1) // the record it stands on is gone
	if s, err := again.Snapshot(t.Context()); s != nil || err != nil {
		t.Errorf("snapshot beyond the log: %+v, %v", s, err)
	}
}

// What happened before a snapshot is not seen again: the ring must know it.
func TestKeysUsedBeforeASnapshotStayKnown(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.spool(j, 1, 3, 5)
	w.append(j, events.Event{Body: &v1.SecretExported{}, Secrets: []events.Secret{{Class: events.ClassVerification, Label: events.Item("epoch", 0), Plain: plain("v0")}}})
	if err := j.SaveSnapshot(t.Context(), []byte("state")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again := w.open(conversation, events.JournalOptions{})
		s, err := again.Snapshot(t.Context())
		if err != nil || s == nil {
			t.Fatal(s, err)
		}
		if err := again.Replay(t.Context(), s.Head, ignore); err != nil {
			t.Fatal(err)
		}
		w.append(again, consumed("c"))
		w.spool(again, 10, 2, 6)
		w.append(again, advanced(1, "p1"))
	}
	_, records := w.replay(conversation)
	open, dead := openSpool(records)
	if open != 9 || dead != 0 {
		t.Errorf("%d spooled messages are open, %d dead", open, dead)
	}
	if _, ok := records[2].Events[0].Secret(events.ClassVerification); !ok {
		t.Error("the verification key is gone")
	}
}

func TestResumingWhereNothingStandsIsALoss(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	if err := j.SaveSnapshot(t.Context(), []byte("state")); err != nil {
		t.Fatal(err)
	}
	head := j.Head()
	w.tear(conversation, 0)
	again := w.open(conversation, events.JournalOptions{})
	if err := again.Replay(t.Context(), head, ignore); err != nil {
		t.Fatal(err)
	}
	if err := again.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
		t.Errorf("check: %v", err)
	}
}

func TestJournalCatchesUpWithAnother(t *testing.T) {
	w := newWorld(t)
	directory := events.DirectoryLog("alice")
	a, _ := w.replay(directory)
	b, _ := w.replay(directory)
	published := func(text string) events.Event {
		return events.Event{Body: &v1.KeyPackagePublished{}, Secrets: []events.Secret{{Class: events.ClassOrder, Plain: plain(text)}}}
	}
	for round := range 12 {
		w.append(a, published("a"), keyPackage(2*round))
		var seen []*events.Record
		if err := b.Replay(t.Context(), b.Head(), collect(&seen)); err != nil || len(seen) != 1 || seen[0].Events[1].Secrets[0].Plain.IsZero() {
			t.Fatalf("round %d: b sees %d, %v", round, len(seen), err)
		}
		w.append(b, published("b"), keyPackage(2*round+1))
		seen = nil
		if err := a.Replay(t.Context(), a.Head(), collect(&seen)); err != nil || len(seen) != 1 || seen[0].Events[1].Secrets[0].Plain.IsZero() {
			t.Fatalf("round %d: a sees %d, %v", round, len(seen), err)
		}
	}
	if err := a.Replay(t.Context(), events.Head{}, ignore); !errors.Is(err, events.ErrBadDraft) {
		t.Errorf("a replay from another place: %v", err)
	}
	_, records := w.replay(directory)
	for i, r := range records {
		if got := string(r.Events[1].Secrets[0].Plain.Expose()); got != fmt.Sprint("keys of ", i) {
			t.Errorf("record %d: %q", i, got)
		}
	}
}

func TestOrderWhosePrefixWasPurged(t *testing.T) {
	w := newWorld(t)
	order := events.OrderLog("group")
	j, _ := w.replay(order)
	entry := func(n uint64) events.Event { return events.Event{Body: &v1.OrderEntry{Number: n}} }
	for n := range uint64(5) {
		w.append(j, entry(n))
	}
	checkpoint := w.append(j, events.Event{Body: &v1.OrderCheckpoint{Number: 5}})
	w.append(j, entry(6))
	if err := w.store.Purge(t.Context(), order, checkpoint.Sequence); err != nil {
		t.Fatal(err)
	}
	again, records := w.replay(order)
	if err := again.CheckAnchor(t.Context()); err != nil || len(records) != 2 || again.Head() != j.Head() {
		t.Errorf("%d records, head %v, %v", len(records), again.Head(), err)
	}
	w.append(again, entry(7))

	// A purge that left no checkpoint at the beginning is a gap.
	if err := w.store.Purge(t.Context(), order, checkpoint.Sequence+1); err != nil {
		t.Fatal(err)
	}
	var corrupt *events.ErrCorrupt
	if err := w.open(order, events.JournalOptions{}).Replay(t.Context(), events.Head{}, ignore); !errors.As(err, &corrupt) {
		t.Errorf("an order that begins anywhere: %v", err)
	}
	// A follower reads from where it is; a place between the chunks of a record begins with the next.
	records = nil
	follower := events.OpenAudit(w.store, order, events.Keys{}, events.AuditOptions{})
	if err := follower.Replay(t.Context(), events.Head{Sequence: checkpoint.Sequence + 1}, collect(&records)); err != nil || len(records) != 2 {
		t.Errorf("follower: %d records, %v", len(records), err)
	}
}

func TestFollowerBeginsBetweenChunks(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, large(1<<20))
	w.append(j, consumed("c"))
	messages := w.store.Messages(conversation)
	keys, err := events.LoadKeys(t.Context(), w.stores.Rings, w.vault, conversation)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		var records []*events.Record
		audit := events.OpenAudit(w.store, conversation, keys, events.AuditOptions{})
		want := 1
		if i == 0 {
			want = 2
		}
		if err := audit.Replay(t.Context(), events.Head{Sequence: m.Sequence}, collect(&records)); err != nil || len(records) != want {
			t.Errorf("from message %d: %d records, %v", i, len(records), err)
		}
		if audit.Head() != j.Head() {
			t.Errorf("from message %d: head %v", i, audit.Head())
		}
	}
}

func TestAuditorSeesWhatIsForAuditors(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	event := advanced(0, "p0")
	event.Secrets = append(event.Secrets, events.Secret{Class: events.ClassAudit, Plain: plain("signed bytes")})
	w.append(j, event)
	all, err := events.LoadKeys(t.Context(), w.stores.Rings, w.vault, conversation)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := all.SealAudit(t.Context(), auditors(t))
	if err != nil {
		t.Fatal(err)
	}
	message := &v1.Ring{}
	if err := proto.Unmarshal(sealed, message); err != nil || len(message.Keys) != 2 {
		t.Fatalf("an auditor gets %d keys, %v", len(message.Keys), err)
	}
	his := newWorld(t) // which has the ring and none of our keys
	if _, err := his.stores.Rings.Store(t.Context(), conversation, sealed, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := events.LoadKeys(t.Context(), his.stores.Rings, w.vault, conversation); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("opened with the operator's vault: %v", err)
	}
	keys, err := events.LoadKeys(t.Context(), his.stores.Rings, auditors(t), conversation)
	if err != nil {
		t.Fatal(err)
	}
	var records []*events.Record
	audit := events.OpenAudit(w.store, conversation, keys, events.AuditOptions{})
	if err := audit.Replay(t.Context(), events.Head{}, collect(&records)); err != nil {
		t.Fatal(err)
	}
	e := records[0].Events[0]
	signed, _ := e.Secret(events.ClassAudit)
	if _, ok := e.Secret(events.ClassPrivateState); ok || string(signed.Expose()) != "signed bytes" || !records[0].MACChecked {
		t.Errorf("%+v", e)
	}
	w.append(j, consumed("c"))
	records = nil
	if err := audit.Replay(t.Context(), audit.Head(), collect(&records)); err != nil || len(records) != 1 {
		t.Errorf("following gives %d records, %v", len(records), err)
	}
	if anchor, ok := all.Anchor(); ok && anchor.Version > j.Head().Version {
		t.Errorf("anchor %+v", anchor)
	}
	if err := j.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	all, err = events.LoadKeys(t.Context(), w.stores.Rings, w.vault, conversation)
	if anchor, ok := all.Anchor(); err != nil || !ok || anchor.Digest != j.Head().Digest {
		t.Errorf("anchor %+v, %v, %v", anchor, ok, err)
	}
}

// auditors is an auditor's own vault.
func auditors(t *testing.T) events.KeyVault {
	t.Helper()
	kek, err := events.NewStaticKEK(strings.Repeat("cd", 32))
	if err != nil {
		t.Fatal(err)
	}
	return kek
}
