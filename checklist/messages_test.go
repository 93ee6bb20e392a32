package checklist_test

import (
	"fmt"
	"slices"

	"parley"
	"parley/conversation"
)

func messageCases() []acceptance {
	return []acceptance{
		{"can_encrypt_app_message", func(w *world) {
			alice, bob := w.pair()
			bob.hears(alice.says("hello"), alice, "hello")
		}},
		{"can_encrypt_consecutive_messages", encryptAgainAndAgain},
		{"can_decrypt_app_message", decryptBothWays},
		{"decrypt::returns_sender_client_id", senderIsKnown},
		{"can_decrypt_app_message_in_reverse_order", decryptInReverse},
		{"cannot_decrypt_app_message_after_rejoining", decryptAfterRejoining},
		{"cannot_decrypt_app_message_from_future_epoch", decryptFromTheFuture},
		{"should_throw_specialized_error_when_epoch_too_old", decryptFromThePast},
		{"should_throw_specialized_error_when_epoch_desynchronized", desynchronized},
		{"is_active::true", func(w *world) {
			alice, bob := w.pair()
			if !bob.take(alice.update().Commit).Active {
				w.Error("bob is not active")
			}
		}},
		{"is_active::false", func(w *world) {
			alice, bob, charlie := w.trio()
			b := alice.remove(bob)
			if bob.take(b.Commit).Active || !charlie.take(b.Commit).Active {
				w.Error("it is bob who is not active")
			}
			bob.gone()
			w.agree(alice, charlie)
		}},
		{"decrypting_a_commit_should_succeed", decryptCommit},
		{"can_decrypt_proposal", decryptProposal},
		{"can_decrypt_external_proposal", decryptExternalProposal},
	}
}

func encryptAgainAndAgain(w *world) {
	alice, bob := w.pair()
	var sent [][]byte
	for i := range 6 {
		if i%2 == 0 {
			w.reload(alice) // no generation twice, whatever the other node knows
		}
		sent = append(sent, alice.says(fmt.Sprint("message ", i)))
	}
	for i, message := range sent {
		bob.hears(message, alice, fmt.Sprint("message ", i))
	}
	bob.rejects(sent[0], parley.DuplicateMessage)
	w.agree(alice, bob)
}

func decryptBothWays(w *world) {
	alice, bob := w.pair()
	for _, way := range [][2]*member{{alice, bob}, {bob, alice}} {
		got := way[1].hears(way[0].says("to and fro"), way[0], "to and fro")
		if got.EpochChanged() || got.Delay != nil || !got.Active || len(got.Proposals)+len(got.BufferedMessages) > 0 {
			w.Errorf("beside the message: %+v", got.Outcome)
		}
	}
	bob.saw(alice, 1)
	w.reload(alice, bob)
	w.agree(alice, bob)
}

// senderIsKnown: of commits and proposals too, other than upstream, because it is verified there as well.
func senderIsKnown(w *world) {
	alice, bob := w.pair()
	for what, message := range map[string]func() []byte{
		"a message":  func() []byte { return alice.says("it is me") },
		"a proposal": func() []byte { return alice.proposeUpdate().Message },
		"a commit":   func() []byte { return alice.commitPending().Commit },
	} {
		if what == "a commit" {
			bob.take(alice.proposeUpdate().Message)
		}
		if got := bob.take(message()); got.Sender != alice.id {
			w.Errorf("%s is of %q", what, got.Sender)
		}
		if what == "a proposal" {
			bob.take(alice.commitPending().Commit)
		}
	}
}

func decryptInReverse(w *world) {
	alice, bob := w.pair()
	tolerance := int(w.config.OutOfOrderTolerance)
	var sent [][]byte
	for i := range 2 * tolerance {
		sent = append(sent, alice.says(fmt.Sprint(i)))
	}
	for i, message := range slices.Backward(sent) {
		if i >= tolerance {
			bob.hears(message, alice, fmt.Sprint(i))
		} else {
			bob.rejects(message, parley.DuplicateMessage)
		}
	}
}

func decryptAfterRejoining(w *world) {
	alice, bob := w.pair()
	missed := alice.says("before")
	bob.take(alice.remove(bob).Commit)
	alice.invite(bob)
	bob.rejects(missed, conversation.MessageEpochTooOld)
	w.agree(alice, bob)
}

func decryptFromTheFuture(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	early := alice.says("early")
	bob.buffers(early, conversation.BufferedFutureMessage)
	w.reload(bob)
	got := bob.take(b.Commit)
	if len(got.BufferedMessages) != 1 {
		w.Fatalf("%d messages came with the commit", len(got.BufferedMessages))
	}
	bob.heard(got.BufferedMessages[0], alice, "early")
	bob.holds(parley.Holdings{})
	bob.rejects(early, parley.DuplicateMessage)
	w.agree(alice, bob)
}

func decryptFromThePast(w *world) {
	alice, bob := w.pair()
	old, older := bob.says("after three epochs"), bob.says("after four")
	for range 3 {
		bob.take(alice.update().Commit)
	}
	w.reload(alice)
	alice.hears(old, bob, "after three epochs")
	bob.take(alice.update().Commit)
	alice.rejects(older, conversation.MessageEpochTooOld)
	if n := alice.status().Holdings.PastEpochs; n != 3 {
		w.Errorf("%d past epochs are kept", n)
	}
	w.agree(alice, bob)
}

func desynchronized(w *world) {
	alice, bob := w.pair()
	proposal := alice.proposeUpdate()
	w.box.answer(abort)
	w.refused(alice.conversation().CommitPending(w.ctx), conversation.TransportAborted)
	commit := w.box.last()
	w.must(alice.conversation().ClearProposal(w.ctx, proposal.Ref))
	alice.take(bob.update().Commit)
	bob.rejects(proposal.Message, conversation.StaleProposal)
	bob.rejects(commit.Commit, conversation.StaleCommit)
	w.agree(alice, bob)
}

func decryptCommit(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	got := bob.take(b.Commit)
	if !got.EpochChanged() || !got.Active || got.Delay != nil || got.Identity == nil || got.Identity.Client != alice.id {
		w.Errorf("the commit: %+v", got.Outcome)
	}
	bob.epoch(2)
	bob.saw(alice, 1, 2)
	alice.saw(bob, 0, 1, 2)
	w.reload(bob)
	w.agree(alice, bob)
}

func decryptProposal(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	got := bob.take(alice.proposeAdd(charlie).Message)
	if got.EpochChanged() || got.Delay == nil || !got.Active || got.Message != nil {
		w.Errorf("the proposal: %+v", got.Outcome)
	}
	bob.holds(parley.Holdings{Proposals: 1})
	w.reload(bob)
	b := bob.commitPending()
	alice.take(b.Commit)
	charlie.join(b.Welcome)
	bob.saw(alice, 1, 2)
	w.agree(alice, bob, charlie)
}

func decryptExternalProposal(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.client("alice"), w.client("bob"), w.client("charlie")
	alice.create()
	message := ds.proposesRemoval(alice.invite(bob, charlie).GroupInfo, charlie)
	got := alice.take(message)
	if got.EpochChanged() || got.Delay == nil || *got.Delay != 15 || got.Sender != "" {
		w.Errorf("the proposal: %+v", got.Outcome)
	}
	if got := charlie.take(message); got.Delay != nil {
		w.Errorf("charlie is to go, and is to wait %d s", *got.Delay)
	}
	if got := bob.take(message); got.Delay == nil || *got.Delay != 0 {
		w.Errorf("bob is the first: %v", got.Delay)
	}
	w.reload(alice, bob, charlie)
	alice.epoch(1)
	b := bob.commitPending()
	w.take(b.Commit, alice, charlie)
	charlie.gone()
	alice.saw(bob, 0, 1, 2)
	w.agree(alice, bob)
}
