package parley_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/conversation"
)

// watching collects what an observer of a client is told.
type watching struct {
	mu     sync.Mutex
	told   []parley.EpochChange
	grew   chan struct{}
	cancel context.CancelFunc
	done   chan error
}

func watch(t *testing.T, c *parley.Client, after parley.Positions, also func(context.Context, parley.EpochChange) error) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &watching{grew: make(chan struct{}, 1), cancel: cancel, done: make(chan error, 1)}
	go func() {
		w.done <- c.ObserveEpochs(ctx, after, func(ctx context.Context, change parley.EpochChange) error {
			if also != nil {
				if err := also(ctx, change); err != nil {
					return err
				}
			}
			w.mu.Lock()
			w.told = append(w.told, change)
			w.mu.Unlock()
			select {
			case w.grew <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	t.Cleanup(w.stop)
	return w
}

func (w *watching) stop() {
	w.cancel()
	if w.done != nil {
		<-w.done
		w.done = nil
	}
}

// await waits for so many changes, and returns them.
func (w *watching) await(t *testing.T, n int) []parley.EpochChange {
	t.Helper()
	timeout := time.After(patience)
	for {
		w.mu.Lock()
		told := slices.Clone(w.told)
		w.mu.Unlock()
		if len(told) >= n {
			return told
		}
		select {
		case <-w.grew:
		case <-timeout:
			t.Fatalf("told of %d changes, want %d: %+v", len(told), n, told)
		}
	}
}

// kinds prints changes: how the epoch began, and its number.
func kinds(told []parley.EpochChange) (out []string) {
	names := map[conversation.MembershipKind]string{
		conversation.MembershipCreated: "created", conversation.MembershipJoined: "joined", conversation.MembershipChanged: "changed",
		conversation.MembershipEvicted: "evicted",
	}
	for _, c := range told {
		name := names[c.Membership.Kind]
		if c.Membership.Own && c.Membership.Kind == conversation.MembershipChanged {
			name = "own"
		}
		if c.Membership.External {
			name = "external"
		}
		out = append(out, fmt.Sprintf("%s %d", name, c.Epoch))
	}
	return out
}

// TestObserveLocalAndRemoteEpochChange is observe_local_epoch_change and observe_remote_epoch_change: exactly one call for each epoch, in
// order, whoever committed; commits that change no member, joins, external ones and the own removal too.
func TestObserveLocalAndRemoteEpochChange(t *testing.T) {
	for _, x509 := range []bool{false, true} {
		t.Run(fmt.Sprintf("certified %t", x509), func(t *testing.T) { observeEpochs(t, x509) })
	}
}

func observeEpochs(t *testing.T, x509 bool) {
	ctx := t.Context()
	node, ada, bob, conv := sharers(t, x509)
	defer closeNode(t, node)
	adas, bobs := watch(t, ada.Client, nil, nil), watch(t, bob.Client, nil, nil)
	ok(t, conv.UpdateKeys(ctx))
	inBobs := bob.Conversation("tea")
	awaitEpoch(t, inBobs, 2)
	ok(t, inBobs.UpdateKeys(ctx))
	awaitEpoch(t, conv, 3)
	ok(t, inBobs.Wipe(ctx))
	_, err := bob.JoinExternally(ctx, "tea", parley.ExternalJoin{})
	ok(t, err)
	awaitEpoch(t, conv, 4)
	ok(t, conv.Remove(ctx, "bob"))
	wantAda := []string{"created 0", "own 1", "own 2", "changed 3", "external 4", "own 5"}
	wantBob := []string{"joined 1", "changed 2", "own 3", "joined 4", "evicted 5"}
	if got := kinds(adas.await(t, len(wantAda))); !slices.Equal(got, wantAda) {
		t.Errorf("ada is told %v, want %v", got, wantAda)
	}
	told := bobs.await(t, len(wantBob))
	if got := kinds(told); !slices.Equal(got, wantBob) {
		t.Errorf("bob is told %v, want %v", got, wantBob)
	}

	// Whoever observes from a change on is told the rest, at the same positions; from the end on, nothing of before.
	again := watch(t, bob.Client, parley.Positions{"tea": told[1].Position}, nil)
	for i, change := range again.await(t, 3) {
		if change.Position != told[2+i].Position || change.Epoch != told[2+i].Epoch {
			t.Errorf("told again of %v at %v, before %v at %v", kinds([]parley.EpochChange{change}), change.Position, kinds(told[2+i:3+i]), told[2+i].Position)
		}
	}
	now, err := ada.Positions(ctx)
	ok(t, err)
	later := watch(t, ada.Client, now, nil)
	ok(t, conv.UpdateKeys(ctx))
	if got := kinds(later.await(t, 1)); !slices.Equal(got, []string{"own 6"}) {
		t.Errorf("from now on ada is told %v", got)
	}
	if got := kinds(adas.await(t, 7)); got[6] != "own 6" || len(got) != 7 {
		t.Errorf("ada is told %v", got)
	}
}

// TestObserversMayReadAndBlockNobody: an observer that reads its conversation, and commits to it, gets its answers; one that never comes to
// an end, and one that fails, keep neither transactions nor other observers from going on, and what failed is told again.
func TestObserversMayReadAndBlockNobody(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, conv := sharers(t, false)
	defer closeNode(t, node)
	hang := make(chan struct{})
	stuck := watch(t, ada.Client, nil, func(ctx context.Context, _ parley.EpochChange) error {
		select {
		case <-hang:
		case <-ctx.Done():
		}
		return nil
	})
	failures := 0
	failing := watch(t, ada.Client, nil, func(_ context.Context, c parley.EpochChange) error {
		if c.Epoch == 1 && failures < 3 {
			failures++
			return errors.New("not now")
		}
		return nil
	})
	reading := watch(t, ada.Client, nil, func(ctx context.Context, c parley.EpochChange) error {
		status, err := c.Conversation.Status(ctx)
		if err == nil && status.Epoch < c.Epoch {
			err = fmt.Errorf("told of epoch %d before it is there", c.Epoch)
		}
		if err == nil && c.Epoch == 2 && status.Epoch == 2 {
			err = c.Conversation.UpdateKeys(ctx)
		}
		if err != nil {
			t.Error(err)
		}
		return nil
	})
	tx, err := ada.Begin(ctx)
	ok(t, err)
	_, err = tx.Conversation("tea").ProposeUpdate(ctx)
	ok(t, err)
	ok(t, tx.Conversation("tea").CommitPending(ctx))
	ok(t, tx.Finish(ctx))
	want := []string{"created 0", "own 1", "own 2", "own 3"}
	for name, w := range map[string]*watching{"failing": failing, "reading": reading} {
		if got := kinds(w.await(t, 4)); !slices.Equal(got, want) {
			t.Errorf("the %s one is told %v", name, got)
		}
	}
	if failures != 3 {
		t.Errorf("it failed %d times", failures)
	}
	for i := range 3 {
		_, err := conv.Send(ctx, fmt.Appendf(nil, "while it hangs %d", i))
		ok(t, err)
	}
	ok(t, bob.await(t, "words", text("while it hangs 2")).Ack(ctx))
	close(hang)
	if got := kinds(stuck.await(t, 4)); !slices.Equal(got, want) {
		t.Errorf("the one that hung is told %v", got)
	}
}

// TestObserversGoOnOnAnotherNode: positions hold on whatever node goes on, in the middle of a record too, and history secrets that were not
// acknowledged are told there.
func TestObserversGoOnOnAnotherNode(t *testing.T) {
	ctx := t.Context()
	d := deploy(t)
	node := d.node(t, parley.Options{ShareCount: 16, Shares: parley.Shares(16)})
	ada := takeBot(t, node, "ada")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	bob := takeBot(t, node, "bob")
	ok(t, conv.Add(ctx, "bob"))
	bob.await(t, "the welcome", inEpoch(1))
	ok(t, conv.EnableHistorySharing(ctx))
	ok(t, conv.UpdateKeys(ctx))
	awaitEpoch(t, bob.Conversation("tea"), 3)
	first := watch(t, bob.Client, nil, nil)
	told := first.await(t, 3)
	first.stop()
	refused := errors.New("not now")
	observing, stop := context.WithCancel(ctx)
	err = bob.ObserveHistory(observing, func(context.Context, *parley.Conversation, parley.HistoryShared) error {
		stop()
		return refused
	})
	if err == nil {
		t.Error("the observation ended well")
	}
	ada.stop()
	bob.stop()
	closeNode(t, node)

	node = d.node(t, parley.Options{ShareCount: 16, Shares: parley.Shares(16)})
	defer closeNode(t, node)
	client, err := node.Client(ctx, "bob")
	ok(t, err)
	second := watch(t, client, parley.Positions{"tea": told[0].Position}, nil)
	for i, change := range second.await(t, 2) {
		if change.Position != told[1+i].Position || change.Epoch != told[1+i].Epoch {
			t.Errorf("told of epoch %d at %v, before of %d at %v", change.Epoch, change.Position, told[1+i].Epoch, told[1+i].Position)
		}
	}
	secrets := observeHistory(t, client, 1)
	share := parley.ShareOf("client/bob", 16)
	node.ReleaseShares(share)
	if err := <-second.done; !errors.Is(err, parley.ErrNotHere) {
		t.Errorf("the observation of a client that lives elsewhere: %v", err)
	}
	second.done = nil
	node.TakeShares(share)
	if secrets[0].Sender != "ada" || secrets[0].Number != 1 {
		t.Errorf("told of %+v", secrets[0])
	}
	// It is acknowledged now: nobody is told again, and the stream does not have it.
	bob = takeBot(t, node, "bob")
	ok(t, client.Conversation("tea").DisableHistorySharing(ctx))
	bob.await(t, "the end of sharing", func(e parley.Event) bool {
		if e.History != nil {
			t.Errorf("the stream has the secret of %s", e.History.Client)
		}
		return inEpoch(4)(e)
	})
}

// observeHistory observes until so many secrets were told.
func observeHistory(t *testing.T, c *parley.Client, n int) (told []parley.HistoryShared) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	enough, kept := make(chan struct{}), c.Conversation("tea")
	done := make(chan error, 1)
	go func() {
		done <- c.ObserveHistory(ctx, func(_ context.Context, conv *parley.Conversation, h parley.HistoryShared) error {
			if _, err := conv.Status(ctx); err != nil {
				return err
			}
			if told = append(told, h); len(told) == n {
				close(enough)
			}
			return nil
		})
	}()
	select {
	case <-enough:
		awaitThat(t, "the acknowledgement", func() bool {
			status, err := kept.Status(ctx)
			ok(t, err)
			return status.Holdings.Secrets == 0
		})
		cancel()
	case err := <-done:
		t.Fatalf("told of %d secrets: %v", len(told), err)
	}
	<-done
	return told
}

// awaitThat looks again and again until something holds.
func awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
