package parley_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

var errNo = errors.New("no")

// lifecycle is where a conversation stands, as everybody outside of transactions sees it.
func lifecycle(t *testing.T, c *parley.Conversation) string {
	t.Helper()
	status, err := c.Status(t.Context())
	ok(t, err)
	return status.Lifecycle
}

// TestErrorRollsACreationBack: created and failed, created again, and a third time it is there. Two conversations, one the other's child,
// are one transaction; who uses it after its end is told so.
func TestErrorRollsACreationBack(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	var old *parley.Transaction
	create := func(tx *parley.Transaction) error {
		old = tx
		house, err := tx.Create(ctx, "house")
		if err != nil {
			return err
		}
		room, err := tx.Create(ctx, "room")
		if err != nil {
			return err
		}
		if exists, err := house.Exists(ctx); !exists || err != nil {
			t.Errorf("the transaction does not see what it has created: %v", err)
		}
		return room.MarkAsChildOf(ctx, "house")
	}
	err = ada.Transact(ctx, func(tx *parley.Transaction) error { return errors.Join(create(tx), errNo) })
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	if _, err := old.Create(ctx, "late"); !errors.Is(err, parley.ErrNoTransaction) || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("a transaction that is over: %v", err)
	}
	house, room := ada.Conversation("house"), ada.Conversation("room")
	if lifecycle(t, house) != "absent" || lifecycle(t, room) != "absent" {
		t.Error("an aborted transaction left conversations")
	}
	ok(t, ada.Transact(ctx, create))
	status, err := room.Status(ctx)
	ok(t, err)
	if !status.Exists || status.Parent != "house" || lifecycle(t, house) != "active" {
		t.Errorf("created: %+v", status)
	}
	if err := ada.Transact(ctx, create); !errors.Is(err, parley.ConversationAlreadyExists) {
		t.Errorf("the third time: %v", err)
	}
	listed, err := ada.Status(ctx)
	ok(t, err)
	if listed.Conversations != 2 {
		t.Errorf("%d conversations are listed", listed.Conversations)
	}
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		if _, err := tx.Create(ctx, "brief"); err != nil {
			return err
		}
		return errors.Join(tx.Conversation("brief").Wipe(ctx), tx.Conversation("room").Wipe(ctx))
	}))
	if listed, err = ada.Status(ctx); err != nil || listed.Conversations != 1 || lifecycle(t, room) != "wiped" {
		t.Errorf("%d conversations are listed, %v", listed.Conversations, err)
	}
}

// TestCreateAddAndSayInOneTransaction: a commit right behind a creation goes out when the group is known, and the added one reads what is
// said behind it. What was sent stands, whatever becomes of the rest.
func TestCreateAddAndSayInOneTransaction(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob := takeBot(t, node, "bob")
	err = ada.Transact(ctx, func(tx *parley.Transaction) error {
		tea, err := tx.Create(ctx, "tea")
		if err != nil {
			return err
		}
		if err := tea.Add(ctx, "bob"); err != nil {
			return err
		}
		if _, err := tea.Send(ctx, []byte("welcome")); err != nil {
			return err
		}
		_, err = tea.ProposeUpdate(ctx)
		return errors.Join(err, errNo)
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	bob.await(t, "what was said", text("welcome"))
	tea := ada.Conversation("tea")
	status, err := tea.Status(ctx)
	ok(t, err)
	if status.Epoch != 1 || status.Pending != 0 {
		t.Errorf("after the abort: %+v", status)
	}
	agree(t, tea, bob.Conversation("tea"))
	if listed, err := ada.Status(ctx); err != nil || listed.Conversations != 1 {
		t.Errorf("%d conversations are listed, %v", listed.Conversations, err)
	}
}

// TestJoinDecryptAndWipeInOneTransaction joins by a Welcome, reads a message of the group and wipes another conversation, with a foreign
// service: nobody sees any of it before the end, and an abort leaves the key package as it was.
func TestJoinDecryptAndWipeInOneTransaction(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, service := racers(t)
	eve, err := node.Client(ctx, "eve")
	ok(t, err)
	old, err := eve.Create(ctx, "old")
	ok(t, err)
	packages, err := eve.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	ok(t, ada.AddKeyPackages(ctx, packages...))
	bundle := service.last()
	_, err = bob.Decrypt(ctx, bundle.Commit)
	ok(t, err)
	said, err := bob.Encrypt(ctx, []byte("hello eve"), nil)
	ok(t, err)
	join := func(tx *parley.Transaction) error {
		tea, err := tx.Join(ctx, parley.Invitation{Welcome: bundle.Welcome})
		if err != nil {
			return err
		}
		got, err := tea.Decrypt(ctx, said)
		if err != nil {
			return err
		}
		if got.Message == nil || string(got.Message.Text) != "hello eve" {
			t.Errorf("read %+v", got)
		}
		if exists, err := eve.Conversation("tea").Exists(ctx); exists || err != nil {
			t.Errorf("seen before it is durable, %v", err)
		}
		return tx.Conversation("old").Wipe(ctx)
	}
	if err := eve.Transact(ctx, func(tx *parley.Transaction) error { return errors.Join(join(tx), errNo) }); !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	if exists, err := old.Exists(ctx); !exists || err != nil {
		t.Errorf("undone, and the old one is gone: %v", err)
	}
	ok(t, eve.Transact(ctx, join))
	status, err := eve.Status(ctx)
	ok(t, err)
	if status.KeyPackages != 0 || status.Conversations != 1 || lifecycle(t, old) != "wiped" {
		t.Errorf("eve: %+v, old: %s", status, lifecycle(t, old))
	}
	agree(t, ada, bob, eve.Conversation("tea"))
}

// TestExternalJoinInATransaction joins by a commit of the client's own and speaks at once. An abort afterwards undoes nothing that others
// have seen.
func TestExternalJoinInATransaction(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{Access: func(parley.ConversationID, parley.ClientID) parley.Access { return parley.JoinsByInfo }})
	defer closeNode(t, node)
	tea, _ := teaForTwo(t, node)
	eve, err := node.Client(ctx, "eve")
	ok(t, err)
	err = eve.Transact(ctx, func(tx *parley.Transaction) error {
		if err := tx.Conversation("tea").AbandonJoin(ctx); !errors.Is(err, conversation.PendingJoinNotFound) {
			t.Errorf("nothing is pending: %v", err)
		}
		hers, err := tx.JoinExternally(ctx, "tea", parley.ExternalJoin{})
		if err != nil {
			return err
		}
		_, err = hers.Send(ctx, []byte("here I am"))
		return errors.Join(err, errNo)
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	hers := eve.Conversation("tea")
	awaitEpoch(t, hers, 2)
	awaitEpoch(t, tea, 2)
	agree(t, tea, hers)
}

// TestTransactionsRunSideBySide holds transactions of one client open at the same time, each in a conversation that it has created, and
// each waits for all others before it ends.
func TestTransactionsRunSideBySide(t *testing.T) {
	const many = 8
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	var arrived sync.WaitGroup
	arrived.Add(many)
	var all errgroup.Group
	for i := range many {
		all.Go(func() error {
			return ada.Transact(ctx, func(tx *parley.Transaction) error {
				c, err := tx.Create(ctx, parley.ConversationID(fmt.Sprint("tea ", i)))
				if err == nil {
					_, err = c.ProposeUpdate(ctx)
				}
				arrived.Done()
				arrived.Wait()
				return err
			})
		})
	}
	ok(t, all.Wait())
	status, err := ada.Status(ctx)
	ok(t, err)
	if status.Conversations != many {
		t.Errorf("%d conversations of %d", status.Conversations, many)
	}
}

// TestTransactionsThatMeetAllEnd runs transactions over pairs out of few conversations, in either order. None waits for ever, and each
// takes effect once.
func TestTransactionsThatMeetAllEnd(t *testing.T) {
	const workers, each, conversations = 6, 5, 3
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	id := func(i int) parley.ConversationID { return parley.ConversationID(fmt.Sprint("tea ", i%conversations)) }
	for i := range conversations {
		_, err := ada.Create(ctx, id(i))
		ok(t, err)
	}
	var all errgroup.Group
	for w := range workers {
		all.Go(func() error {
			for i := range each {
				err := node.Insist(ctx, func(attempt context.Context) error {
					return ada.Transact(attempt, func(tx *parley.Transaction) error {
						for _, c := range []parley.ConversationID{id(w + i), id(w + i + 1 + w%2)} {
							if _, err := tx.Conversation(c).ProposeUpdate(ctx); err != nil {
								return err
							}
						}
						return nil
					})
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	ok(t, all.Wait())
	proposals := 0
	for i := range conversations {
		proposals += pending(t, ada.Conversation(id(i)))
	}
	if proposals != 2*workers*each {
		t.Errorf("%d proposals", proposals)
	}
}

// TestOwnerReadsWhileATransactionIsOpen: whoever handles an event may read the conversation, whatever is under way in it, and sees what is
// committed.
func TestOwnerReadsWhileATransactionIsOpen(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, tea, _ := pair(t, node)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	_, err = tx.Conversation("tea").ProposeUpdate(ctx)
	ok(t, err)
	bot := takeBot(t, node, "ada")
	e := bot.await(t, "the creation", inEpoch(0))
	status, err := e.Conversation.Status(ctx)
	ok(t, err)
	if !status.Exists || status.Pending != 0 {
		t.Errorf("the event's reader sees %+v", status)
	}
	ok(t, tx.Finish(ctx))
	if pending(t, tea) != 1 {
		t.Error("the transaction's proposal is not there")
	}
}

// TestRetryInsideATransaction: while a commit of the transaction is with the service, the service takes in the commit that won, by the
// transaction, and then answers Retry, twice. The commit is made anew, and the transaction goes on.
func TestRetryInsideATransaction(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, service := racers(t)
	ok(t, bob.UpdateKeys(ctx))
	winner := service.last().Commit
	eve, err := node.Client(ctx, "eve")
	ok(t, err)
	packages, err := eve.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	_, err = ada.Client().Create(ctx, "cake")
	ok(t, err)
	var lost []byte
	ok(t, ada.Client().Transact(ctx, func(tx *parley.Transaction) error {
		inside := tx.Conversation("tea")
		service.answers = []func(context.Context) (delivery.Answer, error){
			func(ctx context.Context) (delivery.Answer, error) {
				lost = service.last().Commit
				got, err := inside.Decrypt(ctx, winner)
				if err != nil || !got.EpochChanged() {
					t.Errorf("the winner: %+v, %v", got, err)
				}
				return delivery.Retry{}, nil
			},
			func(context.Context) (delivery.Answer, error) { return delivery.Retry{}, nil },
		}
		if _, err := tx.Conversation("cake").ProposeUpdate(ctx); err != nil {
			return err
		}
		if err := inside.AddKeyPackages(ctx, packages...); err != nil {
			return err
		}
		_, err := inside.ProposeUpdate(ctx)
		return err
	}))
	bundle := service.last()
	if string(bundle.Commit) == string(lost) {
		t.Error("the commit that lost was offered again")
	}
	got, err := bob.Decrypt(ctx, bundle.Commit)
	if err != nil || !got.EpochChanged() {
		t.Fatalf("bob: %+v, %v", got, err)
	}
	if pending(t, ada) != 1 || pending(t, ada.Client().Conversation("cake")) != 1 {
		t.Error("the rest of the transaction is not there")
	}
	hers, err := eve.Join(ctx, parley.Invitation{Welcome: bundle.Welcome})
	ok(t, err)
	agree(t, ada, bob, hers)
}

// TestEchoInsideATransaction: the service hands the transaction's own commit in before it answers Success. It has won by that, and the
// answer comes too late to matter.
func TestEchoInsideATransaction(t *testing.T) {
	ctx := t.Context()
	_, ada, _, service := racers(t)
	ok(t, ada.Client().Transact(ctx, func(tx *parley.Transaction) error {
		inside := tx.Conversation("tea")
		service.answers = []func(context.Context) (delivery.Answer, error){func(ctx context.Context) (delivery.Answer, error) {
			got, err := inside.Decrypt(ctx, service.last().Commit)
			if err != nil || !got.EpochChanged() {
				t.Errorf("the echo: %+v, %v", got, err)
			}
			return delivery.Success{}, nil
		}}
		if err := inside.UpdateKeys(ctx); err != nil {
			return err
		}
		return inside.UpdateKeys(ctx)
	}))
	status, err := ada.Status(ctx)
	ok(t, err)
	if status.Epoch != 3 || status.Staged {
		t.Errorf("ada: %+v", status)
	}
}

// TestAbortUndoesWhatTheCallbackTookIn: aborted between the winner and the answer, the conversation is where it was, with its commit, and
// comes to the same end without the transaction.
func TestAbortUndoesWhatTheCallbackTookIn(t *testing.T) {
	ctx := t.Context()
	_, ada, bob, service := racers(t)
	ok(t, bob.UpdateKeys(ctx))
	winner := service.last().Commit
	tx, err := ada.Client().Begin(ctx)
	ok(t, err)
	inside := tx.Conversation("tea")
	service.answers = []func(context.Context) (delivery.Answer, error){func(ctx context.Context) (delivery.Answer, error) {
		if got, err := inside.Decrypt(ctx, winner); err != nil || !got.EpochChanged() {
			t.Errorf("the winner: %+v, %v", got, err)
		}
		if err := tx.Abort(ctx); err != nil {
			t.Error(err)
		}
		return delivery.Retry{}, nil
	}, func(ctx context.Context) (delivery.Answer, error) {
		if got, err := ada.Decrypt(ctx, winner); err != nil || !got.EpochChanged() {
			t.Errorf("the winner, once more: %+v, %v", got, err)
		}
		return delivery.Retry{}, nil
	}}
	if err := inside.UpdateKeys(ctx); !errors.Is(err, parley.ErrNoTransaction) {
		t.Errorf("the command of an aborted transaction: %v", err)
	}
	awaitEpoch(t, ada, 3)
	got, err := bob.Decrypt(ctx, service.last().Commit)
	if err != nil || !got.EpochChanged() {
		t.Fatalf("bob: %+v, %v", got, err)
	}
	agree(t, ada, bob)
}

// TestCallbackThatNeverReturns: a transaction whose commit is with a service that says nothing, and heeds no deadline, ends at its own. The
// conversation is free then, and the commit still counts.
func TestCallbackThatNeverReturns(t *testing.T) {
	ctx := t.Context()
	service := &racing{}
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	node := openNode(t, parley.Options{
		Config: config, Isolated: true, Foreign: service, Limits: parley.Limits{Transport: time.Second, TransactionMax: 500 * time.Millisecond},
	})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	silence := make(chan struct{})
	defer close(silence)
	var calls atomic.Int32
	service.answers = []func(context.Context) (delivery.Answer, error){func(context.Context) (delivery.Answer, error) {
		calls.Add(1)
		<-silence
		return delivery.Success{}, nil
	}}
	err = ada.Transact(ctx, func(tx *parley.Transaction) error { return tx.Conversation("tea").UpdateKeys(ctx) })
	if !errors.Is(err, parley.ErrNoTransaction) || parley.AdviceOf(err) != parley.Retry {
		t.Errorf("the transaction: %v", err)
	}
	awaitEpoch(t, tea, 1) // offered again, and answered
	ok(t, tea.UpdateKeys(ctx))
	if calls.Load() != 1 {
		t.Errorf("%d calls hang", calls.Load())
	}
}

// TestBufferedMessageOutlivesItsTransaction: that a message has to wait is no error, so the transaction that took it in keeps it; one that is
// aborted has not taken it in.
func TestBufferedMessageOutlivesItsTransaction(t *testing.T) {
	ctx := t.Context()
	_, ada, bob, service := racers(t)
	ok(t, bob.UpdateKeys(ctx))
	commit := service.last().Commit
	early, err := bob.Encrypt(ctx, []byte("of the next epoch"), nil)
	ok(t, err)
	take := func(tx *parley.Transaction) error {
		got, err := tx.Conversation("tea").Decrypt(ctx, early)
		if got.Code != parley.BufferedFutureMessage {
			t.Errorf("too early: %+v", got)
		}
		return err
	}
	if err := ada.Client().Transact(ctx, func(tx *parley.Transaction) error { return errors.Join(take(tx), errNo) }); !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	ok(t, ada.Client().Transact(ctx, take))
	got, err := ada.Decrypt(ctx, commit)
	ok(t, err)
	if waited := got.BufferedMessages; len(waited) != 1 || waited[0].Message == nil || string(waited[0].Message.Text) != "of the next epoch" {
		t.Errorf("behind the commit: %+v", waited)
	}
}

// TestTransactionIsBounded: a transaction over more logs than fit into a batch is told so by the command that is too much, and the rest goes on.
func TestTransactionIsBounded(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		if _, err := tx.Conversation("tea").ProposeUpdate(ctx); err != nil {
			return err
		}
		for i := range 499 {
			if _, err := tx.Conversation(parley.ConversationID(fmt.Sprint("room ", i))).Exists(ctx); err != nil {
				return err
			}
		}
		if _, err := tx.Conversation("one more").Exists(ctx); err == nil || parley.AdviceOf(err) != parley.GiveUp {
			t.Errorf("one more: %v", err)
		}
		return nil
	}))
	if pending(t, tea) != 1 {
		t.Error("its proposal is not there")
	}
}
