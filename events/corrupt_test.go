package events_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
)

// threeRecords is a short history with every kind of part in it.
func threeRecords(t *testing.T) (*world, []events.Message) {
	t.Helper()
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	w.append(j, consumed("c0"), events.Event{
		Body:    &v1.MessagesConsumed{Count: 1},
		Secrets: []events.Secret{{Class: events.ClassSpool, Label: events.Item("message", 1), Plain: plain("hello")}},
	})
	w.append(j, events.Event{Body: &v1.OrderFollowed{Position: 3}})
	return w, w.store.Messages(conversation)
}

// wantCorrupt replays and expects the record at a version to be called corrupt
// after those before it were given.
func (w *world) wantCorrupt(version uint64, what string) {
	w.t.Helper()
	j := w.open(conversation, events.JournalOptions{})
	var records []*events.Record
	err := j.Replay(w.t.Context(), events.Head{}, collect(&records))
	var corrupt *events.ErrCorrupt
	if !errors.As(err, &corrupt) {
		w.t.Fatalf("%s: replay says %v", what, err)
	}
	if corrupt.Version != version || corrupt.Log != conversation || corrupt.Sequence == 0 || corrupt.Reason == "" {
		w.t.Errorf("%s: %+v", what, corrupt)
	}
	if len(records) != int(version)-1 {
		w.t.Errorf("%s: %d records were given before record %d", what, len(records), version)
	}
	if _, err := j.Append(w.t.Context(), events.Draft{Events: []events.Event{advanced(9, "x")}}); !errors.Is(err, events.ErrDead) {
		w.t.Errorf("%s: a corrupt log takes records: %v", what, err)
	}
}

func TestFlippedBitIsFoundWhereverItIs(t *testing.T) {
	w, messages := threeRecords(t)
	for at := range messages[1].Data {
		damaged := slices.Clone(messages)
		damaged[1].Data = slices.Clone(messages[1].Data)
		damaged[1].Data[at] ^= 1 << (at % 8)
		w.store.Replace(conversation, damaged)
		w.wantCorrupt(2, fmt.Sprintf("bit flipped in byte %d", at))
	}
}

func TestCutRecordIsFoundWhereverItIsCut(t *testing.T) {
	w, messages := threeRecords(t)
	for length := range messages[1].Data {
		damaged := slices.Clone(messages)
		damaged[1].Data = messages[1].Data[:length]
		w.store.Replace(conversation, damaged)
		w.wantCorrupt(2, fmt.Sprintf("cut to %d bytes", length))
	}
	damaged := slices.Clone(messages)
	damaged[1].Data = append(slices.Clone(messages[1].Data), 0)
	w.store.Replace(conversation, damaged)
	w.wantCorrupt(2, "one byte longer")
}

func TestGapsSwapsAndRepetitionsAreFound(t *testing.T) {
	w, m := threeRecords(t)
	renumber := func(list ...events.Message) []events.Message {
		for i := range list {
			list[i].Sequence = uint64(i + 1)
		}
		return list
	}
	for what, c := range map[string]struct {
		version uint64
		history []events.Message
	}{
		"first missing":    {1, renumber(m[1], m[2])},
		"middle missing":   {2, renumber(m[0], m[2])},
		"swapped":          {2, renumber(m[0], m[2], m[1])},
		"repeated":         {3, renumber(m[0], m[1], m[1], m[2])},
		"begins again":     {4, renumber(m[0], m[1], m[2], m[0])},
		"number goes back": {3, []events.Message{{Sequence: 1, Data: m[0].Data}, {Sequence: 9, Data: m[1].Data}, {Sequence: 5, Data: m[2].Data}}},
	} {
		w.store.Replace(conversation, c.history)
		w.wantCorrupt(c.version, what)
	}
}

func TestRecordOfAnotherLogIsRefused(t *testing.T) {
	w, messages := threeRecords(t)
	other := events.ConversationLog("alice", "other")
	j, _ := w.replay(other)
	foreign := w.append(j, advanced(0, "p0"))
	messages[0].Data = foreign.Raw
	w.store.Replace(conversation, messages)
	w.wantCorrupt(1, "a record of another log, under its own MAC")
}

// A stranger who can publish knows the format and the chain, not the MAC key.
func TestStrangersRecordIsRefused(t *testing.T) {
	w, _ := threeRecords(t)
	stranger := newWorld(t)
	for _, m := range w.store.Messages(conversation) {
		stranger.store.Put(conversation, m.Data)
	}
	// The stranger's own ring has another MAC key: even its reading of the log fails, and what it appends is not believed.
	j, err := events.OpenJournal(t.Context(), stranger.stores, stranger.vault, conversation, events.JournalOptions{AcceptLoss: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	forged, err := j.Append(t.Context(), events.Draft{Events: []events.Event{{Body: &v1.SecretsLost{}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.store.Put(conversation, forged.Raw)
	w.wantCorrupt(4, "a stranger's record with the right chain")
}

func TestAuditWithoutKeysFindsWhatTheChainShows(t *testing.T) {
	w, messages := threeRecords(t)
	audit := func() ([]*events.Record, error) {
		var records []*events.Record
		err := events.OpenAudit(w.store, conversation, events.Keys{}, events.AuditOptions{}).Replay(t.Context(), events.Head{}, collect(&records))
		return records, err
	}
	records, err := audit()
	if err != nil || len(records) != 3 || records[0].MACChecked || !records[0].Events[0].Secrets[0].Plain.IsZero() {
		t.Fatalf("audit without keys: %d records, %v", len(records), err)
	}
	w.store.Replace(conversation, []events.Message{messages[0], messages[2]})
	var corrupt *events.ErrCorrupt
	if records, err = audit(); !errors.As(err, &corrupt) || corrupt.Version != 2 || len(records) != 1 {
		t.Errorf("a gap: %d records, %v", len(records), err)
	}
}

func TestVerifyRecordStandsAlone(t *testing.T) {
	w, messages := threeRecords(t)
	keys, err := events.LoadKeys(t.Context(), w.stores.Rings, w.vault, conversation)
	if err != nil {
		t.Fatal(err)
	}
	place, previous, err := events.VerifyRecord(messages[1].Data, keys)
	if err != nil || place.Version != 2 {
		t.Fatalf("%v %v", place, err)
	}
	before, _, _ := events.VerifyRecord(messages[0].Data, events.Keys{})
	if before.Digest != previous {
		t.Errorf("record 2 follows %s, record 1 is %s", previous, before.Digest)
	}
	other := newWorld(t)
	j, _ := other.replay(conversation)
	other.append(j, advanced(0, "x"))
	stranger, _ := events.LoadKeys(t.Context(), other.stores.Rings, other.vault, conversation)
	if _, _, err := events.VerifyRecord(messages[1].Data, stranger); err == nil {
		t.Error("another log's key verifies the record")
	}
	if id, ok := events.PeekLog(messages[1].Data); !ok || id != conversation {
		t.Errorf("PeekLog says %v, %v", id, ok)
	}
	ring, _, _ := w.stores.Rings.Load(t.Context(), conversation)
	if id, ok := events.PeekRing(ring); !ok || id != conversation {
		t.Errorf("PeekRing says %v, %v", id, ok)
	}
}
