package delivery

import (
	"context"
	"sync"
	"testing"
)

// testHost runs sequencers without actors: whoever finds a group's sequencer free lets it judge what has gathered before it.
type testHost struct {
	service *Service
	mu      sync.Mutex
	owners  map[GroupID]*testOwner
}

type testOwner struct {
	mu      sync.Mutex // guards waiting
	waiting []*testJob
	turn    sync.Mutex // held by who runs the sequencer
	seq     *Sequencer
}

type testJob struct {
	subs     []Submission
	outcomes []Outcome
	err      error
	done     bool // guarded by the owner's turn
}

func (h *testHost) owner(g GroupID) *testOwner {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owners[g] == nil {
		h.owners[g] = &testOwner{}
	}
	return h.owners[g]
}

func (h *testHost) Submit(ctx context.Context, g GroupID, subs []Submission) ([]Outcome, error) {
	o, j := h.owner(g), &testJob{subs: subs}
	o.mu.Lock()
	o.waiting = append(o.waiting, j)
	o.mu.Unlock()
	o.turn.Lock()
	defer o.turn.Unlock()
	if !j.done {
		o.mu.Lock()
		jobs := o.waiting
		o.waiting = nil
		o.mu.Unlock()
		h.serve(ctx, g, o, jobs)
	}
	return j.outcomes, j.err
}

func (h *testHost) serve(ctx context.Context, g GroupID, o *testOwner, jobs []*testJob) {
	var batch []Submission
	create := MustExist
	for _, j := range jobs {
		j.done = true
		batch = append(batch, j.subs...)
		if len(j.subs) == 0 {
			continue
		}
		if _, ok := j.subs[0].(*Registration); ok {
			create = MayCreate
		}
	}
	var outcomes []Outcome
	var err error
	if o.seq == nil {
		o.seq, err = h.service.OpenSequencer(ctx, g, create)
	}
	if err == nil {
		outcomes, err = o.seq.Handle(ctx, batch)
	}
	if err != nil {
		o.seq = nil
	}
	for _, j := range jobs {
		if outcomes == nil {
			j.err = err
			continue
		}
		j.outcomes, outcomes = outcomes[:len(j.subs)], outcomes[len(j.subs):]
	}
}

// close leaves every order anchored.
func (h *testHost) close(t testing.TB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g, o := range h.owners {
		o.turn.Lock()
		if o.seq != nil {
			if err := o.seq.Close(context.Background()); err != nil {
				t.Logf("%s not anchored: %v", g, err)
			}
		}
		o.seq = nil
		o.turn.Unlock()
	}
}
