package parley

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"parley/actors"
	"parley/delivery"
	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
)

// Figures are ratios, so that they mean the same on any machine: computation in V, one Ed25519 verification by the standard library, and
// storage in F, one fsynced publish of 1 KiB to the same embedded server, or as a share of what that server takes in atomic batches
// of 1,000 records of 1 KiB. Units and operations are measured in turns, and the median of the ratios is reported.

const (
	rooms  = 64   // conversations at once
	rounds = 7    // of which the median counts
	kib    = 1024 // bytes of a message
)

// gauge measures the units of storage on the server under test, in streams of its own.
type gauge struct {
	store *jetlog.Store
	head  uint64
	batch []events.Append
}

func newGauge(b *testing.B, n *Node) *gauge {
	b.Helper()
	store, err := jetlog.Open(context.Background(), n.conn, jetlog.Config{Namespace: "gauge", MaxBytes: 2 << 30})
	if err != nil {
		b.Fatal(err)
	}
	g := &gauge{store: store}
	for i := range 1000 {
		log := events.ConversationLog("gauge", ids.ConversationID(fmt.Sprint(i)))
		g.batch = append(g.batch, events.Append{Log: log, Messages: [][]byte{make([]byte, kib)}})
	}
	return g
}

// f is how long one fsynced publish takes.
func (g *gauge) f(b *testing.B) time.Duration {
	b.Helper()
	const publishes = 50
	began := time.Now()
	for range publishes {
		head, err := g.store.Append(context.Background(), events.Append{Log: events.ClientLog("f"), Expect: g.head, Messages: [][]byte{make([]byte, kib)}})
		if err != nil {
			b.Fatal(err)
		}
		g.head = head
	}
	return time.Since(began) / publishes
}

// batches is how many records a second the server takes in atomic batches.
func (g *gauge) batches(b *testing.B) float64 {
	b.Helper()
	const batches = 8
	began := time.Now()
	for range batches {
		heads, err := g.store.AppendBatch(context.Background(), g.batch)
		if err != nil {
			b.Fatal(err)
		}
		for i := range g.batch {
			g.batch[i].Expect = heads[i]
		}
	}
	return batches * float64(len(g.batch)) / time.Since(began).Seconds()
}

const verifications = 200 // of which V is the mean

// verification is V.
func verification() time.Duration {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := make([]byte, 100)
	signature, public := ed25519.Sign(key, message), key.Public().(ed25519.PublicKey)
	began := time.Now()
	for range verifications {
		ed25519.Verify(public, message, signature)
	}
	return time.Since(began) / verifications
}

// metered runs something and tells how long it took, and what processor time this process used for it, the server included: of the two
// the second is what neighbours on the machine disturb little.
func metered(do func()) (took, used time.Duration) {
	processor := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for ourselves
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, before := time.Now(), processor()
	do()
	return time.Since(began), processor() - before
}

// cost is processor time in V of the same kind.
func cost(used time.Duration, messages int) float64 {
	const times = 10
	_, v := metered(func() {
		for range times {
			verification()
		}
	})
	return float64(used) / float64(v) * times * verifications / float64(messages)
}

// figures are what the rounds of a benchmark came to, by unit.
type figures map[string][]float64

func (f figures) add(unit string, value float64) { f[unit] = append(f[unit], value) }

// run repeats a round as often as its median needs, and reports the medians.
func run(b *testing.B, round func(figures)) {
	b.Helper()
	f, done := figures{}, 0
	b.ResetTimer()
	for b.Loop() {
		round(f)
		done++
	}
	for ; done < rounds; done++ {
		round(f)
	}
	for unit, values := range f {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
}

// benchNode is a node with an embedded server, and what is measured on it.
type benchNode struct {
	*Node
	gauge *gauge
	rooms []ConversationID
}

const (
	speaker  ClientID = "ada"
	listener ClientID = "bob"
)

func newBenchNode(b *testing.B, o Options) *benchNode {
	b.Helper()
	o.Data, o.Listen = filepath.Join(b.TempDir(), "data"), "127.0.0.1:0"
	o.MaxBytes = 8 << 30
	node, err := Open(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			b.Error(err)
		}
	})
	n := &benchNode{Node: node, gauge: newGauge(b, node)}
	// The listener's share has no order in it, so that the listener can move alone.
	for i := 0; len(n.rooms) < rooms; i++ {
		id := ConversationID(fmt.Sprintf("room %d", i))
		if n.placement.ShareOf(actors.GroupIdentity(id).Key()) != n.share(listener) {
			n.rooms = append(n.rooms, id)
		}
	}
	if n.share(speaker) == n.share(listener) {
		b.Fatal("speaker and listener share a fate")
	}
	return n
}

func (n *benchNode) share(c ClientID) actors.Share {
	return n.placement.ShareOf(actors.ClientIdentity(c).Key())
}

func (n *benchNode) client(b *testing.B, id ClientID) *Client {
	b.Helper()
	c, err := n.Client(context.Background(), id)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// everywhere runs fn for each room at once, several times where callers are many.
func (n *benchNode) everywhere(b *testing.B, callers int, fn func(room int) error) time.Duration {
	b.Helper()
	var work sync.WaitGroup
	began := time.Now()
	for room := range n.rooms {
		for range callers {
			work.Go(func() {
				if err := fn(room); err != nil {
					b.Error(err)
				}
			})
		}
	}
	work.Wait()
	took := time.Since(began)
	if b.Failed() {
		b.FailNow()
	}
	return took
}

// meet lets the speaker open every room with the listener in it.
func (n *benchNode) meet(b *testing.B) (speaking []*Conversation) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ada, bob := n.client(b, speaker), n.client(b, listener)
	if err := bob.PublishKeyPackages(ctx, rooms); err != nil {
		b.Fatal(err)
	}
	for _, id := range n.rooms {
		conv, err := ada.Create(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		speaking = append(speaking, conv)
	}
	n.everywhere(b, 1, func(room int) error {
		return n.Insist(ctx, func(ctx context.Context) error { return speaking[room].Add(ctx, listener) })
	})
	for _, id := range n.rooms {
		n.settled(b, bob.Conversation(id), 1)
	}
	return speaking
}

// settled waits until a conversation has followed its group's order to a position.
func (n *benchNode) settled(b *testing.B, c *Conversation, position uint64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.state(ctx)
		if err == nil && s.Exists() && s.Position >= position {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.Fatal(c.ID(), "did not come to", position, err)
		}
	}
}

// BenchmarkEncryptDurable: 64 conversations encrypt 1 KiB at once; each message is given out when its generation's reservation is durable.
// The target is at least 5 for each F.
func BenchmarkEncryptDurable(b *testing.B) {
	n := newBenchNode(b, Options{Isolated: true, Foreign: granting{}})
	ada := n.client(b, speaker)
	config := DefaultConfig()
	config.Transport = ForeignTransport
	for _, id := range n.rooms {
		if _, err := ada.Create(context.Background(), id, config); err != nil {
			b.Fatal(err)
		}
	}
	const each = 256
	text := make([]byte, kib)
	run(b, func(f figures) {
		unit := n.gauge.f(b)
		took := n.everywhere(b, 1, func(room int) error {
			for range each {
				if _, err := ada.Conversation(n.rooms[room]).Encrypt(context.Background(), text, nil); err != nil {
					return err
				}
			}
			return nil
		})
		f.add("messages/F", rooms*each*float64(unit)/float64(took))
		f.add("messages/s", rooms*each/took.Seconds())
	})
}

// BenchmarkSend: 32 callers for each of 64 conversations send 1 KiB; each hears when the group's order has its message. The target is at
// least 40 % of the rate of atomic batches.
func BenchmarkSend(b *testing.B) {
	n := newBenchNode(b, Options{})
	speaking := n.meet(b)
	n.ReleaseShares(uint32(n.share(listener)))
	const callers, each = 32, 8
	text := make([]byte, kib)
	run(b, func(f figures) {
		batches := n.gauge.batches(b)
		took, used := metered(func() {
			n.everywhere(b, callers, func(room int) error {
				for range each {
					if _, err := speaking[room].Send(context.Background(), text); err != nil {
						return err
					}
				}
				return nil
			})
		})
		rate := rooms * callers * each / took.Seconds()
		f.add("messages/s", rate)
		f.add("%-of-batches", 100*rate/batches)
		f.add("V/message", cost(used, rooms*callers*each))
	})
}

// BenchmarkReceive: what waits in the orders of 64 conversations is decrypted into their states and seen by their owner. Their messages are
// sent while the owner's share is served by nobody; then this node takes it. The target is at least 40 % of the rate of atomic batches.
func BenchmarkReceive(b *testing.B) {
	n := newBenchNode(b, Options{})
	speaking := n.meet(b)
	const each = 512
	text, share := make([]byte, kib), uint32(n.share(listener))
	run(b, func(f figures) {
		n.ReleaseShares(share)
		newest := make([]uint64, rooms)
		n.everywhere(b, 1, func(room int) error { return n.fill(speaking[room], text, each, &newest[room]) })
		for room, position := range newest {
			n.settled(b, speaking[room], position)
		}
		batches := n.gauge.batches(b)
		var last map[ConversationID]Event
		took, used := metered(func() {
			n.TakeShares(share)
			last = n.hear(b, rooms*each)
		})
		for _, e := range last {
			if err := e.Ack(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		rate := rooms * each / took.Seconds()
		f.add("messages/s", rate)
		f.add("%-of-batches", 100*rate/batches)
		f.add("V/message", cost(used, rooms*each))
	})
}

// fill sends messages into a room, several at once.
func (n *benchNode) fill(c *Conversation, text []byte, count int, newest *uint64) error {
	const callers = 16
	var work sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range callers {
		work.Go(func() {
			for range count / callers {
				position, err := c.Send(context.Background(), text)
				mu.Lock()
				if *newest = max(*newest, position); err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return failed
}

// hear reads the listener's stream until it has told so many messages, and returns the last event of each room.
func (n *benchNode) hear(b *testing.B, messages int) map[ConversationID]Event {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	last := map[ConversationID]Event{}
	for e, err := range n.client(b, listener).Events(ctx) {
		if err != nil {
			b.Fatal(err)
		}
		last[e.Conversation.ID()] = e
		if e.Message == nil {
			continue
		}
		if messages--; messages == 0 {
			break
		}
	}
	return last
}

// granting is a foreign delivery service that takes everything and orders nothing.
type granting struct{ look func(delivery.Bundle) }

func (g granting) SendCommitBundle(_ context.Context, bundle delivery.Bundle) (delivery.Answer, error) {
	if g.look != nil {
		g.look(bundle)
	}
	return delivery.Success{}, nil
}

func (granting) SendProposal(context.Context, delivery.Proposal) (uint64, error) { return 0, nil }

func (granting) SendMessages(_ context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	return make([]delivery.Receipt, len(ms)), nil
}
