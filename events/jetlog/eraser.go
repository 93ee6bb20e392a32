package jetlog

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// erasuresMax bounds what waits to be erased. What finds no room is deleted without being overwritten.
	erasuresMax = 64
	// erasureRest is how long the eraser rests after an erasure, in multiples of what it took: while it works, nobody can write rings.
	erasureRest    = 4
	erasureRestMax = 100 * time.Millisecond
)

// erasure is everything of a ring's subject that is older than its newest message; where it is known to be one message, that one.
type erasure struct {
	at     place
	newest uint64
	only   uint64 // 0: whatever there is
}

// eraser erases replaced rings behind the back of those who replace them. It has a goroutine only while there is something to erase;
// that ends with its work or with the connection. What it does not get to stays on the server, where Load and Sweep find it.
type eraser struct {
	mu      sync.Mutex
	waiting []erasure
	current place // whose erasure is under way
	working bool
}

// expects reports whether what a subject has of older messages is about to be erased.
func (e *eraser) expects(at place) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current == at || slices.ContainsFunc(e.waiting, func(w erasure) bool { return w.at == at })
}

// later takes an erasure; false where too many wait.
func (e *eraser) later(rings *Rings, next erasure) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) >= erasuresMax {
		return false
	}
	e.waiting = append(e.waiting, next)
	if !e.working {
		e.working = true
		go e.work(rings)
	}
	return true
}

func (e *eraser) work(rings *Rings) {
	closing := rings.s.nc.StatusChanged(nats.CLOSED)
	defer rings.s.nc.RemoveStatusListener(closing)
	for {
		next, ok := e.take()
		if !ok {
			return
		}
		started := time.Now()
		if err := next.carryOut(rings); err != nil {
			e.giveUp() // the store is away: all of this is left for Load and Sweep
		}
		rest := time.NewTimer(min(erasureRest*time.Since(started), erasureRestMax))
		select {
		case <-rest.C:
		case <-closing:
			rest.Stop()
		}
	}
}

func (e erasure) carryOut(rings *Rings) error {
	if e.only > 0 {
		return rings.erase(context.Background(), e.at.stream, e.only)
	}
	return rings.eraseOlder(context.Background(), e.at, e.newest)
}

// take gives the next erasure; false, and the end of the goroutine, where there is none.
func (e *eraser) take() (next erasure, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		e.waiting, e.current, e.working = nil, place{}, false
		return erasure{}, false
	}
	next, e.waiting = e.waiting[0], e.waiting[1:]
	e.current = next.at
	return next, true
}

func (e *eraser) giveUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = nil
}
