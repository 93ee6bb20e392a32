package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/events/logtest"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
)

func newVault(t *testing.T) *events.KeyDir {
	t.Helper()
	vault, err := events.CreateKeyDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

// said is a record that can be told from others.
func said(text string) events.Draft {
	return events.Draft{
		TimeMS: 1000,
		Cause:  events.Cause{Command: text},
		Events: []events.Event{{
			Body:    &v1.EpochAdvanced{Facts: &v1.EpochFacts{Epoch: 1}},
			Secrets: []events.Secret{{Class: events.ClassPrivateState, Plain: secret.New([]byte("private state after " + text))}},
		}},
	}
}

// noted is a record without secrets: it moves no key, so the anchor stays behind until the next sweep.
func noted(text string) events.Draft {
	return events.Draft{TimeMS: 1000, Cause: events.Cause{Command: text}, Events: []events.Event{{Body: &v1.OrderFollowed{Position: 1}}}}
}

// activated is what a node gets of a log: a journal that has replayed it, and what it replayed.
type activated struct {
	*events.Journal
	said []string
	void int
}

// activate opens a log as a node does. Its error is what the node would act on.
func activate(ctx context.Context, stores events.Stores, vault events.KeyVault, id events.LogID) (*activated, error) {
	a := &activated{}
	j, err := events.OpenJournal(ctx, stores, vault, id, events.JournalOptions{Void: func(*events.Record) { a.void++ }})
	if err != nil {
		return a, err
	}
	a.Journal = j
	err = j.Replay(ctx, events.Head{}, func(r *events.Record) error {
		if r.Cause.Command != "" {
			a.said = append(a.said, r.Cause.Command)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	return a, j.CheckAnchor(ctx)
}

func mustActivate(t *testing.T, stores events.Stores, vault events.KeyVault, id events.LogID) *activated {
	t.Helper()
	a, err := activate(testContext(t), stores, vault, id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustSay(t *testing.T, j *activated, all ...string) {
	t.Helper()
	for _, text := range all {
		if _, err := j.Append(testContext(t), said(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownOutcomesAreSettledThroughAStalledLink(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, url, link string, config jetlog.Config) {
		vault := newVault(t)
		sure := open(t, connect(t, url, jetlog.ConnectOptions{}), config).Stores()
		proxy := logtest.NewProxy(t, link)
		config.Patience = impatient
		far := open(t, connect(t, proxy.URL(), jetlog.ConnectOptions{}), config).Stores()
		for name, c := range map[string]struct {
			rival bool
			want  events.Outcome
		}{"it lands": {false, events.Stored}, "a rival was faster": {true, events.Lost}} {
			t.Run(name, func(t *testing.T) {
				id := events.ConversationLog("alice", own(t))
				j := mustActivate(t, far, vault, id)
				mustSay(t, j, "first")
				proxy.Stall()
				if _, err := j.Append(context.Background(), said("late")); !errors.Is(err, events.ErrUnknownOutcome) {
					t.Fatalf("through a stalled link: %v, want ErrUnknownOutcome", err)
				}
				if _, err := j.Settle(context.Background(), j.Pending()); err == nil {
					t.Error("settled while nothing can be known")
				}
				want := []string{"first", "late"}
				if c.rival {
					mustSay(t, mustActivate(t, sure, vault, id), "rival")
					want[1] = "rival"
				}
				proxy.Resume()
				var outcome events.Outcome
				until(t, "the outcome is settled", func() (settled bool) {
					var err error
					outcome, err = j.Settle(context.Background(), j.Pending())
					return err == nil
				})
				if outcome != c.want {
					t.Errorf("%s, want %s", outcome, c.want)
				}
				if got := mustActivate(t, sure, vault, id).said; !slices.Equal(got, want) {
					t.Errorf("the log says %q, want %q", got, want)
				}
			})
		}
	})
}

func TestNothingHalfIsVisibleAfterAFullStore(t *testing.T) {
	t.Parallel()
	p := process(t)
	nc := connect(t, p.URL(), jetlog.ConnectOptions{})
	store := open(t, nc, jetlog.Config{MaxBytes: 1 << 20})
	stores, vault, ctx := store.Stores(), newVault(t), testContext(t)
	a := mustActivate(t, stores, vault, events.ConversationLog("alice", "a"))
	b := mustActivate(t, stores, vault, events.ConversationLog("alice", "b"))
	large := said("large")
	large.Events = append(large.Events, events.Event{Body: &v1.ConversationCreated{PublicGroup: make([]byte, 60<<10)}})
	records := 0
	for ; ; records++ {
		if _, err := a.Append(ctx, large); errors.Is(err, events.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	both := func() error {
		batch := events.NewBatch("tx", 1, b.Journal, a.Journal)
		first, err := b.Prepare(ctx, said("small"), batch)
		if err != nil {
			return err
		}
		second, err := a.Prepare(ctx, large, batch)
		if err != nil {
			return err
		}
		return events.AppendAll(ctx, stores.Log, []*events.Prepared{first, second})
	}
	if err := both(); !errors.Is(err, events.ErrFull) {
		t.Errorf("a batch that does not fit: %v, want ErrFull", err)
	}
	if got := mustActivate(t, stores, vault, a.ID()).said; len(got) != records {
		t.Errorf("%d records stand, %d were acknowledged", len(got), records)
	}
	if got := mustActivate(t, stores, vault, b.ID()); len(got.said) != 0 || got.void != 0 {
		t.Errorf("half of a batch is there: %q and %d void", got.said, got.void)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, "parley_LOG")
	if err != nil {
		t.Fatal(err)
	}
	larger := stream.CachedInfo().Config
	larger.MaxBytes *= 2
	if _, err := js.UpdateStream(ctx, larger); err != nil {
		t.Fatal(err)
	}
	if err := both(); err != nil { // the very journals go on
		t.Fatal(err)
	}
	if got := mustActivate(t, stores, vault, b.ID()).said; !slices.Equal(got, []string{"small"}) {
		t.Errorf("the log says %q", got)
	}
}

// threeLogs is one transaction over three logs after a record in each.
func threeLogs(t *testing.T, stores events.Stores, vault events.KeyVault, draft func(string) events.Draft) (logs []events.LogID) {
	t.Helper()
	ctx := testContext(t)
	var journals []*events.Journal
	for _, name := range []string{"a", "b", "c"} {
		j := mustActivate(t, stores, vault, events.ConversationLog("alice", own(t)+"/"+ids.ConversationID(name)))
		if _, err := j.Append(ctx, draft("before")); err != nil {
			t.Fatal(err)
		}
		logs, journals = append(logs, j.ID()), append(journals, j.Journal)
	}
	batch := events.NewBatch("tx", 1, journals...)
	var prepared []*events.Prepared
	for _, j := range journals {
		p, err := j.Prepare(ctx, draft("together"), batch)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if err := events.AppendAll(ctx, stores.Log, prepared); err != nil {
		t.Fatal(err)
	}
	return logs
}

func TestATornBatchIsVoid(t *testing.T) {
	t.Parallel()
	p := process(t)
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
	stores, vault := store.Stores(), newVault(t)
	logs := threeLogs(t, stores, vault, noted)
	p.Stop()
	cutTail(t, p.Dir(), "parley_LOG", 1)
	if err := p.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var heads []uint64
	for i, id := range logs {
		a := mustActivate(t, stores, vault, id)
		wantVoid := 1
		if i == len(logs)-1 {
			wantVoid = 0 // its part of the batch is the one that is gone
		}
		if !slices.Equal(a.said, []string{"before"}) || a.void != wantVoid {
			t.Errorf("%v says %q and has %d void records, want %d", id, a.said, a.void, wantVoid)
		}
		mustSay(t, a, "after")
		heads = append(heads, a.Head().Version)
	}
	for i, id := range logs {
		again := mustActivate(t, stores, vault, id)
		if !slices.Equal(again.said, []string{"before", "after"}) || again.Head().Version != heads[i] {
			t.Errorf("%v says %q afterwards, at version %d of %d", id, again.said, again.Head().Version, heads[i])
		}
	}
}

func TestATornBatchThatWasAnchoredIsALoss(t *testing.T) {
	t.Parallel()
	p := process(t)
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
	stores, vault := store.Stores(), newVault(t)
	logs := threeLogs(t, stores, vault, said)
	p.Stop()
	cutTail(t, p.Dir(), "parley_LOG", 1)
	if err := p.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, id := range logs {
		a, err := activate(testContext(t), stores, vault, id)
		if slices.Contains(a.said, "together") {
			t.Errorf("%v shows its part of a batch that was torn", id)
		}
		if last := id == logs[len(logs)-1]; last && !errors.Is(err, events.ErrRolledBack) {
			t.Errorf("%v: %v, want ErrRolledBack", id, err)
		}
	}
}

func TestAStaleWriterIsFoundWhenNumbersComeRoundAgain(t *testing.T) {
	t.Parallel()
	p := process(t)
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
	stores, vault, ctx := store.Stores(), newVault(t), testContext(t)
	id := events.ConversationLog("alice", "room")
	stale := mustActivate(t, stores, vault, id)
	mustSay(t, stale, "1", "2", "3", "4", "5")
	careful := mustActivate(t, stores, vault, id)
	p.Kill() // after a clean stop the server would remember its last number
	cutTail(t, p.Dir(), "parley_LOG", 2)
	if err := p.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	node, err := activate(ctx, stores, vault, id)
	if !errors.Is(err, events.ErrRolledBack) {
		t.Fatalf("a log that lost two records: %v, want ErrRolledBack", err)
	}
	rolledBack := events.Draft{Events: []events.Event{{Body: &v1.LogRolledBack{}}}}
	if _, err := node.Append(ctx, rolledBack); err != nil {
		t.Fatal(err)
	}
	mustSay(t, node, "5 again")
	if node.Head().Sequence != stale.Head().Sequence || node.Head().Version != stale.Head().Version {
		t.Fatalf("the numbers have not come round: %v and %v", node.Head(), stale.Head())
	}
	// The fence compares sequences and sees nothing. The digest does.
	if err := careful.CheckHead(ctx); !errors.Is(err, events.ErrFenced) {
		t.Errorf("a stale writer that looks before it writes: %v, want ErrFenced", err)
	}
	if _, err := stale.Append(ctx, said("6")); err != nil && !errors.Is(err, events.ErrRingBehind) && !errors.Is(err, events.ErrFenced) {
		t.Fatalf("the stale append: %v", err)
	}
	if last, err := stores.Log.Last(ctx, id); err != nil || last.Sequence != node.Head().Sequence+1 {
		t.Fatalf("the fence held after all (newest is %d, %v): this test shows nothing", last.Sequence, err)
	}
	if _, err := node.Append(ctx, said("6 of the node")); !errors.Is(err, events.ErrFenced) {
		t.Errorf("the node after the stale append: %v, want ErrFenced", err)
	}
	var corrupt *events.ErrCorrupt
	got, err := activate(ctx, stores, vault, id)
	if !errors.As(err, &corrupt) {
		t.Errorf("activation: %v, want ErrCorrupt", err)
	}
	if want := []string{"1", "2", "3", "5 again"}; !slices.Equal(got.said, want) {
		t.Errorf("before it the log says %q, want %q", got.said, want)
	}
}

func TestKillLosesNoRecordOfAJournal(t *testing.T) {
	t.Parallel()
	p := process(t)
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: 2 * time.Second})
	stores, vault := store.Stores(), newVault(t)
	id := events.ConversationLog("alice", "room")
	var acknowledged []string
	for round := range 3 {
		j := mustActivate(t, stores, vault, id)
		if n := len(acknowledged); len(j.said) < n || len(j.said) > n+1 || !slices.Equal(j.said[:n], acknowledged) {
			t.Fatalf("the log says %d records, %d were acknowledged", len(j.said), n)
		}
		acknowledged = j.said
		stop := make(chan struct{})
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			<-stop
			p.Kill()
		}()
		for i := 0; ; i++ {
			if i == 20 {
				close(stop)
			}
			text := fmt.Sprint("round ", round, " record ", i)
			r, err := j.Append(context.Background(), said(text))
			if r != nil {
				acknowledged = append(acknowledged, text)
			}
			if err != nil {
				break
			}
		}
		<-killed
		if err := p.Restart(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
}
