package actors

import (
	"errors"
	"fmt"
	goruntime "runtime"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
)

// gather takes a command in. Everything that stands in the mailbox behind the first one is gathered too, up to the flush that
// the first one posted: group commit without waiting for anybody.
func (g *aggregate[S]) gather(c actor.Context, m *ask[work, result]) {
	if g.copy != nil || g.holds(m.Query) {
		g.hold(m)
		return
	}
	g.pending = append(g.pending, m)
	g.expected = max(g.expected-1, 0)
	if len(g.pending) >= g.node.limits.CommandsPerBatch {
		g.commit(c)
		return
	}
	g.flushSoon(c)
}

func (g *aggregate[S]) flushSoon(c actor.Context) {
	if !g.flushed {
		g.flushed = true
		c.Send(c.Self(), &flush{})
	}
}

// expect notes how many callers were answered together: they will be back together.
func (g *aggregate[S]) expect(c actor.Context, callers int) {
	if callers < 2 {
		return // nobody is kept waiting for one
	}
	g.expected = callers
	g.flushSoon(c)
}

// How long a flush waits for callers who are expected: until nobody has come for so long, or after so many looks.
const (
	flushPause = 200 * time.Microsecond
	flushLooks = 1000
)

// flush makes a record of what was gathered. Callers who were answered together come again as soon as they are let run: they are waited
// for, by yielding, while they keep coming, so that they share records from then on.
func (g *aggregate[S]) flush(c actor.Context, m *flush) {
	if now := g.node.clock.Now(); m.looks == 0 || g.expected < m.expected {
		m.expected, m.since = g.expected, now
	} else if now.Sub(m.since) > flushPause {
		g.expected = 0
	}
	if g.expected == 0 || m.looks == flushLooks {
		g.expected = 0
		g.commit(c)
		return
	}
	m.looks++
	goruntime.Gosched()
	c.Send(c.Self(), m)
}

// hold keeps mail with its sender until the lock or the commit under way is gone. Admission has bounded it already.
func (g *aggregate[S]) hold(m mail) {
	if len(g.held) >= g.node.limits.WaitingPerActor {
		m.refuse(ErrBusy)
		return
	}
	g.held = append(g.held, m)
}

// release gives what was held back to the mailbox, in order.
func (g *aggregate[S]) release(c actor.Context) {
	held := g.held
	g.held = nil
	for _, m := range held {
		c.Send(c.Self(), m)
	}
}

// commit makes one record of what was gathered. Each command steps on the state that the one before left and has its own
// outcome; a refused one leaves no event. Nothing of it is seen by anybody before the record is durable.
func (g *aggregate[S]) commit(c actor.Context) {
	batch := g.pending
	g.pending, g.flushed = nil, false
	if len(batch) == 0 || g.gone != nil {
		return
	}
	now, r := g.now(), recording[S]{next: g.state}
	for i, m := range batch {
		if m.expired() {
			m.refuse(ErrDeadline)
			continue
		}
		t, err := g.step(r.next, m.Query, now)
		if err != nil {
			m.refuse(fmt.Errorf("%s: %w", g.log, err))
			continue
		}
		r.add(t, m.Query, m)
		if t.inFlight || r.bytes > batchBytes {
			g.pending = append(g.pending, batch[i+1:]...)
			break
		}
	}
	if !g.write(c, &r) {
		return
	}
	g.again(c)
}

// again brings commands that were left for another record back to where they are held or gathered.
func (g *aggregate[S]) again(c actor.Context) {
	rest := g.pending
	g.pending, g.flushed = nil, false
	for _, m := range rest {
		c.Send(c.Self(), m)
	}
}

// batchBytes is when a record has enough.
const batchBytes = 256 << 10

// recording is a record in the making.
type recording[S any] struct {
	next   S
	timeMS uint64
	draft  events.Draft
	done   []finished[S]
	bytes  int
}

func (r *recording[S]) add(t stepped[S], w work, caller *ask[work, result]) {
	r.next = t.next
	if len(t.events) > 0 {
		r.timeMS = t.timeMS
		r.draft.Events = append(r.draft.Events, t.events...)
		r.bytes += sizeOf(t.events)
		if len(r.draft.Events) > len(t.events) {
			r.draft.Cause = events.Cause{Command: "batch"} // each command's own cause stands in its CommandCompleted
		} else if r.draft.Cause = w.cause(""); r.draft.Cause.Command == "" {
			r.draft.Cause.Command = inputName(w)
		}
	}
	if t.anchor != nil {
		r.draft.Anchor = t.anchor
	}
	r.done = append(r.done, finished[S]{t.step, w, caller})
}

// sizeOf is roughly what events will take in a record.
func sizeOf(evs []events.Event) (n int) {
	for i := range evs {
		n += 64
		for _, s := range evs[i].Secrets {
			n += s.Plain.Len() + 96
		}
	}
	return n
}

// write makes a recording durable, then lets it be seen. It reports whether the actor goes on.
func (g *aggregate[S]) write(c actor.Context, r *recording[S]) bool {
	if len(r.done) == 0 {
		return true
	}
	if len(r.draft.Events) > 0 {
		r.draft.TimeMS = r.timeMS
		r.draft.Events = g.merged(r.draft.Events)
		r.draft.Swift = swift(r.draft.Events, r.done)
		g.storing(r.draft.Events)
		what, err := g.store(r.next, r.draft)
		switch what {
		case fateStored:
		case fateRefused:
			r.refuse(fmt.Errorf("append: %w", err))
			return true
		case fateLost:
			g.node.counters.fenced.Add(1)
			r.refuse(errBounced)
			g.leave(c, errBounced)
			return false
		default:
			g.node.counters.unknown.Add(1)
			r.refuse(err)
			g.leave(c, errBounced)
			return false
		}
	} else {
		g.state = r.next // nothing but what the process alone knows has moved
	}
	g.landed(c, r.done)
	g.secure(c)
	return g.gone == nil
}

func (r *recording[S]) refuse(err error) {
	for _, d := range r.done {
		if d.caller != nil {
			d.caller.refuse(err)
		}
	}
}

// absorb takes an input nobody waits for: an answer of the transport, entries of the order, a timer. Under a transaction it
// becomes part of the transaction's copy.
func (g *aggregate[S]) absorb(c actor.Context, w work) (stepped[S], error) {
	if g.copy != nil {
		return g.stage(c, w)
	}
	t, err := g.step(g.state, w, g.now())
	if err != nil {
		return t, err
	}
	r := recording[S]{next: g.state}
	r.add(t, w, nil)
	if !g.write(c, &r) {
		return t, errGone
	}
	return t, nil
}

var errGone = errors.New("actors: the actor is leaving")

// inputName names inputs that are no commands in causes.
func inputName(w work) string {
	switch w.Conversation.(type) {
	case conversation.Entries:
		return "follow"
	case conversation.TransportAnswered:
		return "transport"
	case conversation.Acknowledge:
		return "acknowledge"
	case conversation.Fail:
		return "fail"
	case conversation.LoseLetters:
		return "lose_letters"
	case conversation.ExpireSpool:
		return "expire_spool"
	case conversation.Checkpoint:
		return "checkpoint"
	case conversation.Tick:
		return "tick"
	case conversation.MarkRolledBack, conversation.MarkSecretsLost, conversation.MarkBehind:
		return "recover"
	case conversation.Burn:
		return "burn"
	case conversation.PlanRejoin, conversation.RefuseRejoin:
		return "rejoin"
	}
	switch w.Client.(type) {
	case conversation.PlanAsking, conversation.EndAsking:
		return "ask"
	case conversation.ListConversation:
		return "list_conversation"
	case conversation.ExpireKeyPackages:
		return "expire_key_packages"
	case conversation.MarkClientLost:
		return "recover"
	}
	return "input"
}
