package checklist_test

import (
	"slices"

	"parley"
	"parley/conversation"
)

func renewalCases() []acceptance {
	return []acceptance{
		{"decrypting_a_commit_should_not_renew_proposals_in_valid_commit", nothingToRenew},
		{"decrypting_a_commit_should_renew_orphan_pending_proposals", orphanedAdd},
		{"decrypting_a_commit_should_discard_pending_external_proposals", externalIsDiscarded},
		{"renew::update::renewable_when_created_by_self", updateRenewed},
		{"renew::update::not_renewable_when_in_valid_commit", func(w *world) {
			heldByCommit(w, func(alice, _, _ *member) []byte { return alice.proposeUpdate().Message })
		}},
		{"renew::update::not_renewable_by_ref", func(w *world) {
			byReference(w, func(bob, _, _ *member) []byte { return bob.proposeUpdate().Message })
		}},
		{"renew::add::not_renewable_when_valid_commit_adds_same", addedByOthers},
		{"renew::add::not_renewable_in_pending_commit_when_valid_commit_adds_same", addedByOthersMeanwhile},
		{"renew::add::not_renewable_by_ref", func(w *world) {
			byReference(w, func(bob, _, stranger *member) []byte { return bob.proposeAdd(stranger).Message })
		}},
		{"renew::add::renewable_when_valid_commit_doesnt_adds_same", addRenewed},
		{"renew::add::renews_pending_commit_when_valid_commit_doesnt_add_same", addCommitRenewed},
		{"renew::remove::not_renewable_when_valid_commit_removes_same", removedByOthers},
		{"renew::remove::not_renewable_by_ref", func(w *world) {
			byReference(w, func(bob, charlie, _ *member) []byte { return bob.proposeRemove(charlie).Message })
		}},
		{"renew::remove::renewable_when_valid_commit_doesnt_remove_same", removeRenewed},
		{"renew::remove::renews_pending_commit_when_valid_commit_doesnt_remove_same", removeCommitRenewed},
		{"renew::remove::renews_pending_commit_from_proposal_when_valid_commit_doesnt_remove_same", removeCommitFromProposalRenewed},
	}
}

// renews takes a commit that leaves own proposals out, and gives what was made anew.
func (m *member) renews(commit []byte, want int) []conversation.Proposal {
	m.w.Helper()
	got := m.take(commit)
	again := got.Proposals
	h := m.status().Holdings
	if len(again) != want || h.Proposals != want || (got.Delay != nil) != (want > 0) {
		m.w.Fatalf("%s: %d proposals made anew, %d pending, delay %v; want %d", m.id, len(again), h.Proposals, got.Delay, want)
	}
	m.w.reload(m)
	return again
}

// heldByCommit: a commit that holds what alice proposed leaves nothing to renew.
func heldByCommit(w *world, propose func(alice, bob, charlie *member) []byte) {
	alice, bob, charlie := w.trio()
	p := propose(alice, bob, charlie)
	w.take(p, bob, charlie)
	b := bob.commitPending()
	alice.renews(b.Commit, 0)
	alice.holds(parley.Holdings{})
	charlie.take(b.Commit)
	w.agree(alice, bob, charlie)
}

func nothingToRenew(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	bob.take(alice.proposeAdd(charlie).Message)
	b := bob.commitPending()
	alice.renews(b.Commit, 0)
	charlie.join(b.Welcome)
	w.agree(alice, bob, charlie)
}

func orphanedAdd(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	alice.proposeAdd(charlie)
	again := alice.renews(bob.update().Commit, 1)
	alice.epoch(2)
	_, err := alice.conversation().Encrypt(w.ctx, []byte("no"), nil)
	w.refused(err, parley.PendingProposals)
	bob.take(again[0].Message)
	b := bob.commitPending()
	alice.take(b.Commit)
	charlie.join(b.Welcome)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func externalIsDiscarded(w *world) {
	ds := w.externalSender()
	alice, bob, charlie := w.client("alice"), w.client("bob"), w.client("charlie")
	alice.create()
	info := alice.invite(bob, charlie).GroupInfo
	alice.take(ds.proposesRemoval(info, charlie))
	alice.holds(parley.Holdings{Proposals: 1})
	b := bob.update()
	charlie.take(b.Commit)
	alice.renews(b.Commit, 0)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func updateRenewed(w *world) {
	alice, bob := w.pair()
	refs := [][]byte{alice.proposeUpdate().Message}
	for range 2 {
		again := alice.renews(bob.update().Commit, 1)
		alice.holds(parley.Holdings{Proposals: 1, Updates: 1})
		if slices.ContainsFunc(refs, func(r []byte) bool { return string(r) == string(again[0].Message) }) {
			w.Error("it is the old proposal")
		}
		refs = append(refs, again[0].Message)
	}
	bob.take(refs[2])
	alice.renews(bob.commitPending().Commit, 0)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

// byReference: what bob proposed, and charlie's commit leaves out, is bob's to renew and not alice's, with and without a commit of hers
// that refers to it.
func byReference(w *world, propose func(bob, charlie, stranger *member) []byte) {
	alice, bob, charlie := w.trio()
	stranger := w.client("stranger")
	alice.take(propose(bob, charlie, stranger))
	b := charlie.update()
	again := bob.renews(b.Commit, 1)
	alice.renews(b.Commit, 0)
	alice.holds(parley.Holdings{})
	w.must(bob.conversation().ClearProposal(w.ctx, again[0].Ref))
	w.agree(alice, bob, charlie)
}

func addedByOthers(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	alice.proposeAdd(charlie)
	alice.renews(bob.invite(charlie).Commit, 0)
	w.agree(alice, bob, charlie)
}

func addedByOthersMeanwhile(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	winner := bob.invite(charlie)
	w.box.answer(alice.during(winner.Commit))
	before := len(w.box.all())
	alice.add(charlie)
	if n := len(w.box.all()) - before; n != 1 {
		w.Errorf("%d bundles; what was asked for is done", n)
	}
	alice.holds(parley.Holdings{})
	alice.epoch(2)
	w.agree(alice, bob, charlie)
}

func addRenewed(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	alice.proposeAdd(charlie)
	alice.renews(bob.update().Commit, 1) // alone
	winner := bob.update()
	w.box.answer(alice.during(winner.Commit))
	b := alice.commitPending() // and in a commit of its own
	bob.take(b.Commit)
	charlie.join(b.Welcome)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func addCommitRenewed(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	winner := bob.update()
	w.box.answer(alice.during(winner.Commit))
	b := alice.add(charlie)
	bob.take(b.Commit)
	charlie.join(b.Welcome)
	alice.epoch(3)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func removedByOthers(w *world) {
	alice, bob, charlie := w.trio()
	alice.proposeRemove(charlie)
	b := bob.remove(charlie)
	charlie.take(b.Commit)
	alice.renews(b.Commit, 0)
	w.agree(alice, bob)
}

func removeRenewed(w *world) {
	alice, bob, charlie := w.trio()
	alice.proposeRemove(charlie)
	b := bob.update()
	charlie.take(b.Commit)
	again := alice.renews(b.Commit, 1)
	w.take(again[0].Message, bob, charlie)
	b = bob.commitPending()
	w.take(b.Commit, alice, charlie)
	charlie.gone()
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func removeCommitRenewed(w *world) {
	alice, bob, charlie := w.trio()
	winner := bob.update()
	charlie.take(winner.Commit)
	w.box.answer(alice.during(winner.Commit))
	b := alice.remove(charlie)
	w.take(b.Commit, bob, charlie)
	charlie.gone()
	alice.epoch(3)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

// removeCommitFromProposalRenewed: what the lost commit only referred to is in the new one by value, since nobody else has it.
func removeCommitFromProposalRenewed(w *world) {
	alice, bob, charlie := w.trio()
	alice.proposeRemove(charlie)
	winner := bob.update()
	charlie.take(winner.Commit)
	w.box.answer(alice.during(winner.Commit))
	b := alice.commitPending()
	w.take(b.Commit, bob, charlie)
	charlie.gone()
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}
