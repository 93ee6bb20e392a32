//go:build parley_sim

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// client is one identity: its signature key, its key packages, the welcomes in its inbox, and whoever serves its conversation.
type client struct {
	world    *world
	id       ids.ClientID
	identity *mlsengine.SigningIdentity
	packages []keyPackage
	inbox    []welcome
	incoming []int // foreign transport: entries on their way, by their place in the order
	current  *member
	ghost    *member // was replaced and does not know
	commands int
	lives    uint64
	digest   ids.Digest // of the state at the newest version that was seen durable
	version  uint64
}

type keyPackage struct {
	bytes   []byte
	secrets mlsengine.KeyPackageSecrets
}

type welcome struct {
	bytes     []byte
	encrypted []byte // that came with it for the members of its epoch
	position  uint64
}

// member is one life of the process that serves a client's conversation.
type member struct {
	client  *client
	journal *events.Journal
	state   conversation.State
	entropy *entropy
	lease   bool
	tasks   []func()                     // what is to be sent, and answers on their way back
	last    conversation.ReceivedMessage // what the owner was handed last
}

func (w *world) newClient() *client {
	w.names++
	c := &client{world: w, id: ids.ClientID(fmt.Sprintf("c%d", w.names))}
	e := &entropy{seed: w.seed, life: uint64(w.names) << 32}
	private, public, err := w.suite.GenerateSignatureKeyPair(e.Draw("signature", w.suite.SignatureSeedSize()))
	if err != nil {
		w.fail(lawSound, "signature key: %v", err)
		return c
	}
	c.identity = &mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(c.id)), Key: private, Public: public}
	c.lives = uint64(w.names) << 32
	w.clients = append(w.clients, c)
	return c
}

// invite makes a key package of the client.
func (c *client) invite() []byte {
	w := c.world
	c.lives++
	now := w.nowMs / 1000
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: w.config.CipherSuite, Identity: *c.identity, Lifetime: mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 7_000_000},
		Capabilities: mlsengine.Capabilities{Credentials: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509}},
	}, mlsengine.Env{Now: now, Entropy: &entropy{seed: w.seed, life: c.lives}})
	if err != nil {
		w.fail(lawSound, "key package: %v", err)
		return nil
	}
	c.packages = append(c.packages, keyPackage{kp.Bytes(), secrets})
	return kp.Bytes()
}

// welcome puts a Welcome into a client's inbox.
func (w *world) welcome(id ids.ClientID, e delivery.Entry) {
	for _, c := range w.clients {
		if c.id == id && len(e.Welcome) > 0 {
			c.inbox = append(c.inbox, welcome{e.Welcome, e.EncryptedMessage, e.Number})
		}
	}
}

// open starts a process for the client's conversation: everything it knows is in the log.
func (c *client) open() *member {
	w := c.world
	c.lives++
	m := &member{client: c, entropy: &entropy{seed: w.seed, life: c.lives}, lease: true}
	ctx, id := context.Background(), events.ConversationLog(c.id, w.group)
	journal, err := events.OpenJournal(ctx, w.stores(), w.vault, id, events.JournalOptions{Hooks: w.hooks()})
	if err != nil {
		w.tell("%s does not open: %v", c.id, err)
		return nil
	}
	m.journal, m.state = journal, conversation.NewState(c.id, w.group)
	err = journal.Replay(ctx, events.Head{}, func(r *events.Record) error {
		next, err := conversation.Fold(m.state, r)
		if err == nil {
			m.state = next
			m.compare(r.Version)
		}
		return err
	})
	if err == nil {
		if err = journal.CheckAnchor(ctx); err == nil {
			err = journal.WriteAnchor(ctx, m.state.Anchor())
		}
	}
	if err != nil {
		w.tell("%s does not recover: %v", c.id, err)
		if !faulty(err) {
			w.fail(lawReplay, "%s: %v", c.id, err)
		}
		return nil
	}
	w.tell("%s opens at version %d, epoch %d, %s", c.id, m.state.Version, m.state.Epoch(), m.state.Lifecycle)
	m.resume()
	return m
}

// compare checks a folded state against the one that was held when its record became durable.
func (m *member) compare(version uint64) {
	c := m.client
	if version == c.version && m.state.Digest() != c.digest {
		c.world.fail(lawReplay, "%s at version %d", c.id, version)
	}
}

// resume takes up what was stored and not known to be sent.
func (m *member) resume() {
	w := m.client.world
	if m.state.Unregistered() || m.client.world.foreign() && m.state.Lifecycle == conversation.Active && m.state.Epoch() == 0 {
		if e, err := conversation.Register(m.state, m.env()); err == nil {
			m.later(e)
		}
		m.settled(true)
	}
	for _, e := range m.state.Unsent() {
		m.later(e)
	}
	if lost := m.state.Superseded; lost != nil {
		m.tasks = append(m.tasks, func() {
			if m.catchUp(); m.alive() {
				m.step(conversation.TransportAnswered{Bundle: lost.Digest, Outcome: conversation.TransportRetry})
			}
		})
	}
	w.checkEpoch(m)
}

// settled tells the ledger about encryptions outside of a step.
func (m *member) settled(durable bool) {
	w := m.client.world
	if !durable {
		w.ledger.void()
	} else if w.tally[tallyEncrypted] += len(w.ledger.open); w.ledger.left() {
		w.fail(lawKeys, "%s in epoch %d", m.client.id, m.state.Epoch())
	}
}

func (m *member) env() conversation.Env {
	return conversation.Env{NowMs: m.client.world.nowMs, Entropy: m.entropy, Identity: m.client.identity, LeaseValid: m.lease}
}

// serving is the process that serves the client now, started if need be.
func (c *client) serving() *member {
	if c.current == nil {
		c.current = c.open()
	}
	return c.current
}

// meta is a fresh command id.
func (c *client) meta() conversation.CommandMeta {
	c.commands++
	return conversation.CommandMeta{ID: ids.CommandID(fmt.Sprintf("%s-%d", c.id, c.commands)), Principal: string(c.id), IssuedMs: c.world.nowMs}
}

// step runs an input, makes its events durable and then lets the rest be seen. The process is dead where ok is false.
func (m *member) step(in conversation.Input) (reply conversation.Reply, ok bool) {
	c, w := m.client, m.client.world
	tr, err := conversation.Step(m.state, in, m.env())
	if err != nil {
		w.fail(lawSound, "%s: %T: %v", c.id, in, err)
		return reply, false
	}
	if tr.Reply.Err != nil && m.state.Exists() {
		w.tell("%s: %T refused: %v", c.id, in, tr.Reply.Err)
	}
	if len(tr.Events) > 0 {
		if !m.store(in, tr) {
			return reply, false
		}
	} else {
		m.settled(true)
		m.state = tr.Next
	}
	for _, msg := range tr.Reply.Messages {
		m.last = msg
		w.hear(m, msg)
	}
	for _, o := range tr.Reply.Outcomes {
		w.judge(m, o)
	}
	w.checkEpoch(m)
	for _, e := range tr.Outbox {
		m.later(e)
	}
	return tr.Reply, true
}

// store appends a transition. Whatever it meets, this process goes on only with a record that it knows to be durable.
func (m *member) store(in conversation.Input, tr conversation.Transition) bool {
	c, w := m.client, m.client.world
	w.passed = false
	_, err := m.journal.Append(context.Background(), events.Draft{
		TimeMS: tr.Next.TimeMs, Cause: events.Cause{Command: fmt.Sprintf("%T", in)}, Events: tr.Events, Anchor: tr.Anchor,
	})
	switch {
	case err == nil:
		m.settled(true)
		m.state = tr.Next.At(m.journal.Head().Version)
		c.version, c.digest = m.state.Version, m.state.Digest()
		return true
	case errors.Is(err, events.ErrUnavailable) && m.journal.Err() == nil:
		m.settled(false)
		w.tell("%s: %T not stored: %v", c.id, in, err)
		m.die() // its callers are told to ask again; memory stands, but a life that ends here as well is the harder case
		return false
	case !faulty(err) && !errors.Is(err, events.ErrRingBehind):
		w.fail(lawSound, "%s: append %T: %v", c.id, in, err)
	}
	w.tell("%s falls in %T: %v", c.id, in, err)
	if errors.Is(err, events.ErrFenced) {
		w.tally[tallyFenced]++
	}
	m.settled(w.passed)
	if errors.Is(err, events.ErrUnknownOutcome) && m.journal.Pending() != nil && w.chance(2) {
		passed := w.passed
		outcome, err := m.journal.Settle(context.Background(), m.journal.Pending())
		w.passed = passed || outcome == events.Stored // not the no-op that took the record's place
		w.tell("%s settles: %v, %v", c.id, outcome, err)
	}
	m.die()
	return false
}

// die ends this process.
func (m *member) die() {
	c := m.client
	m.tasks = nil
	if c.current == m {
		c.current = nil
	}
	if c.ghost == m {
		c.ghost = nil
	}
}

// replace starts a successor while the old process believes to go on.
func (c *client) replace() {
	if c.current == nil {
		return
	}
	c.ghost, c.current = c.current, nil
	c.ghost.lease = c.world.chance(2) // it may take a while until it learns
	c.current = c.open()
}

// later keeps an effect until it is its turn.
func (m *member) later(e conversation.Effect) {
	switch e := e.(type) {
	case conversation.RegisterGroup:
		m.tasks = append(m.tasks, func() {
			m.send(&delivery.Registration{Group: m.group(), Origin: m.origin("register"), GroupInfo: e.GroupInfo})
		})
	case conversation.SendProposal:
		m.tasks = append(m.tasks, func() {
			m.send(&delivery.Proposal{Group: m.group(), Origin: m.origin("proposal/" + string(e.Ref)), Message: e.Message})
		})
	case conversation.SendBundle:
		m.tasks = append(m.tasks, func() { m.offer(e) })
	}
}

func (m *member) group() delivery.GroupID { return delivery.GroupID(m.client.world.group) }

func (m *member) origin(name string) delivery.Origin {
	return delivery.Origin{Client: m.client.id, CommandID: ids.CommandID(name), IssuedMs: m.client.world.nowMs}
}

// send submits, sometimes twice, sometimes into the void.
func (m *member) send(sub delivery.Submission) (delivery.Outcome, bool) {
	w := m.client.world
	if !w.calm && w.chance(12) {
		w.tally[tallyLost]++
		w.tell("%s: %T is lost on the way", m.client.id, sub)
		return delivery.Outcome{}, false
	}
	out, ok := w.order.submit(sub)
	if !w.calm && w.chance(12) {
		out, ok = w.order.submit(sub)
	}
	w.tell("%s: %T: %+v told %v", m.client.id, sub, out, ok)
	if !w.calm && w.chance(12) {
		return delivery.Outcome{}, false
	}
	return out, ok
}

// offer sends the own commit and brings the answer back, later.
func (m *member) offer(e conversation.SendBundle) {
	w := m.client.world
	b := delivery.BundleOf(m.group(), m.origin("bundle/"+string(e.Digest[:])), e)
	out, ok := m.send(&b)
	if (!ok || out.Err != nil) && w.chance(5) {
		m.tasks = append(m.tasks, func() {
			m.step(conversation.TransportAnswered{Bundle: e.Digest, Outcome: conversation.TransportFailed})
		})
		return
	}
	if !ok || out.Err != nil {
		if m.state.Staged != nil && m.state.Staged.Digest == e.Digest {
			m.tasks = append(m.tasks, func() { m.offer(e) }) // nobody knows: the identical bytes again
		}
		return
	}
	if retry, ok := out.Answer.(delivery.Retry); ok && retry.Epoch > uint64(e.Epoch) {
		w.tally[tallyRivals]++
	}
	in := conversation.TransportAnswered{Bundle: e.Digest}
	switch answer := out.Answer.(type) {
	case delivery.Success:
		in.Outcome, in.Position = conversation.TransportSuccess, answer.Position
	case delivery.Retry:
		in.Outcome = conversation.TransportRetry
	case delivery.Abort:
		in.Outcome, in.Reason = conversation.TransportAbort, answer.Reason
	default:
		w.fail(lawSound, "an answer of type %T", out.Answer)
	}
	m.tasks = append(m.tasks, func() {
		if in.Outcome == conversation.TransportRetry {
			m.catchUp() // what the order holds decides first
		}
		if m.alive() {
			m.step(in)
		}
	})
}

func (m *member) alive() bool { return m.client.current == m || m.client.ghost == m }

// work does the next thing that waits, or one of the next: answers overtake each other.
func (m *member) work() {
	if len(m.tasks) == 0 {
		return
	}
	i := m.client.world.rng.IntN(min(len(m.tasks), 3))
	task := m.tasks[i]
	m.tasks = append(m.tasks[:i:i], m.tasks[i+1:]...)
	task()
}

// follow takes entries of the order.
func (m *member) follow(most int) {
	w := m.client.world
	if w.foreign() {
		m.hearSome(most)
		return
	}
	for m.alive() && m.state.Exists() && w.broken == nil {
		es := w.order.entries(m.state.Position, min(most, 64))
		if len(es) == 0 {
			return
		}
		before := m.state.Position
		if _, ok := m.step(conversation.Entries{Entries: es}); !ok || m.state.Position == before {
			return
		}
		if most -= len(es); most <= 0 {
			return
		}
	}
}

// join takes up a Welcome of the inbox. Its key package is consumed with the record that joins.
func (m *member) join() {
	c, w := m.client, m.client.world
	w.order.entries(0, 0)
	if m.state.Joining != nil && len(c.inbox) > 0 && len(m.tasks) == 0 {
		m.step(conversation.AbandonJoin{CommandMeta: c.meta()}) // the Welcome is the surer way
	}
	for len(c.inbox) > 0 && m.state.Joining == nil && !m.state.Exists() && m.alive() {
		in := c.inbox[0]
		i := slices.IndexFunc(c.packages, func(kp keyPackage) bool { return m.joinWith(in, kp) })
		if i >= 0 {
			c.packages = slices.Delete(c.packages, i, i+1)
		}
		if m.alive() || i >= 0 {
			c.inbox = c.inbox[1:]
		}
	}
}

// joinExternally joins by the newest GroupInfo that is known, or by one that is a little old.
func (m *member) joinExternally() {
	w := m.client.world
	if w.chance(3) {
		w.order.entries(0, 0)
	}
	if len(w.order.info) == 0 {
		return
	}
	w.tally[tallyExternal]++
	m.step(conversation.JoinExternally{CommandMeta: m.client.meta(), Config: w.config, GroupInfo: w.order.info})
}

// joinWith tries one key package. It reports whether the join is durable.
func (m *member) joinWith(in welcome, kp keyPackage) bool {
	c, w := m.client, m.client.world
	if !m.alive() {
		return false
	}
	w.passed = false
	join := conversation.Join{CommandMeta: c.meta(), Config: w.config, Welcome: in.bytes, KeyPackage: kp.bytes, Secrets: kp.secrets, Position: in.position}
	if !w.foreign() {
		join.EncryptedMessage = in.encrypted
	}
	r, ok := m.step(join)
	if ok && r.Err == nil {
		w.tell("%s joins epoch %d", c.id, m.state.Epoch())
		return true
	}
	return !ok && w.passed
}
