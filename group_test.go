package parley

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/actors"
	"parley/delivery"
	"parley/events"
	"parley/internal/natsd"
)

// These tests are about the actor around a group's sequencer; what the sequencer accepts is tested where it is made.

// sequencing is a server and what a node on it is opened with.
func sequencing(t *testing.T, change func(*Options)) (*Node, context.Context, Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	o := Options{URL: server.URL(), KeyDir: filepath.Join(dir, "keys")}
	if change != nil {
		change(&o)
	}
	return openSequencing(t, o), ctx, o
}

func openSequencing(t *testing.T, o Options) *Node {
	t.Helper()
	node, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return node
}

// talking creates a conversation with a member beside its creator.
func talking(ctx context.Context, t *testing.T, n *Node, id ConversationID) *Conversation {
	t.Helper()
	for _, client := range []ClientID{"ada", "bob"} {
		if _, err := n.Client(ctx, client); err != nil {
			t.Fatal(err)
		}
	}
	conv, err := n.Bare("ada").Create(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Insist(ctx, func(ctx context.Context) error { return conv.Add(ctx, "bob") }); err != nil {
		t.Fatal(err)
	}
	return conv
}

// await looks again and again until something holds.
func await(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func TestSequencerPanicAnswersItsCallerAndStopsItAlone(t *testing.T) {
	var armed atomic.Bool
	node, ctx, _ := sequencing(t, func(o *Options) {
		o.Hooks.Before = func(_ context.Context, step Step, id events.LogID) error {
			if step == events.StepAppend && id.Kind == events.KindOrder && armed.CompareAndSwap(true, false) {
				panic("a bug in a sequencer")
			}
			return nil
		}
	})
	tea, cake := talking(ctx, t, node, "tea"), talking(ctx, t, node, "cake")
	armed.Store(true)
	if err := tea.UpdateKeys(ctx); err != nil { // its bundle is offered again: the successor takes it
		t.Fatal(err)
	}
	if status, err := tea.Status(ctx); err != nil || status.Epoch != 2 {
		t.Errorf("epoch %d, %v", status.Epoch, err)
	}
	if _, err := cake.Send(ctx, []byte("still here")); err != nil {
		t.Error(err)
	}
	if n := node.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

func TestCorruptOrderStopsItsGroupAlone(t *testing.T) {
	node, ctx, o := sequencing(t, nil)
	tea, cake := talking(ctx, t, node, "tea"), talking(ctx, t, node, "cake")
	newest, err := node.store.Last(ctx, events.OrderLog("tea"))
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(newest.Data)
	forged[len(forged)/2] ^= 1
	if _, err := node.store.Append(ctx, events.Append{Log: events.OrderLog("tea"), Expect: newest.Sequence, Messages: [][]byte{forged}}); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(ctx); err != nil {
		t.Fatal(err)
	}
	heir := openSequencing(t, o)
	for range 2 {
		_, err := heir.delivery.Lookup(ctx, "tea", "ada")
		if !errors.Is(err, delivery.Damaged) || AdviceOf(err) != GiveUp {
			t.Fatalf("a damaged order answers %v", err)
		}
	}
	if n := heir.Stats().Groups; n == 0 {
		t.Error("the actor of the damaged order does not stand to say so")
	}
	if _, err := heir.Bare("ada").Conversation(cake.ID()).Send(ctx, []byte("still here")); err != nil {
		t.Error(err)
	}
	if _, err := heir.Bare("ada").Conversation(tea.ID()).Send(ctx, []byte("lost")); AdviceOf(err) != GiveUp {
		t.Errorf("a message into a damaged order: %v", err)
	}
}

func TestIdleSequencerIsPassivatedAndComesBack(t *testing.T) {
	node, ctx, _ := sequencing(t, func(o *Options) {
		o.Limits = actors.Limits{Idle: 50 * time.Millisecond, Sweep: 20 * time.Millisecond}
	})
	conv := talking(ctx, t, node, "tea")
	for i := range 2 {
		await(ctx, t, "the sequencer leaves", func() bool { return node.Stats().Groups == 0 })
		if n, err := conv.Send(ctx, fmt.Append(nil, i)); err != nil || n != uint64(3+i) {
			t.Fatalf("message %d is entry %d, %v", i, n, err)
		}
	}
}

func TestSequencerRefusesWhatItCannotHold(t *testing.T) {
	var armed atomic.Bool
	blocked, release := make(chan struct{}), make(chan struct{})
	node, ctx, _ := sequencing(t, func(o *Options) {
		o.Limits.WaitingPerGroup = 4
		o.Hooks.Before = func(_ context.Context, step Step, id events.LogID) error {
			if step == events.StepAppend && id.Kind == events.KindOrder && armed.CompareAndSwap(true, false) {
				close(blocked)
				<-release
			}
			return nil
		}
	})
	conv := talking(ctx, t, node, "tea")
	armed.Store(true)
	sent := make(chan error, 1)
	go func() {
		_, err := conv.Send(ctx, []byte("takes long"))
		sent <- err
	}()
	<-blocked
	impatient, cancel := context.WithCancel(ctx)
	defer cancel()
	const asking = 8 // of whom three find room beside the message
	answers := make(chan error, asking)
	for range asking {
		go func() {
			_, err := node.delivery.Lookup(impatient, "tea", "ada")
			answers <- err
		}()
	}
	for range asking - 3 {
		if err := <-answers; !errors.Is(err, delivery.Busy) || AdviceOf(err) != Retry {
			t.Errorf("one too many got %v", err)
		}
	}
	if node.Stats().Refused == 0 {
		t.Error("nothing was counted as refused")
	}
	cancel()
	close(release)
	for range 3 {
		<-answers
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if _, err := node.delivery.Lookup(ctx, "tea", "ada"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestTwoNodesThatBothSequence lets two nodes serve one group, each with a member that talks: each node judges by its own sequencer. One
// of them loses every race and reads the order again; every message stands in it once.
func TestTwoNodesThatBothSequence(t *testing.T) {
	const shares = 256
	ours := func(c ClientID) []uint32 {
		return []uint32{ShareOf("client/"+string(c), shares), ShareOf("group/tea", shares)}
	}
	first, ctx, o := sequencing(t, func(o *Options) { o.ShareCount, o.Shares = shares, ours("ada") })
	o.Shares, o.Name = ours("bob"), "second"
	second := openSequencing(t, o)
	bob, err := second.Client(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Client(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	conv, err := first.Bare("ada").Create(ctx, "tea")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Insist(ctx, func(ctx context.Context) error { return conv.Add(ctx, "bob") }); err != nil {
		t.Fatal(err)
	}
	const least = 25
	var sent atomic.Uint64
	raced := func() bool { return first.Stats().Fenced+second.Stats().Fenced > 0 }
	var talk sync.WaitGroup
	for node, c := range map[*Node]*Conversation{first: conv, second: bob.Conversation("tea")} {
		talk.Go(func() {
			for i := 0; i < least || !raced(); i++ {
				err := node.Insist(ctx, func(ctx context.Context) error {
					_, err := c.Send(ctx, fmt.Append(nil, i))
					if errors.Is(err, ConversationNotFound) {
						err = ErrBusy // bob has not been welcomed yet
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	talk.Wait()
	if n, err := first.delivery.Newest(ctx, "tea"); err != nil || n != 2+sent.Load() {
		t.Errorf("%d entries of %d messages, %v", n, sent.Load(), err)
	}
}
