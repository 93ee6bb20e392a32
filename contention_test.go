package parley_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley"
)

// TestContentionIsNeverTheEnd lets one client create many conversations at the same moment, on a node with room for few requests and with
// callers of little patience. Each creation takes the client's own log, so most of them are in each other's way: whatever a caller hears,
// he is told that he may ask again, and in the end each conversation is there once.
func TestContentionIsNeverTheEnd(t *testing.T) {
	const creators, rounds = 64, 3
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	node := openNode(t, parley.Options{Isolated: true, Limits: parley.Limits{
		WaitingPerActor: 12, Recoveries: 2, TransactionMax: 300 * time.Millisecond, TransactionGrace: 100 * time.Millisecond,
	}})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	for round := range rounds {
		var work sync.WaitGroup
		for i := range creators {
			id := parley.ConversationID(fmt.Sprint("room ", round, " ", i))
			work.Go(func() {
				hasty := parley.WithCommandID(ctx, parley.CommandID(id))
				err := node.Insist(hasty, func(ctx context.Context) error {
					ctx, cancel := context.WithTimeout(ctx, time.Duration(20+20*i)*time.Millisecond)
					defer cancel()
					_, err := ada.Create(ctx, id, config)
					return err
				})
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
		}
		work.Wait()
	}
	all, err := ada.Conversations(ctx)
	ok(t, err)
	if len(all) != creators*rounds {
		t.Errorf("%d conversations, %d were created", len(all), creators*rounds)
	}
}
