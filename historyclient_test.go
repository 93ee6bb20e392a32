package parley_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley"
)

// read reads on, and returns the texts.
func read(t *testing.T, h *parley.HistoryClient) (texts []string) {
	t.Helper()
	for m, err := range h.Messages(t.Context()) {
		ok(t, err)
		if m.Time.IsZero() || time.Since(m.Time) > time.Hour || m.Position == 0 || m.Sender == "" {
			t.Errorf("a message of %q at %s, position %d", m.Sender, m.Time, m.Position)
		}
		texts = append(texts, fmt.Sprintf("%s in %d: %s", m.Sender, m.Epoch, m.Text))
	}
	return texts
}

func say(t *testing.T, c *parley.Conversation, words string) {
	t.Helper()
	_, err := c.Send(t.Context(), []byte(words))
	ok(t, err)
}

// TestCanCreateEphemeralClient is can_create_ephemeral_client: whoever has the secret reads what was said since, and cannot send. Another
// can be made long after, and whoever was removed takes a secret along that reads nothing later.
func TestCanCreateEphemeralClient(t *testing.T) {
	for _, x509 := range []bool{false, true} {
		t.Run(fmt.Sprintf("certified %t", x509), func(t *testing.T) { readHistory(t, x509) })
	}
}

func readHistory(t *testing.T, x509 bool) {
	ctx := t.Context()
	node, ada, bob, conv := sharers(t, x509)
	defer closeNode(t, node)
	inBobs := bob.Conversation("tea")
	say(t, conv, "before")
	ok(t, conv.EnableHistorySharing(ctx))
	shared := bob.await(t, "the secret", historyOf)
	say(t, conv, "one")
	awaitEpoch(t, inBobs, 2)
	ok(t, inBobs.UpdateKeys(ctx))
	say(t, inBobs, "two")

	secret, err := parley.ParseHistorySecret(shared.History.Secret.Bytes())
	ok(t, err)
	reader, err := node.HistoryClient(secret)
	ok(t, err)
	if reader.ID() != shared.History.Client || reader.ConversationID() != "tea" || reader.Joined() {
		t.Errorf("%s reads %s", reader.ID(), reader.ConversationID())
	}
	if got, want := read(t, reader), []string{"ada in 2: one", "bob in 3: two"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	awaitEpoch(t, conv, 3)
	say(t, conv, "three")
	if got := read(t, reader); !slices.Equal(got, []string{"ada in 3: three"}) || !reader.Joined() {
		t.Errorf("read on %q", got)
	}
	saysNothing(t, node, reader)

	// bob leaves with the secret; what is said without him it does not read.
	ok(t, conv.Remove(ctx, "bob"))
	say(t, conv, "without bob")
	again, err := node.HistoryClient(secret)
	ok(t, err)
	want := []string{"ada in 2: one", "bob in 3: two", "ada in 3: three"}
	if got := read(t, again); !slices.Equal(got, want) || again.Joined() {
		t.Errorf("read %q, still in the group: %t", got, again.Joined())
	}
	if got := read(t, reader); len(got) != 0 || reader.Joined() {
		t.Errorf("read on %q, still in the group: %t", got, reader.Joined())
	}
	next := ada.await(t, "the next secret", func(e parley.Event) bool { return e.History != nil && e.Epoch == 4 })
	heir, err := node.HistoryClient(next.History.Secret)
	ok(t, err)
	if got := read(t, heir); !slices.Equal(got, []string{"ada in 4: without bob"}) {
		t.Errorf("the heir has read %q", got)
	}
	heir.Close()
	if err := heir.Join(parley.Invitation{}); err == nil {
		t.Error("joined after its end")
	}
}

// saysNothing checks that nobody acts under a reader's name.
func saysNothing(t *testing.T, node *parley.Node, reader *parley.HistoryClient) {
	t.Helper()
	ctx := t.Context()
	bare := node.Bare(reader.ID())
	_, taken := node.Client(ctx, reader.ID())
	_, created := bare.Create(ctx, "coffee")
	_, sent := bare.Conversation("tea").Send(ctx, []byte("hear me"))
	_, joined := bare.JoinExternally(ctx, "tea", parley.ExternalJoin{})
	_, credited := bare.AddCredential(ctx, parley.DefaultConfig().CipherSuite)
	for what, err := range map[string]error{
		"taken": taken, "created": created, "sent": sent, "joined": joined, "updated": bare.Conversation("tea").UpdateKeys(ctx),
		"credited": credited,
	} {
		if !errors.Is(err, parley.HistoryClientCannotWrite) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestHistorySecretsThatAreNone(t *testing.T) {
	node, _, bob, conv := sharers(t, false)
	defer closeNode(t, node)
	ok(t, conv.EnableHistorySharing(t.Context()))
	secret := bob.await(t, "the secret", historyOf).History.Secret
	for _, b := range [][]byte{nil, []byte("parley history secret\x00"), secret.Bytes()[:100], append(secret.Bytes(), 0)} {
		if _, err := parley.ParseHistorySecret(b); !errors.Is(err, parley.InvalidHistorySecret) || parley.AdviceOf(err) != parley.GiveUp {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
	if _, err := node.HistoryClient(parley.HistorySecret{}); !errors.Is(err, parley.InvalidHistorySecret) {
		t.Errorf("no secret: %v", err)
	}
	// Of a deployment that has no such conversation.
	elsewhere := openNode(t, parley.Options{})
	defer closeNode(t, elsewhere)
	reader, err := elsewhere.HistoryClient(secret)
	ok(t, err)
	for _, err := range reader.Messages(t.Context()) {
		if !errors.Is(err, parley.OrphanWelcome) {
			t.Errorf("elsewhere: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
