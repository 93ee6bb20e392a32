package delivery

import (
	"context"
	"sync"
	"time"
)

// handler is what an owner runs: a Sequencer.
type handler interface {
	Handle(ctx context.Context, batch []Submission) ([]Outcome, error)
	Rest(ctx context.Context) error // some time after Handle, when there is nothing more urgent
	Close(ctx context.Context) error
}

// host runs the sequencers of the shares this node holds: one goroutine owns each group's, takes what waits as one batch, and ends when
// it has been idle. Intake is bounded before it reaches the owner.
type host struct {
	open   func(ctx context.Context, g GroupID, create Creation) (handler, error)
	limits *Limits

	mu     sync.Mutex
	owners map[GroupID]*owner
	closed bool
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// owner is the goroutine of one group. Its inbox is closed under the host's lock, so nobody sends to an owner that has left.
type owner struct {
	group GroupID
	inbox chan *job
	stop  chan struct{} // closed: finish what is waiting and leave
}

// job is one caller's submissions and where their outcomes go.
type job struct {
	subs     []Submission
	outcomes []Outcome
	err      error
	done     chan struct{}
}

func newHost(l *Limits, open func(context.Context, GroupID, Creation) (handler, error)) *host {
	h := &host{open: open, limits: l, owners: map[GroupID]*owner{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// submit hands submissions to the group's owner and waits for what became of them.
func (h *host) submit(ctx context.Context, g GroupID, subs []Submission) ([]Outcome, error) {
	j := &job{subs: subs, done: make(chan struct{})}
	if err := h.enqueue(g, j); err != nil {
		return nil, err
	}
	select {
	case <-j.done:
		return j.outcomes, j.err
	case <-ctx.Done():
		// The owner goes on: what it accepts stays accepted, and a retry hears of it.
		return nil, failed(Unknown, "wait for the sequencer", ctx.Err())
	}
}

func (h *host) enqueue(g GroupID, j *job) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return refuse(NotHere, "the share is being released")
	}
	o := h.owners[g]
	if o == nil {
		if len(h.owners) >= h.limits.Sequencers {
			return refuse(Busy, "%d groups are active", len(h.owners))
		}
		o = &owner{group: g, inbox: make(chan *job, h.limits.Waiting), stop: make(chan struct{})}
		h.owners[g] = o
		h.work.Add(1)
		go h.run(o)
	}
	select {
	case o.inbox <- j:
		return nil
	default:
		return refuse(Busy, "%d submissions wait", h.limits.Waiting)
	}
}

// restAfter is how soon after a batch the sequencer rests.
const restAfter = 800 * time.Millisecond

// run is the owner's life.
func (h *host) run(o *owner) {
	defer h.work.Done()
	var seq handler
	idle := time.NewTimer(h.limits.IdleSequencer)
	defer idle.Stop()
	rest := time.NewTimer(restAfter)
	defer rest.Stop()
	resting := true
	for {
		var first *job
		select {
		case first = <-o.inbox:
		case <-rest.C:
			if resting = true; seq != nil && seq.Rest(h.ctx) != nil {
				seq = nil // a lost race, or nobody knows: the next batch opens it from the log
			}
			continue
		case <-idle.C:
		case <-o.stop:
		}
		if first == nil {
			if h.leave(o) {
				h.closeHandler(seq)
				return
			}
			idle.Reset(h.limits.IdleSequencer)
			continue
		}
		jobs, batch := h.gather(o, first)
		seq = h.serve(o.group, seq, jobs, batch)
		idle.Reset(h.limits.IdleSequencer)
		if resting {
			rest.Reset(restAfter)
			resting = false
		}
	}
}

// leave takes the owner out of the host unless somebody has sent it a job meanwhile.
func (h *host) leave(o *owner) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(o.inbox) > 0 {
		return false
	}
	delete(h.owners, o.group)
	return true
}

// closeHandler closes cleanly even while the host is being closed, but not for ever.
func (h *host) closeHandler(seq handler) {
	if seq == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.limits.RemoteTimeout)
	defer cancel()
	_ = seq.Close(ctx) // what it could not write is derived again at the next opening
}

// gather takes what waits, as far as one batch goes.
func (h *host) gather(o *owner, first *job) ([]*job, []Submission) {
	jobs, batch := []*job{first}, append([]Submission(nil), first.subs...)
	for len(batch) < h.limits.BatchMessages {
		select {
		case j := <-o.inbox:
			jobs, batch = append(jobs, j), append(batch, j.subs...)
		default:
			return jobs, batch
		}
	}
	return jobs, batch
}

// serve lets the sequencer handle one batch and tells every caller its part. It returns the sequencer while that can go on.
func (h *host) serve(g GroupID, seq handler, jobs []*job, batch []Submission) handler {
	outcomes, err := []Outcome(nil), error(nil)
	if seq == nil {
		if seq, err = h.open(h.ctx, g, creationOf(batch)); err != nil {
			seq = nil
		}
	}
	if seq != nil {
		outcomes, err = seq.Handle(h.ctx, batch)
	}
	at := 0
	for _, j := range jobs {
		if len(outcomes) == len(batch) {
			j.outcomes = outcomes[at : at+len(j.subs)]
		} else {
			j.err = err
		}
		at += len(j.subs)
		close(j.done)
	}
	if err != nil {
		return nil // it lost a race, or cannot know: the next batch opens it from the log
	}
	return seq
}

// creationOf lets only a registration begin an order.
func creationOf(batch []Submission) Creation {
	for _, s := range batch {
		if _, ok := s.(*Registration); ok {
			return MayCreate
		}
	}
	return MustExist
}

// close stops intake, lets owners finish what is waiting, and waits for them.
func (h *host) close(ctx context.Context) error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		for _, o := range h.owners {
			close(o.stop)
		}
	}
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		h.cancel() // appends in flight end as unknown outcomes; whoever takes over reads the log
		<-done
	}
	h.cancel()
	return nil
}
