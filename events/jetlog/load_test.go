package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"parley/events"
	"parley/events/logtest"
	"parley/internal/ids"
)

// load is writers that append to logs of their own until the server is gone, singly and in batches of two logs.
type load struct {
	log          events.Log
	heads        map[events.LogID]uint64
	acknowledged map[events.LogID][]string
	open         map[events.LogID][]string // appends whose outcome is unknown; they exclude each other
}

const loadWriters = 4

func newLoad(log events.Log) *load {
	return &load{log: log, heads: map[events.LogID]uint64{}, acknowledged: map[events.LogID][]string{}, open: map[events.LogID][]string{}}
}

// logs are the logs of a writer; one that has two appends to both in one batch.
func logs(writer int) []events.LogID {
	all := []events.LogID{
		events.ConversationLog("load", ids.ConversationID(fmt.Sprint(writer, "a"))),
		events.ConversationLog("load", ids.ConversationID(fmt.Sprint(writer, "b"))),
	}
	return all[:1+writer%2]
}

// run lets the writers write, kills the server in the middle and returns when every writer has noticed.
func (l *load) run(t *testing.T, kill func()) {
	t.Helper()
	var mu sync.Mutex
	var stored atomic.Int64
	var writers sync.WaitGroup
	for w := range loadWriters {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for {
				text := fmt.Sprint("writer ", w, " after ", stored.Load())
				var batch []events.Append
				mu.Lock()
				for _, id := range logs(w) {
					batch = append(batch, events.Append{Log: id, Expect: l.heads[id], Messages: [][]byte{[]byte(text)}})
					l.open[id] = []string{text}
				}
				mu.Unlock()
				seqs, err := l.log.AppendBatch(context.Background(), batch)
				if err != nil {
					if !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrUnavailable) {
						t.Errorf("append: %v", err)
					}
					return
				}
				mu.Lock()
				for i, id := range logs(w) {
					l.heads[id] = seqs[i]
					l.acknowledged[id] = append(l.acknowledged[id], text)
					delete(l.open, id)
				}
				mu.Unlock()
				stored.Add(1)
			}
		}()
	}
	until(t, "the load runs", func() bool { return stored.Load() >= 60 })
	kill()
	writers.Wait()
}

// check finds everything acknowledged, and of each append that is open all or nothing. It leaves nothing open.
func (l *load) check(t *testing.T) {
	t.Helper()
	for w := range loadWriters {
		stands := map[bool]bool{}
		for _, id := range logs(w) {
			last := l.settle(t, id)
			stands[last == fmt.Sprint(l.open[id])] = true
			delete(l.open, id)
		}
		if len(stands) > 1 {
			t.Errorf("a batch of writer %d was torn", w)
		}
	}
}

// settle makes sure of what a log holds. An append that is neither there nor refused may still be on its way, so a no-op takes the
// place it wants; no-ops are appends like any other.
func (l *load) settle(t *testing.T, id events.LogID) (last string) {
	t.Helper()
	candidates := slices.Clone(l.open[id])
	until(t, "the log is settled", func() bool {
		got, err := logtest.Collect(context.Background(), l.log.Scan, id, 0)
		if err != nil {
			return false
		}
		var have []string
		for _, m := range got {
			have = append(have, string(m.Data))
		}
		want := l.acknowledged[id]
		if n := len(want); len(have) == n+1 && slices.Contains(candidates, have[n]) {
			want = append(slices.Clone(want), have[n])
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%v: %d messages stand, %d were acknowledged", id, len(have), len(l.acknowledged[id]))
		}
		if len(candidates) == 0 || len(want) > len(l.acknowledged[id]) {
			l.acknowledged[id] = want
			if len(got) > 0 {
				l.heads[id] = got[len(got)-1].Sequence
				last = fmt.Sprint([]string{have[len(have)-1]})
			}
			return true
		}
		noop := fmt.Sprint("no-op ", len(candidates))
		candidates = append(candidates, noop)
		if _, err := appendText(context.Background(), l.log, id, l.heads[id], noop); err != nil && errors.Is(err, events.ErrFull) {
			t.Fatal(err)
		}
		return false
	})
	return last
}
