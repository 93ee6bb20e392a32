package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
)

func TestPurgeKeepsTheNewestAndTheFence(t *testing.T) {
	servers(t, func(t *testing.T, url, _ string, config jetlog.Config) {
		ctx := testContext(t)
		log := open(t, connect(t, url, jetlog.ConnectOptions{}), config)
		for _, id := range []events.LogID{events.OrderLog("group"), events.DirectoryLog("alice")} {
			if err := log.Purge(ctx, id, 100); err != nil {
				t.Errorf("purge of an empty log: %v", err)
			}
			var seqs []uint64
			head := uint64(0)
			for i := range 5 {
				head = mustAppend(t, log, id, head, fmt.Sprint(i))
				seqs = append(seqs, head)
			}
			if err := log.Purge(ctx, id, seqs[2]); err != nil {
				t.Fatal(err)
			}
			if got, want := texts(t, log, id), []string{"2", "3", "4"}; !slices.Equal(got, want) {
				t.Errorf("after a purge before the third: %q, want %q", got, want)
			}
			if err := log.Purge(ctx, id, head+1000); err != nil {
				t.Fatal(err)
			}
			if got, want := texts(t, log, id), []string{"4"}; !slices.Equal(got, want) {
				t.Errorf("after a purge of everything: %q, want %q", got, want)
			}
			if _, err := appendText(ctx, log, id, 0, "as if it were new"); !errors.Is(err, events.ErrFenced) {
				t.Errorf("expecting an empty log: %v, want ErrFenced", err)
			}
			mustAppend(t, log, id, head, "5")
			if err := log.Damage(ctx); err != nil {
				t.Errorf("a purged prefix counts as damage: %v", err)
			}
		}
		if err := log.Purge(ctx, events.ClientLog("alice"), 1); !errors.Is(err, jetlog.ErrKept) {
			t.Errorf("purge of a member log: %v, want ErrKept", err)
		}
	})
}

func TestInboxKeepsNotices(t *testing.T) {
	ctx := testContext(t)
	store := open(t, connect(t, "", embedded(t)), jetlog.Config{})
	client := ids.ClientID(strings.Repeat("long", 30))
	var seqs []uint64
	for i := range 4 {
		for range 2 { // the second one has the same message id
			seq, err := store.Notify(ctx, client, fmt.Sprint("id ", i), []byte(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, seq)
		}
	}
	if seqs[0] != seqs[1] {
		t.Errorf("one message id was stored as %d and %d", seqs[0], seqs[1])
	}
	got, err := store.Notices(ctx, client, seqs[2], 2)
	if err != nil || len(got) != 2 || string(got[0].Data) != "1" || string(got[1].Data) != "2" {
		t.Errorf("two notices from the second on: %v, %v", got, err)
	}
	if err := store.PurgeNotices(ctx, client, seqs[6]+50); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Notices(ctx, client, 0, 10); err != nil || len(got) != 1 || string(got[0].Data) != "3" {
		t.Errorf("after a purge of everything: %v, %v", got, err)
	}
	if _, err := store.Notify(ctx, "", "", nil); !errors.Is(err, events.ErrBadLog) {
		t.Errorf("a notice to nobody: %v", err)
	}
}

// woken collects wakes.
type woken struct {
	mu   sync.Mutex
	last map[events.LogID]uint64
}

func (w *woken) wake(wake jetlog.Wake) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last[wake.Log] = max(w.last[wake.Log], wake.Sequence)
	return nil
}

func (w *woken) at(id events.LogID) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[id]
}

func TestWatchWakesOfEveryPartitionAcrossAbsence(t *testing.T) {
	t.Parallel()
	p := process(t)
	config := jetlog.Config{Partitions: 3, MaxBytes: 256 << 20}
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), config)
	ctx, cancel := context.WithCancel(context.Background())
	w := &woken{last: map[events.LogID]uint64{}}
	done := make(chan error, 2)
	for _, stream := range []jetlog.Stream{jetlog.StreamOrder, jetlog.StreamInbox} {
		go func() { done <- store.Watch(ctx, stream, "node", w.wake) }()
	}
	heads := map[events.LogID]uint64{}
	grow := func(groups ...string) {
		t.Helper()
		for _, g := range groups {
			id := events.OrderLog(ids.ConversationID(g))
			heads[id] = mustAppend(t, store, id, heads[id], "chunk", "entry")
			client := ids.ClientID(g)
			seq, err := store.Notify(testContext(t), client, "", []byte("notice"))
			if err != nil {
				t.Fatal(err)
			}
			heads[events.ClientLog(client)] = seq
		}
		for id, head := range heads {
			until(t, "wake of "+id.String(), func() bool { return w.at(id) == head })
		}
	}
	groups := []string{"a", "b", "c", "d", strings.Repeat("long ", 20)}
	grow(groups...)
	p.Kill()
	if err := p.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	grow(groups...)
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	}
	// Another watch of the same name goes on where this one ended: only what is new wakes it.
	fresh := &woken{last: map[events.LogID]uint64{}}
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	go func() { done <- store.Watch(ctx, jetlog.StreamOrder, "node", fresh.wake) }()
	id := events.OrderLog("a")
	head := mustAppend(t, store, id, heads[id], "entry")
	until(t, "wake after a pause", func() bool { return fresh.at(id) == head })
	cancel()
	<-done
}
