package checklist_test

import (
	"slices"

	"parley"
	"parley/conversation"
	"parley/mlsengine"
)

func proposalCases() []acceptance {
	return []acceptance{
		{"propose_add::committed_by_another_member", proposeAdd},
		{"propose_remove::committed_by_another_member", proposeRemove},
		{"propose_update::committed_by_another_member", proposeUpdate},
		{"propose_remove::should_fail_when_unknown_client", proposeUnknown},
		{"propose_update::should_update_hpke_key", proposeNewKey},
		{"guest_should_externally_propose_adding_itself", guestProposesItself},
		{"ds_should_remove_guest", serviceRemovesGuest},
		{"should_fail_when_invalid_external_sender", unknownExternalSender},
		{"should_fail_when_wrong_signature_key", wrongExternalKey},
		{"joiners_from_welcome_can_accept_external_remove_proposals", func(w *world) { joinersAccept(w, byWelcome) }},
		{"joiners_from_external_commit_can_accept_external_remove_proposals", func(w *world) { joinersAccept(w, byCommit) }},
		{"orphan_welcome_should_generate_a_specialized_error", orphanWelcome},
		{"joining_from_welcome_should_prune_local_key_material", welcomePrunes},
		{"process_welcome_should_fail_when_already_exists", welcomeTwice},
		{"calculate_delay::vectors", delayVectors},
		{"calculate_delay_creator_removed", delayWithoutCreator},
	}
}

func proposeAdd(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	bob.take(alice.proposeAdd(charlie).Message)
	b := bob.commitPending()
	charlie.join(b.Welcome)
	alice.take(b.Commit)
	w.agree(alice, bob, charlie)
}

func proposeRemove(w *world) {
	alice, bob, charlie := w.trio()
	w.take(alice.proposeRemove(charlie).Message, bob, charlie)
	b := bob.commitPending()
	w.take(b.Commit, alice, charlie)
	charlie.gone()
	w.agree(alice, bob)
}

func proposeUpdate(w *world) {
	alice, bob := w.pair()
	bob.take(alice.proposeUpdate().Message)
	w.reload(alice, bob)
	alice.take(bob.commitPending().Commit)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func proposeUnknown(w *world) {
	alice, bob := w.pair()
	_, err := alice.conversation().ProposeRemove(w.ctx, "nobody")
	w.refused(err, conversation.ClientNotFound)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob)
}

func proposeNewKey(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	before := leafKeys(w, alice.invite(bob).GroupInfo)
	bob.take(alice.proposeUpdate().Message)
	b := bob.commitPending()
	alice.take(b.Commit)
	after := leafKeys(w, b.GroupInfo)
	if before[alice.id] == after[alice.id] || before[bob.id] == after[bob.id] {
		w.Error("a key is the old one: alice's of her Update, bob's of his commit")
	}
	b = alice.update()
	bob.take(b.Commit)
	if hers := leafKeys(w, b.GroupInfo); hers[bob.id] != after[bob.id] {
		w.Error("alice has another key of bob than he says")
	}
	w.agree(alice, bob)
}

func guestProposesItself(w *world) {
	alice, bob := w.pair()
	b := alice.update()
	bob.take(b.Commit)
	guest := w.client("guest")
	p, err := guest.bare().AskToJoin(w.ctx, w.group, parley.Asking{Epoch: 2, CipherSuite: w.config.CipherSuite})
	w.must(err)
	got := bob.take(p.Message)
	if got.Delay == nil || got.EpochChanged() {
		w.Errorf("the proposal: %+v", got.Outcome)
	}
	alice.take(p.Message)
	bob.rejects(p.Message, parley.DuplicateMessage)
	w.reload(alice)
	b = alice.commitPending()
	bob.take(b.Commit)
	guest.join(b.Welcome)
	w.reload(guest)
	w.agree(alice, bob, guest)
}

func serviceRemovesGuest(w *world) {
	ds := w.externalSender()
	alice, guest := w.pair()
	bob := w.client("bob")
	b := alice.invite(bob)
	guest.take(b.Commit)
	p := ds.proposesRemoval(b.GroupInfo, guest)
	w.take(p, alice, bob, guest)
	b = bob.commitPending()
	w.take(b.Commit, alice, guest)
	guest.gone()
	w.agree(alice, bob)
}

// elsewhere is another group of the same name and epoch, as far as an external proposal says, whose external senders are others.
func (w *world) elsewhere(senders ...[]byte) []byte {
	w.Helper()
	config := w.config
	var err error
	w.config, err = w.config.WithRawExternalSenders(senders...)
	w.must(err)
	mallory, friend := w.client("mallory"), w.client("friend")
	mallory.create()
	info := mallory.add(friend).GroupInfo
	w.config = config
	return info
}

// forgedRemoval proposes the removal of the member in leaf 1.
func (o *outsider) forgedRemoval(info []byte) []byte {
	o.w.Helper()
	p, err := o.w.public(info).ProposeExternally(&mlsengine.Remove{Removed: 1}, nil, o.env())
	o.w.must(err)
	return p.Message
}

func unknownExternalSender(w *world) {
	known := w.externalSender()
	alice, bob := w.pair()
	stranger := w.externalSender()
	forged := stranger.forgedRemoval(w.elsewhere(known.identity.Public, stranger.identity.Public))
	for _, m := range []*member{alice, bob} {
		if got := m.rejects(forged, conversation.InvalidMessage); got.Rule != mlsengine.UnknownExternalSender.Code() {
			w.Errorf("%s: rule %q", m.id, got.Rule)
		}
	}
	w.agree(alice, bob)

	// A group without external senders knows none at all.
	w.group, w.config = w.house.group(), w.house.config()
	w.box = w.house.post.box(w.group)
	alice, bob = w.pair()
	forged = stranger.forgedRemoval(w.elsewhere(stranger.identity.Public))
	alice.rejects(forged, conversation.InvalidMessage)
	bob.rejects(forged, conversation.InvalidMessage)
	w.agree(alice, bob)
}

func wrongExternalKey(w *world) {
	w.externalSender()
	alice, bob := w.pair()
	stranger := w.externalSender()
	forged := stranger.forgedRemoval(w.elsewhere(stranger.identity.Public))
	for _, m := range []*member{alice, bob} {
		if got := m.rejects(forged, conversation.InvalidMessage); got.Rule != mlsengine.InvalidSignature.Code() {
			w.Errorf("%s: rule %q", m.id, got.Rule)
		}
	}
	w.agree(alice, bob)
}

func byWelcome(alice, bob, charlie *member) bundle {
	b := alice.invite(charlie)
	bob.take(b.Commit)
	return b
}

func byCommit(alice, bob, charlie *member) bundle {
	b := alice.update()
	bob.take(b.Commit)
	b = charlie.joinExternally(b.GroupInfo)
	alice.w.take(b.Commit, alice, bob)
	return b
}

// joinersAccept: who has joined knows the external senders from the group itself.
func joinersAccept(w *world, joins func(alice, bob, charlie *member) bundle) {
	ds := w.externalSender()
	alice, bob := w.pair()
	charlie := w.client("charlie")
	p := ds.proposesRemoval(joins(alice, bob, charlie).GroupInfo, bob)
	w.reload(charlie)
	w.take(p, charlie, alice, bob)
	b := charlie.commitPending()
	w.take(b.Commit, alice, bob)
	bob.gone()
	w.agree(alice, charlie)
}

func orphanWelcome(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	b := alice.add(bob)
	_, err := w.client("charlie").bare().Join(w.ctx, parley.Invitation{Welcome: b.Welcome})
	w.refused(err, parley.OrphanWelcome)
	bob.join(b.Welcome)
	w.must(bob.conversation().Wipe(w.ctx))
	_, err = bob.bare().Join(w.ctx, parley.Invitation{Welcome: b.Welcome}) // its key package is used up
	w.refused(err, parley.OrphanWelcome)
	join := bob.joinExternally(b.GroupInfo)
	alice.take(join.Commit)
	w.agree(alice, bob)
}

func welcomePrunes(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	bob.keyPackage()
	welcome := alice.add(bob).Welcome
	if n := bob.keyPackages(); n != 2 {
		w.Errorf("%d key packages before", n)
	}
	bob.join(welcome)
	if n := bob.keyPackages(); n != 1 {
		w.Errorf("%d key packages are left, of which none is the Welcome's", n)
	}
	w.reload(bob)
	if n := bob.keyPackages(); n != 1 {
		w.Errorf("%d key packages on the other node", n)
	}
	w.agree(alice, bob)
}

func welcomeTwice(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	bob.create()
	welcome := alice.add(bob).Welcome
	before := bob.status()
	_, err := bob.bare().Join(w.ctx, parley.Invitation{Welcome: welcome})
	if e := w.refused(err, parley.ConversationAlreadyExists); e.Conversation != w.group {
		w.Errorf("the error is about %q", e.Conversation)
	}
	if changed := difference(before, bob.status()); changed != "" || bob.keyPackages() != 1 {
		w.Errorf("%s; %d key packages are left", changed, bob.keyPackages())
	}
	w.must(bob.conversation().Wipe(w.ctx))
	bob.join(welcome) // the key package was kept for it
	w.agree(alice, bob)
}

func delayVectors(w *world) {
	var got []uint64
	for i := range uint64(10) {
		got = append(got, conversation.CommitDelay(1, 10, i))
	}
	if want := []uint64{15, 30, 60, 87, 109, 127, 143, 157, 170, 0}; !slices.Equal(got, want) {
		w.Errorf("delays %v, want %v", got, want)
	}
}

func delayWithoutCreator(w *world) {
	ds := w.externalSender()
	alice, bob := w.pair()
	charlie := w.client("charlie")
	b := alice.invite(charlie)
	bob.take(b.Commit)
	p := ds.proposesRemoval(b.GroupInfo, alice)
	if got := alice.take(p); got.Delay != nil {
		w.Errorf("alice is to go, and is to wait %d s", *got.Delay)
	}
	for m, want := range map[*member]uint64{bob: 0, charlie: 15} {
		if got := m.take(p); got.Delay == nil || *got.Delay != want {
			w.Errorf("%s is to wait %v s, want %d", m.id, got.Delay, want)
		}
	}
	b = bob.commitPending()
	w.take(b.Commit, alice, charlie)
	alice.gone()
	w.agree(bob, charlie)
}
