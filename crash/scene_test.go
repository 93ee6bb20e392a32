package crash_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"parley"
	"parley/events"
	"parley/events/jetlog"
	eventsv1 "parley/events/v1"
	"parley/mlsengine"
)

// shareCount is how many shares the deployments of the crash matrix have; nobodysShare is none of them.
const (
	shareCount   = 16
	nobodysShare = shareCount
)

// scene is what an operation works on: clients and conversations of its own, on whatever node it is at the moment.
type scene struct {
	tag     string
	node    *parley.Node
	mail    post
	luggage luggage
	clock   *warpedClock // of the nodes, where the operation is alone

	first      *fate // of the node that was there before, see operation.before
	recovering bool  // this is the node that took over
}

// luggage is what reaches the other node beside the store.
type luggage struct {
	Cast          []string          // clients
	Conversations []string          // ordered by the nodes' delivery service
	Foreign       []string          // ordered by the post
	Kept          map[string][]byte // whatever the operation needs
	Ahead         time.Duration     // of the clock
}

func newScene(tag string, mail post) *scene {
	return &scene{tag: tag, mail: mail, luggage: luggage{Kept: map[string][]byte{}}, clock: &warpedClock{Clock: parley.SystemClock()}}
}

func (s *scene) id(name string) parley.ClientID { return parley.ClientID(name + "." + s.tag) }

func (s *scene) convID(name string) parley.ConversationID {
	return parley.ConversationID(name + "." + s.tag)
}

func (s *scene) client(name string) *parley.Client { return s.node.Bare(s.id(name)) }

func (s *scene) conv(client, name string) *parley.Conversation {
	return s.client(client).Conversation(s.convID(name))
}

// wind sets the clock forward.
func (s *scene) wind(by time.Duration) {
	s.luggage.Ahead += by
	s.clock.ahead.Store(int64(s.luggage.Ahead))
}

// named gives a command of an operation that has several an id of its own.
func named(ctx context.Context, id string) context.Context {
	return parley.WithCommandID(ctx, parley.CommandID(id))
}

// operationID is the command id that the operation is asked under.
const operationID = "the operation"

// perform asks for the operation until it is done, under one id.
func (s *scene) perform(ctx context.Context, op *operation) error {
	return s.node.Insist(named(ctx, operationID), func(ctx context.Context) error {
		err := op.act(ctx, s)
		if errors.Is(err, errDead) {
			return errors.Join(errDead, context.Canceled) // as little as there is an answer of a node that died it advises against asking again
		}
		return err
	})
}

// insist is for what prepares.
func (s *scene) insist(ctx context.Context, do func(context.Context) error) error {
	return s.node.Insist(named(ctx, ""), do)
}

// take takes clients that others can add once.
func (s *scene) take(ctx context.Context, names ...string) error {
	for _, name := range names {
		s.luggage.Cast = append(s.luggage.Cast, name)
		if _, err := s.node.Client(ctx, s.id(name)); err != nil {
			return err
		}
		if err := s.client(name).PublishKeyPackages(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// found creates a conversation of the first client and adds the others to it.
func (s *scene) found(ctx context.Context, name string, members []string, config ...parley.Config) error {
	s.luggage.Conversations = append(s.luggage.Conversations, name)
	if _, err := s.client(members[0]).Create(ctx, s.convID(name), config...); err != nil || len(members) == 1 {
		return err
	}
	var others []parley.ClientID
	for _, member := range members[1:] {
		others = append(others, s.id(member))
	}
	if err := s.insist(ctx, func(ctx context.Context) error { return s.conv(members[0], name).Add(ctx, others...) }); err != nil {
		return err
	}
	return s.await(ctx, "everybody to be there", func() (bool, error) {
		for _, member := range members {
			status, err := s.conv(member, name).Status(ctx)
			if err != nil || !status.Exists {
				return false, err
			}
		}
		return true, nil
	})
}

// couple is ada and bob, and whoever else is named, who are clients, and ada and bob in a conversation.
func (s *scene) couple(ctx context.Context, others ...string) error {
	if err := s.take(ctx, append([]string{"ada", "bob"}, others...)...); err != nil {
		return err
	}
	return s.found(ctx, "tea", []string{"ada", "bob"})
}

// await asks until the answer is yes; errors are answers too.
func (s *scene) await(ctx context.Context, what string, done func() (bool, error)) error {
	return s.awaitEvery(ctx, what, 5*time.Millisecond, done)
}

// idleFor is when nodes whose clock is set forward passivate what nobody asks for: their timers run as ever, but what is passive is looked
// at by its time.
const idleFor = 100 * time.Millisecond

// awaitIdly asks so seldom that everything is passive in between.
func (s *scene) awaitIdly(ctx context.Context, what string, done func() (bool, error)) error {
	return s.awaitEvery(ctx, what, 3*idleFor, done)
}

func (s *scene) awaitEvery(ctx context.Context, what string, between time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		yes, err := done()
		if yes {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waited in vain for %s: %w", what, errors.Join(err, ctx.Err()))
		}
		select {
		case <-time.After(between):
		case <-ctx.Done():
		}
	}
}

// rest waits until members agree and nothing is being stored.
func (s *scene) rest(ctx context.Context, f *fate, calm time.Duration) error {
	return s.await(ctx, "everything to be at rest", func() (bool, error) {
		if f.quiet() < calm {
			return false, errors.New("something is being stored")
		}
		agreed, err := s.agreed(ctx)
		if errors.Is(err, parley.ErrDraining) {
			return true, err
		}
		return agreed && f.quiet() >= calm, err
	})
}

// agreed tells whether all who are in a conversation are in one epoch of it.
func (s *scene) agreed(ctx context.Context) (bool, error) {
	for _, conv := range s.luggage.Conversations {
		newest, statuses := parley.Status{}, map[string]parley.Status{}
		for _, name := range s.luggage.Cast {
			status, err := s.conv(name, conv).Status(ctx)
			if err != nil {
				return false, err
			}
			if statuses[name] = status; status.Exists && status.Epoch >= newest.Epoch {
				newest = status
			}
		}
		for name, status := range statuses {
			in := slices.ContainsFunc(newest.Members, func(m parley.Member) bool { return m.Client == s.id(name) })
			if status.Exists && (!in || status.Epoch != newest.Epoch || status.Staged || string(status.Authenticator) != string(newest.Authenticator)) {
				return false, fmt.Errorf("%s is in epoch %d (%s, %v) of %s, others in %d", name, status.Epoch, status.Lifecycle, in, conv, newest.Epoch)
			}
		}
	}
	return true, nil
}

// outcome is where everything is in the end.
type outcome struct {
	Conversations map[string]string // client/conversation: what it has come to
	Clients       map[string]string
	Heard         map[string][]string // by client
	Keys          map[string]string   // by log: how many keys of which class
}

// differences says where another outcome is not this one.
func (o outcome) differences(other outcome) (all []string) {
	compare := func(what string, want, got map[string]string) {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if want[key] != got[key] {
				all = append(all, fmt.Sprintf("%s of %s: %s, without a crash %s", what, key, got[key], want[key]))
			}
		}
	}
	compare("state", o.Conversations, other.Conversations)
	compare("state", o.Clients, other.Clients)
	compare("keys", o.Keys, other.Keys)
	if !reflect.DeepEqual(o.Heard, other.Heard) {
		all = append(all, fmt.Sprintf("heard %v, without a crash %v", other.Heard, o.Heard))
	}
	return all
}

// look reads where everything is.
func (s *scene) look(ctx context.Context) (outcome, error) {
	o := outcome{Conversations: map[string]string{}, Clients: map[string]string{}}
	for _, name := range s.luggage.Cast {
		status, err := s.client(name).Status(ctx)
		if err != nil {
			return o, err
		}
		o.Clients[name] = fmt.Sprintf("%d credentials, %d key packages, %d conversations, lost %q",
			status.Credentials, status.KeyPackages, status.Conversations, status.Lost)
		for _, conv := range slices.Concat(s.luggage.Conversations, s.luggage.Foreign) {
			c, err := s.conv(name, conv).Status(ctx)
			if err != nil {
				return o, err
			}
			var members []string
			for _, m := range c.Members {
				name, _, readers := strings.Cut(string(m.Client), "history-client")
				if readers {
					name = "a reader" // under a name that was drawn
				}
				members = append(members, strings.TrimSuffix(name, "."+s.tag))
			}
			o.Conversations[name+"/"+conv] = fmt.Sprintf("%s, exists %v, epoch %d of %v, %d proposals, staged %v, child of %q",
				c.Lifecycle, c.Exists, c.Epoch, members, c.Pending, c.Staged, strings.TrimSuffix(string(c.Parent), "."+s.tag))
		}
	}
	return o, nil
}

// recover is what follows a crash, on the other node.
func (s *scene) recover(ctx context.Context, op *operation, want *outcome) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	if err := s.await(ctx, "members to agree, before anything is asked again", func() (bool, error) { return s.agreed(ctx) }); err != nil {
		return outcome{}, err
	}
	if err := s.perform(ctx, op); err != nil {
		return outcome{}, fmt.Errorf("asked again: %w", err)
	}
	if err := s.carryAll(ctx); err != nil {
		return outcome{}, err
	}
	var end outcome
	err := s.await(ctx, "the end", func() (bool, error) {
		agreed, err := s.agreed(ctx)
		if !agreed {
			return false, err
		}
		if end, err = s.look(ctx); err != nil || want == nil {
			return err == nil, err
		}
		if all := want.differences(outcome{Conversations: end.Conversations, Clients: end.Clients, Heard: want.Heard, Keys: want.Keys}); len(all) > 0 {
			return false, errors.Join(errors.New(strings.Join(all, "; ")), s.carryAll(ctx))
		}
		return true, nil
	})
	if err != nil {
		return end, err
	}
	if end.Heard, err = s.talk(ctx); err != nil {
		return end, err
	}
	if op.check != nil {
		if err := op.check(ctx, s); err != nil {
			return end, err
		}
	}
	return end, s.replays(ctx)
}

// replays sees to it that replay of every log leads to the state that lives.
func (s *scene) replays(ctx context.Context) error {
	for _, name := range s.luggage.Cast {
		for _, conv := range slices.Concat(s.luggage.Conversations, s.luggage.Foreign) {
			err := s.await(ctx, "replay to lead to where "+name+" is in "+conv, func() (bool, error) {
				status, err := s.conv(name, conv).Status(ctx)
				if err != nil {
					return false, err
				}
				if status.Version == 0 {
					return true, nil // it was never in there: there is no log to replay
				}
				history, err := s.conv(name, conv).History(ctx)
				if err != nil || history.Version != status.Version {
					return false, err
				}
				if history.Digest != status.Digest || string(history.Authenticator) != string(status.Authenticator) {
					return false, fmt.Errorf("it leads to %s, and live is %s", history.Digest, status.Digest)
				}
				return true, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// setting is a deployment that nodes of a wreck are opened on.
type setting struct{ url, dir, namespace string }

// mail is the foreign delivery service of the deployment.
func (d setting) mail() post { return post{filepath.Join(d.dir, d.namespace+".post")} }

func (d setting) open(ctx context.Context, s *scene, op *operation, name string, hooks parley.Hooks, shares []uint32) (*parley.Node, error) {
	o := parley.Options{
		URL: d.url, KeyDir: filepath.Join(d.dir, d.namespace+".keys"), Namespace: d.namespace, MaxBytes: 256 << 20, Name: name, Shares: shares,
		Hooks: hooks, ManualKeyPackages: true, Foreign: d.mail(),
		Limits: parley.Limits{SnapshotEvery: 1, AnchorDelay: 20 * time.Millisecond, TransactionGrace: 200 * time.Millisecond},
		Access: func(_ parley.ConversationID, c parley.ClientID) parley.Access {
			if strings.HasPrefix(string(c), "guest.") {
				return parley.JoinsByInfo
			}
			return parley.NoAccess
		},
	}
	if op.alone {
		o.Clock = s.clock
		o.Limits.Idle, o.Limits.Sweep = idleFor, idleFor/2
	}
	if op.options != nil {
		op.options(s, &o)
	}
	if os.Getenv("PARLEY_TEST_DEBUG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	}
	return parley.Open(ctx, o)
}

// precede runs a node that dies before the one of the test is opened.
func (d setting) precede(ctx context.Context, s *scene, op *operation) error {
	s.first = newFate(place{step: "actors.send-bundle", before: true, nth: 1}, op)
	node, err := d.open(ctx, s, op, "first", fates{s.tag: s.first}.hooks(true), nil)
	if err != nil {
		return err
	}
	defer closeDead(ctx, node)
	s.node = node
	defer s.first.end()
	return op.before(ctx, s)
}

// closeNow closes a node whose own steps must not wait for long.
func closeNow(ctx context.Context, node *parley.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return node.Close(ctx)
}

// closeDead closes a node whose hooks let nothing through any more.
func closeDead(ctx context.Context, node *parley.Node) {
	_ = closeNow(ctx, node) // it cannot save what it was about to
}

// ringKeys are the classes of keys that every ring holds in the end, by log.
type ringKeys map[events.LogID]string

// keys reads all rings.
func (d setting) keys(ctx context.Context) (ringKeys, error) {
	nc, err := jetlog.Connect(d.url, jetlog.ConnectOptions{Name: "keys"})
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	store, err := jetlog.OpenReadOnly(ctx, nc, jetlog.Config{Namespace: d.namespace})
	if err != nil {
		return nil, err
	}
	logs, err := store.Rings().List(ctx)
	if err != nil {
		return nil, err
	}
	all := ringKeys{}
	for _, id := range logs {
		data, _, err := store.Rings().Load(ctx, id)
		if err != nil {
			return nil, err
		}
		ring := &eventsv1.Ring{}
		if err := proto.Unmarshal(data, ring); err != nil {
			return nil, err
		}
		counts := map[string]int{}
		for _, k := range ring.Keys {
			switch class := events.Class(k.Class); class {
			case 0, events.ClassSpool: // made ahead; shared, and gone by time and number
			default:
				counts[class.String()]++
			}
		}
		all[id] = fmt.Sprint(counts)
		if id.Kind == events.KindDirectory {
			records := 0
			err := store.Scan(ctx, id, 0, func(events.Message) error { records++; return nil })
			if err != nil {
				return nil, err
			}
			all[id] += fmt.Sprint(", records ", records) // what was published or claimed twice would show
		}
	}
	return all, nil
}

// of are the rings of a scene, under names without its tag.
func (k ringKeys) of(s *scene) map[string]string {
	all := map[string]string{}
	for id, keys := range k {
		if tagOf(id) == s.tag {
			all[strings.ReplaceAll(id.String(), "."+s.tag, "")] = keys
		}
	}
	return all
}

// tagOf is the tag of the scene that a log belongs to.
func tagOf(id events.LogID) string {
	name := string(id.Client)
	if name == "" {
		name = string(id.Conversation)
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

// fates are those of the cases on one node, by tag.
type fates map[string]*fate

// hooks ask the fate whose log it is; the only one, where a case is alone.
func (f fates) hooks(alone bool) parley.Hooks {
	hook := func(before bool) func(context.Context, parley.Step, events.LogID) error {
		return func(_ context.Context, step parley.Step, id events.LogID) error {
			tag := tagOf(id)
			if alone {
				tag = "0"
			}
			if own := f[tag]; own != nil {
				return own.pass(step, before)
			}
			return nil
		}
	}
	return parley.Hooks{Before: hook(true), After: hook(false)}
}

// epochOf is the epoch that a message says it is of.
func epochOf(message []byte) uint64 {
	m, err := mlsengine.ParseMessage(message)
	if err != nil {
		return 0
	}
	return uint64(m.Epoch())
}
