package parley_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"parley"
)

// TestHistorySharingSurvivesEveryCrash lets a node die at every durable step while sharing is enabled and while a member is removed. Another
// node is asked for the same again: each reader came once, everybody holds the secret of the one that is left, and it reads.
func TestHistorySharingSurvivesEveryCrash(t *testing.T) {
	t.Parallel()
	soak := os.Getenv("PARLEY_SOAK") != ""
	var hits sync.Map
	t.Run("steps", func(t *testing.T) {
		for i, step := range parley.Steps() {
			for _, before := range []bool{true, false} {
				for nth, at := range []string{"enable", "remove"} {
					if !soak && (i+nth)%2 == 0 == before {
						continue // the other one of the two
					}
					t.Run(fmt.Sprintf("%s before=%v %s", step, before, at), func(t *testing.T) {
						t.Parallel()
						if sharesThrough(t, &dying{at: step, before: before, died: make(chan struct{})}, at) {
							hits.Store(step, true)
						}
					})
				}
			}
		}
	})
	n := 0
	hits.Range(func(any, any) bool { n++; return true })
	if n < 5 {
		t.Errorf("nobody died but at %d steps", n)
	}
}

// sharesThrough reports whether the node has died.
func sharesThrough(t *testing.T, fate *dying, at string) (died bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := deploy(t)
	doomed := d.node(t, parley.Options{Name: "doomed", Hooks: fate.hooks()})
	for _, id := range []parley.ClientID{"ada", "bob", "eve"} {
		_, err := doomed.Client(ctx, id)
		ok(t, err)
	}
	conv, err := doomed.Bare("ada").Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob", "eve"))
	awaitEpoch(t, doomed.Bare("bob").Conversation("tea"), 1)
	deeds := []deed{
		{"enable", func(ctx context.Context, n *parley.Node) error {
			return n.Bare("ada").Conversation("tea").EnableHistorySharing(ctx)
		}},
		{"remove", func(ctx context.Context, n *parley.Node) error {
			return n.Bare("ada").Conversation("tea").Remove(ctx, "eve")
		}},
	}
	for _, deed := range deeds {
		if deed.name == at {
			fate.armed.Store(true)
		}
		for !fate.dead.Load() && deed.do(parley.WithCommandID(ctx, parley.CommandID(deed.name)), doomed) != nil {
			pause(ctx)
		}
	}
	died = fate.dead.Load()
	fate.armed.Store(false)
	fate.dead.Store(true)
	heir := d.node(t, parley.Options{Name: "heir"})
	defer closeNode(t, heir)
	defer closeQuietly(t, doomed)
	for _, deed := range deeds {
		err := heir.Insist(parley.WithCommandID(ctx, parley.CommandID(deed.name)), func(ctx context.Context) error { return deed.do(ctx, heir) })
		if err != nil && !errors.Is(err, parley.NothingToCommit) {
			t.Fatalf("%s by the heir: %v", deed.name, err)
		}
	}
	conv = heir.Bare("ada").Conversation("tea")
	status, err := conv.Status(ctx)
	ok(t, err)
	awaitEpoch(t, heir.Bare("bob").Conversation("tea"), status.Epoch)
	if !status.History || len(status.Members) != 3 || status.Epoch != 3 {
		t.Errorf("shared: %t, members %v in epoch %d", status.History, status.Members, status.Epoch)
	}
	say(t, conv, "without eve")
	checkReaders(t, heir)
	return died
}

// checkReaders checks that everybody holds the same two secrets, and what their readers can read.
func checkReaders(t *testing.T, node *parley.Node) {
	t.Helper()
	var told [][]parley.ClientID
	for _, id := range []parley.ClientID{"ada", "bob"} {
		var readers []parley.ClientID
		for _, held := range observeHistory(t, node.Bare(id), 2) {
			readers = append(readers, held.Client)
			reader, err := node.HistoryClient(held.Secret)
			ok(t, err)
			want := []string{"ada in 3: without eve"}
			if held.Number == 1 {
				want = nil
			}
			if got := read(t, reader); !slices.Equal(got, want) {
				t.Errorf("reader %d of %s has read %q", held.Number, id, got)
			}
		}
		told = append(told, readers)
	}
	if !slices.Equal(told[0], told[1]) || told[0][0] == told[0][1] {
		t.Errorf("ada is told of %v, bob of %v", told[0], told[1])
	}
}
