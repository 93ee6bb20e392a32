package checklist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

func bufferCases() []acceptance {
	return []acceptance{
		{"should_prevent_out_of_order_commits", commitsOutOfOrder},
		{"should_buffer_and_reapply_messages_after_commit_merged_for_sender", earlyForSender},
		{"should_buffer_and_reapply_messages_after_commit_merged_for_receivers", earlyForReceivers},
		{"wpb_15810", commitBeforeExternalProposal},
		{"should_prevent_out_of_order_proposals", proposalsOutOfOrder},
		{"buffered_message_must_not_block_own_removal", ownRemovalWithBuffer},
		{"wipe_abandons_buffered_messages", wipeWithMessages},
		{"wipe_abandons_buffered_commits", wipeWithCommit},
		{"abandoning_an_external_join_abandons_buffered_messages", abandonWithMessages},
		{"ours::garbage_for_the_next_epoch_blocks_nothing", garbageWaits},
		{"ours::replayed_after_own_success", earlyForOwnSuccess},
		{"ours::order_of_arrival_within_a_kind", orderOfArrival},
		{"ours::several_buffered_commits_of_one_epoch", severalCommitsWait},
		{"ours::buffered_commit_and_a_rejoin", rejoinWithCommit},
		{"ours::buffer_is_bounded", bufferBounded},
		{"ours::buffered_whatever_becomes_of_the_batch", bufferedInBatch},
	}
}

// kinds are what became of a message, and of those that had waited for it, in order.
func kinds(got parley.Received) []conversation.OutcomeKind {
	all := []conversation.OutcomeKind{got.Kind}
	for _, b := range got.BufferedMessages {
		all = append(all, b.Kind)
	}
	return all
}

func (w *world) taken(got parley.Received, want ...conversation.OutcomeKind) {
	w.Helper()
	if all := kinds(got); !slices.Equal(all, want) {
		w.Fatalf("taken: %v, want %v", all, want)
	}
}

func commitsOutOfOrder(w *world) {
	alice, bob := w.pair()
	first := alice.update()
	second := alice.update()
	bob.buffers(second.Commit, conversation.BufferedFutureMessage)
	w.reload(bob)
	w.taken(bob.take(first.Commit), conversation.OutcomeCommit, conversation.OutcomeCommit)
	bob.epoch(3)
	bob.holds(parley.Holdings{})
	bob.rejects(first.Commit, parley.DuplicateMessage) // upstream: StaleCommit
	bob.saw(alice, 1, 2, 3)
	w.agree(alice, bob)
}

// early is what a peer, in an epoch that others have yet to reach, and the delivery service send: one of each kind, in the order in which
// it has to be taken.
func (w *world) early(ds *outsider, peer *member, info []byte, leaves *member) (messages [][]byte) {
	w.Helper()
	messages = append(messages, peer.says("early"))
	external := ds.proposesRemoval(info, leaves)
	peer.take(external)
	messages = append(messages, external, peer.proposeUpdate().Message)
	return append(messages, peer.commitPending().Commit)
}

// waits hands early messages in, in the wrong order, and finds them waiting.
func (m *member) waits(messages [][]byte, why parley.Code) {
	m.w.Helper()
	for _, message := range slices.Backward(messages) {
		m.buffers(message, why)
		m.buffersAgain(message, why)
	}
	m.w.reload(m)
}

// buffersAgain hands a message in that waits already: it is kept once.
func (m *member) buffersAgain(message []byte, why parley.Code) {
	m.w.Helper()
	before := m.status().Holdings.Buffered
	if got := m.hand(message); got.Code != why {
		m.w.Fatalf("%s: %q, want %s", m.id, got.Code, why)
	}
	if after := m.status().Holdings.Buffered; after != before {
		m.w.Fatalf("%s: %d messages wait, %d before", m.id, after, before)
	}
}

func earlyForSender(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.trio()
	b := alice.fails((*parley.Conversation).UpdateKeys)
	w.take(b.Commit, bob, charlie)
	messages := w.early(ds, bob, b.GroupInfo, charlie)
	alice.waits(messages, conversation.BufferedFutureMessage)
	got := alice.take(b.Commit)
	w.allReplayed(got, bob, conversation.OutcomeCommit)
	alice.holds(parley.Holdings{})
	alice.epoch(3)
	alice.saw(bob, 0, 1, 2, 3)
	w.agree(alice, bob)
}

func (w *world) allReplayed(got parley.Received, from *member, first conversation.OutcomeKind) {
	w.Helper()
	w.taken(got, first, conversation.OutcomeApplication, conversation.OutcomeProposal, conversation.OutcomeProposal, conversation.OutcomeCommit)
	if m := got.BufferedMessages[0].Message; m == nil || m.Sender != from.id || string(m.Text) != "early" {
		w.Fatalf("the early message: %+v", m)
	}
}

func earlyForReceivers(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.trio()
	eve := w.client("eve")
	b := alice.update()
	w.take(b.Commit, bob, charlie)
	join := eve.joinExternally(b.GroupInfo)
	w.take(join.Commit, bob, charlie)
	messages := w.early(ds, bob, join.GroupInfo, charlie)
	alice.waits(messages, conversation.BufferedFutureMessage)
	w.allReplayed(alice.take(join.Commit), bob, conversation.OutcomeCommit)
	alice.holds(parley.Holdings{})
	alice.epoch(4)
	alice.saw(bob, 0, 1, 2, 3, 4)
	eve.take(messages[1])
	eve.take(messages[2])
	eve.take(messages[3])
	w.agree(alice, bob, eve)
}

// commitBeforeExternalProposal: a join makes the external proposal void, the service proposes again, and bob gets the commit first.
func commitBeforeExternalProposal(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.trio()
	b := alice.update()
	w.take(b.Commit, bob, charlie)
	void := ds.proposesRemoval(b.GroupInfo, charlie)
	w.take(void, alice, charlie)
	dave := w.client("dave")
	join := dave.joinExternally(b.GroupInfo)
	w.take(join.Commit, alice, bob, charlie)
	alice.holds(parley.Holdings{})
	bob.rejects(void, conversation.StaleProposal)
	again := ds.proposesRemoval(join.GroupInfo, charlie)
	w.take(again, alice, charlie)
	b = alice.commitPending()
	for _, m := range []*member{bob, dave} {
		m.buffers(b.Commit, conversation.BufferedCommit)
		w.reload(m)
		w.taken(m.take(again), conversation.OutcomeProposal, conversation.OutcomeCommit)
		m.holds(parley.Holdings{})
	}
	charlie.take(b.Commit)
	charlie.gone()
	w.agree(alice, bob, dave)
}

func proposalsOutOfOrder(w *world) {
	alice, bob := w.pair()
	p := alice.proposeUpdate()
	alice.take(bob.update().Commit) // renews it
	bob.rejects(p.Message, conversation.StaleProposal)
	bob.take(alice.commitPending().Commit)
	w.agree(alice, bob)
}

func ownRemovalWithBuffer(w *world) {
	alice, bob, charlie := w.trio()
	removal := bob.remove(alice)
	charlie.take(removal.Commit)
	alice.buffers(charlie.says("for those who are left"), conversation.BufferedFutureMessage)
	alice.proposeUpdate()
	if got := alice.take(removal.Commit); got.Active || len(got.BufferedMessages) > 0 {
		w.Errorf("the removal: %+v", got)
	}
	alice.gone()
	w.agree(bob, charlie)
}

func wipeWithMessages(w *world) {
	alice, bob := w.pair()
	alice.update()
	bob.buffers(alice.says("early"), conversation.BufferedFutureMessage)
	w.must(bob.conversation().Wipe(w.ctx))
	bob.gone()
	w.refused(bob.conversation().Wipe(w.ctx), parley.ConversationNotFound)
	w.reload(bob)
	bob.gone()
}

func wipeWithCommit(w *world) {
	alice, bob := w.pair()
	alice.proposeUpdate()
	alice.proposeAdd(w.client("charlie"))
	bob.buffers(alice.commitPending().Commit, conversation.BufferedCommit)
	w.must(bob.conversation().Wipe(w.ctx))
	bob.gone()
	bob.create() // the id is free again, and nothing of before comes up in it
	bob.epoch(0)
	bob.holds(parley.Holdings{})
}

func abandonWithMessages(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	info := alice.update()
	bob.take(info.Commit)
	join := charlie.knocks(info.GroupInfo)
	w.take(join.Commit, alice, bob)
	charlie.buffers(alice.says("early"), conversation.BufferedForPendingConversation)
	w.must(charlie.conversation().AbandonJoin(w.ctx))
	charlie.gone()
	w.reload(charlie)
	charlie.gone()
}

func garbageWaits(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	early := alice.says("early")
	garbage := slices.Clone(early)
	garbage[len(garbage)-1] ^= 1
	second := alice.update()
	broken := slices.Clone(second.Commit)
	broken[len(broken)-1] ^= 1
	for _, message := range [][]byte{garbage, broken, early, second.Commit} {
		bob.buffers(message, conversation.BufferedFutureMessage)
	}
	got := bob.take(b.Commit)
	read := 0
	for _, r := range got.BufferedMessages {
		if r.Message != nil {
			read++
		}
	}
	if read != 1 {
		w.Errorf("%d messages were read", read)
	}
	bob.epoch(3)
	bob.holds(parley.Holdings{})
	w.agree(alice, bob)
}

// earlyForOwnSuccess: bob is quicker with the next epoch than the service with its answer to alice. What comes behind her own commit comes
// to her stream.
func earlyForOwnSuccess(w *world) {
	alice, bob := w.pair()
	w.box.answer(func(context.Context) (delivery.Answer, error) {
		b := w.box.last()
		if got, err := bob.conversation().Decrypt(w.ctx, b.Commit); err != nil || got.Code != "" {
			w.Errorf("bob: %q, %v", got.Code, err)
		}
		early, err := bob.conversation().Encrypt(w.ctx, []byte("I was first"), nil)
		if err != nil {
			w.Error(err)
		}
		if got, err := alice.conversation().Decrypt(w.ctx, early); err != nil || got.Code != conversation.BufferedFutureMessage {
			w.Errorf("alice: %q, %v", got.Code, err)
		}
		return delivery.Success{}, nil
	})
	alice.update()
	alice.epoch(2)
	alice.holds(parley.Holdings{})
	for e, err := range alice.bare().Events(w.ctx) {
		w.must(err)
		if e.Message != nil {
			if string(e.Message.Text) != "I was first" || e.Message.Sender != bob.id || e.Epoch != 2 {
				w.Errorf("alice heard %+v in epoch %d", e.Message, e.Epoch)
			}
			break
		}
	}
	w.agree(alice, bob)
}

func orderOfArrival(w *world) {
	alice, bob, charlie := w.trio()
	b := alice.update()
	charlie.take(b.Commit)
	one, two, three := alice.says("one"), charlie.says("two"), alice.says("three")
	p := [][]byte{charlie.proposeUpdate().Message, alice.proposeUpdate().Message}
	for _, message := range [][]byte{p[1], two, p[0], one, three} {
		bob.buffers(message, conversation.BufferedFutureMessage)
	}
	got := bob.take(b.Commit)
	w.taken(got, conversation.OutcomeCommit, conversation.OutcomeApplication, conversation.OutcomeApplication, conversation.OutcomeApplication,
		conversation.OutcomeProposal, conversation.OutcomeProposal)
	for i, want := range []string{"two", "one", "three"} {
		if text := string(got.BufferedMessages[i].Message.Text); text != want {
			w.Errorf("message %d is %q, want %q", i, text, want)
		}
	}
	if got.BufferedMessages[3].Sender != alice.id || got.BufferedMessages[4].Sender != charlie.id {
		w.Error("the proposals are not in the order of their arrival")
	}
}

func severalCommitsWait(w *world) {
	alice, bob, charlie := w.trio()
	hers, his := alice.proposeUpdate(), charlie.proposeUpdate()
	alice.take(his.Message) // each commits the other's: an own Update is not committed
	charlie.take(hers.Message)
	w.box.answer(abort)
	w.refused(charlie.conversation().CommitPending(w.ctx), conversation.TransportAborted)
	refused := w.box.last()
	accepted := alice.commitPending()
	bob.buffers(refused.Commit, conversation.BufferedCommit)
	bob.buffers(accepted.Commit, conversation.BufferedCommit)
	w.reload(bob)
	got := bob.take(his.Message)
	w.taken(got, conversation.OutcomeProposal, conversation.OutcomeCommit, conversation.OutcomeRejected)
	if c := got.BufferedMessages[1]; c.Code != conversation.StaleCommit {
		w.Errorf("the other commit: %q", c.Code)
	}
	charlie.take(accepted.Commit)
	bob.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func rejoinWithCommit(w *world) {
	alice, bob, charlie := w.trio()
	charlie.take(alice.proposeUpdate().Message)
	b := charlie.commitPending()
	alice.take(b.Commit)
	bob.buffers(b.Commit, conversation.BufferedCommit)
	join := bob.joinExternally(b.GroupInfo)
	w.take(join.Commit, alice, charlie)
	bob.holds(parley.Holdings{})
	w.reload(bob)
	got := bob.take(alice.proposeUpdate().Message)
	w.taken(got, conversation.OutcomeProposal)
	alice.take(bob.commitPending().Commit)
	charlie.hand(w.box.last().Commit) // it lacks alice's proposal, and has no part in this
	bob.holds(parley.Holdings{})
	bob.epoch(4)
}

func bufferBounded(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	const size = 200 << 10
	early, err := alice.conversation().Encrypt(w.ctx, bytes.Repeat([]byte{'x'}, size), nil)
	w.must(err)
	waiting := 0
	for {
		garbage := slices.Clone(early)
		copy(garbage[len(garbage)-8:], fmt.Sprintf("%8d", waiting))
		got := bob.hand(garbage)
		if got.Code == conversation.BufferFull {
			break
		}
		if waiting++; got.Code != conversation.BufferedFutureMessage || waiting*size > conversation.BufferBytesMax {
			w.Fatalf("message %d: %q", waiting, got.Code)
		}
	}
	if got := bob.rejects(early, conversation.BufferFull); got.Outcome.Advice() != parley.Retry {
		w.Errorf("the advice is to %s", got.Outcome.Advice())
	}
	bob.take(b.Commit)
	bob.holds(parley.Holdings{})
	bob.take(early)
	w.agree(alice, bob)
}

// bufferedInBatch: that a message has to wait ends no transaction. What a transaction took in is there when it is finished; after an abort
// that was asked for the message may be handed in again.
func bufferedInBatch(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	early := alice.says("early")
	changed := errors.New("changed my mind")
	for _, why := range []error{changed, nil} {
		err := bob.bare().Transact(w.ctx, func(tx *parley.Transaction) error {
			got, err := tx.Conversation(w.group).Decrypt(w.ctx, early)
			if got.Code != conversation.BufferedFutureMessage {
				w.Errorf("it is %q", got.Code)
			}
			return errors.Join(err, why)
		})
		if !errors.Is(err, why) {
			w.Fatalf("the transaction: %v", err)
		}
		bob.holds(parley.Holdings{Buffered: map[bool]int{true: 0, false: 1}[why != nil]})
	}
	w.reload(bob)
	got := bob.take(b.Commit)
	w.taken(got, conversation.OutcomeCommit, conversation.OutcomeApplication)
	bob.heard(got.BufferedMessages[0], alice, "early")
	w.agree(alice, bob)
}
