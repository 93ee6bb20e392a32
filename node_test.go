package parley_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"parley"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

func openNode(t *testing.T, o parley.Options) *parley.Node {
	t.Helper()
	if o.Data == "" && o.URL == "" {
		o.Data = filepath.Join(t.TempDir(), "data")
	}
	if testing.Verbose() && o.Logger == nil {
		level := slog.LevelWarn
		if os.Getenv("PARLEY_TEST_DEBUG") != "" {
			level = slog.LevelDebug
		}
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	node, err := parley.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// bot is a client with its events.
type bot struct {
	*parley.Client
	events chan parley.Event
	done   chan struct{}
	cancel context.CancelFunc
}

func takeBot(t *testing.T, node *parley.Node, id parley.ClientID) *bot {
	t.Helper()
	client, err := node.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	b := &bot{Client: client, events: make(chan parley.Event), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(b.done)
		for e, err := range client.Events(ctx) {
			if err != nil {
				return
			}
			select {
			case b.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(b.stop)
	return b
}

func (b *bot) stop() {
	b.cancel()
	<-b.done
}

// await returns the first event that satisfies want; the others it acknowledges.
func (b *bot) await(t *testing.T, what string, want func(parley.Event) bool) parley.Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-b.events:
			if want(e) {
				return e
			}
			if err := e.Ack(t.Context()); err != nil {
				t.Fatal(err)
			}
		case <-timeout:
			t.Fatalf("%s waited in vain for %s", b.ID(), what)
		}
	}
}

func text(want string) func(parley.Event) bool {
	return func(e parley.Event) bool { return e.Message != nil && string(e.Message.Text) == want }
}

func inEpoch(epoch uint64) func(parley.Event) bool {
	return func(e parley.Event) bool { return e.Membership != nil && e.Epoch >= epoch }
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestThreeBotsTalkThroughTheGroupsOrder(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, bob, eve := takeBot(t, node, "ada"), takeBot(t, node, "bob"), takeBot(t, node, "eve")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob"))
	joined := bob.await(t, "the welcome", inEpoch(1))
	if got, want := joined.Conversation.ID(), conv.ID(); got != want {
		t.Fatalf("bob joined %s", got)
	}
	first, err := conv.Send(ctx, []byte("hello"))
	ok(t, err)
	m := bob.await(t, "hello", text("hello"))
	if m.Message.Sender != "ada" || m.Epoch != 1 || m.Position != first {
		t.Errorf("bob got a message of %s, epoch %d, position %d; sent at %d", m.Message.Sender, m.Epoch, m.Position, first)
	}
	ok(t, m.Ack(ctx))
	ok(t, m.Conversation.Add(ctx, "eve"))
	ada.await(t, "epoch 2", inEpoch(2))
	e := eve.await(t, "the welcome", inEpoch(2))
	_, err = e.Conversation.Send(ctx, []byte("tea?"))
	ok(t, err)
	ok(t, ada.await(t, "tea?", text("tea?")).Ack(ctx))
	ok(t, conv.Remove(ctx, "eve"))
	ids, err := conv.ClientIDs(ctx)
	ok(t, err)
	if len(ids) != 2 || ids[0] != "ada" || ids[1] != "bob" {
		t.Errorf("members are %v", ids)
	}
	bob.await(t, "epoch 3", inEpoch(3))
	a, err := conv.Status(ctx)
	ok(t, err)
	b, err := bob.Conversation("tea").Status(ctx)
	ok(t, err)
	if a.Epoch != 3 || string(a.Authenticator) != string(b.Authenticator) {
		t.Errorf("ada is in epoch %d, bob in %d, and they do not agree", a.Epoch, b.Epoch)
	}
}
