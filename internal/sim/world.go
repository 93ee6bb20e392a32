//go:build parley_sim

package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"parley/conversation"
	"parley/events"
	"parley/events/memlog"
	"parley/internal/ids"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// Size bounds a game.
type Size struct {
	Members int // that may exist at once
	Steps   int
}

// Violation is a law that did not hold.
type Violation struct {
	Seed   uint64
	Law    string
	Detail string
	Story  []string // the last things that happened
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d: %s: %s\n%s", v.Seed, v.Law, v.Detail, strings.Join(v.Story, "\n"))
}

// The laws.
const (
	lawSound     = "no step fails"
	lawAgreement = "members of an epoch agree on its authenticator"
	lawSecrecy   = "nobody reads what was not meant for it, and nobody reads what was not said"
	lawOnce      = "a message is handed over once"
	lawKeys      = "no key is used twice with one nonce"
	lawReplay    = "what a node holds is what its log folds to"
	lawCommits   = "an epoch ends with one commit"
	lawPublic    = "what anybody can see to be wrong is refused"
	lawLive      = "when faults end, members work together"
	lawEviction  = "who is removed keeps nothing"
	lawReaders   = "nobody outside of an epoch can be one of its readers"
)

const storyMax = 120

// world is a game: a clock, a store, the group's order and everybody.
type world struct {
	seed    uint64
	size    Size
	rng     *rand.Rand
	nowMs   uint64
	store   *memlog.Store
	log     *flakyLog
	vault   events.KeyVault
	group   ids.ConversationID
	config  conversation.Config
	suite   *suite.Suite
	order   *order
	clients []*client
	ledger  ledger
	fuse    int  // durable steps until the next crash; 0: none is planned
	calm    bool // no more faults
	passed  bool // the append under way reached the store
	evil    bool // somebody may come to mean harm
	malice  bool // and has
	story   []string
	broken  *Violation
	tally   Tally
	names   int
}

// errCrash is what a durable step returns where the process dies.
var errCrash = errors.New("sim: the process died here")

// Tally counts what happened, by name: a game in which nothing goes wrong proves nothing.
type Tally map[string]int

// What is counted.
const (
	tallyCrash       = "crashes in a durable step"
	tallyFenced      = "appends refused by the fence"
	tallyUnknown     = "appends of unknown outcome"
	tallyLate        = "publishes that arrived late"
	tallyLost        = "submissions or answers lost"
	tallyCommits     = "commits in the order"
	tallyRivals      = "commits that lost their epoch"
	tallyRead        = "messages read"
	tallyEncrypted   = "encryptions recorded"
	tallyForged      = "forged commits"
	tallyForgedIn    = "forged commits accepted"
	tallyExternal    = "external joins tried"
	tallyUnreachable = "members that could not follow a forged commit"
	tallySecrets     = "history secrets held"
)

// tallies lists what every long run must have seen.
var tallies = []string{
	tallyCrash, tallyFenced, tallyUnknown, tallyLate, tallyLost, tallyCommits, tallyRivals, tallyRead, tallyEncrypted, tallyForged, tallyForgedIn,
	tallyUnreachable, tallyExternal, tallySecrets,
}

// Play plays one game. Without a violation every law held.
func Play(seed uint64, size Size) (Tally, *Violation) {
	w := newWorld(seed, size)
	suite.Listen(w.ledger.heard)
	defer suite.Listen(nil)
	w.found()
	for range size.Steps {
		if w.broken != nil {
			break
		}
		w.chaos()
	}
	w.settle()
	return w.tally, w.broken
}

func newWorld(seed uint64, size Size) *world {
	w := &world{
		seed: seed, size: size, rng: rand.New(rand.NewPCG(seed, 0x5eed)), nowMs: 1_700_000_000_000, store: &memlog.Store{},
		tally: Tally{}, group: ids.ConversationID(fmt.Sprintf("group %d", seed)), ledger: newLedger(),
	}
	w.store.Now = func() time.Time { return time.UnixMilli(int64(w.nowMs)) }
	w.log = &flakyLog{Store: w.store, world: w}
	vault, err := events.NewStaticKEK(strings.Repeat("5a", 32))
	if err != nil {
		w.fail(lawSound, "vault: %v", err)
	}
	w.vault = vault
	w.config = w.drawConfig()
	if w.suite, err = suite.Get(w.config.CipherSuite); err != nil {
		w.fail(lawSound, "suite: %v", err)
	}
	w.order = &order{world: w}
	w.evil = w.chance(4)
	return w
}

// drawConfig draws what kind of conversation it is.
func (w *world) drawConfig() conversation.Config {
	c := conversation.DefaultConfig()
	switch w.rng.IntN(20) {
	case 0:
		c.CipherSuite = suite.P256_AES128GCM_SHA256_P256
	case 1, 2:
		c.CipherSuite = suite.X25519_CHACHA20POLY1305_SHA256_Ed25519
	}
	policies := []conversation.WirePolicy{conversation.WirePlaintext, conversation.WirePlaintext, conversation.WireMixed, conversation.WireCiphertext}
	c.WirePolicy = policies[w.rng.IntN(len(policies))]
	c.OutOfOrderTolerance = uint32(w.rng.IntN(6))
	if w.chance(3) {
		c.Transport = conversation.TransportForeign
	}
	return c
}

// foreign says that somebody else's delivery service orders the group: its messages come by a network, and its word merges a commit.
func (w *world) foreign() bool { return w.config.Transport == conversation.TransportForeign }

// stores are what journals write to.
func (w *world) stores() events.Stores {
	s := w.store.Stores()
	s.Log = w.log
	return s
}

// hooks kill the process at a planned durable step.
func (w *world) hooks() events.Hooks {
	burn := func() error {
		if w.fuse == 0 || w.calm {
			return nil
		}
		if w.fuse--; w.fuse == 0 {
			w.tally[tallyCrash]++
			return errCrash
		}
		return nil
	}
	return events.Hooks{
		Before: func(context.Context, events.Step, events.LogID) error { return burn() },
		After: func(_ context.Context, step events.Step, _ events.LogID) error {
			if step == events.StepAppend {
				w.passed = true
			}
			return burn()
		},
	}
}

func (w *world) fail(law, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{Seed: w.seed, Law: law, Detail: fmt.Sprintf(format, args...), Story: w.story}
	}
}

func (w *world) tell(format string, args ...any) {
	if len(w.story) >= storyMax {
		w.story = append(w.story[:0:0], w.story[storyMax/2:]...)
	}
	w.story = append(w.story, fmt.Sprintf("  %d: ", w.nowMs-1_700_000_000_000)+fmt.Sprintf(format, args...))
}

// chance is true once in n.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// entropy draws by label, from a stream of its own for each life of a process.
type entropy struct {
	seed, life uint64
	count      uint64
}

// Draw implements mlsengine.Entropy.
func (e *entropy) Draw(label string, n int) []byte {
	e.count++
	var out []byte
	for block := uint64(0); len(out) < n; block++ {
		b := binary.BigEndian.AppendUint64(nil, e.seed)
		b = binary.BigEndian.AppendUint64(b, e.life)
		b = binary.BigEndian.AppendUint64(b, e.count)
		b = binary.BigEndian.AppendUint64(b, block)
		sum := sha256.Sum256(append(b, label...))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

var _ mlsengine.Entropy = (*entropy)(nil)

// flakyLog is the store with the faults of a network in between.
type flakyLog struct {
	*memlog.Store
	world *world
	late  []events.Append // publishes that timed out and may arrive yet
}

// Append implements events.Log.
func (f *flakyLog) Append(ctx context.Context, a events.Append) (uint64, error) {
	w := f.world
	if !w.calm && w.chance(40) {
		w.tally[tallyUnknown]++
		switch w.rng.IntN(3) {
		case 0:
			w.tally[tallyUnknown]--
			return 0, fmt.Errorf("%w: not sent", events.ErrUnavailable)
		case 1:
			if _, err := f.Store.Append(ctx, a); err != nil {
				return 0, err
			}
			w.passed = true
			return 0, fmt.Errorf("%w: the answer was lost", events.ErrUnknownOutcome)
		default:
			f.late = append(f.late, a)
			return 0, fmt.Errorf("%w: under way", events.ErrUnknownOutcome)
		}
	}
	return f.Store.Append(ctx, a)
}

// arrive lets a publish land that had timed out long ago.
func (f *flakyLog) arrive() {
	if len(f.late) == 0 {
		return
	}
	i := f.world.rng.IntN(len(f.late))
	a := f.late[i]
	f.late = append(f.late[:i:i], f.late[i+1:]...)
	_, err := f.Store.Append(context.Background(), a)
	if err == nil {
		f.world.tally[tallyLate]++
	}
	f.world.tell("a late publish to %s: %v", a.Log, err)
}
