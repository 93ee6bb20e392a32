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

// TestTransactionsOfOneClientRaceForAnId: transactions of one client that create the same conversation, each beside one of its own. One has both;
// of the others, which are told why, nothing is left.
func TestTransactionsOfOneClientRaceForAnId(t *testing.T) {
	const creators = 4
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	side := func(i int) parley.ConversationID { return parley.ConversationID(fmt.Sprint("side ", i)) }
	outcomes := make([]error, creators)
	var work sync.WaitGroup
	for i := range creators {
		work.Go(func() {
			outcomes[i] = node.Insist(ctx, func(ctx context.Context) error {
				return ada.Transact(ctx, func(tx *parley.Transaction) error {
					if _, err := tx.Create(ctx, side(i)); err != nil {
						return err
					}
					if _, err := tx.Create(ctx, "tea"); err != nil {
						return err
					}
					return tx.SetData(ctx, fmt.Append(nil, "data of ", i))
				})
			})
		})
	}
	work.Wait()
	winner := soleWinner(t, outcomes)
	if lifecycle(t, ada.Conversation("tea")) != "active" {
		t.Error("nobody has it")
	}
	for i := range creators {
		if got := lifecycle(t, ada.Conversation(side(i))); got == "active" != (i == winner) || i != winner && got != "absent" {
			t.Errorf("what creator %d made beside it is %s; %d has won", i, got, winner)
		}
	}
	all, err := ada.Conversations(ctx)
	ok(t, err)
	data, err := ada.Data(ctx)
	ok(t, err)
	if len(all) != 2 || string(data) != fmt.Sprint("data of ", winner) {
		t.Errorf("%v are listed, with %q; %d has won", all, data, winner)
	}
}

// soleWinner is the one creator who has the id; all others have been told that somebody has it.
func soleWinner(t *testing.T, outcomes []error) int {
	t.Helper()
	winner := -1
	for i, err := range outcomes {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("%d and %d both have it", winner, i)
		case !errors.Is(err, parley.ConversationAlreadyExists) || parley.AdviceOf(err) != parley.GiveUp:
			t.Errorf("creator %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatalf("nobody has it: %v", outcomes)
	}
	return winner
}

// TestTransactionsOfClientsRaceForAnId: transactions of several clients that have all seen that an id is free, and are durable before any of them
// has its order. One keeps the conversation; the others' are wiped, which their Finish says with its name, and everything else of them stands:
// it was decided before. Asked again, Finish says the same.
func TestTransactionsOfClientsRaceForAnId(t *testing.T) {
	const creators = 3
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var arrived atomic.Int32
	all := make(chan struct{})
	node := openNode(t, parley.Options{Hooks: parley.Hooks{Before: func(_ context.Context, step parley.Step, id events.LogID) error {
		if step == "actors.register" && id.Conversation == "tea" {
			if arrived.Add(1) == creators {
				close(all)
			}
			<-all
		}
		return nil
	}}})
	defer closeNode(t, node)
	clients, outcomes, again := make([]*parley.Client, creators), make([]error, creators), make([]error, creators)
	for i := range clients {
		var err error
		clients[i], err = node.Client(ctx, parley.ClientID(fmt.Sprint("client ", i)))
		ok(t, err)
	}
	var work sync.WaitGroup
	for i, client := range clients {
		work.Go(func() {
			tx, err := client.Begin(ctx)
			if err != nil {
				outcomes[i] = err
				return
			}
			_, tea := tx.Create(ctx, "tea")
			_, side := tx.Create(ctx, parley.ConversationID(fmt.Sprint("side ", i)))
			if err := errors.Join(tea, side, tx.SetData(ctx, []byte("data"))); err != nil {
				outcomes[i] = err
				return
			}
			outcomes[i] = tx.Finish(ctx)
			again[i] = tx.Finish(ctx)
		})
	}
	work.Wait()
	winner := soleWinner(t, outcomes)
	for i, client := range clients {
		if (again[i] == nil) != (outcomes[i] == nil) || outcomes[i] != nil && !errors.Is(again[i], parley.ConversationAlreadyExists) {
			t.Errorf("creator %d: first %v, then %v", i, outcomes[i], again[i])
		}
		if e, is := errors.AsType[*parley.Error](outcomes[i]); outcomes[i] != nil && (!is || e.Conversation != "tea") {
			t.Errorf("creator %d does not hear which: %v", i, outcomes[i])
		}
		want, listed := "wiped", 1
		if i == winner {
			want, listed = "active", 2
		}
		got := lifecycle(t, client.Conversation("tea"))
		status, err := client.Status(ctx)
		ok(t, err)
		data, err := client.Data(ctx)
		ok(t, err)
		if got != want || status.Conversations != listed || string(data) != "data" || lifecycle(t, client.Conversation(parley.ConversationID(fmt.Sprint("side ", i)))) != "active" {
			t.Errorf("creator %d of %d: %s, lists %d, data %q", i, winner, got, status.Conversations, data)
		}
	}
	tea := clients[winner].Conversation("tea")
	for i, client := range clients {
		if i != winner {
			ok(t, node.Insist(ctx, func(ctx context.Context) error { return tea.Add(ctx, client.ID()) }))
			awaitExists(ctx, t, client.Conversation("tea"))
		}
	}
}
