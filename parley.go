// Package parley runs MLS (RFC 9420) group conversations for bots and bridges.
//
// A Node holds the conversations of any number of clients. Every change of a conversation is durable in NATS JetStream before anybody
// sees it, and any node that reaches the same log can go on where another one died. A Client is one identity of the node; it creates
// conversations or is added to them, and reads what its conversations receive as one stream of events:
//
//	node, err := parley.Open(ctx, parley.Options{Data: "data"})
//	bot, err := node.Client(ctx, "echo")
//	for event, err := range bot.Events(ctx) {
//		if event.Message != nil {
//			err = event.Reply(ctx, event.Message.Text)
//		}
//		err = errors.Join(err, event.Ack(ctx))
//	}
//
// Errors say what can be done about them: see AdviceOf. A command may carry an id (WithCommandID); asked again under the same id it
// returns its first outcome, on whatever node it is asked.
package parley

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"parley/actors"
	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/events/gather"
	"parley/events/jetlog"
	"parley/internal/ids"
	"parley/internal/natsd"
	"parley/mlsengine/pki"
)

// Names of things, shared by every package.
type (
	// ClientID names a client: the identity of its credential.
	ClientID = ids.ClientID
	// ConversationID names a conversation: the id of its MLS group.
	ConversationID = ids.ConversationID
	// CommandID names a command of a client.
	CommandID = ids.CommandID
	// TransactionID names a transaction.
	TransactionID = ids.TransactionID
	// Config is what a conversation is created or joined with.
	Config = conversation.Config
	// Transport carries messages for conversations that a foreign delivery service orders.
	Transport = delivery.Transport
	// AuthenticationService decides whether a signature key speaks for a client (RFC 9750).
	AuthenticationService = delivery.AuthenticationService
	// Identity is what a credential claims: this client, with this signature key.
	Identity = delivery.Identity
	// Registry is the built-in AuthenticationService: the signature keys that were registered for each client.
	Registry = delivery.Registry
	// TrustStore says which authorities may vouch for the certificates of X.509 credentials, and what they have revoked.
	TrustStore = pki.TrustStore
	// Hooks run before and after every durable step.
	Hooks = events.Hooks
	// Step names a durable step; Steps lists them.
	Step = events.Step
	// Limits bound a node.
	Limits = actors.Limits
	// Clock is where a node takes time from.
	Clock = actors.Clock
	// Entropy is where a node takes randomness from.
	Entropy = actors.Entropy
)

// Steps lists every durable step of a node.
func Steps() []Step { return actors.Steps() }

// DefaultConfig is what a conversation gets where nothing else is said.
func DefaultConfig() Config { return conversation.DefaultConfig() }

// Transports a Config may name.
const (
	BuiltInTransport = conversation.TransportBuiltIn // the node's own delivery service
	ForeignTransport = conversation.TransportForeign // somebody else's: the owner hands messages on, or Options.Foreign does
)

// Rules for the names of clients that a Config may name.
const (
	AnyNames      = conversation.AnyNames      // the default
	DeployedNames = conversation.DeployedNames // those that deployed clients understand: <uuid>:<hexadecimal device>@<domain>
)

// SystemClock is the machine's clock.
func SystemClock() Clock { return actors.SystemClock{} }

// Options say what a node runs on. The zero value but for Data or URL is a node of its own.
type Options struct {
	// Data is the directory of an embedded server. With a URL it is not used.
	Data string
	// Listen is where an embedded server takes other processes of this machine: host:port on loopback; empty: nobody.
	Listen string
	// URL is a NATS server or cluster, with its credentials where it wants any.
	URL, CredsFile, CAFile, CertFile, KeyFile string

	Namespace  string // of all subjects; empty: "parley"
	Replicas   int    // of every stream
	Partitions int    // of the streams, by client; fixed for the life of a deployment
	MaxBytes   int64  // that all streams together may take; 0: the store's default

	// KeyDir holds the shred keys that wrap every key ring; empty: Data + ".keys". The nodes of a deployment share one.
	KeyDir string
	// ShredInterval is how old a shred key may become, see Node.Shred; 0: DefaultShredInterval; negative: any age, as far as this node is
	// concerned.
	ShredInterval time.Duration
	// KEKFile or KEK is a static key instead: there is no certain erasure then.
	KEKFile, KEK string

	// Retention is how long the order of a group keeps what was sent: from RetentionMin to RetentionMax; 0: DefaultRetention. A member that
	// was away for longer has to be added again. What members have recorded in their own logs stays. The nodes of a deployment agree on it.
	Retention time.Duration

	Name string // of the node, in the log of the server; empty: "node"
	// Shares are the shares this node serves of ShareCount; none: all of them. See TakeShares.
	Shares     []uint32
	ShareCount uint32

	Config Config // of conversations joined by being added; zero: DefaultConfig
	// Auth says whose credentials are accepted; nil: the built-in registry, which knows the clients that were taken at nodes of this
	// deployment and whoever was registered (see Node.Registry). An isolated node without Auth believes every credential.
	Auth AuthenticationService
	// Access says who may read a group's GroupInfo, and join by it, beyond its members, who may always come back; nil: nobody.
	Access func(ConversationID, ClientID) Access
	// Certificates judges X.509 credentials in place of Auth, by the trust store it gives. nil: what was registered for the deployment does, see
	// Node.RegisterTrustAnchor; as long as nothing was, Auth judges them like all others.
	Certificates func() *TrustStore

	// Rejoin says whether a member that cannot follow its group any more, and that nobody has removed, comes back by itself by an external
	// commit; see Lost. It must not block. nil: never, since coming back leaves a gap in what the member knows, and hides why it was lost,
	// from an owner who has not asked for it. RejoinAlways: whatever was lost.
	Rejoin func(Lost) bool

	Foreign           Transport // for conversations of a foreign delivery service
	Isolated          bool      // no delivery service: the owner hands every message on himself
	Clock             Clock
	Entropy           Entropy
	Hooks             Hooks
	Limits            Limits
	Logger            *slog.Logger
	ManualKeyPackages bool // clients publish no key packages by themselves
	// ManualCommits is for applications with timers of their own: conversations do not commit what is pending when its delay is over, see
	// Outcome.Delay, and do not rotate keys.
	ManualCommits bool
	// TendInterval is how often the node looks for clients whose published key packages run out; 0: ten minutes.
	TendInterval time.Duration
	// KeyPackagesLow is how many published key packages are few: then new ones are published, and where that does not happen the client's
	// owner is told (KeyPackageNotice); 0: four.
	KeyPackagesLow int
}

// How long orders of groups keep what was sent.
const (
	DefaultRetention = 30 * 24 * time.Hour
	RetentionMin     = time.Hour
	RetentionMax     = 10 * 366 * 24 * time.Hour
)

// ErrRetention is a retention that is out of bounds.
var ErrRetention = fmt.Errorf("a retention is from %s to %s", RetentionMin, RetentionMax)

// errOptions are Options that name nothing to run on.
var errOptions = errors.New("the options do not suffice")

// Node is a running node. It is safe for concurrent use.
type Node struct {
	*Authorities
	*ServiceDesk

	options   Options
	server    *natsd.Server // nil with a URL
	conn      *nats.Conn
	store     *jetlog.Store
	gathered  *gather.Gatherer // the store, as all writers of this node see it
	vault     events.KeyVault
	nodes     *jetlog.Nodes // leases
	presence  *presence     // this node's
	placement *actors.Static
	delivery  *delivery.Service // nil when isolated
	actors    *actors.Node
	unshred   func() // ends the rotation of shred keys
	untend    func() // ends the care for key packages

	mu      sync.Mutex
	clients map[ClientID]bool // their credential is registered
}

// Open starts a node. Close it.
func Open(ctx context.Context, o Options) (node *Node, err error) {
	n := &Node{options: o.withDefaults(), clients: map[ClientID]bool{}}
	n.ServiceDesk = &ServiceDesk{clock: n.options.Clock, name: n.options.Name}
	defer func() {
		if err != nil {
			err = wrap("open", errors.Join(err, n.closeAll(context.WithoutCancel(ctx))))
			node = nil
		}
	}()
	if r := n.options.Retention; r < RetentionMin || r > RetentionMax {
		return nil, fmt.Errorf("%w, not %s", ErrRetention, r)
	}
	if err := n.connect(); err != nil {
		return nil, err
	}
	n.store, err = jetlog.Open(ctx, n.conn, jetlog.Config{
		Namespace: n.options.Namespace, Replicas: n.options.Replicas, Partitions: n.options.Partitions, MaxBytes: n.options.MaxBytes,
	})
	if err != nil {
		return nil, err
	}
	if n.vault, err = n.openVault(ctx); err != nil {
		return nil, err
	}
	if err := n.openNodes(ctx); err != nil {
		return nil, err
	}
	if n.presence, err = n.startPresence(ctx); err != nil {
		return nil, err
	}
	n.gather()
	if err := n.store.Damage(ctx); err != nil {
		n.options.Logger.Error("the store reports lost data; every log is checked against its anchor when it is activated", "err", err)
	}
	n.eraseRings(ctx)
	if err := n.openAuthorities(ctx); err != nil {
		return nil, err
	}
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	n.unshred = n.startShredding()
	return n, nil
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "node"
	}
	if o.KeyDir == "" && o.Data != "" {
		o.KeyDir = o.Data + ".keys"
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.ShareCount == 0 {
		o.ShareCount = actors.DefaultShares
	}
	if o.Config.CipherSuite == 0 {
		o.Config = DefaultConfig()
	}
	if o.TendInterval == 0 {
		o.TendInterval = tendEvery
	}
	if o.KeyPackagesLow == 0 {
		o.KeyPackagesLow = keyPackagesLow
	}
	if o.Clock == nil {
		o.Clock = actors.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// connect starts the embedded server, or connects to the one of the URL.
func (n *Node) connect() (err error) {
	o := jetlog.ConnectOptions{
		Name: n.options.Name, CredsFile: n.options.CredsFile, CAFile: n.options.CAFile, CertFile: n.options.CertFile, KeyFile: n.options.KeyFile,
		OnChange: func(connected bool) { n.options.Logger.Info("connection to the log's server", "connected", connected) },
	}
	if n.options.URL != "" {
		if n.conn, err = jetlog.Connect(n.options.URL, o); err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		return err
	}
	if n.options.Data == "" {
		return fmt.Errorf("%w: a data directory or a NATS URL is needed", errOptions)
	}
	if n.server, err = natsd.Embedded(natsd.Options{Dir: n.options.Data, Listen: n.options.Listen}); err != nil {
		return err
	}
	o.InProcess = n.server
	n.conn, err = jetlog.Connect("", o)
	return err
}

// openVault opens what wraps the key rings. Keys are made only while the log is empty: a log without its key is refused.
func (n *Node) openVault(ctx context.Context) (events.KeyVault, error) {
	var vault events.KeyVault
	var err error
	switch {
	case n.options.KEK != "":
		vault, err = events.NewStaticKEK(n.options.KEK)
	case n.options.KEKFile != "":
		vault, err = events.PrepareStaticKEK(ctx, n.store.Stores(), n.options.KEKFile)
	case n.options.KeyDir != "":
		vault, err = events.PrepareKeyDir(ctx, n.store.Stores(), n.options.KeyDir)
	default:
		return nil, fmt.Errorf("%w: a key directory or a key-encryption key is needed with a NATS URL", errOptions)
	}
	if err != nil {
		return nil, err
	}
	if err := events.CheckVault(ctx, n.store.Stores().Rings, vault); err != nil {
		return nil, err
	}
	if !vault.Erases() {
		n.options.Logger.Warn("a static key-encryption key: what was in the log can be read by whoever keeps a copy of it and of the key")
	}
	return vault, nil
}

func (n *Node) start(ctx context.Context) (err error) {
	shares := make([]actors.Share, len(n.options.Shares))
	for i, s := range n.options.Shares {
		shares[i] = actors.Share(s)
	}
	n.placement = actors.NewStatic(n.options.ShareCount, shares...)
	config := actors.Config{
		Name: n.options.Name, Stores: n.gathered.Stores(), Vault: n.vault, Foreign: n.options.Foreign, Placement: n.placement, Clock: n.options.Clock,
		Limits: n.options.Limits, Hooks: n.options.Hooks, Logger: n.options.Logger, JoinConfig: n.options.Config, Rejoin: n.options.Rejoin,
		ManualCommits: n.options.ManualCommits,
	}
	if n.options.Entropy != nil {
		config.Entropy = n.options.Entropy
	}
	config.Certificates = func() conversation.Certificates { return n.trust() }
	if !n.options.Isolated {
		n.delivery, err = delivery.Open(ctx, delivery.Config{
			Store: n.store, Stores: n.gathered.Stores(), Vault: n.vault, Node: n.options.Name, Watcher: watcherName(n.options), Clock: n.options.Clock.Now, Hooks: n.options.Hooks,
			Auth: n.options.Auth, Certified: n.options.Certificates, Authorities: n.authority, Policy: n.options.Access,
			Limits:  delivery.Limits{RetainEntries: n.options.Retention, StockLow: n.options.KeyPackagesLow},
			ShareOf: func(g delivery.GroupID) uint32 { return uint32(n.placement.ShareOf(actors.GroupIdentity(g).Key())) },
		})
		if err != nil {
			return err
		}
		config.Delivery, n.service = n.delivery, n.delivery
		config.Auth = func() actors.Verdicts { return n.delivery.Verdicts() }
	} else {
		auth := n.isolatedAuth()
		config.Auth = func() actors.Verdicts { return delivery.NewVerdicts(auth, n.options.Clock.Now) }
	}
	tender := newTender(n)
	config.Joined = tender.joined
	if n.actors, err = actors.New(config); err == nil {
		n.untend = tender.start()
	}
	return err
}

// isolatedAuth is whom a node without a delivery service asks.
func (n *Node) isolatedAuth() AuthenticationService {
	if n.options.Certificates == nil {
		return n.authority.Judge(n.options.Auth, n.options.Clock.Now)
	}
	return delivery.WithCertificates(n.options.Auth, n.options.Certificates, n.options.Clock.Now)
}

// Registry is the built-in authentication service; nil where Options.Auth names another one, or the node is isolated.
func (n *Node) Registry() *Registry {
	if n.delivery == nil {
		return nil
	}
	return n.delivery.Registry()
}

// gather brings together what the writers of this node append.
func (n *Node) gather() {
	stores := n.store.Stores()
	stores.Rings = n.presence.guard
	n.gathered = gather.New(stores, n.options.Clock.Now, n.lane)
}

// lane says which stream a log lives in: appends of one stream may travel as one batch.
func (n *Node) lane(id events.LogID) (int, bool) {
	names := n.store.Names()
	if id.Kind == events.KindOrder {
		return names.Partition(string(id.Conversation)), true
	}
	return names.Partition(string(id.Client)), true
}

// URL is where other processes of this machine reach the embedded server; empty without Listen.
func (n *Node) URL() string {
	if n.server == nil || n.options.Listen == "" {
		return ""
	}
	return n.server.URL()
}

// Stats are the node's counters.
func (n *Node) Stats() actors.Stats { return n.actors.Stats() }

// Drain stops admitting commands and returns when every conversation has saved what it must.
func (n *Node) Drain(ctx context.Context) error { return wrap("drain", n.actors.Drain(ctx)) }

// Close drains the node and stops it, and its embedded server.
func (n *Node) Close(ctx context.Context) error { return wrap("close", n.closeAll(ctx)) }

// eraseRings erases the rings that a crash, or a burst, left behind their successors. Where it cannot, the next start does.
func (n *Node) eraseRings(ctx context.Context) {
	if n.store == nil {
		return
	}
	if _, err := n.store.Rings().Sweep(ctx); err != nil {
		n.options.Logger.Warn("replaced key rings not erased yet", "err", err)
	}
}

func (n *Node) closeAll(ctx context.Context) error {
	var all []error
	if n.unshred != nil {
		n.unshred()
	}
	if n.untend != nil {
		n.untend()
	}
	if n.actors != nil {
		all = append(all, n.actors.Close(ctx))
	}
	if n.delivery != nil {
		all = append(all, n.delivery.Close(ctx))
	}
	if n.Authorities != nil {
		n.authority.Close()
	}
	if n.gathered != nil {
		n.gathered.Wait()
	}
	if n.presence != nil {
		n.presence.end(ctx)
	}
	n.eraseRings(ctx)
	if n.conn != nil {
		n.conn.Close()
	}
	if n.server != nil {
		n.server.Shutdown()
	}
	return errors.Join(all...)
}

// settings travel with a context.
type settings struct {
	command   CommandID
	principal string
	began     time.Time // when Insist tried first what runs under the context
	released  func(Received)
}

type settingsKey struct{}

func settingsOf(ctx context.Context) settings {
	s, _ := ctx.Value(settingsKey{}).(settings)
	return s
}

// WithCommandID names the next command made with the context. Ids are remembered for ten minutes per principal: the same command asked
// again under its id returns its first outcome.
func WithCommandID(ctx context.Context, id CommandID) context.Context {
	s := settingsOf(ctx)
	s.command = id
	return context.WithValue(ctx, settingsKey{}, s)
}

// WithPrincipal says on whose behalf commands are made; the log records it.
func WithPrincipal(ctx context.Context, principal string) context.Context {
	s := settingsOf(ctx)
	s.principal = principal
	return context.WithValue(ctx, settingsKey{}, s)
}
