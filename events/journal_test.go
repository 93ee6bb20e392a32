package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"parley/events"
	"parley/events/memlog"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

// world is a store and a vault, and what opens journals on them.
type world struct {
	t      testing.TB
	store  *memlog.Store
	stores events.Stores
	vault  *events.KeyDir
}

func newWorld(t testing.TB) *world {
	t.Helper()
	vault, err := events.CreateKeyDir(t.TempDir() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	store := &memlog.Store{}
	return &world{t: t, store: store, stores: store.Stores(), vault: vault}
}

func (w *world) open(id events.LogID, options events.JournalOptions) *events.Journal {
	w.t.Helper()
	j, err := events.OpenJournal(w.t.Context(), w.stores, w.vault, id, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// replay opens a log and gives its records.
func (w *world) replay(id events.LogID) (*events.Journal, []*events.Record) {
	w.t.Helper()
	j := w.open(id, events.JournalOptions{})
	var records []*events.Record
	if err := j.Replay(w.t.Context(), events.Head{}, collect(&records)); err != nil {
		w.t.Fatal(err)
	}
	return j, records
}

func collect(into *[]*events.Record) func(*events.Record) error {
	return func(r *events.Record) error {
		*into = append(*into, r)
		return nil
	}
}

func ignore(*events.Record) error { return nil }

func (w *world) append(j *events.Journal, list ...events.Event) *events.Record {
	w.t.Helper()
	r, err := j.Append(w.t.Context(), events.Draft{TimeMS: 1000, Events: list})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func plain(text string) secret.Bytes { return secret.Clone([]byte(text)) }

func advanced(epoch uint64, private string) events.Event {
	return events.Event{
		Body:    &v1.EpochAdvanced{Facts: &v1.EpochFacts{Epoch: epoch}},
		Secrets: []events.Secret{{Class: events.ClassPrivateState, Plain: plain(private)}},
	}
}

func consumed(text string) events.Event {
	return events.Event{
		Body:    &v1.MessagesConsumed{Count: 1},
		Secrets: []events.Secret{{Class: events.ClassConsumption, Plain: plain(text)}},
	}
}

var conversation = events.ConversationLog("alice", "team")

func TestRecordsComeBackAsTheyWereStored(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	drafts := []events.Draft{
		{TimeMS: 5, Cause: events.Cause{Command: "create", CommandID: "c1", Principal: "bot", IssuedMS: 4}, Events: []events.Event{advanced(0, "p0")}},
		{TimeMS: 3, Events: []events.Event{consumed("k1"), {Body: &v1.OrderFollowed{Position: 9}}, consumed("k2")}},
		{TimeMS: 9, Events: []events.Event{{
			Body: &v1.MessagesConsumed{Count: 2},
			Secrets: []events.Secret{
				{Class: events.ClassSpool, Label: events.Item("message", 1), Plain: plain("hello")},
				{Class: events.ClassAudit, Plain: plain("for auditors")},
				{Class: events.ClassVerification, Label: events.Item("epoch", 0), Plain: plain("authenticator")},
			},
		}}},
	}
	var stored []*events.Record
	for _, d := range drafts {
		r, err := j.Append(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, r)
	}
	again, records := w.replay(conversation)
	if again.Head() != j.Head() || again.Head() != stored[2].Head {
		t.Errorf("head %v, want %v", again.Head(), j.Head())
	}
	for i, r := range records {
		sameRecord(t, r, stored[i])
	}
	if records[1].TimeMS != 5 {
		t.Errorf("time went back to %d", records[1].TimeMS)
	}
	if err := again.CheckAnchor(t.Context()); err != nil {
		t.Error(err)
	}
}

func sameRecord(t *testing.T, got, want *events.Record) {
	t.Helper()
	if got.Head != want.Head || got.Log != want.Log || got.Previous != want.Previous || got.TimeMS != want.TimeMS || got.Cause != want.Cause ||
		got.Size != want.Size || !got.MACChecked || !bytes.Equal(got.Raw, want.Raw) || len(got.Events) != len(want.Events) {
		t.Fatalf("record %+v, want %+v", got, want)
	}
	for i := range got.Events {
		sameEvent(t, got.Events[i], want.Events[i])
	}
}

func sameEvent(t *testing.T, got, want events.Event) {
	t.Helper()
	if got.Kind() != want.Kind() || fmt.Sprint(got.Body) != fmt.Sprint(want.Body) || fmt.Sprint(got.Forget) != fmt.Sprint(want.Forget) || len(got.Secrets) != len(want.Secrets) {
		t.Fatalf("event %v, want %v", got, want)
	}
	for i, s := range got.Secrets {
		if s.Class != want.Secrets[i].Class || s.Label != want.Secrets[i].Label || !s.Plain.Equal(want.Secrets[i].Plain) {
			t.Errorf("%s: secret %d (%s) is %q, want %q", got.Kind(), i, s.Class, s.Plain.Expose(), want.Secrets[i].Plain.Expose())
		}
	}
}

func TestNextPrivateStateKillsTheOneBefore(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.append(j, consumed("c0"))
	w.append(j, advanced(1, "p1"), consumed("c1"))
	_, records := w.replay(conversation)
	for i, want := range []bool{false, false, true} {
		if got := !records[i].Events[0].Secrets[0].Plain.IsZero(); got != want {
			t.Errorf("record %d opens: %v, want %v", i+1, got, want)
		}
	}
	if got := records[2].Events[1].Secrets[0].Plain.Expose(); string(got) != "c1" {
		t.Errorf("consumption after the new private state is %q", got)
	}
}

func TestLoserOfARaceIsFenced(t *testing.T) {
	w := newWorld(t)
	first, _ := w.replay(conversation)
	second, _ := w.replay(conversation)
	w.append(first, advanced(0, "p0"))
	_, err := second.Append(t.Context(), events.Draft{Events: []events.Event{advanced(0, "x")}})
	if !errors.Is(err, events.ErrFenced) {
		t.Fatalf("second writer: %v", err)
	}
	if _, err := second.Append(context.Background(), events.Draft{Events: []events.Event{advanced(0, "x")}}); !errors.Is(err, events.ErrDead) {
		t.Errorf("a fenced journal goes on: %v", err)
	}
}
