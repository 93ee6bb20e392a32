package delivery

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"parley/internal/ids"
	"parley/mlsengine"
)

func TestSubmissionsReachTheNodeThatHoldsTheShare(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	holder, other := w.serving("holder", nil), w.node("other", nil)
	alice, bob := registered(t, other, testGroup, "alice"), newBot(t, "bob")
	bundle, out := alice.add(bob)
	bundle.EncryptedMessage = bytes.Repeat([]byte("a request in several parts "), 100_000)
	e := alice.win(other, bundle, out)
	if !bytes.Equal(e.EncryptedMessage, bundle.EncryptedMessage) {
		t.Fatal("the bundle came through different")
	}
	bob.join(e)
	lost, _ := bob.update()
	first, out := alice.update()
	alice.win(holder, first, out)
	if got := must(other.SubmitBundle(ctx, lost))(t); got != (Answer)(Retry{Epoch: 2}) {
		t.Fatalf("answer %#v", got)
	}
	_, err := other.Lookup(ctx, "no such group", "alice")
	wants(t, err, UnknownGroup)
	standing := must(other.Lookup(ctx, testGroup, "alice"))(t)
	if !standing.Member || standing.Number != 3 || standing.Epoch != 2 || standing.Last == nil || standing.Last.Number != 3 || standing.GroupInfoNumber != 3 {
		t.Fatalf("standing %+v", standing)
	}
	forged := alice.message("x")
	forged.Origin.Client = "eve"
	wants(t, must(other.SubmitMessages(ctx, []Message{forged}))(t)[0].Err, NotMember)
	n := must(other.Restart(ctx, Restart{Group: testGroup, Origin: alice.origin(), Successor: "group two", Reason: "test"}))(t)
	if n != 4 {
		t.Fatalf("restarted at %d", n)
	}
	wants(t, must(other.SubmitMessages(ctx, []Message{alice.message("x")}))(t)[0].Err, Closed)
	if e := must(other.Entry(ctx, testGroup, 4))(t); e.Kind != KindRestarted || e.Successor != "group two" {
		t.Fatalf("entry %+v", e)
	}
}

func TestShareMovesBetweenNodes(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	a, b := w.serving("a", nil), w.node("b", nil)
	caller := w.node("caller", nil)
	bots := crowd(t, caller, testGroup, 2)
	share := testShareOf(testGroup)
	stop := make(chan struct{})
	var work sync.WaitGroup
	sent := 0
	work.Add(1)
	go func() {
		defer work.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			receipts, err := caller.SubmitMessages(ctx, []Message{bots[0].message(fmt.Sprint(sent))})
			if err != nil || receipts[0].Err != nil {
				t.Errorf("message %d: %+v, %v", sent, receipts, err)
				return
			}
			sent++
		}
	}()
	from, to := a, b
	for range 6 {
		if err := to.Hold(ctx, share, w.hosts[to]); err != nil { // for a moment both believe to hold it
			t.Fatal(err)
		}
		if err := from.Release(ctx, share); err != nil {
			t.Fatal(err)
		}
		w.hosts[from].close(t)
		from, to = to, from
	}
	close(stop)
	work.Wait()
	entries := must(caller.Follow(ctx, testGroup, 3, 1000))(t)
	if len(entries) != sent {
		t.Fatalf("%d entries of %d messages", len(entries), sent)
	}
	seen := map[ids.CommandID]bool{}
	for _, e := range entries {
		if seen[e.CommandID] {
			t.Fatalf("%s twice", e.CommandID)
		}
		seen[e.CommandID] = true
	}
}

func TestNobodyServesTheShare(t *testing.T) {
	w := newWorld(t)
	s := w.node("a", nil)
	alice := newBot(t, "alice")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := s.RegisterGroup(ctx, alice.create(testGroup))
	wants(t, err, Unavailable)
}

func TestGarbageBetweenNodesIsDropped(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.RemoteParts = 2 })
	subject := rpcSubject("test", testShareOf(testGroup))
	part := func(id string, i, n int, data []byte) *nats.Msg {
		msg := nats.NewMsg(subject)
		msg.Header.Set(headerRequest, id)
		msg.Header.Set(headerPart, fmt.Sprint(i))
		msg.Header.Set(headerParts, fmt.Sprint(n))
		msg.Data = data
		return msg
	}
	for _, msg := range []*nats.Msg{
		nats.NewMsg(subject), part("a", -1, 2, nil), part("a", 0, 1<<30, nil), part("b", 1, 2, nil), part("c", 0, 3, nil), part("c", 2, 3, nil),
		part("d", 0, 2, nil), part("e", 0, 2, nil), part("f", 0, 2, nil), part("g", 0, 2, nil),
	} {
		if err := w.conn.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, data := range [][]byte{nil, []byte("garbage"), {0x0a, 0x01, 'x', 0x12, 0x00}} {
		msg, err := w.conn.RequestMsgWithContext(bounded, part("h", 0, 1, data))
		if err != nil || len(msg.Data) == 0 && len(data) > 0 {
			t.Fatalf("%q: %v", data, err)
		}
	}
	registered(t, s, testGroup, "alice")
}

func TestIntakeIsBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) {
		c.Limits.RateMessages, c.Limits.RateBurst, c.Limits.Remembered, c.Limits.Pending = 1, 10, 12, 3
	})
	bots := crowd(t, s, testGroup, 3)
	full := func(b *bot, n int) (refused int) {
		t.Helper()
		for range n {
			_, err := s.submitOne(ctx, new(b.message("x")))
			if err != nil {
				wants(t, err, Busy)
				refused++
			}
		}
		return refused
	}
	if n := full(bots[0], 13); n < 2 {
		t.Fatalf("%d of 13 refused by rate", n)
	}
	if n := full(bots[1], 10); n < 6 {
		t.Fatalf("%d of 10 refused because too many commands are remembered", n)
	}
	if _, ok := must(s.SubmitBundle(ctx, first(bots[2].update())))(t).(Success); !ok {
		t.Fatal("a commit needs no remembered command")
	}
}

func first(b Bundle, _ *mlsengine.CommitOut) Bundle { return b }

func TestWatchWakesFollowersAndInboxes(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := w.serving("a", nil)
	watcher := w.node("node with spaces. and dots", nil)
	var mu sync.Mutex
	woken := map[Wake]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = watcher.Watch(ctx, func(w Wake) {
			mu.Lock()
			defer mu.Unlock()
			woken[w]++
		})
	}()
	alice, bob := registered(t, s, testGroup, "alice"), newBot(t, "bob")
	bundle, out := alice.add(bob)
	alice.win(s, bundle, out)
	until(t, "both are woken", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return woken[Wake{Group: testGroup}] >= 2 && woken[Wake{Client: "bob"}] >= 1
	})
	cancel()
	<-done
}

func TestExternalJoinersNeedAKnownKey(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bots := crowd(t, s, testGroup, 2)
	eve := newBot(t, "eve")
	_, _, err := s.GroupInfo(ctx, testGroup, eve.id)
	wants(t, err, Forbidden)
	wants(t, s.mayJoin(ctx, stateOf(t, s), Identity{Client: "eve", SignatureKey: eve.identity.Public}, JoinsByInfo), Forbidden)
	resync := Identity{Client: bots[1].id, SignatureKey: bots[1].identity.Public}
	wants(t, s.mayJoin(ctx, stateOf(t, s), resync, JoinsByInfo), UnknownIdentity)
	if err := s.Registry().Register(ctx, resync); err != nil {
		t.Fatal(err)
	}
	if err := s.mayJoin(ctx, stateOf(t, s), resync, JoinsByInfo); err != nil {
		t.Fatal(err)
	}
}

func stateOf(t *testing.T, s *Service) *SequencerState {
	t.Helper()
	return must(s.OpenSequencer(context.Background(), testGroup, MustExist))(t).State()
}
