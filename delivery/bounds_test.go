package delivery

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// proposal is one that differs from every other one of the bot.
func (b *bot) proposal() *Proposal {
	b.t.Helper()
	made := must(b.group.Propose(&mlsengine.Update{}, mlsengine.Framing{}, b.env()))(b.t)
	return &Proposal{Group: testGroup, Origin: b.origin(), Message: made.Message}
}

// TestPendingProposalsOfOneAreBounded: a member that fills its room leaves the others theirs, and all together have theirs until a commit.
func TestPendingProposalsOfOneAreBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.PendingOfOne, c.Limits.Pending = 2, 3 })
	bots := crowd(t, s, testGroup, 3)
	propose := func(b *bot) error {
		_, err := s.submitOne(ctx, b.proposal())
		return err
	}
	for range 2 {
		if err := propose(bots[0]); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, propose(bots[0]), Busy)
	if err := propose(bots[1]); err != nil {
		t.Fatalf("another member: %v", err)
	}
	wants(t, propose(bots[2]), Busy)
	bundle, out := bots[2].update()
	e := bots[2].win(s, bundle, out)
	bots[0].process(e, nil)
	if err := propose(bots[0]); err != nil {
		t.Fatalf("behind a commit: %v", err)
	}
}

// TestEachKindHasItsOwnAllowance: what a member has used up of one kind leaves it the others, and comes back with time.
func TestEachKindHasItsOwnAllowance(t *testing.T) {
	limits := Limits{RateMessages: 2, RateBurst: 3, RateProposals: 60, ProposalBurst: 2, RateCommits: 60, Senders: 4}.withDefaults()
	l := newLimiter(&limits)
	taken := func(now uint64, sub Submission) (n int) {
		for l.take(sub, now) {
			n++
		}
		return n
	}
	origin := Origin{Client: "ada"}
	message, proposal, commit := &Message{Origin: origin}, &Proposal{Origin: origin}, &Bundle{Origin: origin}
	for _, c := range []struct {
		at   uint64
		sub  Submission
		want int
	}{
		{1000, message, 3}, {1000, proposal, 2}, {1000, commit, 60},
		{2000, message, 2}, {2000, proposal, 1}, {2000, commit, 1}, {2000, &Message{Origin: Origin{Client: "bob"}}, 3},
		{3_000_000, message, 3}, {3_000_000, proposal, 2}, {3_000_000, commit, 60},
	} {
		if n := taken(c.at, c.sub); n != c.want {
			t.Errorf("at %d ms %d of %T, want %d", c.at, n, c.sub, c.want)
		}
	}
	for i := range 100 {
		l.take(&Message{Origin: Origin{Client: ids.ClientID(fmt.Sprint(i))}}, 3_000_000)
	}
	if len(l.members) > limits.Senders+1 {
		t.Errorf("%d members are remembered", len(l.members))
	}
}

// TestShapesAreBounded: what is longer than it may be is refused before anybody looks at it.
func TestShapesAreBounded(t *testing.T) {
	l := Limits{}.withDefaults()
	origin := Origin{Client: "ada", CommandID: "1"}
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct {
		sub  Submission
		code Code
	}{
		"group":           {&Message{Group: GroupID(long(identityBytesMax + 1)), Origin: origin}, Malformed},
		"client":          {&Message{Group: "g", Origin: Origin{Client: ids.ClientID(long(identityBytesMax + 1)), CommandID: "1"}}, Malformed},
		"command":         {&Message{Group: "g", Origin: Origin{Client: "ada", CommandID: ids.CommandID(long(commandBytesMax + 1))}}, Malformed},
		"message":         {&Message{Group: "g", Origin: origin, Bytes: make([]byte, l.MessageBytes+1)}, TooLarge},
		"proposal":        {&Proposal{Group: "g", Origin: origin, Message: make([]byte, l.MessageBytes+1)}, TooLarge},
		"bundle":          {&Bundle{Group: "g", Origin: origin, GroupInfo: make([]byte, l.BundleBytes+1)}, TooLarge},
		"registration":    {&Registration{Group: "g", Origin: origin, GroupInfo: make([]byte, l.BundleBytes+1)}, TooLarge},
		"reason":          {&Restart{Group: "g", Origin: origin, Successor: "h", Reason: long(reasonBytesMax + 1)}, Malformed},
		"largest message": {&Message{Group: "g", Origin: origin, Bytes: make([]byte, l.MessageBytes)}, 0},
	} {
		err := checkShape(c.sub, &l)
		if (err == nil) != (c.code == 0) || err != nil && err.Code != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

// TestCommandsHaveTheirTime: not from the future, and not older than what is remembered.
func TestCommandsHaveTheirTime(t *testing.T) {
	l := Limits{}.withDefaults()
	const now = 10_000_000_000
	skew, window := uint64(l.ClockSkew.Milliseconds()), uint64(l.CommandWindow.Milliseconds())
	for issued, good := range map[uint64]bool{now: true, now + skew: true, now + skew + 1: false, now - window: true, now - window - 1: false} {
		if err := fresh(&Origin{IssuedMs: issued}, now, &l); (err == nil) != good || err != nil && err.Code != Expired {
			t.Errorf("issued %d ms from now: %v", int64(issued)-now, err)
		}
	}
}

// TestWhatAnOrderRemembersIsBounded: winners, senders and places of checkpoints.
func TestWhatAnOrderRemembersIsBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.Winners, c.Limits.Senders = 2, 2 })
	bots := crowd(t, s, testGroup, 3)
	first, out := bots[0].update()
	pending := bots[0].win(s, first, out)
	for _, b := range bots[1:] {
		b.process(pending, nil)
	}
	again := func() Answer { return must(s.SubmitBundle(ctx, first))(t) }
	if _, known := again().(Success); !known {
		t.Fatal("the newest commit is not remembered")
	}
	for range 2 {
		bundle, out := bots[1].update()
		bots[2].process(bots[1].win(s, bundle, out), nil)
	}
	if _, told := again().(Retry); !told {
		t.Error("more winners are remembered than may be")
	}
	if _, err := s.submitOne(ctx, new(bots[2].message("x"))); err != nil {
		t.Fatal(err)
	}
	state := w.hosts[s].owner(testGroup).seq.State()
	if len(state.winners) != 2 || len(state.senders) > 2 {
		t.Errorf("%d winners, %d senders", len(state.winners), len(state.senders))
	}
	for i := range uint64(10 * placesMax) {
		state.timeMs = i
		state.passed(&events.Record{Head: events.Head{Sequence: 1000 + i}, Events: []events.Event{{Body: &eventsv1.OrderCheckpoint{}}}})
	}
	if n := len(state.places); n > placesMax || n < placesMax/4 {
		t.Errorf("%d places of checkpoints", n)
	}
	if at := state.purgeable(10 * placesMax); at <= 1000 || at > 1000+10*placesMax {
		t.Errorf("purgeable up to %d", at)
	}
}

// TestPublicationsAreBounded: so many key packages at once, and so many signature keys of one client.
func TestPublicationsAreBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.SignatureKeys = 2 })
	wants(t, s.PublishKeyPackages(ctx, "ada", make([]Publication, publicationsMax+1)), TooLarge)
	for i := range 3 {
		b := newBot(t, "ada")
		id := Identity{Client: b.id, CredentialType: uint16(b.identity.Credential.Type()), Credential: b.identity.Credential, SignatureKey: b.identity.Public}
		err := s.Registry().Register(ctx, id)
		if i < 2 && err != nil {
			t.Fatal(err)
		}
		if i == 2 && CodeOf(err) == 0 {
			t.Errorf("a key too many: %v", err)
		}
	}
}

// TestFollowingIsBounded: so many entries at once, so many open orders.
func TestFollowingIsBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.FollowEntries, c.Limits.Readers = 2, 2 })
	alice := registered(t, s, testGroup, "alice")
	for range 4 {
		if _, err := s.submitOne(ctx, new(alice.message("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if found := must(s.Follow(ctx, testGroup, 1, 1000))(t); len(found) != 2 {
		t.Errorf("%d entries at once", len(found))
	}
	for i := range 10 {
		s.readers.of(GroupID(fmt.Sprint("group ", i)))
	}
	if n := len(s.readers.open); n > 2 {
		t.Errorf("%d orders are open", n)
	}
}

// stuckHost answers nothing before it is let go.
type stuckHost struct {
	entered sync.WaitGroup
	let     chan struct{}
}

func (h *stuckHost) Submit(context.Context, GroupID, []Submission) ([]Outcome, error) {
	h.entered.Done()
	<-h.let
	return nil, refuse(Unavailable, "let go")
}

// TestRequestsOfAShareAreBounded: while a share's server works on as many requests as it may, one more is told so; parts of requests that never
// become whole are forgotten, and requests of too many parts are not begun.
func TestRequestsOfAShareAreBounded(t *testing.T) {
	w := newWorld(t)
	host := &stuckHost{let: make(chan struct{})}
	host.entered.Add(requestsAtOne)
	subject := rpcSubject("test", 0)
	c := Config{Clock: w.clock.now, Limits: Limits{RemoteParts: 2}.withDefaults()}
	server := must(serveShare(w.conn, subject, host, &c))(t)
	defer server.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	asker := &remote{nc: w.conn, namespace: "test", node: "asker", timeout: time.Minute}
	ask := func() error {
		_, err := asker.submit(ctx, 0, "g", []Submission{&Lookup{Group: "g", Origin: Origin{Client: "ada"}}})
		return err
	}
	var work sync.WaitGroup
	for range requestsAtOne {
		work.Go(func() { _ = ask() })
	}
	host.entered.Wait()
	wants(t, ask(), Busy)
	close(host.let)
	work.Wait()

	part := func(id string, i, parts int) bool {
		msg := nats.NewMsg(subject)
		msg.Header.Set(headerRequest, id)
		msg.Header.Set(headerPart, strconv.Itoa(i))
		msg.Header.Set(headerParts, strconv.Itoa(parts))
		_, whole := server.collect(msg)
		return whole
	}
	if part("many", 0, partsMax+1); len(server.parts) != 0 {
		t.Error("a request of too many parts is begun")
	}
	part("one", 0, 2)
	part("two", 0, 2)
	if part("three", 0, 2); len(server.parts) != 2 {
		t.Errorf("%d requests are begun", len(server.parts))
	}
	w.clock.advance(partsAge + time.Second)
	if part("four", 0, 2); len(server.parts) != 1 || !part("four", 1, 2) {
		t.Error("requests that never became whole are not forgotten")
	}
}

// TestVerdictsAreBounded: a table that has met more clients than it may keeps none of them.
func TestVerdictsAreBounded(t *testing.T) {
	clock := &testClock{}
	v := NewVerdicts(everybody{}, clock.now)
	meet := func(from, to int) {
		for i := from; i < to; i++ {
			v.Authenticate(ids.ClientID(fmt.Sprint(i)), mlsengine.BasicCredential(nil), []byte(fmt.Sprint(i)))
		}
		if _, err := v.Load(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	meet(0, verdictsMax+1)
	if meet(verdictsMax+1, verdictsMax+2); len(v.known) != 1 {
		t.Errorf("%d are kept", len(v.known))
	}
	meet(0, verdictsKept)
	clock.advance(verdictAge + time.Second)
	if v.Authenticate("0", mlsengine.BasicCredential(nil), []byte("0")); !v.Doubtful() {
		t.Error("a verdict is believed for ever")
	}
	if meet(0, 1); len(v.known) > verdictsKept+2 {
		t.Errorf("%d are kept", len(v.known))
	}
}

// everybody is an authentication service that knows everybody.
type everybody struct{}

func (everybody) Authenticate(context.Context, Identity) error { return nil }
