package delivery

import (
	"bytes"
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/natsd"
)

func TestTornBundleNeverHappened(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	alice := registered(t, s, testGroup, "alice")
	bundle, out := alice.update()
	bundle.EncryptedMessage = bytes.Repeat([]byte("large"), 400_000)
	alice.win(s, bundle, out)
	var chunk []byte
	last := uint64(0)
	err := w.store.Read(ctx, events.OrderLog(testGroup), 0, func(m events.Message) error {
		if _, record := events.PeekLog(m.Data); !record {
			chunk = m.Data
		}
		last = m.Sequence
		return nil
	})
	if err != nil || chunk == nil {
		t.Fatalf("no chunk: %v", err)
	}
	// What a torn batch leaves: chunks whose record never came.
	torn := events.Append{Log: events.OrderLog(testGroup), Expect: last, Messages: [][]byte{chunk}}
	if _, err := w.store.Append(ctx, torn); err != nil {
		t.Fatal(err)
	}
	reader := w.node("reader", nil)
	if entries := must(reader.Follow(ctx, testGroup, 1, 10))(t); len(entries) != 2 {
		t.Fatalf("%d entries", len(entries))
	}
	next, out := alice.update()
	if e := alice.win(s, next, out); e.Number != 3 {
		t.Fatalf("entry %d", e.Number)
	}
	if entries := must(reader.Follow(ctx, testGroup, 3, 10))(t); len(entries) != 1 || entries[0].Number != 3 {
		t.Fatalf("entries %+v", entries)
	}
	if entries := must(w.node("another", nil).Follow(ctx, testGroup, 3, 10))(t); len(entries) != 1 || entries[0].Number != 3 {
		t.Fatalf("entries %+v", entries)
	}
}

func TestStrangersRecordIsNotBelieved(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	alice := registered(t, s, testGroup, "alice")
	bundle, out := alice.update()
	alice.win(s, bundle, out)
	newest := must(w.store.Last(ctx, events.OrderLog(testGroup)))(t)
	forged := flipped(newest.Data, 20)
	sum := forged[:len(forged)-64]
	copy(forged[len(forged)-64:], digestBytes(sum)) // the digest fits, the MAC cannot
	if _, err := w.store.Append(ctx, events.Append{Log: events.OrderLog(testGroup), Expect: newest.Sequence, Messages: [][]byte{forged}}); err != nil {
		t.Fatal(err)
	}
	if entries, err := w.node("reader", nil).Follow(ctx, testGroup, 1, 10); len(entries) > 0 || err == nil {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	_, err := s.OpenSequencer(ctx, testGroup, MustExist)
	wants(t, err, Damaged)
}

func TestFullStoreRefusesAndRecovers(t *testing.T) {
	ctx := context.Background()
	server := must(natsd.Embedded(natsd.Options{Dir: t.TempDir(), MaxStoreBytes: 1 << 30}))(t)
	t.Cleanup(server.Shutdown)
	w := &world{t: t, clock: &testClock{}, hosts: map[*Service]*testHost{}, vault: must(events.NewStaticKEK(testKEK))(t)}
	w.conn = w.connect(server)
	w.store = must(jetlog.Open(ctx, w.conn, jetlog.Config{Namespace: "test", MaxBytes: 4 << 20}))(t)
	s := w.serving("a", func(c *Config) { c.Limits.CheckpointBytes = 1 << 30 })
	bots := crowd(t, s, testGroup, 2)
	var full error
	sent := 0
	for ; full == nil && sent < 100; sent++ {
		m := bots[0].message(string(bytes.Repeat([]byte("x"), 100_000)))
		_, full = s.submitOne(ctx, &m)
	}
	wants(t, full, Busy)
	if n := must(s.Newest(ctx, testGroup))(t); n != uint64(sent)+1 {
		t.Fatalf("newest %d after %d messages", n, sent)
	}
	q := must(s.OpenSequencer(ctx, testGroup, MustExist))(t)
	if q.State().Number() != uint64(sent)+1 {
		t.Fatalf("the sequencer is at %d", q.State().Number())
	}
	m := bots[0].message("a small one still fits")
	if _, err := s.submitOne(ctx, &m); err != nil {
		t.Fatal(err)
	}
}

func TestRolledBackOrderCanOnlyBeClosed(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	alice := registered(t, s, testGroup, "alice")
	for range 4 {
		bundle, out := alice.update()
		alice.win(s, bundle, out)
	}
	w.close(s) // anchors the order at its fifth record
	var kept [][]byte
	err := w.store.Read(ctx, events.OrderLog(testGroup), 0, func(m events.Message) error {
		kept = append(kept, bytes.Clone(m.Data))
		return nil
	})
	if err != nil || len(kept) != 5 {
		t.Fatalf("%d records, %v", len(kept), err)
	}
	// The store comes back with three of them.
	js := must(jetstream.New(w.conn))(t)
	stream := must(js.Stream(ctx, w.store.Names().Stream(jetlog.StreamOrder, 0)))(t)
	config := stream.CachedInfo().Config
	if err := js.DeleteStream(ctx, config.Name); err != nil {
		t.Fatal(err)
	}
	must(js.CreateStream(ctx, config))(t)
	for i, record := range kept[:3] {
		must(w.store.Append(ctx, events.Append{Log: events.OrderLog(testGroup), Expect: uint64(i), Messages: [][]byte{record}}))(t)
	}
	heir := w.serving("heir", nil)
	bundle, _ := alice.update()
	_, err = heir.SubmitBundle(ctx, bundle)
	wants(t, err, Damaged)
	wants(t, must(heir.SubmitMessages(ctx, []Message{alice.message("x")}))(t)[0].Err, Damaged)
	_, err = heir.Follow(ctx, testGroup, 6, 10) // alice has followed up to the fifth entry
	wants(t, err, Damaged)
	restart := Restart{Group: testGroup, Origin: alice.origin(), Successor: "group two", Reason: "the store lost its end"}
	for range 2 {
		if n := must(heir.Restart(ctx, restart))(t); n != 4 {
			t.Fatalf("restarted at %d", n)
		}
	}
	fresh := w.node("fresh", nil)
	if e := must(fresh.Entry(ctx, testGroup, 4))(t); e.Successor != "group two" {
		t.Fatalf("entry %+v", e)
	}
	wants(t, must(heir.SubmitMessages(ctx, []Message{alice.message("x")}))(t)[0].Err, Closed)
}
