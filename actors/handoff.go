package actors

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// Delivery is something the owner of a conversation is told: a message, or a change of the membership. It comes again until it is
// acknowledged. (Conversation, Version, Index) is its stable name.
type Delivery struct {
	Conversation ids.ConversationID
	Version      uint64 // record of the conversation's log
	Index        int    // in the record
	TimeMs       uint64
	Message      *conversation.ReceivedMessage // one of the two is set
	Membership   *conversation.Membership
	Turn         uint64 // of a message that has failed before: which handing over of it this is
	Failures     uint32 // how often it has failed
	last         bool   // of its record
}

// after reports whether d comes after another delivery of the same conversation.
func (d Delivery) after(c cursor) bool {
	return d.Version > c.version || d.Version == c.version && d.Index > c.index
}

// cursor is how far a stream has come in one conversation.
type cursor struct {
	version uint64
	index   int
}

// deliveriesOf lists what a record tells the owner, in the order of its events.
func deliveriesOf(id ids.ConversationID, r *events.Record) (out []Delivery) {
	for i := range r.Events {
		one := *r
		one.Events = r.Events[i : i+1]
		if m, ok := conversation.MembershipAt(r, i); ok {
			out = append(out, Delivery{Conversation: id, Version: r.Version, TimeMs: r.TimeMS, Membership: &m})
		}
		messages, err := conversation.Messages(&one)
		if err != nil {
			continue // replay has folded this record: a spool part it could not read was counted there
		}
		for _, m := range messages {
			out = append(out, Delivery{Conversation: id, Version: r.Version, TimeMs: r.TimeMS, Message: &m})
		}
	}
	return out
}

// deliveries is what a conversation keeps in memory for its owner: the newest ones, up to a bound. Older ones are read from the log.
type deliveries struct {
	bytesMax int
	items    []Delivery
	bytes    int
	floor    uint64 // everything after this version is here

	seen, through, told uint64 // what was acknowledged is gone up to here
	aside               int    // and so many beyond that have failed
}

// add takes the deliveries of a step of a record in. It reports whether there were any.
func (f *deliveries) add(version uint64, found []Delivery) bool {
	index := 0
	if n := len(f.items); n > 0 && f.items[n-1].Version == version {
		index = f.items[n-1].Index + 1 // the record held several steps
		f.items[n-1].last = false
	}
	for i := range found {
		found[i].Index, found[i].last = index+i, i == len(found)-1
		f.items = append(f.items, found[i])
		f.bytes += found[i].size()
	}
	if f.bytes > f.bytesMax {
		f.relieve()
	}
	return len(found) > 0
}

// relieve lets the oldest go, whole records of them, until there is room for a while.
func (f *deliveries) relieve() {
	bytes := f.bytes
	for _, d := range f.items {
		if bytes <= f.bytesMax*3/4 {
			break
		}
		f.floor = max(f.floor, d.Version)
		bytes -= d.size()
	}
	f.drop(func(d Delivery) bool { return d.Version > f.floor })
}

// acknowledged forgets what the owner has.
func (f *deliveries) acknowledged(spool conversation.Spool) {
	told := spool.Secrets - uint64(len(spool.Held))
	if f.seen == spool.Seen && f.through == spool.Acknowledged && f.told == told && f.aside == len(spool.Aside) {
		return // nothing more than before
	}
	f.seen, f.through, f.told, f.aside = spool.Seen, spool.Acknowledged, told, len(spool.Aside)
	f.drop(func(d Delivery) bool {
		return d.Version > spool.Seen || d.Message != nil && spool.Open(d.Message)
	})
}

func (f *deliveries) drop(keep func(Delivery) bool) {
	kept := f.items[:0]
	f.bytes = 0
	for _, d := range f.items {
		if keep(d) {
			kept = append(kept, d)
			f.bytes += d.size()
		}
	}
	if len(kept) < cap(f.items)/4 {
		f.items = slices.Clone(kept)
		return
	}
	clear(f.items[len(kept):])
	f.items = kept
}

// history reports whether it is a history secret.
func (d Delivery) history() bool { return d.Message != nil && d.Message.History != "" }

func (d Delivery) size() int {
	n := 128
	if d.Message != nil {
		n += d.Message.Plaintext.Len() + len(d.Message.AAD)
	}
	return n
}

// trail is where reading of the log can begin: heads of records, in their order and not all of them. The oldest is at or before what
// the owner has seen, where the log was read from there.
type trail []events.Head

// trailMax bounds a trail. Beyond it every second head is forgotten, and the next ones are as far apart, which costs reading more than is
// needed.
const trailMax = 64

// add notes the newest record's head and lets go what lies before the place that the owner has seen.
func (t trail) add(head events.Head, seen uint64) trail {
	if n := len(t); n > 0 {
		if newest := t[n-1].Version; head.Version <= newest || head.Version-newest < (newest-t[0].Version)/trailMax {
			return t
		}
	}
	t = append(t, head)
	passed := 0
	for passed+1 < len(t) && t[passed+1].Version <= seen {
		passed++
	}
	t = slices.Delete(t, 0, passed)
	if len(t) <= trailMax {
		return t
	}
	kept := t[:0]
	for i := 0; i < len(t); i += 2 {
		kept = append(kept, t[i])
	}
	return kept
}

// before is where to begin to read for what comes after a place; the zero head is the beginning of the log.
func (t trail) before(after cursor) (from events.Head) {
	through := after.version
	if after.index != maxIndex && through > 0 {
		through-- // the record itself may have more
	}
	for _, h := range t {
		if h.Version > through {
			break
		}
		from = h
	}
	return from
}

// passed takes note of a record that replay has read.
func (a *conversationActor) passed(r *events.Record, seen uint64) {
	a.trail = a.trail.add(r.Head, seen)
	a.letters.pass(r.Events)
	a.letters.newest = r.Head
	a.logged += r.Size
	if len(conversation.Memberships(r)) > 0 {
		a.told = r.Version
	}
}

// recollect tells, after the log was read, from where on memory has everything for the owner.
func (a *conversationActor) recollect() {
	a.fresh.floor = a.journal.Head().Version
	if spool := a.state.Spool; len(spool.Marks) == 0 && len(spool.Held) == 0 && a.told <= spool.Seen {
		a.fresh.floor = spool.Seen // there is nothing the owner has not had
	}
}

// undelivered asks a conversation for what comes after a place.
type undelivered struct {
	After  cursor
	Max    int
	Handed map[uint64]uint64 // what has failed and was handed to this stream: message numbers, and which time
}

// handOff is the answer.
type handOff struct {
	Items   []Delivery
	More    bool
	Failing int      // messages that have failed and are to be handed over again
	Letters []uint64 // which of those that the stream has had are still there
}

// handOff gives what the owner has not acknowledged and this stream has not had: first what has failed and is due. New messages wait while
// very many have failed.
func (a *conversationActor) handOff(c actor.Context, m *ask[undelivered, handOff]) {
	out := handOff{Failing: a.state.Spool.Failing()}
	for number := range m.Query.Handed {
		if _, there := a.state.Spool.Letter(number); there {
			out.Letters = append(out.Letters, number)
		}
	}
	lost, err := a.overdue(m.Query, &out)
	if err == nil && out.Failing < conversation.FailingMax {
		err = a.unseen(m.Query, &out)
	}
	if err != nil {
		m.refuse(err)
		return
	}
	m.answer(out, nil)
	a.lose(c, lost)
}

// unseen adds to an answer what comes behind a place.
func (a *conversationActor) unseen(q undelivered, out *handOff) error {
	after := q.After
	if after.version < a.state.Spool.Seen {
		after = cursor{version: a.state.Spool.Seen, index: maxIndex}
	}
	items := a.fresh.items
	if after.version < a.fresh.floor {
		var err error
		if items, err = a.reread(q.Max, after, func(Delivery) bool { return true }); err != nil {
			return err
		}
	}
	observed := a.node.hub.observesHistory(a.client)
	for _, d := range items {
		if !d.after(after) || d.Message != nil && !a.state.Spool.Open(d.Message) {
			continue
		}
		if d.history() && observed {
			continue
		}
		if len(out.Items) == q.Max {
			out.More = true
			break
		}
		out.Items = append(out.Items, d)
	}
	// What came while the log was read is in memory; the next question finds it.
	out.More = out.More || after.version < a.fresh.floor && len(a.fresh.items) > 0
	return nil
}

const maxIndex = int(^uint(0) >> 1)

var errEnough = errors.New("enough")

// reread reads from the log what is to be kept of what it had for the owner, with the keys that still live.
func (a *conversationActor) reread(most int, after cursor, keep func(Delivery) bool) (items []Delivery, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Recover)
	defer cancel()
	keys, err := events.LoadKeys(ctx, a.node.stores.Rings, a.node.vault, a.log)
	if err != nil {
		return nil, err
	}
	audit := events.OpenAudit(a.node.stores.Log, a.log, keys, events.AuditOptions{})
	head := a.journal.Head().Version
	err = audit.Replay(ctx, a.trail.before(after), func(r *events.Record) error {
		if r.Version < after.version || r.Version > head {
			return nil
		}
		found := deliveriesOf(a.conversation, r)
		for i := range found {
			found[i].Index, found[i].last = i, i == len(found)-1
		}
		for _, d := range found {
			if keep(d) {
				items = append(items, d)
			}
		}
		if len(items) > 2*most {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return items, err
}

// Stream hands a client's messages and membership events to its owner. One goroutine at a time may call Next.
type Stream struct {
	node    *Node
	client  ids.ClientID
	turns   *turns
	cursors map[ids.ConversationID]cursor
	from    cursor                                   // before what Next returned last
	handed  map[ids.ConversationID]map[uint64]uint64 // what has failed and was handed over: message numbers, and which time

	mu      sync.Mutex
	failing map[ids.ConversationID]int // how much of each was last known to have failed; guarded by mu
}

// ErrStreaming means that the client's stream is open already: messages have one owner.
var ErrStreaming = errors.New("actors: the client's stream is open already")

// ErrStreamEnded means that the stream or its node was closed.
var ErrStreamEnded = errors.New("actors: the stream has ended")

// Subscribe opens the client's stream. It begins with everything that was not acknowledged, and ends with ErrNotHere once another node serves
// the client.
func (n *Node) Subscribe(ctx context.Context, client ids.ClientID) (*Stream, error) {
	s := &Stream{
		node: n, client: client, turns: newTurns(), cursors: map[ids.ConversationID]cursor{},
		handed: map[ids.ConversationID]map[uint64]uint64{}, failing: map[ids.ConversationID]int{},
	}
	n.hub.mu.Lock()
	if n.hub.streams[client] != nil {
		n.hub.mu.Unlock()
		return nil, ErrStreaming
	}
	n.hub.streams[client] = s
	n.hub.mu.Unlock()
	if !n.owns(ClientIdentity(client)) { // asked once it can be dismissed: whoever releases the client meanwhile finds it
		s.Close()
		return nil, ErrNotHere
	}
	if err := s.turns.pushAll(ctx, n, client); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the stream. What was not acknowledged comes again with the next one.
func (s *Stream) Close() {
	s.node.hub.mu.Lock()
	mine := s.node.hub.streams[s.client] == s
	if mine {
		delete(s.node.hub.streams, s.client)
	}
	s.node.hub.mu.Unlock()
	if mine {
		s.turns.end(ErrStreamEnded)
	}
}

// Poke makes the stream of a client's owner, where one is open, return from Next with nothing: there is news about the client itself.
func (n *Node) Poke(client ids.ClientID) {
	n.hub.mu.Lock()
	s := n.hub.streams[client]
	n.hub.mu.Unlock()
	if s != nil {
		s.turns.poke()
	}
}

// deliveriesAtOnce is how many of one conversation Next returns before others have their turn.
const deliveriesAtOnce = 256

// Next waits for deliveries and returns some of one conversation, in order. None means that there is news about the client itself.
func (s *Stream) Next(ctx context.Context) ([]Delivery, error) {
	for {
		id, err := s.turns.next(ctx)
		if err == nil && id == "" {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		ask := undelivered{After: s.cursors[id], Max: deliveriesAtOnce, Handed: maps.Clone(s.handed[id])}
		got, err := request[undelivered, handOff](ctx, s.node, ConversationIdentity(s.client, id), ask)
		if err != nil {
			if err := s.turns.later(ctx, s.node, id, err); err != nil {
				return nil, err
			}
			continue
		}
		if got.More {
			s.turns.push(id)
		}
		s.took(id, got)
		if len(got.Items) == 0 {
			continue
		}
		return got.Items, nil
	}
}

// Acknowledge says that the owner has a delivery and everything before it in its conversation that has not failed; of a message that has, that
// he has it alone. It returns when that is durable.
func (s *Stream) Acknowledge(ctx context.Context, d Delivery) error {
	if d.Turn != 0 {
		_, err := s.node.Conversation(ctx, s.client, d.Conversation, conversation.Acknowledge{Letter: d.Message.Number})
		return err
	}
	in := conversation.Acknowledge{Version: d.Version, Histories: !s.node.hub.observesHistory(s.client)}
	if !d.last {
		in.Version-- // the rest of the record is still to be handed over
	}
	switch {
	case d.history():
		in.History = d.Message.Number
	case d.Message != nil:
		in.Through, in.Letter = d.Message.Number, d.Message.Number
	}
	_, err := request[work, result](ctx, s.node, ConversationIdentity(s.client, d.Conversation), work{Conversation: in})
	return err
}
