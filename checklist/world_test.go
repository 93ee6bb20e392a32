package checklist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/conversation"
	"parley/delivery"
	"parley/internal/certtest"
)

// world is the surroundings of one run: a conversation of its own, and everybody who may be in it.
type world struct {
	*testing.T
	ctx    context.Context
	house  *house
	kind   kind
	group  parley.ConversationID
	config parley.Config // of the conversation
	box    *box          // what its members send
}

func newWorld(t *testing.T, h *house, k kind) *world {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, house: h, kind: k, group: h.group(), config: h.config()}
	w.box = h.post.box(w.group)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	must(w.T, err)
}

// refused checks that an error is a refusal of this code.
func (w *world) refused(err error, want parley.Code) *parley.Error {
	w.Helper()
	e, ok := errors.AsType[*parley.Error](err)
	if !ok || !errors.Is(err, want) || e.Code != want {
		w.Fatalf("refused with %v, want %s", err, want)
	}
	return e
}

// member is a client, wherever it lives.
type member struct {
	w    *world
	id   parley.ClientID
	home atomic.Int32 // the node it lives on
}

// client makes a client with a credential of the run's kind.
func (w *world) client(whose string) *member {
	w.Helper()
	m := &member{w: w, id: w.house.name(whose)}
	m.certify(w.kind, certtest.Request{})
	return m
}

// certify gives a client a credential: a basic one, or a certificate.
func (m *member) certify(k kind, r certtest.Request) {
	m.w.Helper()
	if k == x509 {
		r.URI, r.Curve = parley.ClientURI(m.id), curve(m.w.house.suite)
		certificate, key := m.w.house.town.authority.Certify(m.w.T, r)
		_, err := m.bare().AddX509Credential(m.w.ctx, m.w.house.suite, parley.X509{Chain: [][]byte{certificate}, Key: key})
		m.w.must(err)
		return
	}
	_, err := m.bare().AddCredential(m.w.ctx, m.w.house.suite)
	m.w.must(err)
}

func (m *member) node() *parley.Node { return m.w.house.nodes[m.home.Load()] }

// there is the conversation as another node has it, which moves nobody: it is for reading.
func (m *member) there(node *parley.Node) *parley.Conversation {
	return node.Bare(m.id).Conversation(m.w.group)
}

func (m *member) bare() *parley.Client { return m.node().Bare(m.id) }

// conversation is the run's, of this client.
func (m *member) conversation() *parley.Conversation { return m.bare().Conversation(m.w.group) }

// keyPackage is a new one of the client.
func (m *member) keyPackage() []byte {
	m.w.Helper()
	made, err := m.bare().GenerateKeyPackages(m.w.ctx, 1)
	m.w.must(err)
	return made[0]
}

// create makes the run's conversation.
func (m *member) create() {
	m.w.Helper()
	_, err := m.bare().Create(m.w.ctx, m.w.group, m.w.config)
	m.w.must(err)
}

// add commits the addition of clients. They have not joined yet.
func (m *member) add(others ...*member) delivery.Bundle {
	m.w.Helper()
	var packages [][]byte
	for _, o := range others {
		packages = append(packages, o.keyPackage())
	}
	m.w.must(m.conversation().AddKeyPackages(m.w.ctx, packages...))
	return m.w.box.last()
}

// invite adds clients, who join.
func (m *member) invite(others ...*member) delivery.Bundle {
	m.w.Helper()
	b := m.add(others...)
	for _, o := range others {
		o.join(b.Welcome)
	}
	return b
}

// join joins by a Welcome.
func (m *member) join(welcome []byte) {
	m.w.Helper()
	c, err := m.bare().Join(m.w.ctx, parley.Invitation{Welcome: welcome, Config: &m.w.config})
	m.w.must(err)
	if c.ID() != m.w.group {
		m.w.Fatalf("%s joined %s", m.id, c.ID())
	}
}

// joinExternally joins by a commit of its own, from a GroupInfo.
func (m *member) joinExternally(info []byte) delivery.Bundle {
	m.w.Helper()
	_, err := m.bare().JoinExternally(m.w.ctx, m.w.group, parley.ExternalJoin{GroupInfo: info, Config: &m.w.config})
	m.w.must(err)
	return m.w.box.last()
}

// commit runs a command that commits and gives what it sent.
func (m *member) commit(command func(*parley.Conversation, context.Context) error) delivery.Bundle {
	m.w.Helper()
	m.w.must(command(m.conversation(), m.w.ctx))
	return m.w.box.last()
}

func (m *member) update() delivery.Bundle {
	m.w.Helper()
	return m.commit((*parley.Conversation).UpdateKeys)
}

func (m *member) commitPending() delivery.Bundle {
	m.w.Helper()
	return m.commit((*parley.Conversation).CommitPending)
}

func (m *member) remove(others ...*member) delivery.Bundle {
	m.w.Helper()
	return m.commit(func(c *parley.Conversation, ctx context.Context) error { return c.Remove(ctx, idsOf(others)...) })
}

func (m *member) proposeAdd(other *member) parley.Proposal {
	m.w.Helper()
	p, err := m.conversation().ProposeAddKeyPackage(m.w.ctx, other.keyPackage())
	m.w.must(err)
	return p
}

func (m *member) proposeRemove(other *member) parley.Proposal {
	m.w.Helper()
	p, err := m.conversation().ProposeRemove(m.w.ctx, other.id)
	m.w.must(err)
	return p
}

func (m *member) proposeUpdate() parley.Proposal {
	m.w.Helper()
	p, err := m.conversation().ProposeUpdate(m.w.ctx)
	m.w.must(err)
	return p
}

func idsOf(members []*member) (ids []parley.ClientID) {
	for _, m := range members {
		ids = append(ids, m.id)
	}
	return ids
}

// hand hands a message in, whatever becomes of it.
func (m *member) hand(message []byte) parley.Received {
	m.w.Helper()
	got, err := m.conversation().Decrypt(m.w.ctx, message)
	m.w.must(err)
	return got
}

// take hands a message in that has to be accepted.
func (m *member) take(message []byte) parley.Received {
	m.w.Helper()
	got := m.hand(message)
	if got.Code != "" {
		m.w.Fatalf("%s: %s (%s %s)", m.id, got.Code, got.Rule, got.Detail)
	}
	return got
}

// rejects hands a message in that has to be refused with this code, and change nothing.
func (m *member) rejects(message []byte, want parley.Code) parley.Received {
	m.w.Helper()
	before := m.status()
	got := m.hand(message)
	if got.Code != want {
		m.w.Fatalf("%s: %q (%s %s), want %s", m.id, got.Code, got.Rule, got.Detail, want)
	}
	if changed := difference(before, m.status()); changed != "" {
		m.w.Fatalf("%s: a refused message: %s", m.id, changed)
	}
	return got
}

// buffers hands a message in that has to wait.
func (m *member) buffers(message []byte, why parley.Code) {
	m.w.Helper()
	before := m.status().Holdings.Buffered
	if got := m.hand(message); got.Code != why {
		m.w.Fatalf("%s: %q (%s %s), want %s", m.id, got.Code, got.Rule, got.Detail, why)
	}
	if after := m.status().Holdings.Buffered; after != before+1 {
		m.w.Fatalf("%s: %d messages wait, %d before", m.id, after, before)
	}
}

// says encrypts a message.
func (m *member) says(text string) []byte {
	m.w.Helper()
	message, err := m.conversation().Encrypt(m.w.ctx, []byte(text), nil)
	m.w.must(err)
	return message
}

// hears decrypts a message.
func (m *member) hears(message []byte, from *member, text string) parley.Received {
	m.w.Helper()
	got := m.take(message)
	m.heard(got, from, text)
	return got
}

func (m *member) heard(got parley.Received, from *member, text string) {
	m.w.Helper()
	if got.Message == nil || string(got.Message.Text) != text || got.Message.Sender != from.id || got.Identity == nil || got.Identity.Client != from.id {
		m.w.Fatalf("%s heard %+v, want %q of %s", m.id, got, text, from.id)
	}
}

func (m *member) status() parley.Status {
	m.w.Helper()
	s, err := m.conversation().Status(m.w.ctx)
	m.w.must(err)
	return s
}

func (m *member) epoch(want uint64) {
	m.w.Helper()
	if s := m.status(); s.Epoch != want || !s.Exists {
		m.w.Fatalf("%s is in epoch %d (%s), want %d", m.id, s.Epoch, s.Lifecycle, want)
	}
}

// holds checks what a member keeps beside its epoch; past epochs are not looked at.
func (m *member) holds(want parley.Holdings) {
	m.w.Helper()
	got := m.status().Holdings
	got.PastEpochs = want.PastEpochs
	if got != want {
		m.w.Fatalf("%s holds %+v, want %+v", m.id, got, want)
	}
}

// gone checks that a member is none any more.
func (m *member) gone() {
	m.w.Helper()
	if s := m.status(); s.Exists || s.Holdings != (parley.Holdings{}) {
		m.w.Fatalf("%s still has the conversation: it is %s, with %+v", m.id, s.Lifecycle, s.Holdings)
	}
}

// keyPackages is how many key packages a client has the private keys of.
func (m *member) keyPackages() int {
	m.w.Helper()
	s, err := m.bare().Status(m.w.ctx)
	m.w.must(err)
	return s.KeyPackages
}

// move hands a member to the other node.
func (m *member) move() {
	share := parley.ShareOf("client/"+string(m.id), shareCount)
	from := m.node()
	m.home.Store(1 - m.home.Load())
	from.ReleaseShares(share)
	m.node().TakeShares(share)
}

// await looks again and again until something holds.
func (w *world) await(what string, holds func() bool) {
	w.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.Fatalf("never: %s", what)
		}
	}
}

// saw checks which epochs a member was told of, up to now: each once, in their order.
func (m *member) saw(from *member, want ...uint64) {
	m.w.Helper()
	const end = "that is all"
	m.hears(from.says(end), from, end)
	var seen []uint64
	for e, err := range m.bare().Events(m.w.ctx) {
		m.w.must(err)
		switch {
		case e.Conversation.ID() != m.w.group:
		case e.Membership != nil && leads(e.Membership.Kind):
			seen = append(seen, e.Epoch)
		case e.Message != nil && string(e.Message.Text) == end:
			if !slices.Equal(seen, want) {
				m.w.Fatalf("%s was told of epochs %v, want %v", m.id, seen, want)
			}
			return
		}
	}
}

// leads reports whether a change of the membership led to an epoch.
func leads(k conversation.MembershipKind) bool {
	return k == conversation.MembershipCreated || k == conversation.MembershipJoined || k == conversation.MembershipChanged
}

// difference says in what a conversation has changed; what only the passing of messages changes is left aside.
func difference(before, after parley.Status) string {
	switch {
	case before.Epoch != after.Epoch || !bytes.Equal(before.Authenticator, after.Authenticator):
		return fmt.Sprintf("epoch %d, it was %d, or another epoch of that number", after.Epoch, before.Epoch)
	case before.Lifecycle != after.Lifecycle || before.Staged != after.Staged || before.Parent != after.Parent:
		return fmt.Sprintf("it is %s, it was %s, or a commit is on its way, or the parent is another", after.Lifecycle, before.Lifecycle)
	case before.Holdings != after.Holdings:
		return fmt.Sprintf("%+v, it was %+v", after.Holdings, before.Holdings)
	}
	return ""
}

// take hands a message to several members, who have to accept it.
func (w *world) take(message []byte, members ...*member) {
	w.Helper()
	for _, m := range members {
		m.take(message)
	}
}

// pair is a conversation of two.
func (w *world) pair() (alice, bob *member) {
	w.Helper()
	alice, bob = w.client("alice"), w.client("bob")
	alice.create()
	alice.invite(bob)
	return alice, bob
}

// trio is a conversation of three.
func (w *world) trio() (alice, bob, charlie *member) {
	w.Helper()
	alice, bob, charlie = w.client("alice"), w.client("bob"), w.client("charlie")
	alice.create()
	alice.invite(bob, charlie)
	return alice, bob, charlie
}

// reload hands members to the other node, which finds their conversations in the log as they were.
func (w *world) reload(members ...*member) {
	w.Helper()
	for _, m := range members {
		before := m.status()
		m.move()
		var after parley.Status
		w.must(m.node().Insist(w.ctx, func(ctx context.Context) (err error) {
			after, err = m.conversation().Status(ctx)
			return err
		}))
		if changed := difference(before, after); changed != "" {
			w.Fatalf("%s on the other node: %s", m.id, changed)
		}
	}
}

// agree checks that the members are in one epoch, and that each can read every other.
func (w *world) agree(members ...*member) {
	w.Helper()
	first := members[0].status()
	words := map[*member][]byte{}
	for _, m := range members {
		s := m.status()
		if !s.Exists || s.Epoch != first.Epoch || !bytes.Equal(s.Authenticator, first.Authenticator) {
			w.Fatalf("%s is in epoch %d (%s), %s in %d, or they do not agree", m.id, s.Epoch, s.Lifecycle, members[0].id, first.Epoch)
		}
		if len(s.Members) != len(members) || !slices.Equal(sorted(clientsOf(s)), sorted(idsOf(members))) {
			w.Fatalf("%s knows the members %v, they are %v", m.id, clientsOf(s), idsOf(members))
		}
		words[m] = m.says("words of " + string(m.id))
	}
	var listening sync.WaitGroup
	for _, m := range members {
		listening.Go(func() {
			for _, from := range members {
				if err := m.understands(words[from], from); m != from && err != nil {
					w.Error(err)
				}
			}
		})
	}
	listening.Wait()
	if w.Failed() {
		w.FailNow()
	}
}

func (m *member) understands(message []byte, from *member) error {
	if m == from {
		return nil
	}
	got, err := m.conversation().Decrypt(m.w.ctx, message)
	if err != nil || got.Message == nil || string(got.Message.Text) != "words of "+string(from.id) || got.Message.Sender != from.id {
		return fmt.Errorf("%s cannot read %s: %+v, %w", m.id, from.id, got, err)
	}
	return nil
}

func clientsOf(s parley.Status) (ids []parley.ClientID) {
	for _, m := range s.Members {
		ids = append(ids, m.Client)
	}
	return ids
}

func sorted(ids []parley.ClientID) []parley.ClientID {
	slices.Sort(ids)
	return ids
}
