package parley_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"parley"
	"parley/conversation"
)

// away is ada at home, and bob, whose node is gone while the order of their group is purged past him.
type away struct {
	deployment
	clock *warpedClock
	home  *parley.Node
	tea   *parley.Conversation
	his   []uint32
	back  uint64 // the epoch in which bob is back
}

const awayShares = 16

// goAway has bob's node leave, lets ada do something, and then so much time pass that what bob has not heard is gone.
func goAway(t *testing.T, meanwhile func(tea *parley.Conversation)) away {
	t.Helper()
	a := away{deployment: deploy(t), clock: &warpedClock{Clock: parley.SystemClock()}}
	a.his = []uint32{parley.ShareOf("client/bob", awayShares)}
	var hers []uint32
	for _, s := range parley.Shares(awayShares) {
		if s != a.his[0] {
			hers = append(hers, s)
		}
	}
	a.home = a.node(t, a.options("home", hers))
	t.Cleanup(func() { closeNode(t, a.home) })
	node := a.node(t, a.options("his", a.his))
	bob := takeBot(t, node, "bob")
	ada, err := a.home.Client(t.Context(), "ada")
	ok(t, err)
	a.tea, err = ada.Create(t.Context(), "tea")
	ok(t, err)
	ok(t, a.home.Insist(parley.WithCommandID(t.Context(), "add bob"), func(ctx context.Context) error { return a.tea.Add(ctx, "bob") }))
	ok(t, bob.await(t, "the welcome", inEpoch(1)).Ack(t.Context()))
	bob.stop()
	closeNode(t, node)
	meanwhile(a.tea)
	outlast(t, a.url, a.clock, func() { ok(t, a.home.Insist(t.Context(), a.tea.UpdateKeys)) })
	status, err := a.tea.Status(t.Context())
	ok(t, err)
	a.back = status.Epoch + 1
	return a
}

// outlast lets time pass, and everybody who is there commit now and then, until the orders do not hold any more what was committed first.
func outlast(t *testing.T, url string, clock *warpedClock, commit func()) {
	t.Helper()
	store := streams(t, url)
	order := func() jetstream.StreamState {
		stream, err := store.Stream(t.Context(), "parley_DS")
		ok(t, err)
		return stream.CachedInfo().State
	}
	var missed uint64 // where the newest of the first commits stands
	for i := 1; i <= 3 || order().FirstSeq <= missed; i++ {
		if i > 24 {
			t.Fatal("the order is not purged")
		}
		clock.ahead.Store(int64(time.Duration(i) * 3 * time.Hour))
		commit()
		if i == 1 {
			missed = order().LastSeq
		}
	}
}

func (a away) options(name string, shares []uint32) parley.Options {
	return parley.Options{
		Name: name, Shares: shares, ShareCount: awayShares, Clock: a.clock, Retention: 2 * time.Hour,
		Access: func(parley.ConversationID, parley.ClientID) parley.Access { return parley.JoinsByInfo },
		Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond, RejoinSpread: 20 * time.Millisecond},
	}
}

func of(kind conversation.MembershipKind) func(parley.Event) bool {
	return func(e parley.Event) bool { return e.Membership != nil && e.Membership.Kind == kind }
}

// TestAMemberThatWasAwayComesBackByItself: what bob has not heard is purged. He says so, with what is missing, and comes back without anybody
// adding him; somebody whose node does not let him waits for his owner.
func TestAMemberThatWasAwayComesBackByItself(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := goAway(t, func(*parley.Conversation) {})
	o := a.options("his again", a.his)
	node := a.node(t, o) // without a policy
	bob := takeBot(t, node, "bob")
	behind := bob.await(t, "word that he is behind", of(conversation.MembershipBehind)).Membership
	if behind.Epoch != 1 || behind.First <= behind.Position+1 {
		t.Errorf("he is told %+v", behind)
	}
	status, err := bob.Conversation("tea").Status(ctx)
	ok(t, err)
	if status.Lost == nil || status.Lost.Cause != parley.LossBehind || status.Lost.First != behind.First || !status.Lost.Due.IsZero() {
		t.Errorf("his loss: %+v", status.Lost)
	}
	bob.stop()
	closeNode(t, node)
	o.Rejoin = parley.RejoinAlways
	node = a.node(t, o)
	defer closeNode(t, node)
	bob = takeBot(t, node, "bob")
	bob.await(t, "word that he comes back", of(conversation.MembershipRejoining))
	joined := bob.await(t, "the way back", of(conversation.MembershipJoined)).Membership
	if m := joined.Missed; m == nil || m.AfterEpoch != 1 || m.AfterPosition != behind.Position || uint64(joined.Epoch) != a.back {
		t.Errorf("what he missed: %+v, in epoch %d", m, joined.Epoch)
	}
	awaitEpoch(t, a.tea, a.back)
	agree(t, a.tea, bob.Conversation("tea"))
	_, err = a.tea.Send(ctx, []byte("welcome back"))
	ok(t, err)
	bob.await(t, "a greeting", text("welcome back"))
	if status, err = bob.Conversation("tea").Status(ctx); err != nil || status.Lost != nil {
		t.Errorf("after it: %+v, %v", status.Lost, err)
	}
}

// TestWhoWasRemovedDoesNotComeBackByItself: bob was removed while he was away. He cannot know, and comes to know when he tries; the group lets
// everybody join, and he stays away all the same, also after a restart.
func TestWhoWasRemovedDoesNotComeBackByItself(t *testing.T) {
	t.Parallel()
	a := goAway(t, func(tea *parley.Conversation) { ok(t, tea.Remove(t.Context(), "bob")) })
	o := a.options("his again", a.his)
	o.Rejoin = parley.RejoinAlways
	for range 2 {
		node := a.node(t, o)
		bob := takeBot(t, node, "bob")
		refused := bob.await(t, "word that he stays away", of(conversation.MembershipRejoinRefused)).Membership
		if refused.Code != conversation.ConversationNotFound {
			t.Errorf("refused: %+v", refused)
		}
		bob.stop()
		closeNode(t, node)
	}
	members, err := a.tea.ClientIDs(t.Context())
	ok(t, err)
	if len(members) != 1 {
		t.Errorf("members %v", members)
	}
}

// TestTheWayBackIsPlannedInTheLog: bob's node goes before his time has come. Another one takes over, and brings him back when it has.
func TestTheWayBackIsPlannedInTheLog(t *testing.T) {
	t.Parallel()
	a := goAway(t, func(*parley.Conversation) {})
	o := a.options("his again", a.his)
	o.Rejoin, o.Limits.RejoinSpread = parley.RejoinAlways, 1000*time.Hour
	node := a.node(t, o)
	bob := takeBot(t, node, "bob")
	planned := bob.await(t, "a plan", of(conversation.MembershipRejoining)).Membership
	bob.stop()
	status, err := bob.Conversation("tea").Status(t.Context())
	ok(t, err)
	if status.Lost == nil || uint64(status.Lost.Due.UnixMilli()) != planned.DueMs || !status.NextDue.Equal(status.Lost.Due) {
		t.Errorf("planned for %d: %+v", planned.DueMs, status.Lost)
	}
	closeNode(t, node)
	o.Name = "heir"
	heir := a.node(t, o)
	defer closeNode(t, heir)
	his := heir.Bare("bob").Conversation("tea")
	if status, err = his.Status(t.Context()); err != nil || status.Lost == nil || uint64(status.Lost.Due.UnixMilli()) != planned.DueMs {
		t.Errorf("the heir has %+v, %v", status.Lost, err)
	}
	a.clock.ahead.Add(int64(status.Lost.Due.Sub(a.clock.Now()) + time.Second))
	awaitEpoch(t, a.tea, a.back) // who asks bob would keep his conversation from resting until its alarm
	awaitEpoch(t, his, a.back)
	agree(t, a.tea, his)
}
