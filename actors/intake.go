package actors

import (
	"sync"
	"sync/atomic"

	"parley/internal/ids"
)

// intake bounds what waits in mailboxes. A mailbox itself is unbounded (the library's bounded ones spin or drop), so
// the bound stands in front of it: a request is counted from admission to its answer, per actor and per node.
type intake struct {
	perActor, perNode int64
	waiting           atomic.Int64
	refused           atomic.Uint64
}

// admit counts one request in, or answers ErrBusy. The returned function counts it out and must be called once.
func (i *intake) admit(e *entry) (release func(), err error) {
	if i.waiting.Add(1) > i.perNode {
		i.waiting.Add(-1)
		i.refused.Add(1)
		return nil, ErrBusy
	}
	if e.waiting.Add(1) > i.perActor {
		e.waiting.Add(-1)
		i.waiting.Add(-1)
		i.refused.Add(1)
		return nil, ErrBusy
	}
	return func() {
		e.waiting.Add(-1)
		i.waiting.Add(-1)
	}, nil
}

// places bounds what one client has waiting for one sequencer: whoever floods a group finds no more room, and the others do.
type places struct {
	most    int
	mu      sync.Mutex
	waiting map[place]int
}

type place struct {
	group  ids.ConversationID
	client ids.ClientID
}

// placeShare is which part of a sequencer's room one client gets at most, and placesMin what it gets in any case.
const (
	placeShare = 16
	placesMin  = 4
)

func newPlaces(perGroup int) *places {
	return &places{most: max(perGroup/placeShare, placesMin), waiting: map[place]int{}}
}

// take gives a place to one more request; false where the client has too many. leave gives it back.
func (p *places) take(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[at] >= p.most {
		return false
	}
	p.waiting[at]++
	return true
}

func (p *places) leave(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[at]--; p.waiting[at] <= 0 {
		delete(p.waiting, at)
	}
}
