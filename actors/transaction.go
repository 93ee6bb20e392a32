package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
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
	barrier *ask[txRun, result] // the one whose segment has to be durable before it is answered
	sends   map[*ask[txRun, result]]bool
	again   []*txSent                            // commits that were made anew: each closes a segment before it goes out
	late    []conversation.ClientInput           // what the client's own log has to say in the next segment
	listing context.CancelFunc                   // it is being said
	closing bool                                 // a segment is being decided
	last    bool                                 // and with it the transaction
	doomed  error                                // the transaction ends once that segment is decided
	segment uint32                               // the newest
	durable uint32                               // the newest that is durable
	finish  []*ask[txFinish, TransactionOutcome] // who waits for the end
	ended   bool                                 // it was finished, and outcome is what that came to
	outcome answer[TransactionOutcome]
	over    error                               // why it takes no more commands
	told    bool                                // its caller has heard that, or its time is over: until then it says why it is over
	aborts  []*ask[txAbort, TransactionOutcome] // who waits for the segment before an abort
	timer   Timer
	self    *actor.PID
}

// txMember is what the coordinator knows of a participant.
type txMember struct {
	log     events.LogID
	version uint64
	dirty   bool
	touched bool // a command has run there: it holds our lock, and a copy
	brief   bool // the client's own log, for what goes with a segment: it is let go with it
}

// The bounds of one transaction: commands that wait in it, and logs that it may touch, whose records have to fit into one batch.
const (
	txQueueMax = 1000
	txLogsMax  = 500
)

// txStepDone, txSegmentDone and txSent come back from what runs beside the coordinator.
type txStepDone struct {
	note
	run    *ask[txRun, result]
	worked txWorked
	err    error
	peeked bool // nothing was touched
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

// txListed says that the client's own log has what goes with the segment.
type txListed struct {
	note
	worked txWorked
	err    error
	then   func(error)
}

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
		t.aborts = append(t.aborts, m)
		t.end(ErrNoTransaction)
		t.aborted()
	case *txStepDone:
		t.stepDone(m)
	case *txListed:
		t.listed(m)
	case *txSegmentDone:
		t.segmentDone(m)
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
	if t.over != nil && (t.told || t.timer == nil) && !t.closing && t.listing == nil && t.running == nil && len(t.sends) == 0 {
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

// tell answers a command, and how much of the transaction is durable with it.
func (t *transactionActor) tell(run *ask[txRun, result], r result, err error) {
	r.Segments = t.durable
	run.answer(r, err)
}

func (t *transactionActor) sofar() TransactionOutcome {
	return TransactionOutcome{ID: t.ref.ID, Segments: t.durable}
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
		t.told = m.answer(t.sofar(), errors.Join(ErrNoTransaction, t.over)) || t.told
	case len(t.finish) >= txQueueMax:
		m.refuse(ErrBusy)
	default:
		t.finish = append(t.finish, m)
		t.next()
	}
}

// finished tells the end to everybody who waits for it. While nobody has heard it the coordinator stays, until its time is over.
func (t *transactionActor) finished(err error) {
	t.ended, t.outcome = true, answer[TransactionOutcome]{t.sofar(), err}
	if t.over == nil {
		t.over = ErrNoTransaction
	}
	for _, m := range t.finish {
		t.told = m.answer(t.outcome.value, err) || t.told
	}
	t.finish = nil
}

// next begins the next command, or the end once everything asked before it is done.
func (t *transactionActor) next() {
	if t.over != nil || t.running != nil || t.closing || t.listing != nil {
		return
	}
	if len(t.again) > 0 {
		m := t.again[0]
		t.again = t.again[1:]
		t.behindSegment(m.run, m.worked)
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
	t.close(true, Identity{}, t.finished)
}

func (t *transactionActor) begin(run *ask[txRun, result]) {
	target, member := run.Query.Target, t.members[run.Query.Target]
	if member == nil && len(t.members) >= txLogsMax {
		t.running = nil
		run.refuse(fmt.Errorf("%w: a transaction over more than %d logs", events.ErrTooLarge, txLogsMax))
		t.next()
		return
	}
	if run.Query.Peek && (member == nil || !member.touched) {
		t.beside(func(ctx context.Context) any {
			seen, err := request[look, conversation.State](ctx, t.node, target, look{})
			return &txStepDone{run: run, worked: txWorked{Result: result{Seen: &seen}}, err: err, peeked: true}
		})
		return
	}
	if member == nil {
		// From now on it may hold our lock, whatever we hear of it.
		member = &txMember{log: target.log()}
		t.members[target] = member
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
		t.tell(m.run, result{}, m.err)
		if fatal := txFatal(m.err); fatal != nil {
			t.end(fatal)
		}
		t.next()
		return
	}
	if m.peeked {
		t.tell(m.run, m.worked.Result, nil)
		t.next()
		return
	}
	member := t.members[m.run.Query.Target]
	member.dirty, member.version, member.touched = m.worked.Dirty, m.worked.Version, true
	if m.worked.Ticket == 0 {
		t.goesWith(m.run.Query, m.worked.Result)
	}
	switch {
	case t.over != nil: // ended while the command ran: its result was never durable
		t.tell(m.run, result{}, t.over)
		t.spread(txAborted, true) // the first telling may have come before the command
	case m.worked.Barrier:
		t.behindSegment(m.run, m.worked)
	case m.worked.Ticket > 0:
		t.await(m.run, m.worked.Ticket)
	default:
		t.tell(m.run, m.worked.Result, nil)
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

// goesWith notes what the client's own log has to say of a command that was carried out. What was carried out before has been said.
func (t *transactionActor) goesWith(q txRun, r result) {
	if finalError(r.Conversation) == nil && !r.Conversation.Repeated {
		t.late = append(t.late, q.Listing...)
	}
}

// behindSegment closes a segment before a result may be seen.
func (t *transactionActor) behindSegment(run *ask[txRun, result], worked txWorked) {
	t.barrier = run
	t.close(false, run.Query.Target, func(err error) { t.afterBarrier(run, worked, err) })
}

// afterBarrier releases what waited for the segment: a result, or a send whose result follows.
func (t *transactionActor) afterBarrier(run *ask[txRun, result], worked txWorked, err error) {
	t.barrier = nil
	if err != nil {
		delete(t.sends, run)
		t.tell(run, result{}, err)
		t.end(fmt.Errorf("%w: %w", ErrNoTransaction, err))
		return
	}
	if worked.Ticket == 0 {
		t.tell(run, worked.Result, nil)
		return
	}
	t.await(run, worked.Ticket)
}

// await waits for the result of what a command has sent.
func (t *transactionActor) await(run *ask[txRun, result], ticket uint64) {
	t.sends[run] = true
	target, q := run.Query.Target, txAwait{ID: t.ref.ID, Ticket: ticket}
	t.beside(func(ctx context.Context) any {
		worked, err := request[txAwait, txWorked](ctx, t.node, target, q)
		return &txSent{run: run, worked: worked, err: err}
	})
}

func (t *transactionActor) sent(m *txSent) {
	if m.err != nil {
		delete(t.sends, m.run)
		t.tell(m.run, result{}, m.err)
		t.next()
		return
	}
	member := t.members[m.run.Query.Target]
	member.dirty, member.version = m.worked.Dirty, m.worked.Version
	switch {
	case m.worked.Barrier && t.over != nil:
		delete(t.sends, m.run)
		t.tell(m.run, result{}, t.over)
	case m.worked.Barrier:
		t.again = append(t.again, m)
	default:
		delete(t.sends, m.run)
		t.goesWith(m.run.Query, m.worked.Result)
		t.tell(m.run, m.worked.Result, nil)
	}
	t.next()
}

// end aborts. A segment that is being decided stands or falls by itself: the abort comes behind it, and not at all if it was the last.
func (t *transactionActor) end(why error) {
	switch {
	case t.over != nil:
	case !t.closing:
		t.abort(why)
	case !t.last && t.doomed == nil:
		t.doomed = why
	}
}

// aborted answers who has asked for the end, once there is one.
func (t *transactionActor) aborted() {
	if t.closing {
		return
	}
	for _, m := range t.aborts {
		m.answer(t.sofar(), nil)
		t.told = true
	}
	t.aborts = nil
}

func (t *transactionActor) abort(why error) {
	if t.over != nil {
		return
	}
	t.over = why
	if t.listing != nil {
		t.listing()
	}
	for _, m := range t.queue {
		m.refuse(why)
	}
	for _, m := range t.again {
		delete(t.sends, m.run)
		t.tell(m.run, result{}, why)
	}
	t.queue, t.again = nil, nil
	for _, m := range t.finish {
		t.told = m.answer(t.sofar(), why) || t.told
	}
	t.finish = nil
	t.spread(txAborted, true)
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
	if t.listing != nil {
		t.listing()
	}
	for _, m := range t.queue {
		m.refuse(err)
	}
	for m := range t.sends {
		m.refuse(err)
	}
	for _, m := range []*ask[txRun, result]{t.running, t.barrier} {
		if m != nil {
			m.refuse(err)
		}
	}
	for _, m := range t.finish {
		m.refuse(err)
	}
	for _, m := range t.aborts {
		m.refuse(err)
	}
}
