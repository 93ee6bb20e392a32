package gather_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/events"
	"parley/events/gather"
	"parley/events/memlog"
	"parley/internal/ids"
)

// counting counts what reaches the store, and makes single appends wait so that others gather behind them.
type counting struct {
	events.Log
	singles, batches, most atomic.Int64
	hold                   chan struct{}
}

func (c *counting) Append(ctx context.Context, a events.Append) (uint64, error) {
	c.singles.Add(1)
	<-c.hold
	return c.Log.Append(ctx, a)
}

func (c *counting) AppendBatch(ctx context.Context, as []events.Append) ([]uint64, error) {
	c.batches.Add(1)
	c.most.Store(max(c.most.Load(), int64(len(as))))
	return c.Log.AppendBatch(ctx, as)
}

func room(i int) events.LogID {
	return events.ConversationLog("alice", ids.ConversationID(fmt.Sprint("room ", i)))
}

func oneLane(events.LogID) (int, bool) { return 0, true }

func TestWaitingAppendsShareABatchAndALostRaceSpoilsNoOther(t *testing.T) {
	memory := &memlog.Store{}
	log := &counting{Log: memory, hold: make(chan struct{})}
	stores := memory.Stores()
	stores.Log = log
	g := gather.New(stores, time.Now, oneLane)
	const writers = 100
	var work sync.WaitGroup
	var lost atomic.Int64
	for i := range writers {
		work.Go(func() {
			a := events.Append{Log: room(i), Messages: [][]byte{fmt.Appendf(nil, "of %d", i)}}
			if i%10 == 9 {
				a.Expect = 77 // somebody else's record
			}
			_, err := g.Stores().Log.Append(t.Context(), a)
			switch {
			case errors.Is(err, events.ErrFenced):
				lost.Add(1)
			case err != nil:
				t.Error(err)
			}
		})
	}
	close(log.hold)
	work.Wait()
	g.Wait()
	if lost.Load() != writers/10 {
		t.Errorf("%d lost their race", lost.Load())
	}
	for i := range writers {
		if n := len(memory.Messages(room(i))); n != 1 && i%10 != 9 || n != 0 && i%10 == 9 {
			t.Errorf("log %d has %d messages", i, n)
		}
	}
}

func TestManyWaitingAppendsAreOneBatch(t *testing.T) {
	memory := &memlog.Store{}
	log := &counting{Log: memory, hold: make(chan struct{})}
	stores := memory.Stores()
	stores.Log = log
	g := gather.New(stores, time.Now, oneLane)
	gathered := g.Stores().Log
	var work sync.WaitGroup
	for i := range 64 {
		work.Go(func() {
			if _, err := gathered.Append(t.Context(), events.Append{Log: room(i), Messages: [][]byte{[]byte("x")}}); err != nil {
				t.Error(err)
			}
		})
	}
	for log.batches.Load() == 0 { // the singles wait, so what comes behind them must come together
		if t.Context().Err() != nil {
			t.Fatal("nothing was gathered")
		}
	}
	close(log.hold)
	work.Wait()
	g.Wait()
	if log.most.Load() < 10 {
		t.Errorf("batches of %d at most, %d singles", log.most.Load(), log.singles.Load())
	}
}

func TestLargeAppendsGoAlone(t *testing.T) {
	memory := &memlog.Store{}
	log := &counting{Log: memory, hold: make(chan struct{})}
	stores := memory.Stores()
	stores.Log = log
	g := gather.New(stores, time.Now, oneLane)
	gathered, large := g.Stores().Log, make([]byte, 300<<10)
	var work sync.WaitGroup
	for i := range 32 {
		work.Go(func() {
			if _, err := gathered.Append(t.Context(), events.Append{Log: room(i), Messages: [][]byte{large}}); err != nil {
				t.Error(err)
			}
		})
	}
	close(log.hold)
	work.Wait()
	g.Wait()
	if log.batches.Load() != 0 || log.singles.Load() != 32 {
		t.Errorf("%d batches, %d singles", log.batches.Load(), log.singles.Load())
	}
}

func TestAnAppendWhoseCallerLeftIsTakenBackOrUnknown(t *testing.T) {
	memory := &memlog.Store{}
	log := &counting{Log: memory, hold: make(chan struct{})}
	stores := memory.Stores()
	stores.Log = log
	g := gather.New(stores, time.Now, oneLane)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 6)
	for i := range 6 { // four are under way, two wait
		go func() {
			_, err := g.Stores().Log.Append(ctx, events.Append{Log: room(i), Messages: [][]byte{[]byte("x")}})
			results <- err
		}()
	}
	for log.singles.Load() < 4 {
		if t.Context().Err() != nil {
			t.Fatal("nothing is under way")
		}
	}
	cancel()
	unknown, taken := 0, 0
	for range 6 {
		switch err := <-results; {
		case errors.Is(err, events.ErrUnknownOutcome):
			unknown++
		case errors.Is(err, events.ErrUnavailable):
			taken++
		default:
			t.Error(err)
		}
	}
	close(log.hold)
	g.Wait()
	stored := 0
	for i := range 6 {
		stored += len(memory.Messages(room(i)))
	}
	if unknown != 4 || taken != 2 || stored != 4 {
		t.Errorf("%d unknown, %d taken back, %d stored", unknown, taken, stored)
	}
}

func TestAnchorsShareBatchesAndConflictAlone(t *testing.T) {
	memory := &memlog.Store{}
	g := gather.New(memory.Stores(), time.Now, oneLane)
	rings := g.Stores().Rings
	var work sync.WaitGroup
	var conflicts atomic.Int64
	for i := range 64 {
		work.Go(func() {
			w := events.AnchorWrite{Log: room(i), Data: []byte("anchor")}
			if i == 7 {
				w.Expect = 5
			}
			_, err := rings.StoreAnchors(t.Context(), []events.AnchorWrite{w})
			if errors.Is(err, events.ErrConflict) {
				conflicts.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	g.Wait()
	if conflicts.Load() != 1 {
		t.Errorf("%d conflicts", conflicts.Load())
	}
}
