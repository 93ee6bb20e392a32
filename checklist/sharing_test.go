package checklist_test

import (
	"bytes"
	"errors"
	"strings"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

func readerCases() []acceptance {
	return []acceptance{
		{"can_create_ephemeral_client", readerReads},
		{"ours::reader_of_who_was_removed_reads_nothing_later", readerIsRenewed},
	}
}

// enable enables history sharing, at whoever shares too.
func (m *member) enable(others ...*member) (b delivery.Bundle, secret *parley.HistoryShared) {
	m.w.Helper()
	b = m.commit((*parley.Conversation).EnableHistorySharing)
	return b, m.w.share(b, m, others...)
}

// share brings a bundle and its secret to the others. It checks that each of them observes the secret once, and its maker too.
func (w *world) share(b delivery.Bundle, from *member, others ...*member) (secret *parley.HistoryShared) {
	w.Helper()
	if len(b.EncryptedMessage) == 0 {
		w.Fatal("the bundle brings no secret")
	}
	for _, m := range others {
		m.take(b.Commit)
		got := m.take(b.EncryptedMessage)
		if got.Kind != conversation.OutcomeHistory || got.Message != nil || got.History == nil || got.History.Sender != from.id {
			w.Fatalf("%s got %+v for a secret", m.id, got)
		}
		secret = got.History
		m.rejects(b.EncryptedMessage, parley.DuplicateMessage)
	}
	for e, err := range from.bare().Events(w.ctx) {
		w.must(err)
		if e.History != nil && e.Conversation.ID() == w.group && bytes.Equal(e.History.Secret.Bytes(), secret.Secret.Bytes()) {
			break
		}
	}
	if !strings.HasPrefix(string(secret.Client), "history-client") {
		w.Fatalf("a reader named %s", secret.Client)
	}
	for _, m := range append(others, from) {
		if s := m.status(); !s.History || s.Members[len(s.Members)-1].Client != secret.Client && s.Members[len(s.Members)-2].Client != secret.Client {
			w.Fatalf("%s knows the members %v, shared: %t", m.id, clientsOf(s), s.History)
		}
	}
	return secret
}

func readerIsRenewed(w *world) {
	alice, bob, charlie := w.trio()
	_, first := alice.enable(bob, charlie)
	w.box.answer(abort)
	if err := bob.conversation().Remove(w.ctx, charlie.id); !errors.Is(err, conversation.TransportAborted) {
		w.Fatalf("refused: %v", err)
	}
	b := bob.remove(charlie)
	second := w.share(b, bob, alice)
	if first.Client == second.Client || len(alice.status().Members) != 3 {
		w.Fatalf("the reader is %s, before %s", second.Client, first.Client)
	}
	charlie.take(b.Commit)
	if got := charlie.status(); got.Exists {
		w.Fatalf("charlie is %s", got.Lifecycle)
	}
	w.reload(bob)
	words := bob.says("without charlie")
	alice.hears(words, bob, "without charlie")
	reader := alice.reader(first, w.box.all()[1])
	if got, err := reader.Decrypt(b.Commit); err != nil || got.Active || reader.Joined() {
		w.Fatalf("the old reader: %+v, %v", got, err)
	}
	if _, err := reader.Decrypt(words); err == nil {
		w.Fatal("the old reader reads")
	}
	if got, err := alice.reader(second, b).Decrypt(words); err != nil || got.Message == nil || string(got.Message.Text) != "without charlie" {
		w.Fatalf("the new reader: %+v, %v", got, err)
	}
}

// reader makes the client of a history secret, which the bundle has added.
func (m *member) reader(shared *parley.HistoryShared, b delivery.Bundle) *parley.HistoryClient {
	m.w.Helper()
	secret, err := parley.ParseHistorySecret(shared.Secret.Bytes())
	m.w.must(err)
	reader, err := m.node().HistoryClient(secret)
	m.w.must(err)
	m.w.must(reader.Join(parley.Invitation{Welcome: b.Welcome}))
	return reader
}

func readerReads(w *world) {
	alice, bob := w.pair()
	before := alice.says("before")
	b, shared := alice.enable(bob)
	one := alice.says("one")
	update := bob.update()
	two := bob.says("two")
	reader := alice.reader(shared, b)
	for _, message := range [][]byte{b.EncryptedMessage, one, update.Commit, two} {
		got, err := reader.Decrypt(message)
		w.must(err)
		if got.Code != "" {
			w.Fatalf("the reader: %+v", got)
		}
	}
	if got, err := reader.Decrypt(before); err != nil || got.Code == "" {
		w.Fatalf("the reader reads what was before: %+v, %v", got, err)
	}
	if reader.Epoch() != bob.status().Epoch {
		w.Fatalf("the reader is in epoch %d", reader.Epoch())
	}
	conv := alice.node().Bare(reader.ID()).Conversation(w.group)
	if _, err := conv.Encrypt(w.ctx, []byte("me too"), nil); !errors.Is(err, parley.HistoryClientCannotWrite) {
		w.Fatalf("the reader wrote: %v", err)
	}
}
