package conversation

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// seeded draws by label, so that one draw more leaves the others as they were.
type seeded struct {
	seed  uint64
	count map[string]uint64
}

func newSeeded(seed uint64) *seeded { return &seeded{seed: seed, count: map[string]uint64{}} }

func (e *seeded) Draw(label string, n int) []byte {
	e.count[label]++
	var out []byte
	for block := uint64(0); len(out) < n; block++ {
		b := binary.BigEndian.AppendUint64(nil, e.seed)
		b = binary.BigEndian.AppendUint64(b, e.count[label])
		b = binary.BigEndian.AppendUint64(b, block)
		sum := sha256.Sum256(append(b, label...))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// member is one client with its log of one conversation.
type member struct {
	name     string
	identity *mlsengine.SigningIdentity
	entropy  *seeded
	suite    mlsengine.CipherSuite
	state    State
	log      []*events.Record
	answers  []TransportAnswered // on their way back from the transport
	received []string            // plaintexts handed over, in order
	queue    [][]byte            // foreign transport: messages on their way in
	commands int
	others   map[CredentialRef]*mlsengine.SigningIdentity // credentials beside the first
}

// world is a group's surroundings: a clock, an order, and everybody.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	nowMs   uint64
	group   ids.ConversationID
	config  Config
	order   []Entry
	epochOf map[mlsengine.Epoch]uint64 // who won an epoch, by number
	commits map[ids.Digest]uint64
	bundles []SendBundle // that were accepted
	members []*member
	auth    map[mlsengine.Epoch][]byte // epoch authenticators seen
	psks    pskTable

	invitations []invitation
	info        []byte // GroupInfo of the newest epoch
	transcript  []string
	manual      bool // the test itself says what the transport answers
	unreliable  bool // now and then the transport gives no answer
}

type pskTable map[string][]byte

func (p pskTable) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) {
	k, ok := p[string(id.ID)]
	return k, ok
}

func newWorld(t testing.TB, seed uint64, config Config) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, seed)), nowMs: 1_700_000_000_000, group: "tea round", config: config,
		epochOf: map[mlsengine.Epoch]uint64{}, commits: map[ids.Digest]uint64{}, auth: map[mlsengine.Epoch][]byte{}, psks: pskTable{},
	}
}

// newMember makes a client that is in no group yet.
func (w *world) newMember(name string) *member {
	w.t.Helper()
	m := &member{name: name, suite: w.config.CipherSuite, entropy: newSeeded(uint64(len(w.members)+1)<<32 + uint64(len(name)))}
	s, err := suite.Get(w.config.CipherSuite)
	if err != nil {
		w.t.Fatal(err)
	}
	private, public, err := s.GenerateSignatureKeyPair(m.entropy.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		w.t.Fatal(err)
	}
	m.identity = &mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(name)), Key: private, Public: public}
	m.state = NewState(ids.ClientID(name), w.group)
	w.members = append(w.members, m)
	return m
}

// envFor is env for an input; what enters a group presents the first credential.
func (w *world) envFor(m *member, in Input) Env {
	env := w.env(m)
	switch in.(type) {
	case Create, Join, JoinExternally:
		env.Identity = m.identity
	}
	return env
}

func (w *world) env(m *member) Env {
	id, _, _ := m.Identity(m.state.Config.Credential, m.suite)
	return Env{NowMs: w.nowMs, Entropy: m.entropy, Identity: id, Credentials: m, PSKs: w.psks, LeaseValid: true}
}

func (w *world) keyPackage(m *member) (*mlsengine.KeyPackage, mlsengine.KeyPackageSecrets) {
	w.t.Helper()
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: m.suite, Identity: *m.identity, Lifetime: lifetimeFrom(w.nowMs, lifetimeSeconds), Capabilities: capabilities(),
	}, mlsengine.Env{Now: w.nowMs / 1000, Entropy: m.entropy})
	if err != nil {
		w.t.Fatal(err)
	}
	return kp, secrets
}

// meta is a fresh command id.
func (w *world) meta(m *member) CommandMeta {
	m.commands++
	return CommandMeta{ID: ids.CommandID(fmt.Sprintf("%s-%d", m.name, m.commands)), Principal: m.name, IssuedMs: w.nowMs}
}

// record makes the record of a transition, through the encoding of its events.
// Without keys every secret is unreadable.
func (w *world) record(s State, tr Transition, keys bool) *events.Record {
	w.t.Helper()
	r := &events.Record{TimeMS: tr.Next.TimeMs, Log: events.ConversationLog(s.Client, s.Conversation)}
	r.Version = s.Version + 1
	for _, e := range tr.Events {
		var stored v1.Event
		stored.SetBodyValue(e.Body)
		b, err := proto.Marshal(&stored)
		if err != nil {
			w.t.Fatal(err)
		}
		var read v1.Event
		if err := proto.Unmarshal(b, &read); err != nil {
			w.t.Fatal(err)
		}
		out := events.Event{Body: read.BodyValue(), Forget: e.Forget}
		for _, part := range e.Secrets {
			kept := events.Secret{Class: part.Class, Label: part.Label}
			if keys {
				kept.Plain = secret.Clone(part.Plain.Expose())
			}
			out.Secrets = append(out.Secrets, kept)
		}
		r.Events = append(r.Events, out)
	}
	return r
}

// step runs an input, checks the law, stores the record and moves on.
func (w *world) step(m *member, in Input) Reply {
	w.t.Helper()
	tr, err := Step(m.state, in, w.envFor(m, in))
	if err != nil {
		w.t.Fatalf("%s: %T: %v", m.name, in, err)
	}
	w.store(m, in, tr)
	return tr.Reply
}

func (w *world) store(m *member, in Input, tr Transition) {
	w.t.Helper()
	if len(tr.Events) == 0 {
		if !bytes.Equal(EncodePublic(m.state.Public), EncodePublic(tr.Next.Public)) || !samePrivate(m.state, tr.Next) {
			w.t.Fatalf("%s: %T changed the state without an event", m.name, in)
		}
	} else {
		r := w.record(m.state, tr, true)
		w.checkLaw(m, in, tr, r)
		m.log = append(m.log, r)
		tr.Next = tr.Next.At(r.Version)
	}
	m.state = tr.Next
	w.tell(m, tr)
	for _, msg := range tr.Reply.Messages {
		if msg.History == "" {
			m.received = append(m.received, string(msg.Plaintext.Expose()))
		}
	}
	w.checkEpoch(m)
	for _, e := range tr.Outbox {
		w.send(m, e)
	}
}

func samePrivate(a, b State) bool { return EncodePrivate(a).Equal(EncodePrivate(b)) }

// checkLaw compares what was decided with what the record folds to, with keys
// and without, and that snapshots read back.
func (w *world) checkLaw(m *member, in Input, tr Transition, r *events.Record) {
	w.t.Helper()
	want := tr.Next.At(r.Version)
	folded, err := Fold(m.state, r)
	if err != nil {
		w.t.Fatalf("%s: fold %T: %v", m.name, in, err)
	}
	if got, exp := EncodePublic(folded.Public), EncodePublic(want.Public); !bytes.Equal(got, exp) {
		w.t.Fatalf("%s: %T: public states differ:\nfold %+v\nstep %+v", m.name, in, folded.Public, want.Public)
	}
	if !samePrivate(folded, want) {
		w.t.Fatalf("%s: %T %s: private states differ", m.name, in, kindsOf(tr.Events))
	}
	blind := m.state
	blind.Private, blind.joining = nil, secret.Bytes{}
	blindly, err := Fold(blind, w.record(m.state, tr, false))
	if err != nil {
		w.t.Fatalf("%s: fold %T without keys: %v", m.name, in, err)
	}
	if blindly.Digest() != want.Digest() || blindly.Private != nil {
		w.t.Fatalf("%s: %T: the public state needs keys", m.name, in)
	}
	decoded, err := DecodePublic(EncodePublic(want.Public))
	if err != nil {
		w.t.Fatalf("%s: snapshot: %v", m.name, err)
	}
	if decoded.Digest() != want.Digest() {
		w.t.Fatalf("%s: %T: the snapshot reads back differently", m.name, in)
	}
}

func kindsOf(evs []events.Event) []string {
	var kinds []string
	for _, e := range evs {
		kinds = append(kinds, e.Kind())
	}
	return kinds
}

// checkEpoch checks that members agree on the epoch.
func (w *world) checkEpoch(m *member) {
	w.t.Helper()
	auth := m.state.EpochAuthenticator()
	if auth == nil || m.state.Lifecycle != Active {
		return
	}
	if known, ok := w.auth[m.state.Epoch()]; ok && !bytes.Equal(known, auth) {
		w.t.Fatalf("%s: epoch %d has another authenticator than at its peers", m.name, m.state.Epoch())
	}
	w.auth[m.state.Epoch()] = auth
}

// restart rebuilds a member from its records: what a crash leaves.
func (w *world) restart(m *member) {
	w.t.Helper()
	s := NewState(m.state.Client, m.state.Conversation)
	var err error
	for _, r := range m.log {
		if s, err = Fold(s, r); err != nil {
			w.t.Fatalf("%s: rebuild: %v", m.name, err)
		}
	}
	if s.Digest() != m.state.Digest() || !samePrivate(s, m.state) {
		w.t.Fatalf("%s: the rebuilt state is another", m.name)
	}
	m.state = s
}

// send is the built-in delivery service: one commit an epoch, in one order.
func (w *world) send(m *member, e Effect) {
	switch e := e.(type) {
	case SendBundle:
		if !w.manual {
			w.submit(m, e)
		}
	case SendProposal:
		switch {
		case e.Epoch != w.head(): // the member is behind; nobody can use it any more
		case w.config.Transport == TransportForeign:
			w.fanOut(m, e.Message, false)
		default:
			w.append(Entry{Kind: EntryProposal, Message: e.Message, Sender: ids.ClientID(m.name)})
		}
	case RegisterGroup:
		w.append(Entry{Kind: EntryGroup})
	}
}

// echo says whether a sender gets its own message too.
type echo bool

// fanOut is a foreign delivery service: everybody else gets the message, and
// now and then twice, or damaged first. Commits come back to their sender as
// well.
func (w *world) fanOut(from *member, message []byte, own echo) {
	if w.config.Transport != TransportForeign {
		return
	}
	for _, m := range w.members {
		if m.hears() && w.rng.IntN(12) == 0 {
			damaged := slices.Clone(message)
			damaged[w.rng.IntN(len(damaged))] ^= 1 << w.rng.IntN(8)
			m.queue = append(m.queue, damaged)
		}
		if m.hears() && (m != from || bool(own) || w.rng.IntN(8) == 0) {
			m.queue = append(m.queue, message)
		}
		if m.hears() && m != from && w.rng.IntN(10) == 0 {
			m.queue = append(m.queue, message)
		}
	}
}

// hearQueue hands a member some of what a foreign service has for it. Every
// message may be overtaken by the next; what came too early to be kept is
// delivered again.
func (w *world) hearQueue(m *member, most int) {
	w.t.Helper()
	for range most {
		if len(m.queue) == 0 {
			return
		}
		if !m.hears() {
			m.queue = nil
			return
		}
		i := w.rng.IntN(min(2, len(m.queue)))
		n := min(1+w.rng.IntN(3), len(m.queue)-i) // of one record
		var messages []Input
		for _, message := range m.queue[i : i+n] {
			messages = append(messages, Received{Message: message})
		}
		m.queue = slices.Delete(m.queue, i, i+n)
		for k, r := range w.together(m, messages...) {
			if r.Err == nil && r.Outcomes[0].Kind == OutcomeRejected && r.Outcomes[0].Advice() == Retry {
				m.queue = append(m.queue, messages[k].(Received).Message)
			}
		}
	}
}

// hears reports whether messages of the group are for the member.
func (m *member) hears() bool { return m.state.Exists() || m.state.Joining != nil }

// together runs inputs one on the state of the other into one record, as a
// group commit or a transaction does.
func (w *world) together(m *member, inputs ...Input) (replies []Reply) {
	w.t.Helper()
	all := Transition{Next: m.state}
	for _, in := range inputs {
		tr, err := Step(all.Next, in, w.env(m))
		if err != nil {
			w.t.Fatalf("%s: %T: %v", m.name, in, err)
		}
		all.Next = tr.Next
		all.Events = append(all.Events, tr.Events...)
		all.Outbox = append(all.Outbox, tr.Outbox...)
		all.Reply.Messages = append(all.Reply.Messages, tr.Reply.Messages...)
		replies = append(replies, tr.Reply)
	}
	all.Events = Merge(all.Events)
	w.store(m, inputs[0], all)
	return replies
}

func (w *world) append(e Entry) uint64 {
	e.Number = uint64(len(w.order) + 1)
	w.order = append(w.order, e)
	return e.Number
}

// head is the epoch that the order has reached.
func (w *world) head() mlsengine.Epoch { return mlsengine.Epoch(len(w.epochOf)) }

func (w *world) submit(m *member, b SendBundle) {
	if at, ok := w.commits[b.Digest]; ok {
		m.answers = append(m.answers, TransportAnswered{Bundle: b.Digest, Outcome: TransportSuccess, Position: at})
		return
	}
	if w.unreliable && w.rng.IntN(10) == 0 {
		m.answers = append(m.answers, TransportAnswered{Bundle: b.Digest, Outcome: TransportFailed, Reason: "no connection"})
		return
	}
	if b.Epoch != w.head() {
		m.answers = append(m.answers, TransportAnswered{Bundle: b.Digest, Outcome: TransportRetry, Reason: "epoch is taken"})
		return
	}
	e := Entry{Kind: EntryCommit, Message: b.Commit, EncryptedMessage: b.EncryptedMessage, Sender: ids.ClientID(m.name)}
	for _, p := range b.Proposals {
		if !w.ordered(p) {
			e.Proposals = append(e.Proposals, p)
		}
	}
	at := w.append(e)
	w.info = b.GroupInfo
	w.fanOut(m, b.Commit, true)
	if len(b.EncryptedMessage) > 0 {
		w.fanOut(m, b.EncryptedMessage, true)
	}
	w.epochOf[b.Epoch] = at
	w.commits[b.Digest] = at
	w.bundles = append(w.bundles, b)
	answer := TransportAnswered{Bundle: b.Digest, Outcome: TransportSuccess, Position: at}
	if w.unreliable && w.rng.IntN(6) == 0 {
		answer = TransportAnswered{Bundle: b.Digest, Outcome: TransportFailed, Reason: "the connection broke"}
	}
	m.answers = append(m.answers, answer)
	for _, c := range b.AddedClients {
		w.welcome(c, b, at)
	}
}

func (w *world) ordered(message []byte) bool {
	for _, e := range w.order {
		if bytes.Equal(e.Message, message) {
			return true
		}
	}
	return false
}

// invitations are key packages that wait for a Welcome, by client.
type invitation struct {
	kp      []byte
	secrets mlsengine.KeyPackageSecrets
}

func (w *world) invite(m *member) []byte {
	kp, secrets := w.keyPackage(m)
	w.invitations = append(w.invitations, invitation{kp.Bytes(), secrets})
	return kp.Bytes()
}

func (w *world) welcome(client ids.ClientID, b SendBundle, at uint64) {
	w.t.Helper()
	for _, m := range w.members {
		if m.name != string(client) {
			continue
		}
		if m.hears() { // came in by itself meanwhile
			return
		}
		for _, i := range w.invitations {
			join := Join{CommandMeta: w.meta(m), Config: w.config, Welcome: b.Welcome, KeyPackage: i.kp, Secrets: i.secrets, Position: at}
			if w.config.Transport == TransportBuiltIn {
				join.EncryptedMessage = b.EncryptedMessage
			}
			tr, err := Step(m.state, join, w.envFor(m, join))
			if err != nil || tr.Reply.Err != nil {
				continue
			}
			w.store(m, Join{}, tr)
			return
		}
		w.t.Fatalf("no key package of %s opens the Welcome", client)
	}
}

// follow hands a member some of the order.
func (w *world) follow(m *member, most int) {
	w.t.Helper()
	from := int(m.state.Position)
	to := min(len(w.order), from+most)
	if from >= to || !m.state.Exists() {
		return
	}
	w.step(m, Entries{Entries: w.order[from:to]})
}

func (w *world) followAll(m *member) {
	w.t.Helper()
	for m.state.Exists() && int(m.state.Position) < len(w.order) {
		w.follow(m, 64)
	}
}

// answer delivers what the transport has to say. Whoever is told to try again
// takes in first what there is to hear.
func (w *world) answer(m *member) {
	w.t.Helper()
	for range RebuildsMax {
		answers := m.answers
		m.answers = nil
		for _, a := range answers {
			if a.Outcome == TransportRetry {
				w.catchUp(m)
			}
			w.step(m, a)
		}
		if len(m.answers) == 0 {
			return
		}
	}
}
