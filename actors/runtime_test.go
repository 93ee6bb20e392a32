package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"parley/internal/ids"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a directory of toy actors: what they do is what the test says.
type rig struct {
	*directory
	intake intake
}

type question struct{ text string }

// toy runs a behaviour for every question.
type toy struct {
	e      *entry
	behave func(c actor.Context, e *entry, q *ask[question, string])
}

func (t *toy) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *ask[question, string]:
		t.behave(c, t.e, m)
	case *passivate:
		t.e.leaving.Store(true)
		c.Stop(c.Self())
	}
}

func newRig(t *testing.T, behave func(c actor.Context, e *entry, q *ask[question, string])) *rig {
	t.Helper()
	r := &rig{intake: intake{perActor: 4, perNode: 8}}
	r.directory = &directory{
		limit: 100, runtime: newRuntime(slog.New(slog.NewTextHandler(io.Discard, nil))), clock: SystemClock{}, idle: time.Hour,
		owns:    func(Identity) bool { return true },
		produce: func(e *entry) actor.Actor { return &toy{e: e, behave: behave} },
	}
	if err := r.startDirector(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		q := newAsk[drain, struct{}](drain{}, time.Time{})
		r.runtime.system.Root.Send(r.director, q)
		if _, err := q.wait(context.Background()); err != nil {
			t.Error(err)
		}
		if err := r.runtime.system.Root.StopFuture(r.director).Wait(); err != nil {
			t.Error(err)
		}
		r.runtime.shutdown()
	})
	return r
}

func (r *rig) send(t *testing.T, id Identity, text string) (*ask[question, string], error) {
	t.Helper()
	e, err := r.find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	q := newAsk[question, string](question{text}, time.Time{})
	if q.release, err = r.intake.admit(e); err != nil {
		return nil, err
	}
	r.runtime.system.Root.Send(e.pid, q)
	return q, nil
}

func TestPanicAnswersItsCallerAndStopsTheActor(t *testing.T) {
	id := ClientIdentity("ada")
	r := newRig(t, func(_ actor.Context, _ *entry, q *ask[question, string]) {
		if q.Query.text == "boom" {
			panic("boom")
		}
		q.answer("fine", nil)
	})
	q, err := r.send(t, id, "boom")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.wait(t.Context()); !errors.Is(err, ErrPanicked) {
		t.Fatalf("the caller of a panicking actor got %v", err)
	}
	if n := r.runtime.panics.Load(); n != 1 {
		t.Errorf("%d panics counted", n)
	}
	for {
		q, err := r.send(t, id, "again")
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.wait(t.Context())
		if errors.Is(err, errBounced) {
			continue // the stopped one had not left the directory yet
		}
		if err != nil || got != "fine" {
			t.Fatalf("the successor answered %q, %v", got, err)
		}
		return
	}
}

func TestMailBehindAStopIsBounced(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(c actor.Context, e *entry, q *ask[question, string]) {
		close(entered)
		<-proceed
		e.leaving.Store(true)
		c.Stop(c.Self())
		q.answer("last", nil)
	})
	id := ClientIdentity("ada")
	first, err := r.send(t, id, "stop")
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	behind := make([]*ask[question, string], 3)
	for i := range behind {
		if behind[i], err = r.send(t, id, "late"); err != nil {
			t.Fatal(err)
		}
	}
	close(proceed)
	if got, err := first.wait(t.Context()); err != nil || got != "last" {
		t.Fatal(got, err)
	}
	for _, q := range behind {
		if _, err := q.wait(t.Context()); !errors.Is(err, errBounced) {
			t.Errorf("mail behind a stop got %v", err)
		}
	}
}

func TestAdmissionAnswersBusyInsteadOfGrowing(t *testing.T) {
	proceed := make(chan struct{})
	r := newRig(t, func(_ actor.Context, _ *entry, q *ask[question, string]) {
		<-proceed
		q.answer("", nil)
	})
	var admitted []*ask[question, string]
	for _, name := range []string{"ada", "bob", "eve"} {
		for range 5 {
			q, err := r.send(t, ClientIdentity(ids.ClientID(name)), "wait")
			if err != nil {
				if !errors.Is(err, ErrBusy) {
					t.Fatal(err)
				}
				continue
			}
			admitted = append(admitted, q)
		}
	}
	if len(admitted) != 8 {
		t.Errorf("%d requests admitted, bounds are 4 an actor and 8 a node", len(admitted))
	}
	close(proceed)
	for _, q := range admitted {
		if _, err := q.wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := r.intake.waiting.Load(); n != 0 {
		t.Errorf("%d requests still counted after their answers", n)
	}
}

func TestSuccessorWaitsForItsPredecessor(t *testing.T) {
	r := newRig(t, func(_ actor.Context, e *entry, q *ask[question, string]) { q.answer(e.pid.Id, nil) })
	id := ClientIdentity("ada")
	first, err := r.find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.tell(id, &passivate{})
	for range 100 {
		e, err := r.find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if e != first {
			if _, gone := r.runtime.system.ProcessRegistry.GetLocal(first.pid.Id); !gone {
				t.Fatal("the successor is not registered")
			}
			return
		}
		q := newAsk[question, string](question{}, time.Time{})
		r.runtime.system.Root.Send(e.pid, q)
		_, _ = q.wait(t.Context())
	}
	t.Error("no successor after a passivation")
}

// TestNoNoteIsLostAtPassivation tells an idle actor something while it is passivated: whoever is told that the actor has it may rely on the actor
// to know, or on a successor.
func TestNoNoteIsLostAtPassivation(t *testing.T) {
	r := newRig(t, func(_ actor.Context, e *entry, q *ask[question, string]) { q.answer(e.pid.Id, nil) })
	id := ConversationIdentity("ada", "tea")
	e, err := r.find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		e.leaving.Store(false)
		e.used.Store(1)
		m, told := &passivate{used: e.used.Load()}, make(chan bool)
		go func() { told <- r.tell(id, &wake{}) }()
		if rest := e.untouched(m); <-told && rest {
			t.Fatal("the note went to an actor that rests")
		}
	}
	e.leaving.Store(false)
	e.used.Store(1)
	if !r.tell(id, &wake{}) || e.untouched(&passivate{used: 1}) {
		t.Error("an actor rests that was told something after it was found idle")
	}
}

func TestIdentitiesSpreadOverShares(t *testing.T) {
	s := NewStatic(16, 3, 4)
	counts := map[Share]int{}
	for i := range 16000 {
		counts[s.ShareOf(ClientIdentity(ids.ClientID(fmt.Sprintf("bot-%d", i))).Key())]++
	}
	for share := range Share(16) {
		if n := counts[share]; n < 800 || n > 1200 {
			t.Errorf("share %d holds %d of 16000 identities", share, n)
		}
	}
	changes := 0
	stop := s.Watch(func() { changes++ })
	s.Take(7)
	s.Release(3)
	stop()
	s.Take(9)
	if changes != 2 || !s.Owns(7) || s.Owns(3) || !s.Owns(4) || !s.Owns(9) {
		t.Error("hand-over is not what was said", changes)
	}
}
