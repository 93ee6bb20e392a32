package parley_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"parley"
	"parley/events"
)

var errCrash = errors.New("crash")

// crasher fails the first passing of a step once it is armed: what follows that moment does not happen.
type crasher struct {
	step   parley.Step
	before bool
	armed  atomic.Bool
	hit    atomic.Bool
}

func (c *crasher) hooks() parley.Hooks {
	hook := func(before bool) func(context.Context, parley.Step, events.LogID) error {
		return func(_ context.Context, step parley.Step, _ events.LogID) error {
			if before == c.before && step == c.step && c.armed.CompareAndSwap(true, false) {
				c.hit.Store(true)
				return fmt.Errorf("%w at %s", errCrash, step)
			}
			return nil
		}
	}
	return parley.Hooks{Before: hook(true), After: hook(false)}
}

// TestCrashAtEveryStep lets an actor or a call die once at each durable step, before and after it, while a conversation lives its
// life. Every command is asked again under its id until it says that it is done; then everything happened once.
func TestCrashAtEveryStep(t *testing.T) {
	var hits sync.Map
	t.Run("steps", func(t *testing.T) {
		for _, step := range parley.Steps() {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
					t.Parallel()
					c := &crasher{step: step, before: before}
					live(t, c)
					if c.hit.Load() {
						hits.Store(step, true)
					}
				})
			}
		}
	})
	for _, step := range []parley.Step{
		"events.append", "events.append-batch", "events.key-death", "events.anchor", "actors.send-bundle", "actors.send-messages",
		"actors.send-proposal", "actors.register", "actors.swap", "actors.tx-collect", "actors.tx-decide", "actors.tx-spread",
	} {
		if _, hit := hits.Load(step); !hit {
			t.Errorf("the story never passes %s", step)
		}
	}
}

func live(t *testing.T, c *crasher) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	node := openNode(t, parley.Options{Hooks: c.hooks()})
	defer closeNode(t, node)
	ada, bob := takeBot(t, node, "ada"), takeBot(t, node, "bob")
	c.armed.Store(true)
	insist := func(f func(context.Context) error) {
		t.Helper()
		if err := node.Insist(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	var conv *parley.Conversation
	insist(func(ctx context.Context) (err error) {
		conv, err = ada.Create(ctx, "tea")
		return err
	})
	insist(func(ctx context.Context) error { return conv.Add(ctx, "bob") })
	for _, line := range []string{"one", "two"} {
		insist(func(ctx context.Context) error {
			_, err := conv.Send(ctx, []byte(line))
			return err
		})
	}
	insist(func(ctx context.Context) error {
		_, err := conv.ProposeUpdate(ctx)
		return err
	})
	insist(func(ctx context.Context) error { return conv.CommitPending(ctx) })
	one := bob.await(t, "one", text("one"))
	two := bob.await(t, "two", text("two"))
	if one.Message.Number != 1 || two.Message.Number != 2 {
		t.Errorf("messages are numbered %d and %d", one.Message.Number, two.Message.Number)
	}
	insist(func(ctx context.Context) error { return two.Ack(ctx) })
	bob.await(t, "the last epoch", inEpoch(2))
	a, err := conv.Status(ctx)
	ok(t, err)
	b, err := one.Conversation.Status(ctx)
	ok(t, err)
	if a.Epoch != 2 || b.Epoch != 2 || string(a.Authenticator) != string(b.Authenticator) {
		t.Errorf("ada is in epoch %d, bob in epoch %d, or they do not agree", a.Epoch, b.Epoch)
	}
	for _, c := range []*parley.Conversation{conv, one.Conversation} {
		history, err := c.History(ctx)
		ok(t, err)
		status, err := c.Status(ctx)
		ok(t, err)
		if history.Digest != status.Digest {
			t.Errorf("replay of %s: %s, live %s", c.Client().ID(), history.Digest, status.Digest)
		}
	}
}
