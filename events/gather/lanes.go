package gather

import (
	"context"
	"errors"
	"sync"
	"time"

	"parley/events"
)

// store is what lanes write to: one write, or many in a batch that is stored whole or not at all.
type store[W any] struct {
	one  func(context.Context, W) (uint64, error)
	many func(context.Context, []W) ([]uint64, error)
	lost error // the race for a log was lost
	log  func(W) events.LogID
	size func(W) (messages, bytes int)
}

// lanes queue writes, one lane for each stream.
type lanes[W any] struct {
	store[W]
	now  func() time.Time
	lane func(events.LogID) (int, bool)

	mu      sync.Mutex
	queues  map[place]*queue[W]
	quarrel map[events.LogID]time.Time // lost a race a moment ago: would spoil a batch for the others
	running sync.WaitGroup
}

type place struct {
	kind  events.Kind
	lane  int
	large bool
}

// queue is what waits for one stream.
type queue[W any] struct {
	waiting  []*waiter[W]
	large    bool // of writes that never share a batch
	alone    int  // single writes under way
	batching bool // a batch is under way
}

type waiter[W any] struct {
	write W
	done  chan written
}

type written struct {
	sequence uint64
	err      error
}

const (
	aloneMax         = 4         // single writes under way in one stream
	together         = 10        // this many waiting writes go as a batch
	largeBytes       = 256 << 10 // what is longer goes alone: the server writes a batch twice
	batchMessagesMax = 1000
	batchBytesMax    = 8 << 20
	splitBelow       = 8 // a refused batch of fewer goes one by one
	quarrelFor       = 5 * time.Second
	quarrelsMax      = 10_000
	batchTimeout     = 20 * time.Second
)

func newLanes[W any](now func() time.Time, lane func(events.LogID) (int, bool), s store[W]) *lanes[W] {
	return &lanes[W]{store: s, now: now, lane: lane, queues: map[place]*queue[W]{}, quarrel: map[events.LogID]time.Time{}}
}

// alone writes without a queue.
func (l *lanes[W]) alone(ctx context.Context, w W) (uint64, error) {
	sequence, err := l.one(ctx, w)
	l.note(l.log(w), err)
	return sequence, err
}

// write waits for its own outcome.
func (l *lanes[W]) write(ctx context.Context, w W) (uint64, error) {
	id := l.log(w)
	at, ok := l.lane(id)
	if !ok || l.quarrelled(id) {
		return l.alone(ctx, w)
	}
	mine := &waiter[W]{write: w, done: make(chan written, 1)}
	_, bytes := l.size(w)
	where := place{id.Kind, at, bytes > largeBytes}
	l.mu.Lock()
	q := l.queues[where]
	if q == nil {
		q = &queue[W]{large: where.large}
		l.queues[where] = q
	}
	q.waiting = append(q.waiting, mine)
	l.dispatch(q)
	l.mu.Unlock()
	select {
	case got := <-mine.done:
		return got.sequence, got.err
	case <-ctx.Done():
		return 0, errGone(ctx, l.withdraw(q, mine))
	}
}

// withdraw takes a write back that has not been sent.
func (l *lanes[W]) withdraw(q *queue[W], mine *waiter[W]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range q.waiting {
		if w == mine {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// dispatch sends what may go now. It is called with the lock held, after anything changed.
func (l *lanes[W]) dispatch(q *queue[W]) {
	for len(q.waiting) > 0 && !q.batching {
		if len(q.waiting) >= together && !q.large {
			batch := l.takeBatch(q)
			q.batching = true
			l.running.Go(func() {
				l.batch(batch)
				l.settled(q, func() { q.batching = false })
			})
			return
		}
		if q.alone >= aloneMax {
			return
		}
		one := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.alone++
		l.running.Go(func() {
			l.single(one)
			l.settled(q, func() { q.alone-- })
		})
	}
}

func (l *lanes[W]) settled(q *queue[W], change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.dispatch(q)
}

// takeBatch takes as many waiting writes as one batch holds.
func (l *lanes[W]) takeBatch(q *queue[W]) []*waiter[W] {
	messages, bytes := 0, 0
	for i, w := range q.waiting {
		m, b := l.size(w.write)
		messages, bytes = messages+m, bytes+b
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

func (l *lanes[W]) single(w *waiter[W]) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	sequence, err := l.alone(ctx, w.write)
	w.done <- written{sequence, err}
}

// batch stores the writes together. A refused batch stored nothing, and the one that lost its race is not named: the batch is split until
// it stands alone. That is no retry of a lost write, since every other one still holds its expectation.
func (l *lanes[W]) batch(batch []*waiter[W]) {
	if len(batch) == 1 {
		l.single(batch[0])
		return
	}
	all := make([]W, len(batch))
	for i, w := range batch {
		all[i] = w.write
	}
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	sequences, err := l.many(ctx, all)
	cancel()
	switch {
	case err == nil:
		for i, w := range batch {
			w.done <- written{sequence: sequences[i]}
		}
	case errors.Is(err, l.lost) && len(batch) < splitBelow:
		for _, w := range batch {
			l.single(w)
		}
	case errors.Is(err, l.lost):
		l.batch(batch[:len(batch)/2])
		l.batch(batch[len(batch)/2:])
	default:
		// Full or unavailable: nothing is stored. Unknown: each journal looks for its own.
		for _, w := range batch {
			w.done <- written{err: err}
		}
	}
}

// note remembers a log that lost a race.
func (l *lanes[W]) note(id events.LogID, err error) {
	if !errors.Is(err, l.lost) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.quarrel) >= quarrelsMax {
		for other, since := range l.quarrel {
			if now.Sub(since) > quarrelFor {
				delete(l.quarrel, other)
			}
		}
		if len(l.quarrel) >= quarrelsMax {
			return // it will be noted when it loses again
		}
	}
	l.quarrel[id] = now
}

func (l *lanes[W]) quarrelled(id events.LogID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, ok := l.quarrel[id]
	if ok && l.now().Sub(since) > quarrelFor {
		delete(l.quarrel, id)
		return false
	}
	return ok
}
