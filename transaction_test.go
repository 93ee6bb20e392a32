package parley_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley"
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

// teaForTwo is a conversation of ada, to which she has added bob.
func teaForTwo(t *testing.T, node *parley.Node) (tea *parley.Conversation, bob *parley.Client) {
	t.Helper()
	ada, err := node.Client(t.Context(), "ada")
	ok(t, err)
	bob, err = node.Client(t.Context(), "bob")
	ok(t, err)
	tea, err = ada.Create(t.Context(), "tea")
	ok(t, err)
	ok(t, tea.Add(t.Context(), "bob"))
	return tea, bob
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
	closed := tx.Segments()
	ok(t, tx.Abort(ctx))
	if n := tx.Segments(); closed != 1 || n != 1 || tx.ID() == "" {
		t.Errorf("%d segments were durable before the abort, %d are", closed, n)
	}
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
	if older.Segments() != 1 || younger.Segments() != 0 {
		t.Errorf("durable are %d segments of the older one, %d of the younger", older.Segments(), younger.Segments())
	}
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

// atCoordinatorSteps runs a test for before and after each step of a coordinator.
func atCoordinatorSteps(t *testing.T, test func(t *testing.T, step parley.Step, before bool)) {
	for _, step := range []parley.Step{"actors.tx-collect", "actors.tx-decide", "actors.tx-spread"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) { test(t, step, before) })
		}
	}
}

// TestCoordinatorThatDies kills the coordinator at each of its steps: what it leaves behind is everything or nothing.
func TestCoordinatorThatDies(t *testing.T) {
	atCoordinatorSteps(t, killCoordinator)
}

func killCoordinator(t *testing.T, step parley.Step, before bool) {
	ctx := t.Context()
	death := &crasher{step: step, before: before}
	node := openNode(t, parley.Options{Hooks: death.hooks()})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	for _, c := range []*parley.Conversation{tea, cake} {
		_, err = tx.Conversation(c.ID()).ProposeUpdate(ctx)
		ok(t, err)
	}
	death.armed.Store(true)
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

// TestTransactionSeesItself reads a conversation inside a transaction that has changed it: the transaction's own view, which nobody else
// has before it is finished.
func TestTransactionSeesItself(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, _ := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	inside := tx.Conversation(tea.ID())
	if n := pending(t, inside); n != 0 {
		t.Errorf("%d proposals before there was one", n)
	}
	_, err = inside.ProposeUpdate(ctx)
	ok(t, err)
	if in, out := pending(t, inside), pending(t, tea); in != 1 || out != 0 {
		t.Errorf("inside %d proposals, outside %d", in, out)
	}
	ok(t, inside.CommitPending(ctx))
	in, err := inside.Status(ctx)
	ok(t, err)
	if in.Epoch != 1 || in.Pending != 0 {
		t.Errorf("inside epoch %d with %d proposals", in.Epoch, in.Pending)
	}
	ok(t, tx.Finish(ctx))
	out, err := tea.Status(ctx)
	ok(t, err)
	if out.Epoch != in.Epoch || out.Pending != in.Pending || !bytes.Equal(out.Authenticator, in.Authenticator) {
		t.Errorf("inside it was %+v, now it is %+v", in, out)
	}
}

// TestTransactionSends sends out of transactions: every message has its position at once, is heard once, and is not undone by an abort.
func TestTransactionSends(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	bob := takeBot(t, node, "bob")
	ok(t, tea.Add(ctx, "bob"))
	last := uint64(2)
	say := func(tx *parley.Transaction, text string) {
		t.Helper()
		position, err := tx.Conversation(tea.ID()).Send(ctx, []byte(text))
		ok(t, err)
		if position != last+1 {
			t.Errorf("%q stands at %d, after %d", text, position, last)
		}
		last = position
	}
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		_, err := tx.Conversation(cake.ID()).ProposeUpdate(ctx)
		say(tx, "the first of its block, with another conversation's proposal")
		if n := pending(t, cake); n != 1 {
			t.Errorf("the message has left and %d proposals before it are durable", n)
		}
		say(tx, "nothing to store")
		return err
	}))
	tx, err := ada.Begin(ctx)
	ok(t, err)
	say(tx, "alone")
	_, err = tx.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	ok(t, tx.Abort(ctx))
	_, err = tea.Send(ctx, []byte("afterwards"))
	ok(t, err)
	for _, want := range []string{"the first of its block, with another conversation's proposal", "nothing to store", "alone", "afterwards"} {
		bob.await(t, want, func(e parley.Event) bool {
			if e.Message != nil && string(e.Message.Text) != want {
				t.Errorf("heard %q instead of %q", e.Message.Text, want)
			}
			return e.Message != nil
		})
	}
}

// TestTransactionRunAgain loses the answer of a transaction's end, before and after it was durable, and runs the whole of it again under
// the same command ids: all of it has happened once.
func TestTransactionRunAgain(t *testing.T) {
	atCoordinatorSteps(t, runAgain)
}

func runAgain(t *testing.T, step parley.Step, before bool) {
	ctx := t.Context()
	death := &crasher{step: step, before: before}
	node := openNode(t, parley.Options{Hooks: death.hooks()})
	defer closeNode(t, node)
	ada, tea, cake := pair(t, node)
	bob := takeBot(t, node, "bob")
	ok(t, tea.Add(ctx, "bob"))
	bob.await(t, "the welcome", inEpoch(1)) // what joins is a transaction too
	named := func(id string) context.Context { return parley.WithCommandID(ctx, parley.CommandID(id)) }
	var at []uint64
	attempt := func(tx *parley.Transaction) error {
		position, err := tx.Conversation(tea.ID()).Send(named("say it"), []byte("once"))
		if err != nil {
			return err
		}
		at = append(at, position)
		for _, c := range []*parley.Conversation{tea, cake} {
			if _, err := tx.Conversation(c.ID()).ProposeUpdate(named("propose in " + string(c.ID()))); err != nil {
				return err
			}
		}
		if len(at) == 1 {
			death.armed.Store(true)
		}
		return nil
	}
	if err := ada.Transact(ctx, attempt); err == nil || parley.AdviceOf(err) != parley.Retry {
		t.Fatalf("the lost end: %v", err)
	}
	ok(t, node.Insist(ctx, func(ctx context.Context) error { return ada.Transact(ctx, attempt) }))
	if one, other := pending(t, tea), pending(t, cake); one != 1 || other != 1 {
		t.Errorf("tea has %d proposals, cake %d", one, other)
	}
	for _, position := range at[1:] {
		if position != at[0] {
			t.Errorf("the message stands at %v", at)
		}
	}
	ok(t, tea.CommitPending(ctx))
	_, err := tea.Send(ctx, []byte("twice"))
	ok(t, err)
	for _, want := range []string{"once", "twice"} {
		bob.await(t, want, func(e parley.Event) bool {
			if e.Message != nil && string(e.Message.Text) != want {
				t.Errorf("heard %q instead of %q", e.Message.Text, want)
			}
			return e.Message != nil
		})
	}
}

// TestFinishMayBeAskedAgain: who has not waited for the end of a transaction hears of it when he asks again, and then it is over.
func TestFinishMayBeAskedAgain(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, _ := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	_, err = tx.Conversation(tea.ID()).ProposeUpdate(ctx)
	ok(t, err)
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if err := tx.Finish(impatient); !errors.Is(err, context.Canceled) {
		t.Fatalf("nobody waits for it: %v", err)
	}
	ok(t, tx.Finish(ctx))
	if n := pending(t, tea); n != 1 {
		t.Errorf("%d proposals", n)
	}
	ok(t, tx.Finish(ctx)) // it was heard, so it is known for ever
	if _, err := tx.Conversation(tea.ID()).ProposeUpdate(ctx); !errors.Is(err, parley.ErrNoTransaction) || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("a command after the end: %v", err)
	}
}
