package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Entropy is where the domain's randomness comes from.
type Entropy = mlsengine.Entropy

// Config is what a node is made of.
type Config struct {
	Name      string
	Stores    events.Stores
	Vault     events.KeyVault
	Delivery  *delivery.Service  // the built-in service; nil: conversations of the built-in transport cannot be served
	Foreign   delivery.Transport // carries commits and messages of conversations with a foreign transport; may be nil
	Placement Placement          // nil: this node owns everything
	Clock     Clock              // nil: the system's
	Entropy   Entropy            // nil: the operating system's
	// Certificates gives what finds revocation lists in X.509 chains; nil: nobody looks for any.
	Certificates func() conversation.Certificates
	Auth         func() Verdicts // makes one conversation's table; nil: every credential is believed
	Limits       Limits
	Hooks        events.Hooks
	Logger       *slog.Logger
	Joined       func(ids.ClientID) // called after a client has used up a key package; must not block; may be nil
	Rejoin       func(Lost) bool    // whether a member that is lost comes back by itself; must not block; nil: never
	// JoinConfig is what conversations get that are joined by a Welcome from the inbox; zero: the default.
	JoinConfig conversation.Config
	// ManualCommits says that conversations commit nothing by themselves.
	ManualCommits bool
}

// Node runs the actors of one process. It is safe for concurrent use.
type Node struct {
	name         string
	runtime      *runtime
	directory    *directory
	intake       intake
	groups       intake // of the sequencers: a conversation that waits for one has been admitted already
	places       *places
	stores       events.Stores
	vault        events.KeyVault
	delivery     *delivery.Service
	foreign      delivery.Transport
	placement    Placement
	clock        Clock
	entropy      Entropy
	tables       mlsengine.KeyTables // of the senders of all conversations
	auth         func() Verdicts
	certificates func() conversation.Certificates
	limits       Limits
	hooks        events.Hooks
	logger       *slog.Logger
	hub          *hub
	members      *members
	alarms       *alarms
	inboxes      inboxes
	joinConfig   conversation.Config // of conversations joined by a Welcome from the inbox
	manual       bool                // conversations commit nothing by themselves
	joined       func(ids.ClientID)
	rejoin       func(Lost) bool
	retiring     retiring

	recovery      chan struct{} // permits to replay
	groupRecovery chan struct{} // and to open an order
	batches       chan struct{} // permits for atomic batches: a stream takes 50 at a time from all nodes together
	work          sync.WaitGroup
	stop          context.CancelFunc // ends what runs beside the actors
	ended         <-chan struct{}    // closed by stop
	unwatch       func()
	closing       sync.Once
	closed        error // what Close came to
	counters      struct{ fenced, unknown, corrupt atomic.Uint64 }
}

// New starts a node. Close it.
func New(c Config) (*Node, error) {
	n := &Node{
		name: c.Name, stores: c.Stores, vault: c.Vault, delivery: c.Delivery, foreign: foreignTransport(c.Foreign), placement: c.Placement, clock: c.Clock,
		entropy: c.Entropy, auth: c.Auth, certificates: c.Certificates, limits: c.Limits.withDefaults(), hooks: c.Hooks, logger: c.Logger,
	}
	if n.placement == nil {
		n.placement = NewStatic(DefaultShares)
	}
	if n.clock == nil {
		n.clock = SystemClock{}
	}
	if n.entropy == nil {
		n.entropy = SystemEntropy{}
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	n.intake = intake{perActor: int64(n.limits.WaitingPerActor), perNode: int64(n.limits.WaitingPerNode)}
	n.groups = intake{perActor: int64(n.limits.WaitingPerGroup), perNode: int64(n.limits.WaitingPerNode)}
	n.places = newPlaces(n.limits.WaitingPerGroup)
	n.recovery = make(chan struct{}, n.limits.Recoveries)
	n.groupRecovery = make(chan struct{}, n.limits.Recoveries)
	n.batches = make(chan struct{}, batchesAtOnce)
	n.hub, n.members, n.alarms = newHub(), newMembers(), newAlarms()
	n.inboxes.running = map[ids.ClientID]bool{}
	n.joinConfig, n.manual = c.JoinConfig, c.ManualCommits
	if n.joinConfig.CipherSuite == 0 {
		n.joinConfig = conversation.DefaultConfig()
	}
	n.joined, n.rejoin = c.Joined, c.Rejoin
	n.runtime = newRuntime(n.logger)
	n.directory = &directory{
		limit: n.limits.Actors, groups: n.limits.Groups, runtime: n.runtime, clock: n.clock, idle: n.limits.Idle, owns: n.owns, produce: n.produce,
	}
	if err := n.directory.startDirector(); err != nil {
		return nil, fmt.Errorf("start the director: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.ended = cancel, ctx.Done()
	n.unwatch = n.placement.Watch(func() { n.placed(ctx) })
	n.work.Go(n.sweeper)
	if n.delivery != nil {
		n.holdShares(ctx)
		n.work.Go(func() { n.watchOrders(ctx) })
	}
	n.work.Go(func() { n.patrol(ctx) })
	return n, nil
}

const batchesAtOnce = 16

// produce makes the actor of an activation. It must not do anything: it runs inside the director.
func (n *Node) produce(e *entry) actor.Actor {
	switch e.identity.Kind {
	case KindClient:
		return newClientActor(n, e)
	case KindTransaction:
		return newTransactionActor(n, e)
	case KindGroup:
		return newGroupActor(n, e)
	default:
		return newConversationActor(n, e)
	}
}

func (n *Node) owns(id Identity) bool {
	return n.placement.Owns(n.placement.ShareOf(id.Key()))
}

// placed follows a change of what this node owns: what it lost is passivated, what it gained is visited.
func (n *Node) placed(ctx context.Context) {
	n.runtime.system.Root.Send(n.directory.director, &evict{})
	n.hub.dismiss(n.owns)
	if ctx.Err() != nil {
		return
	}
	if n.delivery != nil {
		n.holdShares(ctx)
	}
	n.work.Go(func() { n.patrol(ctx) })
}

// holdShares makes the delivery service serve the groups of the shares that are owned here, and no others.
func (n *Node) holdShares(ctx context.Context) {
	for share := range Share(n.placement.Count()) {
		var err error
		if n.placement.Owns(share) {
			err = n.delivery.Hold(ctx, uint32(share), sequencers{n})
		} else {
			err = n.delivery.Release(ctx, uint32(share))
		}
		if err != nil {
			n.logger.Error("share not handed over to the delivery service", "share", share, "err", err)
		}
	}
}

// sweeper passivates what is idle, and wakes what is passive and has something due, now and then.
func (n *Node) sweeper() {
	for n.rest(n.limits.Sweep) {
		n.runtime.system.Root.Send(n.directory.director, &sweep{})
		n.wakeDue()
	}
}

// bouncesMax is how often a request is carried to a successor before its caller hears of it: a node that keeps losing races for a
// log should not own it.
const bouncesMax = 8

// request asks an actor of this node, wherever it is in its life. What the actor bounced was not done, so it is asked again.
func request[Q, R any](ctx context.Context, n *Node, id Identity, q Q) (R, error) {
	var none R
	if !n.owns(id) {
		return none, ErrNotHere
	}
	for range bouncesMax {
		e, err := n.directory.find(ctx, id)
		if err != nil {
			return none, err
		}
		deadline, _ := ctx.Deadline()
		m := newAsk[Q, R](q, deadline)
		if m.release, err = n.intakeOf(id).admit(e); err != nil {
			return none, err
		}
		e.used.Store(n.clock.Now().UnixNano())
		n.runtime.system.Root.Send(e.pid, m)
		got, err := m.wait(ctx)
		if !errors.Is(err, errBounced) {
			return got, err
		}
	}
	return none, fmt.Errorf("%w: %s keeps losing its log to another writer", ErrNotHere, id)
}

// inquire is request for those who cannot wait: hear gets the answer. It asks nobody, and reports false, where that would take more than
// putting the question into a mailbox: then request has to be used, and also where the actor bounced the question.
func inquire[Q, R any](n *Node, id Identity, m *ask[Q, R]) bool {
	e, ok := n.directory.active(id)
	if !ok || !n.owns(id) {
		return false
	}
	release, err := n.intakeOf(id).admit(e)
	if err != nil {
		return false
	}
	m.release = release
	e.used.Store(n.clock.Now().UnixNano())
	n.runtime.system.Root.Send(e.pid, m)
	return true
}

// intakeOf is the bound that a request to an identity counts against.
func (n *Node) intakeOf(id Identity) *intake {
	if id.Kind == KindGroup {
		return &n.groups
	}
	return &n.intake
}

// recoveryPermit bounds how many logs are replayed at the same time.
func (n *Node) recoveryPermit(ctx context.Context) (release func(), err error) {
	return permit(ctx, n.recovery)
}

func (n *Node) batchPermit(ctx context.Context) (release func(), err error) {
	return permit(ctx, n.batches)
}

func permit(ctx context.Context, permits chan struct{}) (release func(), err error) {
	select {
	case permits <- struct{}{}:
		return func() { <-permits }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Drain passivates every actor and admits nothing more. It returns when all have saved what they must, or when ctx ends.
func (n *Node) Drain(ctx context.Context) error {
	q := newAsk[drain, struct{}](drain{}, time.Time{})
	n.runtime.system.Root.Send(n.directory.director, q)
	_, err := q.wait(ctx)
	return err
}

// Close drains the node and ends everything it runs. Another call waits for the first and gives its outcome.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() { n.closed = n.close(ctx) })
	return n.closed
}

func (n *Node) close(ctx context.Context) error {
	n.unwatch()
	err := n.Drain(ctx)
	n.stop()
	n.hub.close()
	n.work.Wait()
	err = errors.Join(err, n.runtime.system.Root.StopFuture(n.directory.director).Wait())
	n.runtime.shutdown()
	return err
}

// Stats are counters since the start, and what there is at the moment.
type Stats struct {
	Panics, Fenced, Unknown, Corrupt, Refused uint64
	Waiting                                   int64
	Actors, Groups                            int64 // active: clients, conversations and transactions; sequencers of groups
}

// Stats returns the node's counters.
func (n *Node) Stats() Stats {
	return Stats{
		Panics: n.runtime.panics.Load(), Fenced: n.counters.fenced.Load(), Unknown: n.counters.unknown.Load(),
		Corrupt: n.counters.corrupt.Load(), Refused: n.intake.refused.Load() + n.groups.refused.Load(),
		Waiting: n.intake.waiting.Load() + n.groups.waiting.Load(), Actors: n.directory.spawned.Load(), Groups: n.directory.serving.Load(),
	}
}
