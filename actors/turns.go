package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"parley/internal/ids"
)

// hub knows who listens to which clients: their owners, and observers beside them.
type hub struct {
	mu        sync.Mutex
	streams   map[ids.ClientID]*Stream
	observers map[ids.ClientID][]*Observer
}

func newHub() *hub {
	return &hub{streams: map[ids.ClientID]*Stream{}, observers: map[ids.ClientID][]*Observer{}}
}

// announce tells whoever listens to a conversation what it has for its owner.
func (h *hub) announce(client ids.ClientID, id ids.ConversationID, news []Delivery) {
	h.wake(client, id, func() bool { // messages are no observer's
		return slices.ContainsFunc(news, func(d Delivery) bool { return d.Membership != nil || d.history() })
	})
}

// everybody is told: there may be anything.
func everybody() bool { return true }

// wake gives a conversation a turn with its owner's stream, and with those who observe it where there is something for them.
func (h *hub) wake(client ids.ClientID, id ids.ConversationID, observed func() bool) {
	h.mu.Lock()
	s, observers := h.streams[client], h.observers[client]
	h.mu.Unlock()
	if s != nil {
		s.turns.push(id)
	}
	if len(observers) == 0 || !observed() {
		return
	}
	for _, o := range observers {
		o.turns.push(id)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	streams, observers := h.streams, h.observers
	h.streams, h.observers = map[ids.ClientID]*Stream{}, map[ids.ClientID][]*Observer{}
	h.mu.Unlock()
	for _, s := range streams {
		s.turns.end(ErrStreamEnded)
	}
	for _, list := range observers {
		for _, o := range list {
			o.turns.end(ErrStreamEnded)
		}
	}
}

// dismiss ends the streams and observations of clients that another node serves now: nothing is announced here any more.
func (h *hub) dismiss(owns func(Identity) bool) {
	h.mu.Lock()
	var gone []*turns
	for client, s := range h.streams {
		if !owns(ClientIdentity(client)) {
			gone = append(gone, s.turns)
			delete(h.streams, client)
		}
	}
	for client, list := range h.observers {
		if owns(ClientIdentity(client)) {
			continue
		}
		for _, o := range list {
			gone = append(gone, o.turns)
		}
		delete(h.observers, client)
	}
	h.mu.Unlock()
	for _, t := range gone {
		t.end(ErrNotHere)
	}
}

// turns are the conversations of a client that may have something for a listener, each once, in the order in which they came to have it.
type turns struct {
	mu     sync.Mutex
	queue  []ids.ConversationID
	queued map[ids.ConversationID]bool
	poked  bool          // there is news about the client itself
	signal chan struct{} // holds one token when the queue may be longer than next has seen
	ended  chan struct{}
	why    error // that it ended, once it has
}

func newTurns() *turns {
	return &turns{queued: map[ids.ConversationID]bool{}, signal: make(chan struct{}, 1), ended: make(chan struct{})}
}

func (t *turns) end(why error) {
	t.why = why
	close(t.ended)
}

func (t *turns) push(id ids.ConversationID) {
	t.mu.Lock()
	if !t.queued[id] {
		t.queued[id] = true
		t.queue = append(t.queue, id)
	}
	t.mu.Unlock()
	t.wake()
}

// poke lets the listener know of news about the client itself.
func (t *turns) poke() {
	t.mu.Lock()
	t.poked = true
	t.mu.Unlock()
	t.wake()
}

func (t *turns) tookPoke() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	poked := t.poked
	t.poked = false
	return poked
}

func (t *turns) wake() {
	select {
	case t.signal <- struct{}{}:
	default:
	}
}

func (t *turns) pop() (id ids.ConversationID, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return "", false
	}
	id = t.queue[0]
	t.queue = t.queue[1:]
	delete(t.queued, id)
	return id, true
}

// next waits for a conversation's turn; for none where there is news about the client itself.
func (t *turns) next(ctx context.Context) (ids.ConversationID, error) {
	for {
		if t.tookPoke() {
			return "", nil
		}
		if id, ok := t.pop(); ok {
			return id, nil
		}
		select {
		case <-t.signal:
		case <-t.ended:
			return "", t.why
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// pushAll gives every conversation of a client a turn.
func (t *turns) pushAll(ctx context.Context, n *Node, client ids.ClientID) error {
	all, err := n.Conversations(ctx, client)
	for _, id := range all {
		t.push(id)
	}
	return err
}

// later puts a conversation that cannot answer now back after a while. One that is corrupt is left out: it says so to everybody who asks
// it, and stops nobody else.
func (t *turns) later(ctx context.Context, n *Node, id ids.ConversationID, err error) error {
	select {
	case <-t.ended:
		return t.why
	case <-ctx.Done():
		t.push(id)
		return context.Cause(ctx)
	default:
	}
	if errors.Is(err, ErrDraining) || errors.Is(err, ErrNotHere) {
		return err
	}
	if _, corrupt := errors.AsType[*CorruptError](err); !corrupt {
		n.clock.AfterFunc(time.Second, func() { t.push(id) })
	}
	n.logger.Warn("deliveries of a conversation", "conversation", id.String(), "err", err)
	return nil
}
