package actors

import (
	"context"
	"errors"
	"sync"
	"time"

	"parley/events"
)

// writer gathers the appends of many conversations into atomic batches. A fsynced append costs the same for one message as
// for a thousand in a batch, and a batch costs as much as about ten appends: so a few waiting appends go one by one, and many
// go together. Journals see an ordinary events.Log.
type writer struct {
	events.Log
	clock     Clock
	together  int                            // this many waiting appends go as a batch
	partition func(events.LogID) (int, bool) // which stream a log lives in; logs of different streams never share a batch; false: always alone

	mu      sync.Mutex
	lanes   map[lane]*queue
	quarrel map[events.LogID]time.Time // lost a race a moment ago: would spoil a batch for the others
	running sync.WaitGroup
}

type lane struct {
	kind      events.Kind
	partition int
}

// queue is what waits for one stream.
type queue struct {
	waiting  []*waitingAppend
	alone    int  // single appends under way
	batching bool // a batch is under way
}

type waitingAppend struct {
	events.Append
	done chan appended
}

type appended struct {
	sequence uint64
	err      error
}

const (
	aloneMax          = 8 // single appends under way in one stream
	batchMessagesMax  = 1000
	batchBytesMax     = 8 << 20
	splitBelow        = 8 // a refused batch of fewer goes one by one
	quarrelFor        = 5 * time.Second
	quarrelsMax       = 10_000
	batchTimeout      = 20 * time.Second
	togetherByDefault = 16
)

func newWriter(log events.Log, clock Clock, partition func(events.LogID) (int, bool)) *writer {
	return &writer{
		Log: log, clock: clock, together: togetherByDefault, partition: partition,
		lanes: map[lane]*queue{}, quarrel: map[events.LogID]time.Time{},
	}
}

// Append waits for its own outcome. When the context ends first the outcome is unknown: the append is under way.
func (w *writer) Append(ctx context.Context, a events.Append) (uint64, error) {
	p, ok := w.partition(a.Log)
	if !ok || w.quarrelled(a.Log) || len(a.Messages) > 1 {
		seq, err := w.Log.Append(ctx, a)
		w.note(a.Log, err)
		return seq, err
	}
	at := lane{a.Log.Kind, p}
	mine := &waitingAppend{Append: a, done: make(chan appended, 1)}
	w.mu.Lock()
	q := w.lanes[at]
	if q == nil {
		q = &queue{}
		w.lanes[at] = q
	}
	q.waiting = append(q.waiting, mine)
	w.dispatch(q)
	w.mu.Unlock()
	select {
	case got := <-mine.done:
		return got.sequence, got.err
	case <-ctx.Done():
		if w.withdraw(q, mine) {
			return 0, errors.Join(events.ErrUnavailable, context.Cause(ctx))
		}
		return 0, errors.Join(events.ErrUnknownOutcome, context.Cause(ctx))
	}
}

// withdraw takes an append back that has not been sent.
func (w *writer) withdraw(q *queue, mine *waitingAppend) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range q.waiting {
		if a == mine {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// dispatch sends what may go now. It is called with the lock held, after anything changed.
func (w *writer) dispatch(q *queue) {
	for len(q.waiting) > 0 && !q.batching {
		if len(q.waiting) >= w.together {
			batch := q.takeBatch()
			q.batching = true
			w.running.Go(func() {
				w.appendBatch(batch)
				w.settled(q, func() { q.batching = false })
			})
			return
		}
		if q.alone >= aloneMax {
			return
		}
		one := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.alone++
		w.running.Go(func() {
			w.appendAlone(one)
			w.settled(q, func() { q.alone-- })
		})
	}
}

func (w *writer) settled(q *queue, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.dispatch(q)
}

// takeBatch takes as many waiting appends as one batch holds.
func (q *queue) takeBatch() []*waitingAppend {
	messages, bytes := 0, 0
	for i, a := range q.waiting {
		messages += len(a.Messages)
		for _, m := range a.Messages {
			bytes += len(m)
		}
		if i > 0 && (messages > batchMessagesMax || bytes > batchBytesMax) {
			batch := q.waiting[:i:i]
			q.waiting = q.waiting[i:]
			return batch
		}
	}
	batch := q.waiting
	q.waiting = nil
	return batch
}

func (w *writer) appendAlone(a *waitingAppend) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	seq, err := w.Log.Append(ctx, a.Append)
	w.note(a.Log, err)
	a.done <- appended{seq, err}
}

// appendBatch stores the appends together. A refused batch stored nothing, and the one that lost its race is not named: the
// batch is split until it stands alone. That is no retry of a lost append, since every other one still holds its expectation.
func (w *writer) appendBatch(batch []*waitingAppend) {
	if len(batch) == 1 {
		w.appendAlone(batch[0])
		return
	}
	all := make([]events.Append, len(batch))
	for i, a := range batch {
		all[i] = a.Append
	}
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	seqs, err := w.Log.AppendBatch(ctx, all)
	cancel()
	switch {
	case err == nil:
		for i, a := range batch {
			a.done <- appended{sequence: seqs[i]}
		}
	case errors.Is(err, events.ErrFenced) && len(batch) < splitBelow:
		for _, a := range batch {
			w.appendAlone(a)
		}
	case errors.Is(err, events.ErrFenced):
		w.appendBatch(batch[:len(batch)/2])
		w.appendBatch(batch[len(batch)/2:])
	default:
		// Full or unavailable: nothing is stored. Unknown: each journal looks for its own record.
		for _, a := range batch {
			a.done <- appended{err: err}
		}
	}
}

// note remembers a log that lost a race.
func (w *writer) note(id events.LogID, err error) {
	if !errors.Is(err, events.ErrFenced) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	if len(w.quarrel) >= quarrelsMax {
		for other, since := range w.quarrel {
			if now.Sub(since) > quarrelFor {
				delete(w.quarrel, other)
			}
		}
		if len(w.quarrel) >= quarrelsMax {
			return // it will be noted when it loses again
		}
	}
	w.quarrel[id] = now
}

func (w *writer) quarrelled(id events.LogID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, ok := w.quarrel[id]
	if ok && w.clock.Now().Sub(since) > quarrelFor {
		delete(w.quarrel, id)
		return false
	}
	return ok
}

// wait blocks until nothing is under way.
func (w *writer) wait() { w.running.Wait() }
