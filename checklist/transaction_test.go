package checklist_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"parley"
)

func transactionCases() []acceptance {
	return []acceptance{
		{"transaction::error_in_callback_rolls_back", errorRollsBack},
		{"transaction::using_an_old_context_fails", oldContext},
		{"transaction::parallel_transactions", parallelTransactions},
		{"transaction::across_instances", transactionsAcrossNodes},
		{"transaction::success_lets_the_next_proceed", func(w *world) { endLetsGoOn(w, (*parley.Transaction).Finish) }},
		{"transaction::cancel_lets_the_next_proceed", func(w *world) { endLetsGoOn(w, (*parley.Transaction).Abort) }},
		{"conversation_exists", conversationExists},
		{"wipe_then_not_found", wipeThenNotFound},
		{"observe_local_epoch_change", observeLocal},
		{"observe_remote_epoch_change", observeRemote},
		{"observer_may_read_conversation_data_in_the_event", observerReads},
		{"observers_must_not_block_new_transactions", observerBlocksNothing},
		{"history_observer_is_called_on_enable", observeHistory},
		{"set_data_persists", dataPersists},
		{"keystore::update_in_transaction_is_visible_to_search", updateIsSeenInside},
		{"keystore::uncommitted_delete_is_hidden", deleteIsSeenInside},
		{"keystore::last_write_in_order_wins", lastWriteWins},
	}
}

var errNo = errors.New("no")

func errorRollsBack(w *world) {
	alice := w.client("alice")
	create := func(why error) error {
		return alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
			_, err := tx.Create(w.ctx, w.group, w.config)
			return errors.Join(err, why)
		})
	}
	if err := create(errNo); !errors.Is(err, errNo) {
		w.Fatalf("the error comes as %v", err)
	}
	alice.gone()
	w.must(create(nil))
	w.reload(alice)
	alice.epoch(0)
	w.refused(create(nil), parley.ConversationAlreadyExists)
	w.agree(alice)
}

func oldContext(w *world) {
	alice, _ := w.pair()
	var old *parley.Transaction
	w.must(alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
		old = tx
		return nil
	}))
	if _, err := old.Conversation(w.group).ProposeUpdate(w.ctx); !errors.Is(err, parley.ErrNoTransaction) {
		w.Errorf("a transaction that is over: %v", err)
	}
	alice.holds(parley.Holdings{})
}

// parallelTransactions of one conversation come one after the other, however many are begun at once; none is lost, none is seen half.
func parallelTransactions(w *world) {
	const transactions = 6
	alice, bob := w.pair()
	var work sync.WaitGroup
	for range transactions {
		work.Go(func() {
			err := alice.node().Insist(w.ctx, func(ctx context.Context) error {
				return alice.bare().Transact(ctx, func(tx *parley.Transaction) error {
					c := tx.Conversation(w.group)
					before, err := c.Status(ctx)
					if err != nil {
						return err
					}
					_, err = c.ProposeUpdate(parley.WithCommandID(ctx, ""))
					if after, e := c.Status(ctx); err == nil && e == nil && after.Pending != before.Pending+1 {
						w.Errorf("%d proposals after %d", after.Pending, before.Pending)
					}
					return err
				})
			})
			if err != nil {
				w.Error(err)
			}
		})
	}
	work.Wait()
	alice.holds(parley.Holdings{Proposals: transactions, Updates: transactions})
	bob.take(alice.update().Commit)
	w.agree(alice, bob)
}

// transactionsAcrossNodes: a transaction of a node that has lost the client ends without effect; the next one runs where the client is.
func transactionsAcrossNodes(w *world) {
	alice, bob := w.pair()
	lost, err := alice.bare().Begin(w.ctx)
	w.must(err)
	_, err = lost.Conversation(w.group).ProposeUpdate(w.ctx)
	w.must(err)
	alice.move()
	w.must(alice.node().Insist(w.ctx, func(ctx context.Context) error {
		return alice.bare().Transact(ctx, func(tx *parley.Transaction) error {
			_, err := tx.Conversation(w.group).ProposeUpdate(parley.WithCommandID(ctx, ""))
			return err
		})
	}))
	if err := lost.Finish(w.ctx); err == nil {
		w.Error("a transaction of a node that is not asked any more has finished")
	}
	alice.holds(parley.Holdings{Proposals: 1, Updates: 1})
	bob.take(alice.update().Commit)
	w.agree(alice, bob)
}

// endLetsGoOn: who waits for a transaction goes on when it has ended.
func endLetsGoOn(w *world, end func(*parley.Transaction, context.Context) error) {
	alice, bob := w.pair()
	first, err := alice.bare().Begin(w.ctx)
	w.must(err)
	_, err = first.Conversation(w.group).ProposeUpdate(w.ctx)
	w.must(err)
	next := make(chan error, 1)
	go func() {
		next <- alice.node().Insist(w.ctx, func(ctx context.Context) error {
			_, err := alice.conversation().ExportSecret(ctx, "", nil, 16)
			return err
		})
	}()
	w.must(end(first, w.ctx))
	w.must(<-next)
	w.must(alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
		return tx.Conversation(w.group).UpdateKeys(w.ctx)
	}))
	bob.hand(w.box.last().Commit)
	alice.epoch(2)
}

func conversationExists(w *world) {
	alice := w.client("alice")
	for _, want := range []bool{false, true} {
		exists, err := alice.conversation().Exists(w.ctx)
		w.must(err)
		if exists != want {
			w.Errorf("exists: %v", exists)
		}
		if !exists {
			alice.create()
			w.reload(alice)
		}
	}
}

func wipeThenNotFound(w *world) {
	alice, bob := w.pair()
	w.must(bob.conversation().Wipe(w.ctx))
	_, err := bob.conversation().Encrypt(w.ctx, []byte("no"), nil)
	w.refused(err, parley.ConversationNotFound)
	exists, err := bob.conversation().Exists(w.ctx)
	w.must(err)
	if exists {
		w.Error("it exists")
	}
	w.reload(bob)
	bob.gone()
	alice.epoch(1) // nobody is told
}

// observed is what an observer of a member is told of the run's conversation, up to an epoch. With every change it does as it is told.
func (m *member) observed(last uint64, do func(parley.EpochChange) error) (epochs []uint64) {
	m.w.Helper()
	ctx, cancel := context.WithCancel(m.w.ctx)
	defer cancel()
	err := m.bare().ObserveEpochs(ctx, nil, func(_ context.Context, change parley.EpochChange) error {
		if change.Conversation.ID() != m.w.group {
			return nil
		}
		epochs = append(epochs, change.Epoch)
		if change.Epoch >= last {
			cancel()
		}
		return do(change)
	})
	if !errors.Is(err, context.Canceled) {
		m.w.Fatalf("%s observes: %v", m.id, err)
	}
	return epochs
}

func nothing(parley.EpochChange) error { return nil }

func observeLocal(w *world) {
	alice, bob := w.pair()
	for range 2 {
		bob.take(alice.update().Commit)
	}
	if got := alice.observed(3, nothing); !slices.Equal(got, []uint64{0, 1, 2, 3}) {
		w.Errorf("alice was told of %v", got)
	}
}

func observeRemote(w *world) {
	alice, bob := w.pair()
	for range 2 {
		bob.take(alice.update().Commit)
	}
	if got := bob.observed(3, nothing); !slices.Equal(got, []uint64{1, 2, 3}) {
		w.Errorf("bob was told of %v", got)
	}
	w.reload(bob)
	if got := bob.observed(3, nothing); !slices.Equal(got, []uint64{1, 2, 3}) {
		w.Errorf("from the beginning, on the other node, bob was told of %v", got)
	}
}

func observerReads(w *world) {
	alice, bob := w.pair()
	bob.take(alice.update().Commit)
	bob.observed(2, func(change parley.EpochChange) error {
		s, err := change.Conversation.Status(w.ctx)
		ids, failed := change.Conversation.ClientIDs(w.ctx)
		if s.Epoch < change.Epoch || !slices.Equal(ids, idsOf([]*member{alice, bob})) {
			w.Errorf("the observer of epoch %d reads epoch %d with %v", change.Epoch, s.Epoch, ids)
		}
		return errors.Join(err, failed)
	})
	w.agree(alice, bob)
}

// observerBlocksNothing: whoever takes his time with an epoch keeps nobody from going on, himself included.
func observerBlocksNothing(w *world) {
	alice, bob := w.pair()
	got := bob.observed(2, func(change parley.EpochChange) error {
		if change.Epoch > 1 {
			return nil
		}
		return bob.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
			return tx.Conversation(w.group).UpdateKeys(w.ctx)
		})
	})
	if !slices.Equal(got, []uint64{1, 2}) {
		w.Errorf("bob was told of %v", got)
	}
	alice.take(w.box.last().Commit)
	w.agree(alice, bob)
}

func observeHistory(w *world) {
	alice, bob := w.pair()
	b := alice.commit((*parley.Conversation).EnableHistorySharing)
	bob.take(b.Commit)
	bob.take(b.EncryptedMessage)
	for _, m := range []*member{alice, bob} {
		ctx, cancel := context.WithCancel(w.ctx)
		var told []parley.HistoryShared
		err := m.bare().ObserveHistory(ctx, func(_ context.Context, c *parley.Conversation, h parley.HistoryShared) error {
			told = append(told, h)
			cancel()
			return nil
		})
		cancel()
		if !errors.Is(err, context.Canceled) || len(told) != 1 || told[0].Client != m.readers()[0] || told[0].Sender != alice.id {
			w.Errorf("%s was told of %+v, %v", m.id, told, err)
		}
	}
}

func dataPersists(w *world) {
	alice := w.client("alice")
	set := func(data string, why error) error {
		return alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
			return errors.Join(tx.SetData(w.ctx, []byte(data)), why)
		})
	}
	is := func(want string) {
		w.Helper()
		var got []byte
		w.must(alice.node().Insist(w.ctx, func(ctx context.Context) (err error) {
			got, err = alice.bare().Data(ctx)
			return err
		}))
		if string(got) != want {
			w.Fatalf("the data is %q, want %q", got, want)
		}
	}
	is("")
	w.must(set("message 10", nil))
	if err := set("message 11", errNo); !errors.Is(err, errNo) {
		w.Fatal(err)
	}
	is("message 10")
	alice.move()
	is("message 10")
}

func updateIsSeenInside(w *world) {
	alice, bob := w.pair()
	w.must(alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
		c := tx.Conversation(w.group)
		if _, err := c.ProposeUpdate(w.ctx); err != nil {
			return err
		}
		inside, err := c.Status(w.ctx)
		if outside := alice.status(); inside.Pending != 1 || outside.Pending != 0 {
			w.Errorf("%d proposals inside, %d outside", inside.Pending, outside.Pending)
		}
		return err
	}))
	alice.holds(parley.Holdings{Proposals: 1, Updates: 1})
	bob.take(alice.update().Commit)
	w.agree(alice, bob)
}

func deleteIsSeenInside(w *world) {
	alice, bob := w.pair()
	wipe := func(why error) error {
		return alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
			c := tx.Conversation(w.group)
			if err := c.Wipe(w.ctx); err != nil {
				return err
			}
			inside, err := c.Exists(w.ctx)
			if outside := alice.status(); inside || !outside.Exists {
				w.Errorf("it exists inside: %v, outside: %v", inside, outside.Exists)
			}
			return errors.Join(err, why)
		})
	}
	if err := wipe(errNo); !errors.Is(err, errNo) {
		w.Fatal(err)
	}
	w.agree(alice, bob)
	w.must(wipe(nil))
	alice.gone()
	w.reload(alice)
	alice.gone()
}

// lastWriteWins: several changes of one conversation in one transaction are one record, in their order.
func lastWriteWins(w *world) {
	alice, bob := w.pair()
	before := alice.status().Version
	w.must(alice.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
		c := tx.Conversation(w.group)
		for i := range 3 {
			p, err := c.ProposeUpdate(w.ctx)
			if err != nil {
				return fmt.Errorf("proposal %d: %w", i, err)
			}
			if err := c.ClearProposal(w.ctx, p.Ref); err != nil {
				return err
			}
		}
		return nil
	}))
	if after := alice.status().Version; after != before+1 {
		w.Errorf("%d records", after-before)
	}
	alice.holds(parley.Holdings{Cleared: 3, Updates: 3})
	w.reload(alice)
	w.agree(alice, bob)
}
