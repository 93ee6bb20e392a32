package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/internal/ids"
)

// entry is one activation.
type entry struct {
	identity Identity
	pid      *actor.PID
	waiting  atomic.Int64 // requests admitted and not yet answered
	used     atomic.Int64 // unix nanoseconds of the last request or wake
	leaving  atomic.Bool  // set by the actor before it stops: ask the director for a successor
	rest     atomic.Bool  // set by the actor when it has nothing left to do: no successor is needed until somebody asks
	failed   atomic.Bool  // it could not be activated
}

// A conversation that ended in the middle of something gets a successor after a while, though nobody has asked for it: it may have
// messages to hand over, a commit to settle, an order to follow.
const (
	reviveAfter       = time.Second
	reviveAfterFailed = 5 * time.Second
)

// directory maps identities to activations. Callers read it; only the director writes it.
type directory struct {
	entries  sync.Map // Identity -> *entry
	director *actor.PID
	spawned  atomic.Int64 // activations that there are, those of groups apart
	serving  atomic.Int64 // activations of groups
	limit    int          // activations, those of groups apart
	groups   int          // activations of groups
	produce  func(*entry) actor.Actor
	runtime  *runtime
	clock    Clock
	idle     time.Duration
	owns     func(Identity) bool
}

// activation asks the director for the activation of an identity.
type activation struct{ Identity Identity }

// sweep makes the director passivate what has been idle.
type sweep struct{ note }

// revive makes the director activate what has ended in the middle of something.
type revive struct {
	note
	Identity Identity
}

// evict makes the director passivate everything that is not owned here any more.
type evict struct{ note }

// drain makes the director passivate everything and refuse new activations; it is answered when all are gone.
type drain struct{}

// passivate asks an actor to stop when nothing is in flight. With now set it stops in any case, after saving what it must.
type passivate struct {
	note
	now  bool
	used int64 // entry.used as the sweeper found it; 0: it does not matter
}

// find returns the identity's activation, activating it where there is none.
func (d *directory) find(ctx context.Context, id Identity) (*entry, error) {
	if e, ok := d.active(id); ok {
		return e, nil
	}
	if err := id.check(); err != nil {
		return nil, err
	}
	q := newAsk[activation, *entry](activation{id}, time.Time{})
	d.runtime.system.Root.Send(d.director, q)
	return q.wait(ctx)
}

// active returns the identity's activation if there is one that takes mail.
func (d *directory) active(id Identity) (*entry, bool) {
	v, ok := d.entries.Load(id)
	if !ok {
		return nil, false
	}
	e := v.(*entry)
	return e, !e.leaving.Load()
}

// tell sends a note to the identity's actor if it is active. False may also mean that the actor was about to stop, and that nobody knows whether
// it has seen the note. Where a passive actor has to be woken for it, activate it.
func (d *directory) tell(id Identity, message any) bool {
	e, ok := d.active(id)
	if ok {
		e.used.Store(d.clock.Now().UnixNano())
		d.runtime.system.Root.Send(e.pid, message)
		ok = !e.leaving.Load() // see entry.untouched
	}
	return ok
}

// untouched reports whether nobody has told the actor anything since the sweeper found it idle. With leaving set before, whoever tells it something
// from here on finds that, so that no note is lost between the two.
func (e *entry) untouched(m *passivate) bool {
	e.leaving.Store(true)
	return m.used == 0 || e.used.Load() == m.used
}

// conversationsOf lists the activations of a client's conversations, those included that are not in its log yet.
func (d *directory) conversationsOf(client ids.ClientID) (all []Identity) {
	d.entries.Range(func(key, _ any) bool {
		if id := key.(Identity); id.Kind == KindConversation && id.Client == client {
			all = append(all, id)
		}
		return true
	})
	return all
}

// director spawns the actors, learns of their end, and passivates them. It does nothing that could fail or wait.
type director struct {
	d        *directory
	byPID    map[string]*entry
	waiters  map[Identity][]*ask[activation, *entry] // for an activation that is still leaving
	draining []*ask[drain, struct{}]
}

func (w *director) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *ask[activation, *entry]:
		w.activate(c, m)
	case *actor.Terminated:
		w.terminated(c, m.Who)
	case *sweep:
		w.sweep(c)
	case *revive:
		w.revive(c, m.Identity)
	case *evict:
		for _, e := range w.byPID {
			if !w.d.owns(e.identity) {
				c.Send(e.pid, &passivate{now: true})
			}
		}
	case *ask[drain, struct{}]:
		w.drain(c, m)
	}
}

func (w *director) activate(c actor.Context, m *ask[activation, *entry]) {
	id := m.Query.Identity
	if w.draining != nil {
		m.refuse(ErrDraining)
		return
	}
	if v, ok := w.d.entries.Load(id); ok {
		if e := v.(*entry); !e.leaving.Load() {
			m.answer(e, nil)
			return
		}
		w.waiters[id] = append(w.waiters[id], m) // bounded: each waiter is an admitted request or a caller's goroutine
		return
	}
	if w.full(id.Kind) {
		w.relieve(c, id.Kind)
		m.refuse(ErrBusy)
		return
	}
	m.answer(w.spawn(c, id))
}

// full reports whether no more of a kind may be active. Groups count for themselves: a conversation that comes back needs its group, and
// a node full of conversations must be able to give it.
func (w *director) full(k Kind) bool {
	if k == KindGroup {
		return int(w.d.serving.Load()) >= w.d.groups
	}
	return int(w.d.spawned.Load()) >= w.d.limit
}

// counter is where an activation is counted.
func (d *directory) counter(k Kind) *atomic.Int64 {
	if k == KindGroup {
		return &d.serving
	}
	return &d.spawned
}

func (w *director) spawn(c actor.Context, id Identity) (*entry, error) {
	e := &entry{identity: id}
	e.used.Store(w.d.clock.Now().UnixNano())
	pid, err := c.SpawnNamed(w.d.runtime.leaf(func() actor.Actor { return w.d.produce(e) }), id.actorName())
	if err != nil {
		return nil, err
	}
	e.pid = pid
	w.byPID[pid.Id] = e
	w.d.counter(id.Kind).Add(1)
	w.d.entries.Store(id, e)
	return e, nil
}

func (w *director) terminated(c actor.Context, who *actor.PID) {
	e, ok := w.byPID[who.Id]
	if !ok {
		return
	}
	delete(w.byPID, who.Id)
	w.d.counter(e.identity.Kind).Add(-1)
	w.d.entries.Delete(e.identity)
	waiting := w.waiters[e.identity]
	delete(w.waiters, e.identity)
	if len(waiting) > 0 && w.draining == nil {
		next, err := w.spawn(c, e.identity)
		for _, m := range waiting {
			m.answer(next, err)
		}
		return
	}
	for _, m := range waiting {
		m.refuse(ErrDraining)
	}
	if e.identity.Kind == KindConversation && !e.rest.Load() && w.draining == nil {
		self, id, wait := c.Self(), e.identity, reviveAfter
		if e.failed.Load() {
			wait = reviveAfterFailed
		}
		w.d.clock.AfterFunc(wait, func() { w.d.runtime.system.Root.Send(self, &revive{Identity: id}) })
	}
	w.drained()
}

// revive brings a conversation back that is still served here and that nobody has asked for since.
func (w *director) revive(c actor.Context, id Identity) {
	if w.draining == nil && w.d.owns(id) {
		w.activate(c, newAsk[activation, *entry](activation{id}, time.Time{}))
	}
}

// sweep passivates what nobody has asked for longer than the idle time.
func (w *director) sweep(c actor.Context) {
	before := w.d.clock.Now().Add(-w.d.idle).UnixNano()
	for _, e := range w.byPID {
		if used := e.used.Load(); used < before && e.waiting.Load() == 0 {
			c.Send(e.pid, &passivate{used: used})
		}
	}
}

// relieve passivates a few of the idle when the node is full.
func (w *director) relieve(c actor.Context, k Kind) {
	const victims = 16
	sent := 0
	before := w.d.clock.Now().Add(-time.Second).UnixNano()
	for _, e := range w.byPID {
		if sent == victims {
			return
		}
		used := e.used.Load()
		if (e.identity.Kind == KindGroup) == (k == KindGroup) && used < before && e.waiting.Load() == 0 {
			c.Send(e.pid, &passivate{used: used})
			sent++
		}
	}
}

func (w *director) drain(c actor.Context, m *ask[drain, struct{}]) {
	w.draining = append(w.draining, m)
	for _, e := range w.byPID {
		c.Send(e.pid, &passivate{now: true})
	}
	w.drained()
}

func (w *director) drained() {
	if len(w.byPID) > 0 {
		return
	}
	for _, m := range w.draining {
		m.answer(struct{}{}, nil)
	}
	if w.draining != nil {
		w.draining = w.draining[:0]
	}
}

// startDirector spawns the director.
func (d *directory) startDirector() error {
	props := actor.PropsFromProducer(func() actor.Actor {
		return &director{d: d, byPID: map[string]*entry{}, waiters: map[Identity][]*ask[activation, *entry]{}}
	}, actor.WithSupervisor(stopOnFailure()), actor.WithMailbox(actor.UnboundedLockfree()))
	pid, err := d.runtime.system.Root.SpawnNamed(props, "director")
	d.director = pid
	return err
}
