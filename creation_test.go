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

// TestAnIdIsTakenOnce creates a conversation under an id that another group's order has: refused, before anything is stored.
func TestAnIdIsTakenOnce(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	_, err = ada.Create(ctx, "tea")
	ok(t, err)
	for range 2 {
		_, err = bob.Create(parley.WithCommandID(ctx, "create"), "tea")
		if !errors.Is(err, parley.ConversationAlreadyExists) || parley.AdviceOf(err) != parley.GiveUp {
			t.Errorf("bob creates it too: %v", err)
		}
	}
	all, err := bob.Conversations(ctx)
	ok(t, err)
	if len(all) != 0 {
		t.Errorf("%d conversations are left behind", len(all))
	}
	// He can still be added to it.
	ok(t, ada.Conversation("tea").Add(ctx, "bob"))
	awaitExists(ctx, t, bob.Conversation("tea"))
	// Neither does the creator get it a second time.
	ok(t, ada.Conversation("tea").Wipe(ctx))
	if _, err := ada.Create(ctx, "tea"); !errors.Is(err, parley.ConversationAlreadyExists) {
		t.Errorf("created again after it was wiped: %v", err)
	}
}

func awaitExists(ctx context.Context, t *testing.T, c *parley.Conversation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		exists, err := c.Exists(ctx)
		ok(t, err)
		if exists {
			return
		}
	}
}

// TestCreatorsOfOneIdRace lets many create the same conversation when all have seen that its id is free. One has it; the others are told
// so, their conversations are wiped, and they can be added to the one that is.
func TestCreatorsOfOneIdRace(t *testing.T) {
	const creators = 4
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var arrived atomic.Int32
	all := make(chan struct{})
	node := openNode(t, parley.Options{Hooks: parley.Hooks{Before: func(_ context.Context, step parley.Step, id events.LogID) error {
		if step == "actors.register" {
			if arrived.Add(1) == creators {
				close(all)
			}
			<-all
		}
		return nil
	}}})
	defer closeNode(t, node)
	var clients []*parley.Client
	for i := range creators {
		client, err := node.Client(ctx, parley.ClientID(fmt.Sprint("client ", i)))
		ok(t, err)
		clients = append(clients, client)
	}
	outcomes := make([]error, creators)
	var work sync.WaitGroup
	for i, client := range clients {
		work.Go(func() { _, outcomes[i] = client.Create(ctx, "tea") })
	}
	work.Wait()
	owner := -1
	for i, err := range outcomes {
		switch {
		case err == nil && owner < 0:
			owner = i
		case err == nil:
			t.Fatalf("%d and %d both have it", owner, i)
		case !errors.Is(err, parley.ConversationAlreadyExists):
			t.Errorf("client %d: %v", i, err)
		}
	}
	if owner < 0 {
		t.Fatalf("nobody has it: %v", outcomes)
	}
	tea := clients[owner].Conversation("tea")
	for i, client := range clients {
		if i == owner {
			continue
		}
		status, err := client.Conversation("tea").Status(ctx)
		ok(t, err)
		if status.Lifecycle != "wiped" {
			t.Errorf("client %d is left with a conversation that is %s", i, status.Lifecycle)
		}
		ok(t, node.Insist(ctx, func(ctx context.Context) error { return tea.Add(ctx, client.ID()) }))
		awaitExists(ctx, t, client.Conversation("tea"))
	}
}
