package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// txCopy is the working copy of the transaction that has the aggregate's lock.
type txCopy[S any] struct {
	ref    txRef
	state  S
	draft  events.Draft
	timeMS uint64 // of the segment: all its steps get the same
	done   []finished[S]
	sealed *events.Prepared // the segment's record, once the coordinator asked for it
	brief  bool             // it is held for a decision that is being made
	timer  Timer
	sends  map[uint64]*txSending // what it has with the transport, by ticket
	ticket uint64                // the newest
	now    uint64

	dropped *S // what an abort has undone
}

// txSending is a command of the transaction whose result comes later.
type txSending struct {
	caller *ask[work, result]      // stands for the command
	await  *ask[txAwait, txWorked] // the coordinator, waiting for it
	done   bool                    // the caller has its answer
	again  bool                    // what was sent was made anew: it goes out once it is durable
}

// commandsExpected is how many commands of a segment one participant has room for at once; more make it grow.
const commandsExpected = 16

// sendsAtOnce bounds what one participant of a transaction has with the transport.
const sendsAtOnce = 256

func (x *txCopy[S]) dirty() bool { return len(x.draft.Events) > 0 }

// txHeld is a transaction's first command, waiting for an older holder of the lock to go away.
func (g *aggregate[S]) txWork(c actor.Context, m *ask[txWork, txWorked]) {
	q := m.Query
	if g.copy == nil {
		if !q.First {
			m.refuse(fmt.Errorf("%w: %s has lost its working copy", ErrNoTransaction, g.entry.identity))
			return
		}
		if g.holds(q.Work) {
			g.hold(m)
			return
		}
		g.commit(c) // what came before the transaction is not part of it
		if g.gone != nil {
			m.refuse(errBounced)
			return
		}
		g.lock(c, q.Tx)
		g.copy.brief = q.Brief
	}
	if g.copy.ref.ID != q.Tx.ID {
		g.contend(c, m)
		return
	}
	if m.expired() {
		m.refuse(ErrDeadline)
		return
	}
	g.txStep(c, m)
}

func (g *aggregate[S]) lock(c actor.Context, tx txRef) {
	g.copy = &txCopy[S]{ref: tx, state: g.state}
	c.Watch(tx.Coordinator)
	self, id := c.Self(), tx.ID
	patience := tx.Deadline.Sub(g.node.clock.Now()) + g.node.limits.TransactionGrace
	g.copy.timer = g.node.clock.AfterFunc(patience, func() {
		g.node.runtime.system.Root.Send(self, &lockExpired{ID: id})
	})
}

// contend decides between two transactions: the older wins. The younger holder is told to go, unless its end is being decided
// already; a younger newcomer is sent away. Who holds it briefly waits for nobody, and is waited for.
func (g *aggregate[S]) contend(c actor.Context, m *ask[txWork, txWorked]) {
	if g.copy.brief {
		g.hold(m)
		return
	}
	if !m.Query.Tx.older(g.copy.ref) {
		m.refuse(ErrConflict)
		return
	}
	if g.copy.sealed == nil {
		c.Send(g.copy.ref.Coordinator, &txWounded{})
	}
	g.hold(m)
}

// txStep runs a command on the working copy.
func (g *aggregate[S]) txStep(c actor.Context, m *ask[txWork, txWorked]) {
	x := g.copy
	if x.sealed != nil {
		m.refuse(fmt.Errorf("%w: its segment is being decided", ErrNoTransaction))
		return
	}
	if len(x.sends) >= sendsAtOnce {
		m.refuse(ErrBusy)
		return
	}
	caller := newQuietAsk[work, result](m.Query.Work, m.Deadline)
	clean := !x.dirty()
	t, err := g.stageFor(m.Query.Work, caller)
	if err != nil {
		m.refuse(fmt.Errorf("%s: %w", g.log, err))
		return
	}
	g.domain.staged(c, t)
	out := g.worked(t.result)
	switch {
	case t.result.refusal() != nil:
		ticket := x.sending(g, caller) // before: the caller may be answered at any moment
		if g.recheck(finished[S]{t.step, m.Query.Work, caller}) {
			out.Ticket = ticket
		} else {
			delete(x.sends, ticket)
		}
	case t.inFlight || m.Query.Work.Send:
		out.Barrier, out.Ticket = true, x.sending(g, caller)
	case t.reserved && clean:
		// Generations are never given back, not even by an abort: the reservation is a record of its own, before anything made
		// with it is seen, and the transaction's copy starts after it.
		if !g.storeCopy(c) {
			m.refuse(errors.Join(ErrNoTransaction, errGone))
			return
		}
		out = g.worked(t.result)
	default:
		out.Barrier = t.reserved
	}
	m.answer(out, nil)
}

// sending makes a ticket for a command whose caller is answered later.
func (x *txCopy[S]) sending(g *aggregate[S], caller *ask[work, result]) uint64 {
	if x.sends == nil {
		x.sends = map[uint64]*txSending{}
	}
	x.ticket++
	settled := &txSettled{ID: x.ref.ID, Ticket: x.ticket}
	self, runtime := g.self, g.node.runtime
	caller.reply = make(chan answer[result], 1)
	caller.release = func() { runtime.system.Root.Send(self, settled) }
	x.sends[x.ticket] = &txSending{caller: caller}
	return x.ticket
}

func (g *aggregate[S]) worked(r result) txWorked {
	return txWorked{Result: r, Dirty: g.copy.dirty(), Version: g.journal.Head().Version + 1}
}

// stageFor steps on the copy and keeps what it made for the segment's record.
func (g *aggregate[S]) stageFor(w work, caller *ask[work, result]) (stepped[S], error) {
	x := g.copy
	if !x.dirty() {
		x.now = g.now()
	}
	t, err := g.step(x.state, w, x.now)
	if err != nil {
		return t, err
	}
	x.state = t.next
	if len(t.events) > 0 {
		x.timeMS = t.timeMS
		x.draft.Events = append(x.draft.Events, t.events...)
		x.draft.Cause = events.Cause{Transaction: x.ref.ID, Command: "transaction"}
	}
	if t.anchor != nil {
		x.draft.Anchor = t.anchor
	}
	if t.result.refusal() == nil {
		if x.done == nil {
			x.done = make([]finished[S], 0, commandsExpected)
		}
		x.done = append(x.done, finished[S]{t.step, w, caller})
	}
	return t, nil
}

// stage is absorb under a transaction.
func (g *aggregate[S]) stage(c actor.Context, w work) (stepped[S], error) {
	if g.copy.sealed != nil {
		return stepped[S]{}, errSealed
	}
	return g.stageFor(w, nil)
}

// errSealed means that the input has to wait for the segment's decision.
var errSealed = errors.New("actors: the transaction's segment is being decided")

// storeCopy appends the copy's events as a record of their own.
func (g *aggregate[S]) storeCopy(c actor.Context) bool {
	x := g.copy
	r := recording[S]{next: x.state, timeMS: x.timeMS, draft: x.draft, done: x.done}
	for i := range r.done {
		r.done[i].caller = nil
	}
	x.draft, x.done = events.Draft{}, nil
	if !g.write(c, &r) {
		return false
	}
	if g.copy == x {
		x.state = g.state
	}
	return true
}

func (g *aggregate[S]) txSeal(m *ask[txSeal, *events.Prepared]) {
	x := g.copy
	if x == nil || x.ref.ID != m.Query.ID || !x.dirty() || x.sealed != nil {
		m.refuse(fmt.Errorf("%w: %s has nothing to seal", ErrNoTransaction, g.entry.identity))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	x.draft.TimeMS, x.draft.Events = x.timeMS, g.merged(x.draft.Events)
	x.draft.Swift = swift(x.draft.Events, x.done)
	p, err := g.journal.Prepare(ctx, x.draft, m.Query.Batch)
	if err != nil {
		m.refuse(err)
		return
	}
	x.sealed = p
	m.answer(p, nil)
}

// txOutcome hears how a segment ended.
func (g *aggregate[S]) txOutcome(c actor.Context, m *ask[txOutcome, struct{}]) {
	q, x := m.Query, g.copy
	if x == nil || x.ref.ID != q.ID {
		// A successor that never knew the transaction: what it replayed may lie before the segment.
		if q.Verdict == txStale || q.Verdict == txUnknown || q.Sequence > 0 && g.journal.Head().Version < q.Version {
			g.leave(c, errBounced)
		}
		m.answer(struct{}{}, nil)
		return
	}
	switch q.Verdict {
	case txCommitted:
		g.txCommitted(c, q.Sequence)
	case txAborted:
		x.drop()
	case txStale, txUnknown:
		g.leave(c, errBounced) // the successor reads what became of the segment; its first append fences off what is not there yet
	}
	switch {
	case g.gone != nil:
	case q.Release:
		g.unlock(c)
	default:
		g.release(c) // questions that waited for the decision; commands are held again
	}
	m.answer(struct{}{}, nil)
	g.secure(c)
}

// txCommitted adopts the segment's record.
func (g *aggregate[S]) txCommitted(c actor.Context, sequence uint64) {
	x := g.copy
	if x.sealed == nil || sequence == 0 {
		if !x.dirty() {
			g.txLand(c) // nothing to store: what was done without events is seen now
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	_, err := x.sealed.Commit(ctx, sequence)
	what, err := g.judge(x.state, err)
	if what != fateStored {
		g.node.logger.Warn("segment adopted by replay", "log", g.log.String(), "err", err)
		g.leave(c, errBounced)
		return
	}
	x.state = g.state
	g.txLand(c)
}

// txLand lets the steps of a segment be seen.
func (g *aggregate[S]) txLand(c actor.Context) {
	x := g.copy
	done := x.done
	x.sealed, x.draft, x.done, g.state = nil, events.Draft{}, nil, x.state
	for i := range done {
		if !x.awaits(done[i].caller) {
			done[i].caller = nil // the coordinator has answered it
		}
	}
	g.landed(c, done)
	if g.copy == x && g.gone == nil && !x.dirty() {
		x.state = g.state
	}
}

func (x *txCopy[S]) awaits(caller *ask[work, result]) bool {
	for _, s := range x.sends {
		if s.caller == caller {
			return true
		}
	}
	return false
}

// txAwait waits for the result of what the transaction has sent.
func (g *aggregate[S]) txAwait(m *ask[txAwait, txWorked]) {
	x := g.copy
	if x == nil || x.ref.ID != m.Query.ID || x.sends[m.Query.Ticket] == nil {
		m.refuse(fmt.Errorf("%w: %s has lost its working copy", ErrNoTransaction, g.entry.identity))
		return
	}
	x.sends[m.Query.Ticket].await = m
	g.txTell(m.Query.Ticket)
}

// txSettled hears that what the transaction has sent has its result.
func (g *aggregate[S]) txSettled(m *txSettled) {
	if x := g.copy; x != nil && x.ref.ID == m.ID && x.sends[m.Ticket] != nil {
		x.sends[m.Ticket].done = true
		g.txTell(m.Ticket)
	}
}

// txTell gives the coordinator a result once both are there, or has it close a segment before what was made anew goes out.
func (g *aggregate[S]) txTell(ticket uint64) {
	s := g.copy.sends[ticket]
	switch await := s.await; {
	case await == nil:
	case s.done:
		delete(g.copy.sends, ticket)
		got := <-s.caller.reply
		await.answer(g.worked(got.value), got.err)
	case s.again:
		s.again, s.await = false, nil
		out := g.worked(result{})
		out.Barrier, out.Ticket = true, ticket
		await.answer(out, nil)
	}
}

// txAgain says that the commit of a command was made anew in the copy. Nobody may see it before it is durable.
func (g *aggregate[S]) txAgain(command ids.CommandID) {
	for ticket, s := range g.copy.sends {
		if meta, _ := s.caller.Query.meta(); meta.ID == command {
			s.again = true
			g.txTell(ticket)
			return
		}
	}
}

// orphaned ends a transaction whose coordinator is gone or silent. Before the segment was sealed there is nothing to find; after,
// the log is asked: the record is there, or a fenced one of ours takes its place.
func (g *aggregate[S]) orphaned(c actor.Context, id ids.TransactionID) {
	x := g.copy
	if x == nil || id != "" && x.ref.ID != id {
		return
	}
	if x.sealed == nil {
		x.drop()
		g.unlock(c)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	outcome, err := g.journal.Settle(ctx, x.sealed)
	g.node.logger.Info("transaction settled without its coordinator", "log", g.log.String(), "stored", outcome == events.Stored, "err", err)
	g.leave(c, errBounced)
}

// coordinatorGone handles the end of a watched coordinator.
func (g *aggregate[S]) coordinatorGone(c actor.Context, who *actor.PID) {
	if g.copy != nil && g.copy.ref.Coordinator.Id == who.Id {
		g.orphaned(c, g.copy.ref.ID)
	}
}

// unlock drops the copy and lets others in.
func (g *aggregate[S]) unlock(c actor.Context) {
	x := g.copy
	g.copy = nil
	x.timer.Stop()
	c.Unwatch(x.ref.Coordinator)
	x.forsake(ErrNoTransaction)
	g.unlocked(c, x.dropped)
	if g.gone == nil {
		g.release(c)
	}
}

// forsake answers a coordinator that waits for what was sent.
func (x *txCopy[S]) forsake(err error) {
	for _, s := range x.sends {
		if s.await != nil {
			s.await.refuse(err)
		}
	}
	x.sends = nil
}

// drop gives up what the segment has staged.
func (x *txCopy[S]) drop() {
	if x.dirty() {
		state := x.state
		x.dropped = &state
	}
	x.sealed, x.draft, x.done = nil, events.Draft{}, nil
}

// effects lists the outbox of steps that became durable.
func effects[S any](done []finished[S]) (out []conversation.Effect) {
	for _, d := range done {
		out = append(out, d.outbox...)
	}
	return out
}
