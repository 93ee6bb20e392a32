package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"parley/events"
	"parley/internal/ids"
)

const (
	racers = 8
	rounds = 12
)

// racingWriters lets writers in sessions of their own append to one log, each round with the same expectation.
func racingWriters(t *testing.T, ctx context.Context, open Open) {
	id := events.ConversationLog(Client(t, "a"), "room")
	race(t, ctx, open, id, func(log events.Log, expect uint64, text string) (uint64, error) {
		return log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: payload(text)})
	})
}

// racingBatches does the same with batches, each of which has a log of its own besides the contested one.
func racingBatches(t *testing.T, ctx context.Context, open Open) {
	id := events.ConversationLog(Client(t, "a"), "room")
	race(t, ctx, open, id, func(log events.Log, expect uint64, text string) (uint64, error) {
		seqs, err := log.AppendBatch(ctx, []events.Append{
			{Log: events.ConversationLog(id.Client, "own of "+ids.ConversationID(text)), Messages: payload(text)},
			{Log: id, Expect: expect, Messages: payload(text)},
		})
		if err != nil {
			return 0, err
		}
		return seqs[1], nil
	})
}

func race(t *testing.T, ctx context.Context, open Open, id events.LogID, attempt func(events.Log, uint64, string) (uint64, error)) {
	logs := make([]events.Log, racers)
	for i := range logs {
		logs[i] = open(t).Log
	}
	var expect uint64
	var want []string
	for round := range rounds {
		type outcome struct {
			text string
			seq  uint64
			err  error
		}
		outcomes := make(chan outcome, racers)
		var ready, start sync.WaitGroup
		ready.Add(racers)
		start.Add(1)
		for i, log := range logs {
			go func() {
				text := fmt.Sprintf("round %d writer %d", round, i)
				ready.Done()
				start.Wait()
				seq, err := attempt(log, expect, text)
				outcomes <- outcome{text, seq, err}
			}()
		}
		ready.Wait()
		start.Done()
		var winners []outcome
		for range racers {
			switch o := <-outcomes; {
			case o.err == nil:
				winners = append(winners, o)
			case !errors.Is(o.err, events.ErrFenced):
				t.Errorf("%s: %v, want ErrFenced", o.text, o.err)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: %d winners", round, len(winners))
		}
		expect, want = winners[0].seq, append(want, winners[0].text)
	}
	holds(t, ctx, logs[0], id, want...)
}

func ringCompareAndSet(t *testing.T, ctx context.Context, open Open) {
	rings := open(t).Rings
	for _, id := range []events.LogID{
		events.ClientLog(Client(t, "a")), events.ConversationLog(Client(t, "a"), "room"),
		events.DirectoryLog(Client(t, "a")), events.OrderLog(ids.ConversationID(t.Name())),
	} {
		if _, _, err := rings.Load(ctx, id); !errors.Is(err, events.ErrNotFound) {
			t.Fatalf("%v: a ring that does not exist: %v", id, err)
		}
		if _, err := rings.Store(ctx, id, []byte("x"), 9); !errors.Is(err, events.ErrConflict) {
			t.Errorf("%v: revision 9 of no ring: %v", id, err)
		}
		first, err := rings.Store(ctx, id, []byte("first of "+id.String()), 0)
		if err != nil {
			t.Fatal(err)
		}
		second, err := open(t).Rings.Store(ctx, id, []byte("second of "+id.String()), first)
		if err != nil {
			t.Fatal(err)
		}
		for _, stale := range []uint64{0, first} {
			if _, err := rings.Store(ctx, id, []byte("stale"), stale); !errors.Is(err, events.ErrConflict) {
				t.Errorf("%v: stale revision %d: %v", id, stale, err)
			}
		}
		if data, revision, err := rings.Load(ctx, id); err != nil || revision != second || string(data) != "second of "+id.String() {
			t.Errorf("%v: ring %q, revision %d, %v", id, data, revision, err)
		}
	}
	all, err := rings.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gone := events.ConversationLog(Client(t, "a"), "room")
	found := 0
	for _, id := range all {
		if id.Client == gone.Client || id == events.OrderLog(ids.ConversationID(t.Name())) {
			found++
		}
	}
	if found != 4 {
		t.Errorf("%d of 4 rings are listed", found)
	}
	for range 2 {
		if err := rings.Delete(ctx, gone); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := rings.Load(ctx, gone); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("a deleted ring: %v", err)
	}
	if _, err := rings.Store(ctx, gone, []byte("again"), 0); err != nil {
		t.Errorf("after deletion: %v", err)
	}
}

func anchorsCompareAndSet(t *testing.T, ctx context.Context, open Open) {
	rings := open(t).Rings
	room, hall := events.ConversationLog(Client(t, "a"), "room"), events.ConversationLog(Client(t, "a"), "hall")
	write := func(id events.LogID, text string, expect uint64) events.AnchorWrite {
		return events.AnchorWrite{Log: id, Data: []byte(text), Expect: expect}
	}
	if _, _, err := rings.LoadAnchor(ctx, room); !errors.Is(err, events.ErrNotFound) {
		t.Fatalf("an anchor that does not exist: %v", err)
	}
	first, err := rings.StoreAnchors(ctx, []events.AnchorWrite{write(room, "room 1", 0)})
	if err != nil {
		t.Fatal(err)
	}
	both, err := open(t).Rings.StoreAnchors(ctx, []events.AnchorWrite{write(hall, "hall 1", 0), write(room, "room 2", first[0])})
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range [][]events.AnchorWrite{
		{write(room, "stale", first[0])}, {write(room, "stale", 0)}, {write(hall, "fresh", both[0]), write(room, "stale", first[0])},
	} {
		if _, err := rings.StoreAnchors(ctx, stale); !errors.Is(err, events.ErrConflict) {
			t.Errorf("stale revisions %+v: %v", stale, err)
		}
	}
	for id, want := range map[events.LogID]string{room: "room 2", hall: "hall 1"} {
		if data, _, err := rings.LoadAnchor(ctx, id); err != nil || string(data) != want {
			t.Errorf("%v: anchor %q, %v", id, data, err)
		}
	}
	if err := rings.Delete(ctx, room); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rings.LoadAnchor(ctx, room); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("a deleted anchor: %v", err)
	}
	if _, err := rings.StoreAnchors(ctx, []events.AnchorWrite{write(room, "again", 0)}); err != nil {
		t.Errorf("after deletion: %v", err)
	}
}

func snapshots(t *testing.T, ctx context.Context, open Open) {
	store := open(t).Snapshots
	id := events.ConversationLog(Client(t, "a"), "room")
	if _, err := store.Load(ctx, id); !errors.Is(err, events.ErrNotFound) {
		t.Fatalf("a snapshot that does not exist: %v", err)
	}
	for _, size := range []int{0, 10, 512 << 10, 3<<20 + 7, 100} {
		data := bytes.Repeat([]byte{byte(size + 1)}, size)
		if err := store.Store(ctx, id, data); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got, err := open(t).Snapshots.Load(ctx, id); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
}
