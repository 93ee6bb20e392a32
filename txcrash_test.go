package parley_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"parley"
)

// saga is a transaction that does everything there is to do in one: it creates a conversation, marks it as a child, adds a member, speaks,
// keeps data and comes into another group by a commit of its own.
func saga(ctx context.Context, ada *parley.Client) error {
	named := func(id string) context.Context { return parley.WithCommandID(ctx, parley.CommandID("saga: "+id)) }
	return ada.Transact(parley.WithCommandID(ctx, ""), func(tx *parley.Transaction) error {
		if _, err := tx.Create(named("create"), "tea"); err != nil {
			return err
		}
		tea := tx.Conversation("tea")
		if err := tea.MarkAsChildOf(named("mark"), "house"); err != nil {
			return err
		}
		if err := tea.Add(named("add"), "bob"); err != nil {
			return err
		}
		if _, err := tea.Send(named("send"), []byte("once")); err != nil {
			return err
		}
		if err := tx.SetData(named("data"), []byte("kept")); err != nil {
			return err
		}
		if _, err := tx.JoinExternally(named("join"), "club", parley.ExternalJoin{}); err != nil {
			return err
		}
		_, err := tx.Conversation("house").ProposeUpdate(named("propose"))
		return err
	})
}

// cast is who takes part: bob has founded the club, ada has a house.
func cast(t *testing.T, home, abroad *parley.Node) (ada *parley.Client, bob *bot) {
	t.Helper()
	bob = takeBot(t, abroad, "bob")
	_, err := bob.Create(t.Context(), "club")
	ok(t, err)
	ada, err = home.Client(t.Context(), "ada")
	ok(t, err)
	_, err = ada.Create(t.Context(), "house")
	ok(t, err)
	return ada, bob
}

func letsIn(parley.ConversationID, parley.ClientID) parley.Access { return parley.JoinsByInfo }

// happenedOnce checks what is left of a saga that was run until it said that it is done.
func happenedOnce(t *testing.T, ada *parley.Client, bob *bot) {
	t.Helper()
	ctx := t.Context()
	tea, club, house := ada.Conversation("tea"), ada.Conversation("club"), ada.Conversation("house")
	bob.await(t, "the message", text("once"))
	awaitEpoch(t, bob.Conversation("tea"), 1)
	awaitEpoch(t, bob.Conversation("club"), 1)
	awaitEpoch(t, club, 1)
	agree(t, tea, bob.Conversation("tea"))
	agree(t, club, bob.Conversation("club"))
	status, err := tea.Status(ctx)
	ok(t, err)
	data, err := ada.Data(ctx)
	ok(t, err)
	listed, err := ada.Status(ctx)
	ok(t, err)
	if status.Epoch != 1 || status.Parent != "house" || string(data) != "kept" || listed.Conversations != 3 || pending(t, house) != 1 {
		t.Errorf("tea %+v, data %q, %d conversations, %d proposals", status, data, listed.Conversations, pending(t, house))
	}
	_, err = tea.Send(ctx, []byte("twice"))
	ok(t, err)
	bob.await(t, "the next message", func(e parley.Event) bool {
		if e.Message != nil && string(e.Message.Text) == "once" {
			t.Error("the message was heard again")
		}
		return e.Message != nil && string(e.Message.Text) == "twice"
	})
	for _, c := range []*parley.Conversation{tea, club, house} {
		history, err := c.History(ctx)
		ok(t, err)
		live, err := c.Status(ctx)
		ok(t, err)
		if history.Version == live.Version && history.Digest != live.Digest {
			t.Errorf("%s: replay %s, live %s", c.ID(), history.Digest, live.Digest)
		}
	}
}

// TestCrashAtEveryStepOfATransaction lets an actor or a call die once at each durable step, before and after it, while a saga is told. It is
// run again until it says that it is done; then everything has happened once.
func TestCrashAtEveryStepOfATransaction(t *testing.T) {
	for _, step := range parley.Steps() {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				death := &crasher{step: step, before: before}
				node := openNode(t, parley.Options{Hooks: death.hooks(), Access: letsIn})
				defer closeNode(t, node)
				ada, bob := cast(t, node, node)
				death.armed.Store(true)
				ok(t, node.Insist(ctx, func(ctx context.Context) error { return saga(ctx, ada) }))
				death.armed.Store(false)
				happenedOnce(t, ada, bob)
			})
		}
	}
}

// TestHeirOfATransaction lets a whole node die at the steps of a saga. Another node takes its shares and runs it again: everything has
// happened once.
func TestHeirOfATransaction(t *testing.T) {
	for _, step := range []parley.Step{
		"events.append", "events.append-batch", "actors.send-bundle", "actors.send-messages", "actors.register", "actors.swap",
		"actors.tx-collect", "actors.tx-decide", "actors.tx-spread",
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
				t.Parallel()
				inheritSaga(t, &dying{at: step, before: before, died: make(chan struct{})})
			})
		}
	}
}

func inheritSaga(t *testing.T, fate *dying) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	d := deploy(t)
	home, theirs := homeOf("ada")
	options := func(name string, shares ...uint32) parley.Options {
		return parley.Options{Name: name, Shares: shares, ShareCount: 16, Access: letsIn}
	}
	first := options("first", home)
	first.Hooks = fate.hooks()
	a := d.node(t, first)
	defer a.Close(ctx)
	b := d.node(t, options("second", theirs...))
	defer closeNode(t, b)
	ada, bob := cast(t, a, b)
	fate.armed.Store(true)
	last, done := context.WithTimeout(ctx, 3*time.Second)
	defer done()
	err := saga(last, ada)
	if fate.dead.Load() == (err == nil) {
		t.Errorf("the node died: %v; it said: %v", fate.dead.Load(), err)
	}
	b.TakeShares(home)
	there, err := b.Client(ctx, "ada")
	ok(t, err)
	ok(t, b.Insist(ctx, func(ctx context.Context) error { return saga(ctx, there) }))
	happenedOnce(t, there, bob)
}
