package parley_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/actors"
)

// jumpingClock is the machine's clock, set forward at will: timers that become due by it run at once.
type jumpingClock struct {
	parley.Clock
	mu     sync.Mutex
	ahead  time.Duration
	timers []*jumpingTimer
}

type jumpingTimer struct {
	actors.Timer
	due time.Time
	f   func()
}

func (c *jumpingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Clock.Now().Add(c.ahead)
}

func (c *jumpingClock) AfterFunc(d time.Duration, f func()) actors.Timer {
	t := &jumpingTimer{Timer: c.Clock.AfterFunc(d, f), due: c.Now().Add(d), f: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = append(c.timers, t)
	return t
}

// jump sets the clock forward.
func (c *jumpingClock) jump(d time.Duration) {
	c.mu.Lock()
	c.ahead += d
	now := c.Clock.Now().Add(c.ahead)
	var due []*jumpingTimer
	c.timers = slices.DeleteFunc(c.timers, func(t *jumpingTimer) bool {
		if t.due.After(now) {
			return false
		}
		due = append(due, t)
		return true
	})
	c.mu.Unlock()
	for _, t := range due {
		if t.Stop() {
			go t.f()
		}
	}
}

// impatient is a configuration that puts messages aside after so many failures.
func impatient(deliveries uint32) parley.Config {
	config := parley.DefaultConfig()
	config.MaxDeliveries = deliveries
	return config
}

func speak(t *testing.T, conv *parley.Conversation, words ...string) {
	t.Helper()
	for _, word := range words {
		_, err := conv.Send(t.Context(), []byte(word))
		ok(t, err)
	}
}

// holds waits until a conversation has so many messages that failed, and so many that are put aside.
func holds(t *testing.T, conv *parley.Conversation, failing, dead int) {
	t.Helper()
	status, err := conv.Status(t.Context())
	ok(t, err)
	if h := status.Holdings; h.Failing != failing || h.Dead != dead {
		t.Errorf("%d failing, %d put aside; want %d and %d", h.Failing, h.Dead, failing, dead)
	}
}

// TestAHandlerThatKeepsFailing fails one message until it is put aside: it comes again later each time and under the same id, those behind it go
// on, it can be read, handed over anew, and acknowledged.
func TestAHandlerThatKeepsFailing(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), &jumpingClock{Clock: parley.SystemClock()}
	node := openNode(t, parley.Options{Config: impatient(3), Clock: clock})
	defer closeNode(t, node)
	c := newCouple(t, node)
	tea := c.bob.Conversation("tea")
	speak(t, c.tea, "bitter", "sweet")
	first := c.bob.await(t, "the message", text("bitter"))
	ok(t, first.Fail(ctx, "too bitter"))
	ok(t, c.bob.await(t, "the one behind it", text("sweet")).Ack(ctx))
	holds(t, tea, 1, 0)
	for failures := 1; failures < 3; failures++ {
		clock.jump(time.Duration(1<<(failures-1)) * time.Second)
		again := c.bob.await(t, "the message again", text("bitter"))
		if again.ID != first.ID || again.Failures != failures || again.Message.Number != first.Message.Number {
			t.Errorf("it came again as %+v", again)
		}
		ok(t, again.Fail(ctx, fmt.Sprint("bitter for the ", failures, ". time")))
		ok(t, first.Fail(ctx, "of this handing over all is said"))
	}
	holds(t, tea, 0, 1)
	page, err := tea.DeadLetters(ctx, 0, 10)
	ok(t, err)
	if len(page) != 1 || page[0].ID != first.ID || page[0].Failures != 3 || page[0].Number != first.Message.Number || page[0].Since.Before(page[0].First) {
		t.Fatalf("put aside: %+v", page)
	}
	dead, err := tea.DeadLetter(ctx, page[0].Number)
	ok(t, err)
	if string(dead.Message.Text) != "bitter" || dead.Message.Sender != "ada" || dead.Reason != "bitter for the 2. time" || dead.Epoch != first.Epoch {
		t.Errorf("read %+v", dead)
	}
	clock.jump(2 * time.Hour)
	speak(t, c.tea, "later")
	ok(t, c.bob.await(t, "a later one", text("later")).Ack(ctx))
	n, err := tea.RequeueAll(ctx)
	ok(t, err)
	again := c.bob.await(t, "the message anew", text("bitter"))
	if n != 1 || again.Failures != 0 || again.ID != first.ID {
		t.Errorf("handed over anew: %d, %+v", n, again)
	}
	ok(t, again.Ack(ctx))
	holds(t, tea, 0, 0)
	if _, err := tea.DeadLetter(ctx, page[0].Number); !errors.Is(err, parley.DeadLetterNotFound) {
		t.Errorf("acknowledged and there: %v", err)
	}
	if err := first.Fail(ctx, ""); !errors.Is(err, parley.DeliveryNotOpen) {
		t.Errorf("after its end it fails with %v", err)
	}
}

// TestDeadLettersOutliveNodesAndEpochs puts one message aside and lets another fail once; epochs, checkpoints and snapshots come, the node dies
// and another takes over: counts, texts and the time of the next try are there, and replay agrees.
func TestDeadLettersOutliveNodesAndEpochs(t *testing.T) {
	t.Parallel()
	ctx, d, clock := t.Context(), deploy(t), &jumpingClock{Clock: parley.SystemClock()}
	options := parley.Options{Config: impatient(2), Clock: clock, Limits: parley.Limits{SnapshotEvery: 2}}
	one := d.node(t, options)
	c := newCouple(t, one)
	speak(t, c.tea, "dead", "failing")
	ok(t, c.bob.await(t, "a message", text("dead")).Fail(ctx, "once"))
	c.bob.expect(t, text("failing"), func(e parley.Event) { ok(t, e.Fail(ctx, "a first time")) })
	clock.jump(time.Second)
	c.bob.expect(t, text("dead"), func(e parley.Event) { ok(t, e.Fail(ctx, "twice")) })
	for range 4 {
		ok(t, c.tea.UpdateKeys(ctx))
		ok(t, c.bob.Conversation("tea").UpdateKeys(ctx))
	}
	c.bob.stop()
	closeNode(t, one)
	two := d.node(t, options)
	defer closeNode(t, two)
	tea := two.Bare("bob").Conversation("tea")
	holds(t, tea, 1, 1)
	page, err := tea.DeadLetters(ctx, 0, 1)
	ok(t, err)
	dead, err := tea.DeadLetter(ctx, page[0].Number)
	ok(t, err)
	if string(dead.Message.Text) != "dead" || dead.Failures != 2 || dead.Reason != "twice" {
		t.Errorf("the other node read %+v", dead)
	}
	clock.jump(time.Second)
	bob := takeBot(t, two, "bob")
	again := bob.await(t, "the message that failed once", text("failing"))
	if again.Failures != 1 {
		t.Errorf("it came with %d failures", again.Failures)
	}
	ok(t, again.Ack(ctx))
	ok(t, tea.Drop(ctx, page[0].Number))
	holds(t, tea, 0, 0)
	c = &couple{node: two, tea: two.Bare("ada").Conversation("tea"), ada: c.ada, bob: bob}
	for _, conv := range []*parley.Conversation{c.tea, tea} {
		history, err := conv.History(ctx)
		ok(t, err)
		status, err := conv.Status(ctx)
		ok(t, err)
		if history.Version != status.Version || history.Digest != status.Digest {
			t.Errorf("%s: replay leads to %s, live is %s", conv.Client().ID(), history.Digest, status.Digest)
		}
	}
}

// expect takes events until one is what it is to be.
func (b *bot) expect(t *testing.T, want func(parley.Event) bool, do func(parley.Event)) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-b.events:
			if want(e) {
				do(e)
				return
			}
		case <-timeout:
			t.Fatal("waited in vain")
		}
	}
}

// TestAnOwnerThatCanHandleNothing fails everything: at the bound the conversation waits, nothing is lost, and as soon as the owner can work it
// hears all that was said.
func TestAnOwnerThatCanHandleNothing(t *testing.T) {
	t.Parallel()
	const words = parley.FailingMax + 20
	ctx, clock := t.Context(), &jumpingClock{Clock: parley.SystemClock()}
	node := openNode(t, parley.Options{Config: impatient(0), Clock: clock})
	defer closeNode(t, node)
	c := newCouple(t, node)
	tea := c.bob.Conversation("tea")
	for i := range words {
		speak(t, c.tea, fmt.Sprint("word ", i))
	}
	message := func(e parley.Event) bool { return e.Message != nil }
	for range parley.FailingMax {
		c.bob.expect(t, message, func(e parley.Event) { ok(t, e.Fail(ctx, "the cellar is flooded")) })
	}
	holds(t, tea, parley.FailingMax, 0)
	clock.jump(time.Second)
	heard, again := map[string]bool{}, []parley.Event{}
	for range parley.FailingMax { // they come again, and no others
		c.bob.expect(t, message, func(e parley.Event) {
			again = append(again, e)
			if e.Failures == 0 && e.Message.Number == parley.FailingMax+1 {
				return // on its way when the last one failed
			}
			if e.Failures != 1 || e.Message.Number > parley.FailingMax {
				t.Errorf("message %d came with %d failures", e.Message.Number, e.Failures)
			}
		})
	}
	take := func(e parley.Event) {
		heard[string(e.Message.Text)] = true
		ok(t, e.Ack(ctx))
	}
	for _, e := range again {
		take(e)
	}
	for len(heard) < words {
		c.bob.expect(t, message, take)
	}
	holds(t, tea, 0, 0)
}

// TestDeadLettersAreTheOwners pages through them, reads what is not there, lets one transaction take them all, and ages the rest.
func TestDeadLettersAreTheOwners(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), &jumpingClock{Clock: parley.SystemClock()}
	node := openNode(t, parley.Options{Config: impatient(1), Clock: clock})
	defer closeNode(t, node)
	c := newCouple(t, node)
	tea := c.bob.Conversation("tea")
	speak(t, c.tea, "a", "b", "c", "d", "e")
	for _, word := range []string{"a", "b", "c", "d", "e"} {
		e := c.bob.await(t, word, text(word))
		if word == "e" {
			ok(t, e.Ack(ctx))
			continue
		}
		ok(t, e.Fail(ctx, strings.Repeat("long ", 100)))
	}
	var numbers []uint64
	for after := uint64(0); ; {
		page, err := tea.DeadLetters(ctx, after, 3)
		ok(t, err)
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			numbers, after = append(numbers, l.Number), l.Number
		}
	}
	if !slices.Equal(numbers, []uint64{1, 2, 3, 4}) {
		t.Errorf("pages hold %v", numbers)
	}
	if dead, err := tea.DeadLetter(ctx, 2); err != nil || len(dead.Reason) > 256 || string(dead.Message.Text) != "b" {
		t.Errorf("read %+v, %v", dead, err)
	}
	if err := tea.Drop(ctx, 1, 5); !errors.Is(err, parley.DeadLetterNotFound) || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("dropping what has not failed: %v", err)
	}
	fail := errors.New("no")
	err := c.bob.Transact(ctx, func(tx *parley.Transaction) error {
		_, err := tx.Conversation("tea").DropAll(ctx)
		return errors.Join(err, fail)
	})
	if !errors.Is(err, fail) {
		t.Errorf("the transaction ended with %v", err)
	}
	holds(t, tea, 0, 4)
	once := parley.WithCommandID(ctx, "drop two")
	ok(t, tea.Drop(once, 1, 2))
	ok(t, tea.Drop(once, 1, 2))
	ok(t, tea.Requeue(ctx, 3))
	ok(t, c.bob.await(t, "the third anew", text("c")).Ack(ctx))
	holds(t, tea, 0, 1)
	clock.jump(29 * 24 * time.Hour)
	awaitHolding(t, tea, 0)
	if err := (parley.Event{}).Fail(context.Background(), ""); !errors.Is(err, parley.DeliveryNotOpen) {
		t.Errorf("an event that is no message fails with %v", err)
	}
}

// awaitHolding waits until so many messages are put aside.
func awaitHolding(t *testing.T, conv *parley.Conversation, dead int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		status, err := conv.Status(t.Context())
		ok(t, err)
		if status.Holdings.Dead == dead {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%d are put aside", status.Holdings.Dead)
		}
	}
}
