package parley_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/events"
)

// pair is a client with two conversations of its own.
func pair(t *testing.T, node *parley.Node) (ada *parley.Client, tea, cake *parley.Conversation) {
	t.Helper()
	ada, err := node.Client(t.Context(), "ada")
	ok(t, err)
	tea, err = ada.Create(t.Context(), "tea")
	ok(t, err)
	cake, err = ada.Create(t.Context(), "cake")
	ok(t, err)
	return ada, tea, cake
}

// pending is how many proposals wait in a conversation.
func pending(t *testing.T, c *parley.Conversation) int {
	t.Helper()
	status, err := c.Status(t.Context())
	ok(t, err)
	return status.Pending
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	refusal := errors.New("no")
	propose := func(tx *parley.Transaction) error {
		for _, c := range []*parley.Conversation{tea, cake} {
			if _, err := tx.Conversation(c.ID()).ProposeUpdate(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	err := ada.Transact(ctx, func(tx *parley.Transaction) error { return errors.Join(propose(tx), refusal) })
	if !errors.Is(err, refusal) {
		t.Fatal(err)
	}
	if pending(t, tea) != 0 || pending(t, cake) != 0 {
		t.Error("an aborted transaction left proposals")
	}
	ok(t, ada.Transact(ctx, propose))
	if pending(t, tea) != 1 || pending(t, cake) != 1 {
		t.Error("a finished transaction lacks proposals")
	}
}

func TestCommitInATransactionClosesASegment(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	_, err = tx.Conversation(cake.ID()).ProposeUpdate(ctx)
	ok(t, err)
	ok(t, tx.Conversation(tea.ID()).UpdateKeys(ctx))
	_, err = tx.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	ok(t, tx.Abort(ctx))
	status, err := tea.Status(ctx)
	ok(t, err)
	if status.Pending != 0 || pending(t, cake) != 1 {
		t.Errorf("after the abort tea has %d proposals, cake %d: the segment holds cake's, and not tea's", status.Pending, pending(t, cake))
	}
	// The commit was accepted, whatever became of the transaction.
	ok(t, node.Insist(ctx, func(ctx context.Context) error { return tea.UpdateKeys(ctx) }))
	if status, err = tea.Status(ctx); err != nil || status.Epoch != 2 {
		t.Errorf("tea is in epoch %d, %v", status.Epoch, err)
	}
}

func TestOlderTransactionWins(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	older, err := ada.Begin(ctx)
	ok(t, err)
	younger, err := ada.Begin(ctx)
	ok(t, err)
	_, err = younger.Conversation(cake.ID()).ProposeUpdate(ctx)
	ok(t, err)
	_, err = older.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	_, err = older.Conversation(cake.ID()).ProposeUpdate(ctx)
	if err != nil {
		t.Fatalf("the older one did not get the lock: %v", err)
	}
	if _, err = younger.Conversation(tea.ID()).ProposeUpdate(ctx); !errors.Is(err, parley.ErrConflict) || parley.AdviceOf(err) != parley.Retry {
		t.Errorf("the younger one goes on: %v", err)
	}
	ok(t, older.Finish(ctx))
	if pending(t, tea) != 1 || pending(t, cake) != 1 {
		t.Error("the older one's proposals are not both there")
	}
}

func TestYoungerTransactionIsSentAway(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, _ := pair(t, node)
	older, err := ada.Begin(ctx)
	ok(t, err)
	younger, err := ada.Begin(ctx)
	ok(t, err)
	_, err = older.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	if _, err = younger.Conversation(tea.ID()).ProposeUpdate(ctx); !errors.Is(err, parley.ErrConflict) {
		t.Errorf("the younger one got %v", err)
	}
	ok(t, older.Abort(ctx))
}

func TestTransactionEndsAtItsDeadline(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, _ := pair(t, node)
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	tx, err := ada.Begin(short)
	ok(t, err)
	_, err = tx.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	// Nobody finishes it. Another command gets in, once the lock is gone.
	ok(t, tea.UpdateKeys(ctx))
	if err := tx.Finish(ctx); !errors.Is(err, parley.ErrNoTransaction) {
		t.Errorf("finishing it late: %v", err)
	}
	if pending(t, tea) != 0 {
		t.Error("its proposal is there")
	}
}

// TestCoordinatorThatDies kills the coordinator at each of its steps: what it leaves behind is everything or nothing.
func TestCoordinatorThatDies(t *testing.T) {
	for _, step := range []parley.Step{"actors.tx-collect", "actors.tx-decide", "actors.tx-spread"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) { killCoordinator(t, step, before) })
		}
	}
}

func killCoordinator(t *testing.T, step parley.Step, before bool) {
	ctx := t.Context()
	var armed atomic.Bool
	died := errors.New("died")
	die := func(_ context.Context, s parley.Step, _ events.LogID) error {
		if s == step && armed.CompareAndSwap(true, false) {
			return died
		}
		return nil
	}
	hooks := parley.Hooks{After: die}
	if before {
		hooks = parley.Hooks{Before: die}
	}
	node := openNode(t, parley.Options{Hooks: hooks})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	for _, c := range []*parley.Conversation{tea, cake} {
		_, err = tx.Conversation(c.ID()).ProposeUpdate(ctx)
		ok(t, err)
	}
	armed.Store(true)
	if err := tx.Finish(ctx); err == nil {
		t.Fatal("a dead coordinator said that all was well")
	}
	for _, c := range []*parley.Conversation{tea, cake} {
		// A command waits until the conversation has found out what became of the transaction.
		_, err := c.ExportSecret(ctx, "", nil, 16)
		ok(t, err)
	}
	one, other := pending(t, tea), pending(t, cake)
	if one != other {
		t.Fatalf("tea has %d proposals, cake %d", one, other)
	}
	stored := step == "actors.tx-spread" || step == "actors.tx-decide" && !before
	if stored != (one == 1) {
		t.Errorf("%d proposals in each, and the batch was appended: %v", one, stored)
	}
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		for _, c := range []*parley.Conversation{tea, cake} {
			if err := tx.Conversation(c.ID()).CommitPending(ctx); err != nil {
				return err
			}
		}
		return nil
	}))
	if pending(t, tea) != 0 || pending(t, cake) != 0 {
		t.Error("proposals are left after both were committed")
	}
}
