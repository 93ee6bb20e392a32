package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
	"parley/internal/natsd"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

func TestMain(m *testing.M) {
	natsd.ChildMain()
	goleak.VerifyTestMain(m)
}

// world is a server and what all nodes on it share.
type world struct {
	t     testing.TB
	store *jetlog.Store
	conn  *nats.Conn
	vault events.KeyVault
	clock *testClock
	hosts map[*Service]*testHost
}

// testClock runs with the real one and can be moved.
type testClock struct {
	mu   sync.Mutex
	skip time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.skip)
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skip += d
}

const testKEK = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: dir, MaxStoreBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	w := &world{t: t, clock: &testClock{}, hosts: map[*Service]*testHost{}}
	w.conn = w.connect(server)
	if w.store, err = jetlog.Open(context.Background(), w.conn, jetlog.Config{Namespace: "test"}); err != nil {
		t.Fatal(err)
	}
	if w.vault, err = events.NewStaticKEK(testKEK); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect(server *natsd.Server) *nats.Conn {
	w.t.Helper()
	nc, err := jetlog.Connect("", jetlog.ConnectOptions{InProcess: server})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

const testShares = 4

func testShareOf(g GroupID) uint32 {
	h := fnv.New32a()
	h.Write([]byte(g))
	return h.Sum32() % testShares
}

// node is a service of this world.
func (w *world) node(name string, change func(*Config)) *Service {
	w.t.Helper()
	c := Config{Store: w.store, Vault: w.vault, Node: name, ShareOf: testShareOf, Clock: w.clock.now}
	c.Limits.RemoteTimeout = 3 * time.Second
	if change != nil {
		change(&c)
	}
	s, err := Open(context.Background(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hosts[s] = &testHost{service: s, owners: map[GroupID]*testOwner{}}
	w.t.Cleanup(func() { w.close(s) })
	return s
}

// close ends a node as a clean stop does: its orders are anchored.
func (w *world) close(s *Service) {
	w.t.Helper()
	w.hosts[s].close(w.t)
	if err := s.Close(context.Background()); err != nil {
		w.t.Error(err)
	}
}

// serving is a node that holds every share.
func (w *world) serving(name string, change func(*Config)) *Service {
	w.t.Helper()
	s := w.node(name, change)
	for share := range uint32(testShares) {
		if err := s.Hold(context.Background(), share, w.hosts[s]); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// osEntropy draws from the operating system.
type osEntropy struct{}

func (osEntropy) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// bot is a client with its keys and, once it is a member, its group.
type bot struct {
	t        testing.TB
	id       ids.ClientID
	identity mlsengine.SigningIdentity
	kp       *mlsengine.KeyPackage
	secrets  mlsengine.KeyPackageSecrets
	group    *mlsengine.Group
	commands int
	now      func() time.Time
}

const testSuite = suite.X25519_AES128GCM_SHA256_Ed25519

func newBot(t testing.TB, name string) *bot {
	t.Helper()
	s, err := suite.Get(testSuite)
	if err != nil {
		t.Fatal(err)
	}
	key, public, err := s.GenerateSignatureKeyPair(osEntropy{}.Draw("", s.SignatureSeedSize()))
	if err != nil {
		t.Fatal(err)
	}
	return &bot{t: t, id: ids.ClientID(name), now: time.Now, identity: mlsengine.SigningIdentity{
		Credential: mlsengine.BasicCredential([]byte(name)), Key: key, Public: public,
	}}
}

func (b *bot) env() mlsengine.Env {
	return mlsengine.Env{Now: uint64(time.Now().Unix()), Entropy: osEntropy{}, Identity: &b.identity}
}

func lifetime() mlsengine.Lifetime {
	now := uint64(time.Now().Unix())
	return mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 90*24*3600}
}

// keyPackage makes and keeps a key package.
func (b *bot) keyPackage() *mlsengine.KeyPackage {
	b.t.Helper()
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{Suite: testSuite, Identity: b.identity, Lifetime: lifetime()}, b.env())
	if err != nil {
		b.t.Fatal(err)
	}
	b.kp, b.secrets = kp, secrets
	return kp
}

// create makes the bot the only member of a group.
func (b *bot) create(g GroupID) Registration {
	b.t.Helper()
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID(g), Suite: testSuite, Identity: b.identity, Lifetime: lifetime(),
	}, b.env())
	if err != nil {
		b.t.Fatal(err)
	}
	b.group = group
	return Registration{Group: g, Origin: b.origin(), GroupInfo: b.info()}
}

func (b *bot) info() []byte {
	b.t.Helper()
	gi, err := b.group.GroupInfo(mlsengine.WithTree, b.env())
	if err != nil {
		b.t.Fatal(err)
	}
	return append([]byte{0, 1, 0, 4}, syntax.Encode(gi)...) // MLSMessage: mls10, mls_group_info
}

// origin is a new command of the bot.
func (b *bot) origin() Origin {
	b.commands++
	return Origin{Client: b.id, CommandID: ids.CommandID(fmt.Sprintf("%s-%d", b.id, b.commands)), IssuedMs: uint64(b.now().UnixMilli())}
}

// commit makes a commit and the bundle it travels in. The bot's group is unchanged.
func (b *bot) commit(in mlsengine.CommitIntent) (Bundle, *mlsengine.CommitOut) {
	b.t.Helper()
	in.TreeInWelcome, in.TreeInInfo = mlsengine.WithTree, mlsengine.WithTree
	out, err := b.group.Commit(in, b.env())
	if err != nil {
		b.t.Fatal(err)
	}
	return Bundle{Group: GroupID(b.group.GroupID()), Origin: b.origin(), Commit: out.Message, Welcome: out.Welcome, GroupInfo: out.GroupInfo}, out
}

func (b *bot) update() (Bundle, *mlsengine.CommitOut) {
	return b.commit(mlsengine.CommitIntent{ForcePath: true})
}

func (b *bot) add(others ...*bot) (Bundle, *mlsengine.CommitOut) {
	b.t.Helper()
	var in mlsengine.CommitIntent
	for _, o := range others {
		in.Inline = append(in.Inline, &mlsengine.Add{KeyPackage: *o.keyPackage()})
	}
	return b.commit(in)
}

// join takes the Welcome of an entry.
func (b *bot) join(e Entry) {
	b.t.Helper()
	m, err := mlsengine.ParseMessage(e.Welcome)
	if err != nil {
		b.t.Fatal(err)
	}
	b.group, err = mlsengine.JoinFromWelcome(m.Welcome(), mlsengine.JoinInput{KeyPackage: b.kp, Secrets: b.secrets, Identity: b.identity})
	if err != nil {
		b.t.Fatalf("%s joins: %v", b.id, err)
	}
}

// process takes an entry that somebody else sent.
func (b *bot) process(e Entry, pending []*mlsengine.Content) {
	b.t.Helper()
	open := func(message []byte) *mlsengine.Content {
		m, err := mlsengine.ParseMessage(message)
		if err != nil {
			b.t.Fatal(err)
		}
		content, next, err := b.group.Open(m, mlsengine.Limits{OutOfOrderTolerance: 5, MaximumForwardDistance: 1000})
		if err != nil {
			b.t.Fatalf("%s opens entry %d: %v", b.id, e.Number, err)
		}
		b.group = next
		return content
	}
	for _, p := range e.Proposals {
		pending = append(pending, open(p))
	}
	staged, err := b.group.StageCommit(mlsengine.CommitInput{Commit: open(e.Message), Proposals: pending}, b.env())
	if err != nil {
		b.t.Fatalf("%s processes entry %d: %v", b.id, e.Number, err)
	}
	b.group = staged.Next
}

// message encrypts an application message.
func (b *bot) message(text string) Message {
	b.t.Helper()
	from, next, block, err := b.group.Reserve(mlsengine.ContentTypeApplication, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	b.group = next
	sealed, _, err := b.group.SealApplication(block, mlsengine.Plaintext{Data: []byte(text)}, b.env())
	if err != nil {
		b.t.Fatal(err)
	}
	return Message{Group: GroupID(b.group.GroupID()), Origin: b.origin(), Bytes: sealed, Generation: uint32(from)}
}

// must returns the value of a call that must not fail.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wants fails unless err carries the code.
func wants(t testing.TB, err error, code Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want %v", err, code)
	}
}

// registered is a group of a new bot.
func registered(t testing.TB, s *Service, g GroupID, name string) *bot {
	t.Helper()
	b := newBot(t, name)
	if n := must(s.RegisterGroup(context.Background(), b.create(g)))(t); n != 1 {
		t.Fatalf("registered at %d", n)
	}
	return b
}

// win submits a bundle that must win, and takes its outcome.
func (b *bot) win(s *Service, bundle Bundle, out *mlsengine.CommitOut) Entry {
	b.t.Helper()
	ctx := context.Background()
	answer := must(s.Transport().SendCommitBundle(ctx, bundle))(b.t)
	won, ok := answer.(Success)
	if !ok {
		b.t.Fatalf("answer %#v", answer)
	}
	b.group = out.Staged.Next
	return must(s.Entry(ctx, bundle.Group, won.Position))(b.t)
}

// crowd is a group with several members, all in the same epoch.
func crowd(t testing.TB, s *Service, g GroupID, size int) []*bot {
	t.Helper()
	return registered(t, s, g, "bot-0").among(s, size)
}

// among has the founder of a group add others, until there are so many.
func (b *bot) among(s *Service, size int) []*bot {
	b.t.Helper()
	bots := []*bot{b}
	for i := 1; i < size; i++ {
		bots = append(bots, newBot(b.t, fmt.Sprintf("bot-%d", i)))
	}
	if size > 1 {
		bundle, out := b.add(bots[1:]...)
		e := b.win(s, bundle, out)
		for _, other := range bots[1:] {
			other.join(e)
		}
	}
	return bots
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func digestBytes(b []byte) []byte {
	d := ids.DigestOf(b)
	return d[:]
}
