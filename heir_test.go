package parley_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"parley"
)

// TestHeirOfEveryCrash lets a node die at every durable step, before and after it, somewhere in the life of conversations. Another node
// opens the same logs and asks for everything again, from the first command on: all of it has happened once. The crash matrix asks for the one
// command that died again; here a whole life is, under ids that lie epochs back, over members that have come and gone since.
func TestHeirOfEveryCrash(t *testing.T) {
	t.Parallel()
	rounds := []int{1}
	if os.Getenv("PARLEY_SOAK") != "" {
		rounds = []int{1, 2, 3, 5, 8, 13, 21}
	}
	for _, step := range parley.Steps() {
		for _, before := range []bool{true, false} {
			for _, nth := range rounds {
				t.Run(fmt.Sprintf("%s before=%v %d", step, before, nth), func(t *testing.T) {
					t.Parallel()
					inherit(t, &dying{at: step, before: before, died: make(chan struct{})}, nth)
				})
			}
		}
	}
}

// deed is one command of the story, under an id of its own.
type deed struct {
	name string
	do   func(context.Context, *parley.Node) error
}

// deeds are the story: everything that makes a durable step. Asking for one again does nothing more.
func deeds() []deed {
	conv := func(n *parley.Node, id parley.ConversationID) *parley.Conversation {
		return n.Bare("ada").Conversation(id)
	}
	return []deed{
		{"ada", func(ctx context.Context, n *parley.Node) error { _, err := n.Client(ctx, "ada"); return err }},
		{"bob", func(ctx context.Context, n *parley.Node) error { _, err := n.Client(ctx, "bob"); return err }},
		{"create", func(ctx context.Context, n *parley.Node) error {
			_, err := n.Bare("ada").Create(ctx, "tea")
			return err
		}},
		{"create cake", func(ctx context.Context, n *parley.Node) error {
			_, err := n.Bare("ada").Create(ctx, "cake")
			return err
		}},
		{"add", func(ctx context.Context, n *parley.Node) error { return conv(n, "tea").Add(ctx, "bob") }},
		{"send", func(ctx context.Context, n *parley.Node) error {
			_, err := conv(n, "tea").Send(ctx, []byte("one"))
			return err
		}},
		{"update", func(ctx context.Context, n *parley.Node) error { return conv(n, "tea").UpdateKeys(ctx) }},
		{"transact", func(ctx context.Context, n *parley.Node) error {
			return n.Bare("ada").Transact(ctx, func(tx *parley.Transaction) error {
				for _, id := range []parley.ConversationID{"tea", "cake"} {
					if _, err := tx.Conversation(id).ProposeUpdate(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{"commit", func(ctx context.Context, n *parley.Node) error { return conv(n, "tea").CommitPending(ctx) }},
		{"commit cake", func(ctx context.Context, n *parley.Node) error { return conv(n, "cake").CommitPending(ctx) }},
		{"send again", func(ctx context.Context, n *parley.Node) error {
			_, err := conv(n, "tea").Send(ctx, []byte("two"))
			return err
		}},
		{"eve", func(ctx context.Context, n *parley.Node) error { _, err := n.Client(ctx, "eve"); return err }},
		{"add eve", func(ctx context.Context, n *parley.Node) error { return conv(n, "tea").Add(ctx, "eve") }},
		{"remove", func(ctx context.Context, n *parley.Node) error { return conv(n, "tea").Remove(ctx, "eve") }},
	}
}

func inherit(t *testing.T, fate *dying, nth int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := deploy(t)
	all := deeds()
	doomed := d.node(t, parley.Options{Name: "doomed", Hooks: fate.hooks()})
	for i, deed := range all {
		if i == nth+1 {
			fate.armed.Store(true)
		}
		for !fate.dead.Load() {
			err := deed.do(parley.WithCommandID(ctx, parley.CommandID(deed.name)), doomed)
			if err == nil {
				break
			}
			if parley.AdviceOf(err) != parley.Retry && !fate.dead.Load() {
				t.Fatalf("%s: %v", deed.name, err)
			}
			pause(ctx)
		}
	}
	fate.armed.Store(false)
	fate.dead.Store(true)
	heir := d.node(t, parley.Options{Name: "heir"})
	defer closeNode(t, heir)
	defer closeQuietly(t, doomed)
	for _, deed := range all {
		err := heir.Insist(parley.WithCommandID(ctx, parley.CommandID(deed.name)), func(ctx context.Context) error { return deed.do(ctx, heir) })
		if err != nil && parley.AdviceOf(err) != parley.GiveUp {
			t.Fatalf("%s by the heir: %v", deed.name, err)
		}
	}
	c := &couple{node: heir, ada: takeBot(t, heir, "ada"), bob: takeBot(t, heir, "bob"), said: []string{"one", "two"}}
	c.heard(t)
	tea := c.ada.Conversation("tea")
	agree(t, tea, c.bob.Conversation("tea"))
	status, err := tea.Status(ctx)
	ok(t, err)
	cake, err := c.ada.Conversation("cake").Status(ctx)
	ok(t, err)
	if status.Epoch != 5 || status.Pending != 0 || cake.Epoch != 1 || cake.Pending != 0 || len(status.Members) != 2 {
		t.Errorf("tea is in epoch %d with %d proposals, cake in %d with %d", status.Epoch, status.Pending, cake.Epoch, cake.Pending)
	}
}
