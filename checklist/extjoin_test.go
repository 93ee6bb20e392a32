package checklist_test

import (
	"context"
	"fmt"
	"slices"

	"parley"
	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

func externalJoinCases() []acceptance {
	return []acceptance{
		{"join_by_external_commit_should_succeed", externalJoin},
		{"join_by_external_commit_should_be_retriable", externalJoinAgain},
		{"external_commit::should_fail_when_bad_epoch", externalJoinTooLate},
		{"existing_clients_can_join", membersJoin},
		{"should_fail_when_no_pending_external_commit", func(w *world) {
			alice, bob := w.pair()
			w.refused(bob.conversation().AbandonJoin(w.ctx), conversation.PendingJoinNotFound)
			w.refused(w.client("charlie").conversation().AbandonJoin(w.ctx), conversation.PendingJoinNotFound)
			w.agree(alice, bob)
		}},
		{"external_commit::should_return_valid_group_info", externalJoinInfo},
		{"clear_pending_group_should_succeed", clearJoin},
		{"new_with_inflight_join_should_fail_when_already_exists", createWhileJoining},
		{"new_with_inflight_welcome_should_fail_when_already_exists", welcomeWhileJoining},
		{"should_fail_when_invalid_group_info", joinWithoutTree},
		{"group_should_have_right_config", joinedConfig},
		{"should_buffer_and_reapply_messages_after_external_commit_merged", earlyForJoiner},
		{"should_not_reapply_buffered_messages_when_rejoining", earlyForRejoiner},
	}
}

// knocks joins by an external commit that gets no answer.
func (m *member) knocks(info []byte) bundle {
	m.w.Helper()
	m.w.box.answer(silence()...)
	_, err := m.bare().JoinExternally(m.w.ctx, m.w.group, parley.ExternalJoin{GroupInfo: info, Config: &m.w.config})
	m.w.refused(err, conversation.TransportError)
	return m.w.box.last()
}

func externalJoin(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	w.box.answer(func(context.Context) (delivery.Answer, error) {
		s, err := charlie.conversation().Status(w.ctx)
		if err != nil || s.Exists || s.Holdings.Commits != 1 {
			w.Errorf("before it is accepted: exists %v with %+v, %v", s.Exists, s.Holdings, err)
		}
		return delivery.Success{}, nil
	})
	join := charlie.joinExternally(b.GroupInfo)
	charlie.holds(parley.Holdings{})
	charlie.epoch(3)
	w.take(join.Commit, alice, bob)
	w.reload(alice, charlie)
	w.agree(alice, bob, charlie)
}

func externalJoinAgain(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	charlie.knocks(b.GroupInfo)
	w.reload(charlie)
	charlie.holds(parley.Holdings{Commits: 1})
	join := charlie.joinExternally(b.GroupInfo) // nothing is cleared before
	charlie.holds(parley.Holdings{})
	w.take(join.Commit, alice, bob)
	w.reload(charlie)
	w.agree(alice, bob, charlie)
}

func externalJoinTooLate(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	join := charlie.knocks(b.GroupInfo)
	b = alice.update()
	bob.take(b.Commit)
	alice.rejects(join.Commit, conversation.StaleCommit)
	bob.rejects(join.Commit, conversation.StaleCommit)
	join = charlie.joinExternally(b.GroupInfo)
	w.take(join.Commit, alice, bob)
	w.agree(alice, bob, charlie)
}

func membersJoin(w *world) {
	alice, bob, charlie := w.trio()
	b := alice.update()
	charlie.take(b.Commit) // bob has missed it
	join := bob.joinExternally(b.GroupInfo)
	w.take(join.Commit, alice, charlie)
	w.reload(bob)
	bob.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func externalJoinInfo(w *world) {
	alice, bob := w.pair()
	charlie, dave := w.client("charlie"), w.client("dave")
	b := alice.update()
	bob.take(b.Commit)
	first := charlie.joinExternally(b.GroupInfo)
	w.take(first.Commit, alice, bob)
	second := dave.joinExternally(first.GroupInfo)
	w.take(second.Commit, alice, bob, charlie)
	w.agree(alice, bob, charlie, dave)
}

func clearJoin(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	join := charlie.knocks(b.GroupInfo)
	w.must(charlie.conversation().AbandonJoin(w.ctx))
	charlie.gone()
	w.reload(charlie)
	charlie.gone()
	_, err := charlie.conversation().Decrypt(w.ctx, join.Commit)
	w.refused(err, parley.ConversationNotFound)
	w.agree(alice, bob)
}

func createWhileJoining(w *world) {
	alice, _ := w.pair()
	charlie := w.client("charlie")
	charlie.knocks(alice.update().GroupInfo)
	_, err := charlie.bare().Create(w.ctx, w.group, w.config)
	w.refused(err, parley.ConversationAlreadyExists)
	w.reload(charlie)
	charlie.holds(parley.Holdings{Commits: 1})
}

func welcomeWhileJoining(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	charlie.knocks(b.GroupInfo)
	welcome := alice.add(charlie).Welcome
	_, err := charlie.bare().Join(w.ctx, parley.Invitation{Welcome: welcome})
	if e := w.refused(err, parley.ConversationAlreadyExists); e.Conversation != w.group {
		w.Errorf("the error is about %q", e.Conversation)
	}
	if n := charlie.keyPackages(); n != 1 {
		w.Errorf("%d key packages are left", n)
	}
	w.must(charlie.conversation().AbandonJoin(w.ctx))
	charlie.join(welcome)
	bob.take(w.box.last().Commit)
	w.agree(alice, bob, charlie)
}

func joinWithoutTree(w *world) {
	founder, charlie := w.outsider("founder", mlsengine.Capabilities{}), w.client("charlie")
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID(w.group), Suite: w.config.CipherSuite, Identity: founder.identity, Lifetime: founder.keyPackage.LeafNode.Lifetime,
		Capabilities: mlsengine.Capabilities{Credentials: bothKinds},
	}, founder.env())
	w.must(err)
	bare, err := group.GroupInfo(mlsengine.WithoutTree, founder.env())
	w.must(err)
	for _, info := range [][]byte{bare.Message(), []byte("no GroupInfo")} {
		_, err = charlie.bare().JoinExternally(w.ctx, w.group, parley.ExternalJoin{GroupInfo: info})
		w.refused(err, conversation.InvalidGroupInfo)
	}
	charlie.gone()
	whole, err := group.GroupInfo(mlsengine.WithTree, founder.env())
	w.must(err)
	charlie.joinExternally(whole.Message())
	charlie.epoch(1)
}

// joinedConfig: what the joiner has asked for holds, and what the group prescribes.
func joinedConfig(w *world) {
	key, _ := w.signer()
	var err error
	w.config, err = w.config.WithRawExternalSenders(key)
	w.must(err)
	alice, bob := w.pair()
	b := alice.update()
	bob.take(b.Commit)
	charlie := w.client("charlie")
	config := w.house.config()
	config.OutOfOrderTolerance, config.CipherSuite = 4, 0
	_, err = charlie.bare().JoinExternally(w.ctx, w.group, parley.ExternalJoin{GroupInfo: b.GroupInfo, Config: &config})
	w.must(err)
	w.take(w.box.last().Commit, alice, bob)
	w.reload(charlie)
	if s := charlie.status(); s.CipherSuite != w.config.CipherSuite {
		w.Errorf("suite %d", s.CipherSuite)
	}
	if got, err := charlie.conversation().ExternalSender(w.ctx); err != nil || string(got) != string(key) {
		w.Errorf("external sender %x, %v", got, err)
	}
	var sent [][]byte
	for i := range 6 {
		sent = append(sent, alice.says(fmt.Sprint(i)))
	}
	for i, message := range slices.Backward(sent) {
		if i >= 2 {
			charlie.hears(message, alice, fmt.Sprint(i))
		} else {
			charlie.rejects(message, parley.DuplicateMessage)
		}
	}
	for _, message := range sent {
		bob.take(message)
	}
	w.agree(alice, bob, charlie)
}

func earlyForJoiner(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.trio()
	eve := w.client("eve")
	b := alice.update()
	w.take(b.Commit, bob, charlie)
	join := eve.knocks(b.GroupInfo)
	w.take(join.Commit, alice, bob, charlie)
	messages := w.early(ds, bob, join.GroupInfo, charlie)
	eve.waits(messages, conversation.BufferedForPendingConversation)
	got := eve.take(join.Commit)
	w.allReplayed(got, bob, conversation.OutcomeCommit)
	eve.holds(parley.Holdings{})
	eve.epoch(4)
	eve.saw(bob, 3, 4)
	w.take(messages[1], alice)
	w.take(messages[2], alice)
	w.take(messages[3], alice)
	w.agree(alice, bob, eve)
}

// earlyForRejoiner: who comes back reads what is of the new epoch, and drops the rest.
func earlyForRejoiner(w *world) {
	alice, bob, charlie := w.trio()
	first := alice.update()
	charlie.take(first.Commit)
	missed := alice.says("of an epoch without bob")
	bob.buffers(missed, conversation.BufferedFutureMessage)
	second := alice.update()
	charlie.take(second.Commit)
	join := bob.joinExternally(second.GroupInfo)
	w.take(join.Commit, alice, charlie)
	bob.holds(parley.Holdings{})
	w.reload(bob)
	bob.rejects(missed, conversation.MessageEpochTooOld)
	bob.rejects(first.Commit, conversation.StaleCommit)
	w.agree(alice, bob, charlie)
}
