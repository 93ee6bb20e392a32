package parley_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley"
)

// TestASlowOwnerHearsEverythingOnceAndInOrder lets far more wait than memory holds, and than lies between two snapshots, acknowledges
// some of it on one node and hears the rest on its successor.
func TestASlowOwnerHearsEverythingOnceAndInOrder(t *testing.T) {
	const lines, acknowledged = 1500, 333
	ctx := t.Context()
	d := deploy(t)
	limits := parley.Limits{UndeliveredBytes: 16 << 10, SnapshotBytes: 32 << 10, EntriesPerRecord: 64}
	first := d.node(t, parley.Options{Limits: limits})
	ada, err := first.Client(ctx, "ada")
	ok(t, err)
	bob := takeBot(t, first, "bob")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob"))
	bob.await(t, "the welcome", inEpoch(1))
	sayAll(t, first, conv, lines)
	heard := bob.listen(t, 1, acknowledged)
	ok(t, heard.Ack(ctx))
	bob.listen(t, acknowledged+1, lines/2)
	bob.stop() // what it has heard and not acknowledged comes again
	closeNode(t, first)
	second := d.node(t, parley.Options{Limits: limits})
	defer closeNode(t, second)
	bob = takeBot(t, second, "bob")
	ok(t, bob.listen(t, acknowledged+1, lines).Ack(ctx))
	_, err = second.Bare("ada").Conversation("tea").Send(ctx, []byte("the last"))
	ok(t, err)
	bob.listen(t, lines+1, lines+1)
}

// sayAll sends messages, many at once.
func sayAll(t *testing.T, node *parley.Node, conv *parley.Conversation, lines int) {
	t.Helper()
	var work sync.WaitGroup
	callers := 50
	for range callers {
		work.Go(func() {
			for i := range lines / callers {
				err := node.Insist(context.Background(), func(ctx context.Context) error {
					_, err := conv.Send(ctx, fmt.Appendf(nil, "line %d", i))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

// listen takes the messages from one number to another as they come, and returns the last.
func (b *bot) listen(t *testing.T, from, to uint64) (last parley.Event) {
	t.Helper()
	timeout := time.After(patience)
	for want := from; want <= to; {
		select {
		case e := <-b.events:
			if e.Message == nil {
				continue
			}
			if last = e; e.Message.Number != want {
				t.Fatalf("message %d came where %d belongs", e.Message.Number, want)
			}
			want++
		case <-timeout:
			t.Fatalf("%s waited in vain for message %d", b.ID(), want)
		}
	}
	return last
}
