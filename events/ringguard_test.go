package events_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"parley/events"
)

// lateRings is a store whose creations of rings go astray: the writer gets no answer, and the ring arrives when release is called.
type lateRings struct {
	events.RingStore
	mu     sync.Mutex
	astray bool
	late   []func() error
}

func (l *lateRings) Store(ctx context.Context, id events.LogID, data []byte, expect uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.astray || expect != 0 {
		return l.RingStore.Store(ctx, id, data, expect)
	}
	l.late = append(l.late, func() error {
		_, err := l.RingStore.Store(context.Background(), id, data, expect)
		return err
	})
	return 0, events.ErrUnknownOutcome
}

func (l *lateRings) lose(astray bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.astray = astray
}

// arrive lets everything arrive that is on its way, and gives what the store said to it.
func (l *lateRings) arrive() (said []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, store := range l.late {
		said = append(said, store())
	}
	l.late = nil
	return said
}

func (w *world) guarded() (*events.RingGuard, *lateRings) {
	late := &lateRings{RingStore: w.stores.Rings}
	guard := events.GuardRings(late, w.vault)
	w.stores.Rings = guard
	return guard, late
}

// TestALateRingIsNeverUnreadable has the creation of a ring go astray. The node that wrote it does not say that it has moved on before
// the ring cannot arrive any more.
func TestALateRingIsNeverUnreadable(t *testing.T) {
	w := newWorld(t)
	guard, late := w.guarded()
	if _, err := guard.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.lose(true)
	if _, err := events.OpenJournal(t.Context(), w.stores, w.vault, conversation, events.JournalOptions{}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("open: %v", err)
	}
	leased := ""
	report, err := events.Shred{Rings: late, Vault: w.vault, Await: func(ctx context.Context, version string) (err error) {
		if leased, err = guard.Advance(ctx); err == nil {
			t.Errorf("the node moved to %s, and its ring may still come", leased)
		}
		late.lose(false)
		if leased, err = guard.Advance(ctx); leased != version {
			t.Errorf("the node moved to %q, not to %s", leased, version)
		}
		return err
	}}.Run(t.Context())
	if err != nil || len(report.Destroyed) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if said := late.arrive(); len(said) == 0 || !errors.Is(said[0], events.ErrConflict) {
		t.Errorf("the late ring: %v", said)
	}
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	if j.ShredVersion() != report.Version {
		t.Errorf("the ring is under %s", j.ShredVersion())
	}
}

// TestARingOfADeadNodeIsReplaced has a node die while a ring of an empty log is on its way, which arrives when its shred key is gone.
// Nothing was sealed under it, so the next one to open the log makes another. A log with a record is not helped that way.
func TestARingOfADeadNodeIsReplaced(t *testing.T) {
	w := newWorld(t)
	other := events.ConversationLog("alice", "other")
	lost, _ := w.replay(other)
	w.append(lost, advanced(0, "p"))
	old, _, err := w.stores.Rings.Load(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	_, late := w.guarded()
	late.lose(true)
	if _, err := events.OpenJournal(t.Context(), w.stores, w.vault, conversation, events.JournalOptions{}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("open: %v", err)
	}
	late.lose(false)
	rotate := func() {
		t.Helper()
		if report, err := (events.Shred{Rings: late, Vault: w.vault}).Run(t.Context()); err != nil || len(report.Destroyed) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	rotate()
	if said := late.arrive(); said[0] != nil {
		t.Fatalf("the late ring: %v", said)
	}
	rotate() // which such a ring does not keep from its end
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	_, revision, err := w.stores.Rings.Load(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.stores.Rings.Store(t.Context(), other, old, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := events.OpenJournal(t.Context(), w.stores, w.vault, other, events.JournalOptions{}); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("a log with records and an old ring: %v", err)
	}
}

// TestAWriterWrapsAnewWhatItsNodeHasLeftBehind has the node move on between the wrapping and the writing of a ring.
func TestAWriterWrapsAnewWhatItsNodeHasLeftBehind(t *testing.T) {
	w := newWorld(t)
	guard, _ := w.guarded()
	moved := ""
	vault := overtaken{KeyDir: w.vault, moves: func(ctx context.Context) (err error) {
		if _, err = w.vault.NewVersion(ctx); err == nil {
			moved, err = guard.Advance(ctx)
		}
		return err
	}, left: new(int)}
	for _, id := range []events.LogID{conversation, events.ClientLog("alice")} {
		*vault.left = 1
		j, err := events.OpenJournal(t.Context(), w.stores, vault, id, events.JournalOptions{})
		if err != nil || j.ShredVersion() != moved {
			t.Fatalf("%v; the ring is under %s, not %s", err, j.ShredVersion(), moved)
		}
		if err := j.Replay(t.Context(), events.Head{}, ignore); err != nil {
			t.Fatal(err)
		}
		w.append(j, advanced(0, "p0"))
		*vault.left = 1
		w.append(j, advanced(1, "p1"))
		if j.ShredVersion() != moved {
			t.Errorf("the ring is under %s, not %s", j.ShredVersion(), moved)
		}
	}
}

// overtaken is a vault that has moved on whenever it has said which version is current, as often as left says.
type overtaken struct {
	*events.KeyDir
	moves func(context.Context) error
	left  *int
}

func (o overtaken) Current(ctx context.Context) (string, error) {
	version, err := o.KeyDir.Current(ctx)
	if err == nil && *o.left > 0 {
		*o.left--
		err = o.moves(ctx)
	}
	return version, err
}

// TestANodeWaitsForItsOwnWrites has a ring write hang while the node is to move on.
func TestANodeWaitsForItsOwnWrites(t *testing.T) {
	w := newWorld(t)
	hangs := &hangingRings{RingStore: w.stores.Rings, entered: make(chan struct{}), proceed: make(chan struct{})}
	guard := events.GuardRings(hangs, w.vault)
	w.stores.Rings = guard
	opened := make(chan error)
	go func() {
		_, err := events.OpenJournal(t.Context(), w.stores, w.vault, conversation, events.JournalOptions{})
		opened <- err
	}()
	<-hangs.entered
	version, err := w.vault.NewVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if moved, err := guard.Advance(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("moved to %q, %v", moved, err)
	}
	close(hangs.proceed)
	if moved, err := guard.Advance(t.Context()); err != nil || moved != version {
		t.Errorf("moved to %q, %v", moved, err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

type hangingRings struct {
	events.RingStore
	entered, proceed chan struct{}
}

func (h *hangingRings) Store(ctx context.Context, id events.LogID, data []byte, expect uint64) (uint64, error) {
	close(h.entered)
	<-h.proceed
	return h.RingStore.Store(ctx, id, data, expect)
}

// TestAnInterruptedRotationIsFinished has a rotation fail at each step; resuming it makes no further version where one was made.
func TestAnInterruptedRotationIsFinished(t *testing.T) {
	for _, c := range []struct {
		step events.Step
		want string // the version that is left
	}{{events.StepShredVersion, "0000000002"}, {events.StepRewrap, "0000000002"}} {
		w := newWorld(t)
		w.fleet(2)
		crash := errors.New("crash")
		hooks := events.Hooks{After: func(_ ctx, s events.Step, _ events.LogID) error {
			if s == c.step {
				return crash
			}
			return nil
		}}
		if _, err := (events.Shred{Rings: w.stores.Rings, Vault: w.vault, Hooks: hooks}).Run(t.Context()); !errors.Is(err, crash) {
			t.Fatalf("%s: %v", c.step, err)
		}
		report, err := events.Shred{Rings: w.stores.Rings, Vault: w.vault, Resume: true}.Run(t.Context())
		if versions, _ := w.vault.Versions(t.Context()); err != nil || report.Version != c.want || len(versions) != 1 {
			t.Errorf("%s: %+v, %v, versions %v", c.step, report, err, versions)
		}
		report, err = events.Shred{Rings: w.stores.Rings, Vault: w.vault, Resume: true}.Run(t.Context())
		if err != nil || report.Version != "0000000003" {
			t.Errorf("%s: with nothing to resume: %+v, %v", c.step, report, err)
		}
	}
}

// TestARotationDestroysNothingOfALaterOne has another rotation begin while one waits, and one whose right to rotate ends.
func TestARotationDestroysNothingOfALaterOne(t *testing.T) {
	w := newWorld(t)
	w.fleet(1)
	report, err := events.Shred{Rings: w.stores.Rings, Vault: w.vault, Await: func(ctx context.Context, _ string) error {
		_, err := w.vault.NewVersion(ctx)
		if err == nil {
			_, err = w.vault.NewVersion(ctx)
		}
		return err
	}}.Run(t.Context())
	if versions, _ := w.vault.Versions(t.Context()); err != nil || len(report.Destroyed) != 1 || len(versions) != 3 {
		t.Errorf("%+v, %v, versions %v", report, err, versions)
	}
	gone, lose := context.WithCancelCause(t.Context())
	lost := errors.New("somebody else rotates")
	report, err = events.Shred{Rings: w.stores.Rings, Vault: w.vault, Await: func(context.Context, string) error { lose(lost); return nil }}.Run(gone)
	if !errors.Is(err, lost) || len(report.Destroyed) != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
