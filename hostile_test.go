package parley_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"parley"
	"parley/delivery"
)

// foreign opens a node whose conversations get their messages from somebody else, and three clients in one of them.
func foreign(t *testing.T) (node *parley.Node, transport *carrier, of [3]*parley.Conversation) {
	t.Helper()
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	transport = &carrier{}
	node = openNode(t, parley.Options{Config: config, Isolated: true, Foreign: transport})
	var packages [][]byte
	var clients []*parley.Client
	for _, id := range []parley.ClientID{"ada", "bob", "eve"} {
		client, err := node.Client(t.Context(), id)
		ok(t, err)
		made, err := client.GenerateKeyPackages(t.Context(), 1)
		ok(t, err)
		clients, packages = append(clients, client), append(packages, made[0])
	}
	ada, err := clients[0].Create(t.Context(), "tea")
	ok(t, err)
	ok(t, ada.AddKeyPackages(t.Context(), packages[1], packages[2]))
	welcome := transport.last().Welcome
	bob, err := clients[1].Join(t.Context(), parley.Invitation{Welcome: welcome})
	ok(t, err)
	eve, err := clients[2].Join(t.Context(), parley.Invitation{Welcome: welcome})
	ok(t, err)
	return node, transport, [3]*parley.Conversation{ada, bob, eve}
}

// carrier is a delivery service that accepts everything and delivers nothing.
type carrier struct {
	mu     sync.Mutex
	newest delivery.Bundle
}

func (c *carrier) last() delivery.Bundle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

func (c *carrier) SendCommitBundle(_ context.Context, b delivery.Bundle) (delivery.Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = b
	return delivery.Success{}, nil
}

func (c *carrier) SendProposal(context.Context, delivery.Proposal) (uint64, error) { return 0, nil }

func (c *carrier) SendMessages(_ context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	return make([]delivery.Receipt, len(ms)), nil
}

// TestBadMessagesChangeNothing hands in what is no message, or not one for here and now: each has a typed outcome, none is an error or
// changes the epoch, and what is good is taken afterwards.
func TestBadMessagesChangeNothing(t *testing.T) {
	ctx := t.Context()
	node, _, of := foreign(t)
	defer closeNode(t, node)
	ada, bob, eve := of[0], of[1], of[2]
	other, err := ada.Client().Create(ctx, "cake")
	ok(t, err)
	good, err := ada.Encrypt(ctx, []byte("good"), []byte("aad"))
	ok(t, err)
	elsewhere, err := other.Encrypt(ctx, []byte("elsewhere"), nil)
	ok(t, err)
	own, err := bob.Encrypt(ctx, []byte("own"), nil)
	ok(t, err)
	ok(t, other.UpdateKeys(ctx))
	hostile := map[string][]byte{
		"nothing": {}, "nil": nil, "garbage": []byte("garbage"), "zeroes": make([]byte, 1000), "huge": bytes.Repeat([]byte{0xff}, 4<<20),
		"another group's": elsewhere, "own": own, "padded": append(slices.Clone(good), 0),
	}
	for n := range len(good) {
		if n%7 == 0 {
			hostile[fmt.Sprintf("cut to %d", n)] = good[:n]
			flipped := slices.Clone(good)
			flipped[n] ^= 0x40
			hostile[fmt.Sprintf("flipped at %d", n)] = flipped
		}
	}
	before, err := bob.Status(ctx)
	ok(t, err)
	for name, message := range hostile {
		got, err := bob.Decrypt(ctx, message)
		switch {
		case err != nil && parley.AdviceOf(err) != parley.GiveUp:
			t.Errorf("%s: %v", name, err)
		case err == nil && (got.Code == "" || got.Message != nil):
			t.Errorf("%s was taken: %+v", name, got)
		}
	}
	after, err := bob.Status(ctx)
	ok(t, err)
	if after.Epoch != before.Epoch || !bytes.Equal(after.Authenticator, before.Authenticator) || after.Pending != before.Pending {
		t.Errorf("bad messages led from %+v to %+v", before, after)
	}
	for _, c := range []*parley.Conversation{bob, eve} {
		got, err := c.Decrypt(ctx, good)
		if err != nil || got.Message == nil || string(got.Message.Text) != "good" {
			t.Errorf("the good one afterwards: %+v, %v", got, err)
		}
	}
	if got, err := bob.Decrypt(parley.WithCommandID(ctx, "again"), good); err != nil || got.Code != parley.DuplicateMessage {
		t.Errorf("a replayed message: %+v, %v", got, err)
	}
	if stats := node.Stats(); stats.Panics != 0 {
		t.Errorf("%d panics", stats.Panics)
	}
	agree(t, ada, bob, eve)
}

// TestCommitsOutOfPlaceChangeNothing hands in commits of past and future epochs, twice, and after the member was removed.
func TestCommitsOutOfPlaceChangeNothing(t *testing.T) {
	ctx := t.Context()
	node, transport, of := foreign(t)
	defer closeNode(t, node)
	ada, bob, eve := of[0], of[1], of[2]
	var commits [][]byte
	for range 3 {
		ok(t, ada.UpdateKeys(ctx))
		commits = append(commits, transport.last().Commit)
	}
	take := func(c *parley.Conversation, i int, want bool) {
		t.Helper()
		got, err := c.Decrypt(ctx, commits[i])
		if err != nil || want != (got.Code == "") {
			t.Errorf("commit %d: %+v, %v", i, got, err)
		}
	}
	take(bob, 2, false) // of a future epoch
	take(bob, 0, true)
	take(bob, 0, false) // again
	take(bob, 2, false) // of the next one: it waits
	take(bob, 1, true)
	take(bob, 0, false) // of a past one
	take(bob, 2, false) // it has been taken with the one before
	ok(t, ada.Remove(ctx, "eve"))
	commits = append(commits, transport.last().Commit)
	for i := range commits {
		take(eve, i, true)
	}
	take(bob, 3, true)
	got, err := eve.Decrypt(ctx, commits[3])
	if err == nil && got.Code == "" || err != nil && parley.AdviceOf(err) == parley.Retry {
		t.Errorf("a removed member takes %+v, %v", got, err)
	}
	if _, err := eve.Encrypt(ctx, []byte("still here"), nil); err == nil {
		t.Error("a removed member encrypts")
	}
	agree(t, ada, bob)
}

// TestAFloodOfMessagesIsNoFloodOfCommands: more messages than a conversation remembers commands are handed on, and every one has its
// outcome; the conversation does not become busy with remembering them.
func TestAFloodOfMessagesIsNoFloodOfCommands(t *testing.T) {
	node, _, of := foreign(t)
	defer closeNode(t, node)
	bob := of[1]
	work, ctx := errgroup.WithContext(t.Context())
	for i := range 64 {
		work.Go(func() error {
			for j := range 68 {
				got, err := bob.Decrypt(ctx, fmt.Appendf(nil, "no message %d/%d", i, j))
				if err != nil {
					return err
				}
				if got.Outcome.Code == "" {
					return fmt.Errorf("message %d/%d was taken in", i, j)
				}
			}
			return nil
		})
	}
	ok(t, work.Wait())
}
