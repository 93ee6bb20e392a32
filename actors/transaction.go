package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/events"
)

// transactionActor coordinates one transaction. It keeps nothing durable: the batch it appends is the only decision, and when it
// dies at any point its participants find that batch in the log or fence it off.
//
// It never waits inside Receive: what it asks of participants and of the store runs beside it and comes back as a note.
type transactionActor struct {
	node    *Node
	entry   *entry
	ref     txRef
	members map[Identity]*txMember
	queue   []*ask[txRun, result]
	running *ask[txRun, result] // the command under way
	sends   map[*ask[txRun, result]]bool
	closing bool // a segment is being decided
	segment uint32
	finish  []*ask[txFinish, TransactionOutcome] // who waits for the end
	ended   bool                                 // it was finished, and outcome is what that came to
	outcome answer[TransactionOutcome]
	over    error // why it takes no more commands
	told    bool  // its caller has heard that, or its time is over: until then it says why it is over
	timer   Timer
	self    *actor.PID
}

// txMember is what the coordinator knows of a participant.
type txMember struct {
	log     events.LogID
	version uint64
	dirty   bool
	touched bool // a command has run there: it holds our lock, and a copy
}

// queueMax bounds the commands waiting in one transaction.
const txQueueMax = 1000

// txStepDone, txSegmentDone and txSent come back from what runs beside the coordinator.
type txStepDone struct {
	note
	run    *ask[txRun, result]
	worked txWorked
	err    error
}

type txSegmentDone struct {
	note
	then func(error)
	err  error
}

type txSent struct {
	note
	run    *ask[txRun, result]
	worked txWorked
	err    error
}

type txDeadline struct{ note }

func (t *transactionActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		t.self = c.Self()
		t.ref.Coordinator = t.self
	case *ask[txBegin, TransactionOutcome]:
		t.start(m)
	case *ask[txRun, result]:
		t.enqueue(m)
	case *ask[txFinish, TransactionOutcome]:
		t.askFinish(m)
	case *ask[txAbort, TransactionOutcome]:
		t.abort(ErrNoTransaction)
		t.told = true
		m.answer(t.sofar(), nil)
	case *txStepDone:
		t.stepDone(m)
	case *txSegmentDone:
		t.closing = false
		if isCrash(m.err) {
			t.told = true
			t.abandon(ErrUnknownOutcome) // a dead coordinator tells nobody; its participants notice by themselves
			break
		}
		m.then(m.err)
		t.next()
	case *txSent:
		t.sent(m)
	case *txWounded:
		t.end(ErrConflict)
	case *txDeadline:
		t.end(fmt.Errorf("%w: its deadline has passed", ErrNoTransaction))
		t.told = true
	case *passivate:
		if m.now {
			t.end(ErrDraining)
			t.told = true
		}
	case *actor.Stopping:
		if t.timer != nil {
			t.timer.Stop()
		}
	}
	if t.over != nil && (t.told || t.timer == nil) && !t.closing && t.running == nil && len(t.sends) == 0 {
		t.entry.leaving.Store(true)
		c.Stop(c.Self())
	}
}

func newTransactionActor(n *Node, e *entry) *transactionActor {
	return &transactionActor{
		node: n, entry: e, members: map[Identity]*txMember{}, sends: map[*ask[txRun, result]]bool{},
		ref: txRef{ID: e.identity.Transaction, Client: e.identity.Client},
	}
}

func (t *transactionActor) start(m *ask[txBegin, TransactionOutcome]) {
	if t.timer != nil || t.over != nil {
		m.refuse(ErrNoTransaction)
		return
	}
	now := t.node.clock.Now()
	t.ref.Began, t.ref.Deadline = now, m.Query.Deadline
	if !t.ref.Deadline.IsZero() {
		t.ref.Deadline = now.Add(time.Until(t.ref.Deadline)) // callers reckon by the machine's clock
	}
	if began := m.Query.Began; !began.IsZero() && began.Before(now) {
		t.ref.Began = began
	}
	if latest := now.Add(t.node.limits.TransactionMax); t.ref.Deadline.IsZero() || t.ref.Deadline.After(latest) {
		t.ref.Deadline = latest
	}
	self := t.self
	t.timer = t.node.clock.AfterFunc(t.ref.Deadline.Sub(now), func() { t.node.runtime.system.Root.Send(self, &txDeadline{}) })
	m.answer(t.sofar(), nil)
}

func (t *transactionActor) sofar() TransactionOutcome {
	return TransactionOutcome{ID: t.ref.ID, Segments: t.segment}
}

func (t *transactionActor) enqueue(m *ask[txRun, result]) {
	switch {
	case t.timer == nil: // not begun: the coordinator that was asked for is gone
		t.over = ErrNoTransaction
		m.refuse(t.over)
	case t.over != nil:
		m.refuse(t.over)
	case t.finish != nil || t.ended:
		m.refuse(ErrNoTransaction)
	case len(t.queue) >= txQueueMax:
		m.refuse(ErrBusy)
	default:
		t.queue = append(t.queue, m)
		t.next()
	}
}

// askFinish ends the transaction, once however often it is asked: whoever has not heard the outcome may ask again.
func (t *transactionActor) askFinish(m *ask[txFinish, TransactionOutcome]) {
	if t.timer == nil {
		t.over = ErrNoTransaction
	}
	switch {
	case t.ended:
		t.told = m.answer(t.outcome.value, t.outcome.err) || t.told
	case t.over != nil:
		t.told = m.answer(TransactionOutcome{}, errors.Join(ErrNoTransaction, t.over)) || t.told
	case len(t.finish) >= txQueueMax:
		m.refuse(ErrBusy)
	default:
		t.finish = append(t.finish, m)
		t.next()
	}
}

// finished tells the end to everybody who waits for it. While nobody has heard it the coordinator stays, until its time is over.
func (t *transactionActor) finished(err error) {
	t.over, t.ended, t.outcome = ErrNoTransaction, true, answer[TransactionOutcome]{t.sofar(), err}
	for _, m := range t.finish {
		t.told = m.answer(t.outcome.value, err) || t.told
	}
	t.finish = nil
}

// next begins the next command, or the end once everything asked before it is done.
func (t *transactionActor) next() {
	if t.over != nil || t.running != nil || t.closing {
		return
	}
	if len(t.queue) > 0 {
		t.running = t.queue[0]
		t.queue = t.queue[1:]
		t.begin(t.running)
		return
	}
	if t.finish == nil || len(t.sends) > 0 {
		return
	}
	t.decide(true, Identity{}, t.finished)
}

func (t *transactionActor) begin(run *ask[txRun, result]) {
	member := t.members[run.Query.Target]
	if member == nil {
		// From now on it may hold our lock, whatever we hear of it.
		member = &txMember{log: run.Query.Target.log()}
		t.members[run.Query.Target] = member
	}
	q := txWork{Tx: t.ref, First: !member.touched, Work: run.Query.Work}
	if !q.First { // our lock is there, so the answer comes at once
		work, self, root := newQuietAsk[txWork, txWorked](q, time.Now().Add(t.patience())), t.self, t.node.runtime.system.Root
		work.hear = func(worked txWorked, err error) { root.Send(self, &txStepDone{run: run, worked: worked, err: err}) }
		if inquire(t.node, run.Query.Target, work) {
			return
		}
	}
	t.insist(run, q)
}

// insist runs a command wherever the participant is in its life.
func (t *transactionActor) insist(run *ask[txRun, result], q txWork) {
	t.beside(func(ctx context.Context) any {
		worked, err := request[txWork, txWorked](ctx, t.node, run.Query.Target, q)
		return &txStepDone{run: run, worked: worked, err: err}
	})
}

// patience is how long the coordinator waits for somebody: as long as its transaction can last.
func (t *transactionActor) patience() time.Duration {
	return max(t.ref.Deadline.Sub(t.node.clock.Now())+t.node.limits.TransactionGrace, time.Second)
}

// beside runs f in its own goroutine, within the transaction's time, and sends what it returns to the coordinator.
func (t *transactionActor) beside(f func(context.Context) any) {
	self, patience := t.self, t.patience()
	t.node.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		t.node.runtime.system.Root.Send(self, f(ctx))
	})
}

func (t *transactionActor) stepDone(m *txStepDone) {
	if errors.Is(m.err, errBounced) { // not done: its successor is asked
		t.insist(m.run, txWork{Tx: t.ref, Work: m.run.Query.Work})
		return
	}
	t.running = nil
	if m.err != nil {
		m.run.refuse(m.err)
		if fatal := txFatal(m.err); fatal != nil {
			t.end(fatal)
		}
		t.next()
		return
	}
	member := t.members[m.run.Query.Target]
	member.dirty, member.version, member.touched = m.worked.Dirty, m.worked.Version, true
	switch {
	case t.over != nil: // ended while the command ran: its result was never durable
		m.run.refuse(t.over)
		t.spread(txAborted, true) // the first telling may have come before the command
	case m.worked.Barrier:
		t.decide(false, m.run.Query.Target, func(err error) { t.afterBarrier(m, err) })
	case m.worked.Ticket > 0:
		t.await(m)
	default:
		m.run.answer(m.worked.Result, nil)
	}
	t.next()
}

// txFatal says which errors of a command end the transaction: a refused command does not.
func txFatal(err error) error {
	for _, fatal := range []error{ErrConflict, ErrNoTransaction, ErrUnknownOutcome, ErrPanicked} {
		if errors.Is(err, fatal) {
			return fmt.Errorf("%w: %w", ErrNoTransaction, err)
		}
	}
	return nil
}

// afterBarrier releases what waited for the segment: a result, or a send whose result follows.
func (t *transactionActor) afterBarrier(m *txStepDone, err error) {
	if err != nil {
		m.run.refuse(err)
		t.end(fmt.Errorf("%w: %w", ErrNoTransaction, err))
		return
	}
	if m.worked.Ticket == 0 {
		m.run.answer(m.worked.Result, nil)
		return
	}
	t.await(m)
}

// await waits for the result of what a command has sent.
func (t *transactionActor) await(m *txStepDone) {
	t.sends[m.run] = true
	target, q := m.run.Query.Target, txAwait{ID: t.ref.ID, Ticket: m.worked.Ticket}
	t.beside(func(ctx context.Context) any {
		worked, err := request[txAwait, txWorked](ctx, t.node, target, q)
		return &txSent{run: m.run, worked: worked, err: err}
	})
}

func (t *transactionActor) sent(m *txSent) {
	delete(t.sends, m.run)
	if m.err != nil {
		m.run.refuse(m.err)
	} else {
		member := t.members[m.run.Query.Target]
		member.dirty, member.version = m.worked.Dirty, m.worked.Version
		m.run.answer(m.worked.Result, nil)
	}
	t.next()
}

// end aborts unless the outcome is being decided right now; then that decision stands.
func (t *transactionActor) end(why error) {
	if t.over == nil && (t.finish == nil || !t.closing) {
		t.abort(why)
	}
}

func (t *transactionActor) abort(why error) {
	if t.over != nil {
		return
	}
	t.over = why
	for _, m := range t.queue {
		m.refuse(why)
	}
	t.queue = nil
	for _, m := range t.finish {
		t.told = m.answer(TransactionOutcome{}, why) || t.told
	}
	t.finish = nil
	t.spread(txAborted, true)
}

// decide closes a segment: all dirty participants' events become durable together or not at all. One that sends hears of it though it
// has no events.
func (t *transactionActor) decide(last bool, sender Identity, then func(error)) {
	t.closing = true
	targets := slices.SortedFunc(maps.Keys(t.members), func(a, b Identity) int { return strings.Compare(a.String(), b.String()) })
	s := &segment{node: t.node, tx: t.ref, number: t.segment + 1, last: last}
	for _, target := range targets {
		m := t.members[target]
		s.members = append(s.members, segmentMember{target, *m, target == sender})
		if m.dirty {
			s.dirty++
		}
	}
	if s.dirty > 0 {
		t.segment++
	}
	t.beside(func(ctx context.Context) any {
		err := s.close(ctx)
		return &txSegmentDone{err: err, then: func(err error) {
			if err == nil {
				for _, m := range t.members {
					if m.dirty {
						m.dirty, m.version = false, m.version+1
					}
				}
			} else if s.dirty > 0 {
				t.segment--
			}
			then(err)
		}}
	})
}

// spread tells every participant a verdict without waiting: one that does not hear it asks the log.
func (t *transactionActor) spread(verdict txVerdict, release bool) {
	for target, m := range t.members {
		out := newAsk[txOutcome, struct{}](txOutcome{ID: t.ref.ID, Verdict: verdict, Version: m.version, Release: release}, time.Time{})
		t.node.directory.tell(target, out)
	}
}

// abandon answers everybody who waits when the coordinator has run into a bug. Its participants notice by themselves.
func (t *transactionActor) abandon(err error) {
	t.over = err
	for _, m := range t.queue {
		m.refuse(err)
	}
	for m := range t.sends {
		m.refuse(err)
	}
	if t.running != nil {
		t.running.refuse(err)
	}
	for _, m := range t.finish {
		m.refuse(err)
	}
}
