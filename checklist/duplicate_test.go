package checklist_test

import (
	"parley"
	"parley/conversation"
)

func duplicateCases() []acceptance {
	return []acceptance{
		{"decrypting_duplicate_member_commit_should_fail", duplicateCommit},
		{"decrypting_duplicate_external_commit_should_fail", duplicateExternalCommit},
		{"decrypting_duplicate_proposal_should_fail", duplicateProposal},
		{"decrypting_duplicate_external_proposal_should_fail", duplicateExternalProposal},
		{"decrypting_duplicate_application_message_should_fail", duplicateMessage},
		{"should_prevent_replayed_encrypted_handshake_messages", duplicateEncrypted},
	}
}

// knowsStill: what was taken is a duplicate now, later in the epoch, on another node, and epochs later, where upstream calls it stale.
func (m *member) knowsStill(message []byte, next func()) {
	m.w.Helper()
	m.rejects(message, parley.DuplicateMessage)
	m.w.reload(m)
	m.rejects(message, parley.DuplicateMessage)
	for range 2 {
		next()
		m.rejects(message, parley.DuplicateMessage)
	}
}

func duplicateCommit(w *world) {
	alice, bob := w.pair()
	w.box.answer(abort)
	w.refused(alice.conversation().UpdateKeys(w.ctx), conversation.TransportAborted)
	unknown := w.box.last().Commit
	commit := alice.update().Commit
	bob.take(commit)
	bob.knowsStill(commit, func() { bob.take(alice.update().Commit) })
	bob.rejects(unknown, conversation.StaleCommit)
	w.agree(alice, bob)
}

func duplicateExternalCommit(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.update()
	bob.take(b.Commit)
	w.box.answer(abort)
	_, err := w.client("dave").bare().JoinExternally(w.ctx, w.group, parley.ExternalJoin{GroupInfo: b.GroupInfo})
	w.refused(err, conversation.TransportAborted)
	unknown := w.box.last().Commit
	commit := charlie.joinExternally(b.GroupInfo).Commit
	w.take(commit, alice, bob)
	bob.knowsStill(commit, func() {
		next := alice.update().Commit
		w.take(next, bob, charlie)
	})
	charlie.rejects(commit, parley.DuplicateMessage)
	bob.rejects(unknown, conversation.StaleCommit)
	w.agree(alice, bob, charlie)
}

func duplicateProposal(w *world) {
	alice, bob := w.pair()
	p := alice.proposeUpdate().Message
	bob.take(p)
	bob.knowsStill(p, func() { alice.take(bob.update().Commit) })
	w.agree(alice, bob)
}

func duplicateExternalProposal(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.client("alice"), w.client("bob"), w.client("charlie")
	alice.create()
	p := ds.proposesRemoval(alice.invite(bob, charlie).GroupInfo, charlie)
	alice.take(p)
	alice.knowsStill(p, func() { w.take(bob.update().Commit, alice, charlie) })
	w.agree(alice, bob, charlie)
}

func duplicateMessage(w *world) {
	alice, bob := w.pair()
	message := alice.says("once")
	bob.hears(message, alice, "once")
	bob.knowsStill(message, func() { bob.take(alice.update().Commit) })
	w.agree(alice, bob)
}

func duplicateEncrypted(w *world) {
	w.config.WirePolicy = parley.WireCiphertext
	alice, bob := w.pair()
	p := alice.proposeUpdate().Message
	bob.take(p)
	bob.rejects(p, parley.DuplicateMessage)
	commit := alice.commitPending().Commit
	bob.take(commit)
	for _, message := range [][]byte{p, commit} {
		bob.knowsStill(message, func() { bob.take(alice.update().Commit) })
	}
	w.agree(alice, bob)
}
