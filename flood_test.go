package parley

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"parley/delivery"
)

// TestAFloodingMemberHarmsNobodyElse lets one member pour everything it can into the order of its group, by the door that a hostile node has:
// messages, proposals, commits of epochs that are over and bytes that mean nothing. It is told to slow down; what the others want to say, add
// and commit goes on, in this group and in another one.
func TestAFloodingMemberHarmsNobodyElse(t *testing.T) {
	node, ctx, _ := sequencing(t, nil)
	tea, cake := talking(ctx, t, node, "tea"), talking(ctx, t, node, "cake")
	bob := node.Bare("bob").Conversation("tea")
	await(ctx, t, "bob is in", func() bool { in, err := bob.Exists(ctx); return err == nil && in })
	stale := lastCommit(ctx, t, node, "tea")
	flood, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	var slowed atomic.Int64
	pour := func(submit func(o delivery.Origin) error) {
		work.Go(func() {
			for flood.Err() == nil {
				err := submit(delivery.Origin{Client: "bob", CommandID: node.actors.NewCommandID(), IssuedMs: node.actors.Now()})
				if errors.Is(err, delivery.Busy) {
					slowed.Add(1)
				}
			}
		})
	}
	garbage := make([]byte, 512)
	_, _ = rand.Read(garbage)
	for range 4 {
		pour(func(o delivery.Origin) error {
			batch := make([]delivery.Message, 256)
			for i := range batch {
				batch[i] = delivery.Message{Group: "tea", Origin: o, Bytes: garbage}
			}
			receipts, err := node.delivery.SubmitMessages(flood, batch)
			return errors.Join(err, receipts[len(receipts)-1].Err)
		})
		pour(func(o delivery.Origin) error {
			_, err := node.delivery.SubmitProposal(flood, delivery.Proposal{Group: "tea", Origin: o, Message: garbage})
			return err
		})
		pour(func(o delivery.Origin) error {
			answer, err := node.delivery.SubmitBundle(flood, delivery.Bundle{Group: "tea", Origin: o, Commit: stale.Message, GroupInfo: stale.GroupInfo})
			if retry, ok := answer.(delivery.Retry); ok && retry.Epoch == 0 {
				return delivery.Busy
			}
			return err
		})
	}
	for i := range 10 {
		for _, c := range []*Conversation{tea, cake} {
			err := node.Insist(ctx, func(ctx context.Context) error {
				_, err := c.Send(ctx, fmt.Append(nil, i))
				return err
			})
			if err != nil {
				t.Fatalf("message %d of %s: %v", i, c.ID(), err)
			}
		}
	}
	if err := node.Insist(ctx, tea.UpdateKeys); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the flood is slowed", func() bool { return slowed.Load() > 20 })
	stop()
	work.Wait()
	if status, err := tea.Status(ctx); err != nil || status.Epoch != 2 {
		t.Errorf("epoch %d, %v", status.Epoch, err)
	}
	await(ctx, t, "bob follows", func() bool { s, err := bob.Status(ctx); return err == nil && s.Epoch == 2 })
	if err := node.Insist(ctx, bob.UpdateKeys); err != nil { // slowed, not locked out
		t.Error(err)
	}
}

func lastCommit(ctx context.Context, t *testing.T, node *Node, group ConversationID) delivery.Entry {
	t.Helper()
	entry, found, err := node.delivery.WhoWon(ctx, group, 0)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	return entry
}
