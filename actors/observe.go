package actors

import (
	"context"
	"errors"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/internal/ids"
)

// Observer is told that conversations of a client may have something new, and reads it out of their logs: beside the actors, in its own
// time, and as often as it wants. What it has done with it is its own to remember. One goroutine at a time may use it.
type Observer struct {
	node    *Node
	client  ids.ClientID
	turns   *turns
	history bool
}

// ObserveEpochs begins to observe the epochs of a client's conversations.
func (n *Node) ObserveEpochs(ctx context.Context, client ids.ClientID) (*Observer, error) {
	return n.observe(ctx, &Observer{node: n, client: client, turns: newTurns()})
}

// ObserveHistory begins to observe the history secrets of a client's conversations. As long as somebody does, they are no deliveries of the
// client's stream.
func (n *Node) ObserveHistory(ctx context.Context, client ids.ClientID) (*Observer, error) {
	return n.observe(ctx, &Observer{node: n, client: client, turns: newTurns(), history: true})
}

// ErrObserving means that the client's history secrets are observed already, or that too many observe its epochs.
var ErrObserving = errors.New("actors: the client is observed already")

const observersMax = 64

func (n *Node) observe(ctx context.Context, o *Observer) (*Observer, error) {
	h := n.hub
	h.mu.Lock()
	others := h.observers[o.client]
	if len(others) >= observersMax || o.history && slices.ContainsFunc(others, func(other *Observer) bool { return other.history }) {
		h.mu.Unlock()
		return nil, ErrObserving
	}
	h.observers[o.client] = append(slices.Clone(others), o) // who announces may hold the old list
	h.mu.Unlock()
	if !n.owns(ClientIdentity(o.client)) { // as for a stream
		o.Close()
		return nil, ErrNotHere
	}
	if err := o.turns.pushAll(ctx, n, o.client); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// observesHistory reports whether somebody takes the client's history secrets out of its stream.
func (h *hub) observesHistory(client ids.ClientID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.observers[client], func(o *Observer) bool { return o.history })
}

// Close ends the observation.
func (o *Observer) Close() {
	h := o.node.hub
	h.mu.Lock()
	left := slices.DeleteFunc(slices.Clone(h.observers[o.client]), func(other *Observer) bool { return other == o })
	mine := len(left) < len(h.observers[o.client])
	if h.observers[o.client] = left; len(left) == 0 {
		delete(h.observers, o.client)
	}
	h.mu.Unlock()
	if mine {
		o.turns.end(ErrStreamEnded)
	}
}

// Next waits for a conversation that may have something new.
func (o *Observer) Next(ctx context.Context) (ids.ConversationID, error) { return o.turns.next(ctx) }

// Again gives a conversation another turn, behind the others that wait.
func (o *Observer) Again(id ids.ConversationID) { o.turns.push(id) }

// Failed gives a conversation another turn after a while, longer with every failure in a row: what its observer was told has to be told
// again. Others go on meanwhile.
func (o *Observer) Failed(id ids.ConversationID, failures int) {
	o.node.clock.AfterFunc(delivery.PauseAfter(failures), func() { o.turns.push(id) })
}

// Later gives a conversation another turn that could not be read now. Where the observation cannot go on it returns why.
func (o *Observer) Later(ctx context.Context, id ids.ConversationID, err error) error {
	return o.turns.later(ctx, o.node, id, err)
}

// Place is an event of a conversation's log. The zero place is before all of them. It is the same on every node.
type Place struct {
	Version uint64 // of the record
	Event   int    // in the record
}

// Behind is the place behind everything in a record.
func Behind(version uint64) Place { return Place{Version: version, Event: maxIndex} }

// after reports whether p comes behind another place.
func (p Place) after(q Place) bool {
	return p.Version > q.Version || p.Version == q.Version && p.Event > q.Event
}

// Change is one thing that a conversation's log says of the membership.
type Change struct {
	Place
	Membership conversation.Membership
}

// vantage asks a conversation from where its log is to be read for what comes behind a place.
type vantage struct{ After Place }

// view is the answer: read on from a head, and no further than what is committed.
type view struct {
	From    events.Head
	Through uint64
}

func (a *conversationActor) view(c actor.Context, m *ask[vantage, view]) {
	if a.copy != nil && a.copy.sealed != nil {
		a.hold(m) // what is being decided may be durable already, and may not come to be
		return
	}
	a.commit(c)
	if a.gone != nil {
		m.refuse(errBounced)
		return
	}
	after := cursor{version: m.Query.After.Version, index: m.Query.After.Event}
	m.answer(view{From: a.trail.before(after), Through: a.state.Version}, nil)
}

// changesAtOnce is how much of one conversation is read before its observer is called.
const changesAtOnce = 256

// Changes reads what a conversation's log says of the membership behind a place, the oldest first, and where to go on behind it; that is a
// place of its own where nothing is left. It reads beside the actor, which goes on meanwhile.
func (o *Observer) Changes(ctx context.Context, id ids.ConversationID, after Place) (changes []Change, next Place, err error) {
	seen, err := request[vantage, view](ctx, o.node, ConversationIdentity(o.client, id), vantage{After: after})
	if err != nil || !Behind(seen.Through).after(after) {
		return nil, after, err
	}
	log := events.ConversationLog(o.client, id)
	keys, err := events.LoadKeys(ctx, o.node.stores.Rings, o.node.vault, log)
	if err != nil {
		return nil, after, err
	}
	next = Behind(seen.Through)
	audit := events.OpenAudit(o.node.stores.Log, log, keys, events.AuditOptions{})
	err = audit.Replay(ctx, seen.From, func(r *events.Record) error {
		if r.Version > seen.Through {
			return errEnough
		}
		changes = append(changes, changesOf(r, after)...)
		if len(changes) >= changesAtOnce {
			next = Behind(r.Version)
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err != nil {
		next = after
	}
	return changes, next, err
}

// changesOf lists what a record says of the membership behind a place.
func changesOf(r *events.Record, after Place) (changes []Change) {
	for i := range r.Events {
		place := Place{Version: r.Version, Event: i}
		if !place.after(after) {
			continue
		}
		one := *r
		one.Events = r.Events[i : i+1]
		for _, m := range conversation.Memberships(&one) {
			changes = append(changes, Change{Place: place, Membership: m})
		}
	}
	return changes
}

// heldSecrets asks a conversation for the history secrets that were not acknowledged.
type heldSecrets struct{}

func (a *conversationActor) heldSecrets(m *ask[heldSecrets, handOff]) {
	spool := a.state.Spool
	open := func(d Delivery) bool { return d.history() && spool.Open(d.Message) }
	out := handOff{}
	for _, d := range a.fresh.items {
		if open(d) {
			out.Items = append(out.Items, d)
		}
	}
	if len(out.Items) < len(spool.Held) {
		// The older ones stand in the log. One whose key is gone is not there either.
		found, err := a.reread(conversation.HeldMax, cursor{version: spool.Held[0].Version - 1, index: maxIndex}, open)
		if err != nil {
			m.refuse(err)
			return
		}
		if len(found) > len(out.Items) {
			out.Items = found
		}
	}
	m.answer(out, nil)
}

// Secrets reads the history secrets of a conversation that were not acknowledged, the oldest first.
func (o *Observer) Secrets(ctx context.Context, id ids.ConversationID) ([]Delivery, error) {
	got, err := request[heldSecrets, handOff](ctx, o.node, ConversationIdentity(o.client, id), heldSecrets{})
	return got.Items, err
}

// Acknowledge says that the observer has a history secret and all before it in its conversation. It returns when that is durable; they can
// be read no more then.
func (o *Observer) Acknowledge(ctx context.Context, d Delivery) error {
	in := conversation.Acknowledge{History: d.Message.Number}
	_, err := request[work, result](ctx, o.node, ConversationIdentity(o.client, d.Conversation), work{Conversation: in})
	return err
}
