package checklist_test

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

func conflictCases() []acceptance {
	return []acceptance{
		{"retry_should_work", retryWorks},
		{"can_operate_with_pending_commit_wpb_17356", stuckCommit},
		{"clear_pending_commit::should_remove", clearCommit},
		{"clear_pending_commit::should_fail_when_absent", clearNoCommit},
		{"clear_pending_proposal::should_remove_proposals", clearProposals},
		{"clear_pending_proposal::should_fail_when_proposal_ref_not_found", clearUnknown},
		{"clear_pending_proposal::should_clean_associated_key_material", clearUpdate},
		{"commit_accepted::should_apply_pending_commit", commitApplies},
		{"commit_accepted::should_clear_pending_commit_and_proposals", commitClears},
		{"commit_accepted::should_clean_associated_key_material", commitCleans},
		{"own_commit::should_succeed_when_incoming_commit_same_as_pending", ownCommitReturns},
		{"own_commit::should_succeed_when_incoming_commit_mismatches_pending_commit", ownCommitDiffers},
		{"own_commit::should_ignore_self_incoming_commit_when_no_pending_commit", ownCommitUnknown},
		{"own_commit::should_fail_when_tampering_with_incoming_own_commit_same_as_pending", ownCommitTampered},
		{"own_commit::should_succeed_when_own_commit_was_lost_in_a_crash", ownCommitLost},
		{"ours::add_race_through_retry_peers_receive_everything", addRace},
		{"ours::two_consecutive_retries", twoRetries},
		{"ours::race_while_own_removal_arrives", removedMeanwhile},
		{"ours::pending_commit_with_update_of_others", othersUpdateInCommit},
		{"ours::leaf_reused_between_remove_and_renewal", leafReused},
		{"ours::hard_transport_error_then_echo", silenceThenEcho},
	}
}

// during takes messages in while the bundle is with the post, which then wants it again.
func (m *member) during(messages ...[]byte) answer {
	return func(ctx context.Context) (delivery.Answer, error) {
		for _, message := range messages {
			if got, err := m.conversation().Decrypt(ctx, message); err != nil || got.Code != "" {
				m.w.Errorf("while the bundle is away: %q, %v", got.Code, err)
			}
		}
		return delivery.Retry{}, nil
	}
}

func retryWorks(w *world) {
	alice, bob := w.pair()
	winner := bob.update()
	w.box.answer(alice.during(winner.Commit))
	before := len(w.box.all())
	b := alice.update()
	if n := len(w.box.all()) - before; n != 2 {
		w.Errorf("%d bundles", n)
	}
	bob.take(b.Commit)
	alice.epoch(3)
	w.reload(alice)
	w.box.answer(retry)
	b = alice.update() // no epoch between: the same bundle again
	all := w.box.all()
	if !bytes.Equal(all[len(all)-1].Commit, all[len(all)-2].Commit) {
		w.Error("another bundle in the same epoch")
	}
	bob.take(b.Commit)
	alice.epoch(4)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func twoRetries(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	winner := bob.update()
	w.box.answer(alice.during(winner.Commit), retry, retry)
	b := alice.add(charlie)
	bob.take(b.Commit)
	charlie.join(b.Welcome)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

// fails is a command that gets no answer.
func (m *member) fails(command func(*parley.Conversation, context.Context) error) bundle {
	m.w.Helper()
	m.w.box.answer(silence()...)
	err := command(m.conversation(), m.w.ctx)
	m.w.refused(err, conversation.TransportError)
	if parley.AdviceOf(err) != parley.Retry {
		m.w.Errorf("the advice is to %s", parley.AdviceOf(err))
	}
	m.holds(parley.Holdings{Commits: 1})
	return m.w.box.last()
}

func stuckCommit(w *world) {
	alice, bob := w.pair()
	alice.fails((*parley.Conversation).UpdateKeys)
	w.reload(alice)
	_, err := alice.conversation().Encrypt(w.ctx, []byte("no"), nil)
	w.refused(err, parley.PendingCommit)
	charlie := w.client("charlie")
	b := alice.invite(charlie)
	bob.take(b.Commit)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

// clearCommit: there is no such operation; a commit without an answer goes when another one takes its epoch, and its keys with it.
func clearCommit(w *world) {
	alice, bob := w.pair()
	alice.fails((*parley.Conversation).UpdateKeys)
	alice.take(bob.update().Commit)
	alice.holds(parley.Holdings{})
	w.reload(alice)
	w.agree(alice, bob)
}

func clearNoCommit(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	bob.take(b.Commit)
	alice.rejects(b.Commit, parley.DuplicateMessage) // its echo, when nothing is pending any more
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func clearProposals(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	refs := [][]byte{alice.proposeAdd(charlie).Ref, alice.proposeRemove(bob).Ref, alice.proposeUpdate().Ref}
	for i, ref := range refs {
		alice.holds(parley.Holdings{Proposals: 3 - i, Cleared: i, Updates: 1})
		w.must(alice.conversation().ClearProposal(w.ctx, ref))
		w.reload(alice)
	}
	alice.holds(parley.Holdings{Cleared: 3, Updates: 1}) // as long as the epoch lasts: others may commit them all the same
	bob.take(alice.update().Commit)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func clearUnknown(w *world) {
	alice, bob := w.pair()
	before := alice.status()
	w.refused(alice.conversation().ClearProposal(w.ctx, []byte("unknown")), conversation.PendingProposalNotFound)
	if changed := difference(before, alice.status()); changed != "" {
		w.Error(changed)
	}
	w.agree(alice, bob)
}

func clearUpdate(w *world) {
	alice, bob := w.pair()
	p := alice.proposeUpdate()
	alice.holds(parley.Holdings{Proposals: 1, Updates: 1})
	w.must(alice.conversation().ClearProposal(w.ctx, p.Ref))
	alice.take(bob.update().Commit)
	alice.holds(parley.Holdings{}) // not renewed, and its key is gone
	w.reload(alice)
	w.agree(alice, bob)
}

func commitApplies(w *world) {
	alice, bob := w.pair()
	b := alice.remove(bob)
	if ids, err := alice.conversation().ClientIDs(w.ctx); err != nil || !slices.Equal(ids, idsOf([]*member{alice})) {
		w.Errorf("members %v, %v", ids, err)
	}
	alice.epoch(2)
	w.reload(alice)
	bob.take(b.Commit)
	w.agree(alice)
}

func commitClears(w *world) {
	alice, bob := w.pair()
	bob.take(alice.proposeUpdate().Message)
	alice.proposeAdd(w.client("charlie")) // bob never gets it, and it goes with the commit all the same
	b := alice.commitPending()
	alice.holds(parley.Holdings{})
	if got := bob.hand(b.Commit); got.Code != conversation.BufferedCommit {
		w.Errorf("bob lacks a proposal: %q", got.Code)
	}
	w.reload(alice)
	alice.epoch(2)
}

func commitCleans(w *world) {
	alice, bob := w.pair()
	for range 2 {
		bob.take(alice.proposeUpdate().Message)
	}
	alice.holds(parley.Holdings{Proposals: 2, Updates: 2})
	bob.take(alice.commitPending().Commit)
	alice.holds(parley.Holdings{})
	bob.holds(parley.Holdings{})
	w.reload(alice, bob)
	w.agree(alice, bob)
}

func ownCommitReturns(w *world) {
	alice, bob := w.pair()
	b := alice.fails((*parley.Conversation).UpdateKeys)
	w.reload(alice)
	got := alice.take(b.Commit)
	if !got.EpochChanged() || got.Identity == nil || got.Identity.Client != alice.id || !got.Active {
		w.Errorf("the echo: %+v", got.Outcome)
	}
	alice.holds(parley.Holdings{})
	alice.epoch(2)
	bob.take(b.Commit)
	alice.saw(bob, 0, 1, 2)
	w.agree(alice, bob)
}

// ownCommitDiffers: the commit that was given up won after all. It is followed, where upstream is bricked.
func ownCommitDiffers(w *world) {
	alice, bob := w.pair()
	first := alice.fails((*parley.Conversation).UpdateKeys)
	w.box.answer(silence()...)
	w.refused(alice.conversation().UpdateKeys(w.ctx), conversation.TransportError)
	alice.holds(parley.Holdings{Commits: 2})
	w.reload(alice)
	w.take(first.Commit, alice, bob)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func ownCommitUnknown(w *world) {
	alice, bob := w.pair()
	w.box.answer(abort)
	w.refused(alice.conversation().UpdateKeys(w.ctx), conversation.TransportAborted)
	got := alice.rejects(w.box.last().Commit, conversation.SelfCommitIgnored)
	if got.Outcome.Advice() != parley.Rejoin {
		w.Errorf("the advice is to %s", got.Outcome.Advice())
	}
	w.agree(alice, bob)
}

func ownCommitTampered(w *world) {
	alice, bob := w.pair()
	b := alice.fails((*parley.Conversation).UpdateKeys)
	tampered := slices.Clone(b.Commit)
	tampered[len(tampered)-1] ^= 1
	alice.rejects(tampered, conversation.InvalidMessage)
	w.take(b.Commit, alice, bob)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

// ownCommitLost: the node dies while the service accepts the commit. Another one finds it.
func ownCommitLost(w *world) {
	alice, bob := w.pair()
	w.box.answer(func(context.Context) (delivery.Answer, error) {
		alice.move()
		return nil, errors.New("nobody is there to hear it")
	})
	before := alice.conversation()
	if err := before.UpdateKeys(w.ctx); err == nil {
		w.Fatal("a node that is gone has answered")
	}
	w.await("the commit is offered again, and merged", func() bool {
		s, err := alice.conversation().Status(w.ctx)
		return err == nil && s.Epoch == 2 && !s.Staged
	})
	alice.holds(parley.Holdings{})
	bob.take(w.box.last().Commit)
	alice.rejects(w.box.last().Commit, parley.DuplicateMessage)
	w.agree(alice, bob)
}

func addRace(w *world) {
	alice, bob, charlie := w.trio()
	dave, eve := w.client("dave"), w.client("eve")
	winner := bob.invite(dave)
	charlie.take(winner.Commit)
	w.box.answer(alice.during(winner.Commit))
	b := alice.add(eve)
	if len(b.Proposals) > 0 {
		w.Error("it travels by reference")
	}
	w.take(b.Commit, bob, charlie, dave) // and nothing else
	eve.join(b.Welcome)
	w.reload(alice, eve)
	w.agree(alice, bob, charlie, dave, eve)
}

func removedMeanwhile(w *world) {
	alice, bob, charlie := w.trio()
	winner := bob.remove(alice)
	charlie.take(winner.Commit)
	w.box.answer(alice.during(winner.Commit))
	err := alice.conversation().AddKeyPackages(w.ctx, w.client("dave").keyPackage())
	w.refused(err, parley.ConversationNotFound)
	alice.gone()
	w.reload(alice)
	w.agree(bob, charlie)
}

func othersUpdateInCommit(w *world) {
	alice, bob, charlie := w.trio()
	w.take(bob.proposeUpdate().Message, alice)
	winner := charlie.update()
	if again := bob.take(winner.Commit).Proposals; len(again) != 1 {
		w.Errorf("bob made %d proposals anew", len(again))
	}
	w.box.answer(alice.during(winner.Commit))
	before := len(w.box.all())
	alice.commitPending()
	if n := len(w.box.all()) - before; n != 1 {
		w.Errorf("%d bundles; what is bob's is his to propose again", n)
	}
	alice.holds(parley.Holdings{})
	b := bob.commitPending()
	w.take(b.Commit, alice, charlie)
	w.agree(alice, bob, charlie)
}

func leafReused(w *world) {
	alice, bob, charlie := w.trio()
	alice.proposeRemove(charlie)
	dave := w.client("dave")
	bob.proposeAdd(dave)
	b := bob.remove(charlie)
	w.take(b.Proposals[0], alice)
	if again := alice.take(b.Commit).Proposals; len(again) != 0 {
		w.Errorf("%d proposals made anew; whom it meant is gone", len(again))
	}
	dave.join(b.Welcome)
	if s := alice.status(); s.Members[len(s.Members)-1].Client != dave.id || s.Members[len(s.Members)-1].Leaf != 2 {
		w.Errorf("dave is not in charlie's leaf: %v", clientsOf(s))
	}
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, dave)
}

func silenceThenEcho(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	w.box.answer(silence()...)
	err := alice.conversation().AddKeyPackages(w.ctx, charlie.keyPackage())
	w.refused(err, conversation.TransportError)
	b := w.box.last()
	bob.take(b.Commit)
	charlie.join(b.Welcome)
	early := bob.says("you are late")
	alice.buffers(early, conversation.BufferedFutureMessage)
	got := alice.take(b.Commit)
	if len(got.BufferedMessages) != 1 {
		w.Fatalf("%d messages came with the echo", len(got.BufferedMessages))
	}
	alice.heard(got.BufferedMessages[0], bob, "you are late")
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}
