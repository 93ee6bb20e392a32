package conversation

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// TestRolledBackLogStaysSilentThroughLostEpochs loses the end of a log that
// had spoken two epochs further on. Following the order leads into those
// epochs again, with the keys that were used there.
func TestRolledBackLogStaysSilentThroughLostEpochs(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	before, records := bob.state, len(bob.log)
	for range 2 {
		w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
		w.say(bob, "soon forgotten")
	}
	anchor := bob.state.Anchor()
	if anchor.Epoch != 3 {
		t.Fatalf("the anchor is of epoch %d", anchor.Epoch)
	}
	bob.state, bob.log = before, bob.log[:records]
	bob.state.Live = Live{}
	w.step(bob, MarkRolledBack{AnchorVersion: 99, FoundVersion: bob.state.Version, Epoch: mlsengine.Epoch(anchor.Epoch)})
	for bob.state.Epoch() < 3 {
		w.refused(bob, Encrypt{Plaintext: []byte("twice")}, ConversationRolledBack)
		if got := bob.state.Anchor(); got.Epoch != 3 || got.ApplicationReserved == 0 {
			t.Errorf("in epoch %d the anchor says %+v", bob.state.Epoch(), got)
		}
		w.follow(bob, 1)
	}
	w.refused(bob, Encrypt{Plaintext: []byte("twice")}, ConversationRolledBack)
	w.restart(bob)
	w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != Active || bob.state.Muted != 0 {
		t.Fatalf("in epoch 4 bob is %s", bob.state.Lifecycle)
	}
	w.hearAll(ada, w.say(bob, "here again"))
}

// TestRollbackFoundLaterReachesFurther finds, while muted, that more was lost.
func TestRollbackFoundLaterReachesFurther(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(bob, MarkRolledBack{AnchorVersion: 9, FoundVersion: 2, Epoch: 1})
	before := len(bob.log)
	w.step(bob, MarkRolledBack{AnchorVersion: 9, FoundVersion: 2, Epoch: 1})
	if len(bob.log) != before {
		t.Error("what was known is an event again")
	}
	w.step(bob, MarkRolledBack{AnchorVersion: 9, FoundVersion: 2, Epoch: 2})
	w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != RolledBack {
		t.Errorf("in epoch 2 bob is %s", bob.state.Lifecycle)
	}
	w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != Active {
		t.Errorf("in epoch 3 bob is %s", bob.state.Lifecycle)
	}
}

// hearAll puts a message into the order and checks that a member reads it.
func (w *world) hearAll(m *member, message []byte) {
	w.t.Helper()
	before := len(m.received)
	w.append(Entry{Kind: EntryApplication, Message: message})
	w.everybody()
	if len(m.received) != before+1 {
		w.t.Errorf("%s does not read it", m.name)
	}
}

// TestForgedOwnMessagesDoNotMoveTheGuard puts messages into the order that
// claim our leaf: what nothing proves must not count as ours.
func TestForgedOwnMessagesDoNotMoveTheGuard(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	twin := ada.state // makes what somebody else could make of our sender data
	var forged []byte
	for range SendBlockSize + 5 {
		tr, err := Step(twin, Encrypt{Plaintext: []byte("forged")}, w.env(ada))
		if err != nil {
			t.Fatal(err)
		}
		twin, forged = tr.Next, tr.Reply.Ciphertext
	}
	for range 3 {
		w.say(ada, "never in the order")
	}
	for _, sender := range []ids.ClientID{"ada", "bob", ""} {
		w.append(Entry{Kind: EntryApplication, Message: forged, Sender: sender})
	}
	inReach := mustStep(t, w, ada, ada.state, Encrypt{Plaintext: []byte("within the block")}).Reply.Ciphertext
	w.append(Entry{Kind: EntryApplication, Message: inReach, Sender: "bob"})
	w.followAll(ada)
	if ada.state.OwnOrdered != 0 || ada.state.Position != uint64(len(w.order)) {
		t.Errorf("own messages below %d are taken for ordered, at position %d of %d", ada.state.OwnOrdered, ada.state.Position, len(w.order))
	}
	w.append(Entry{Kind: EntryApplication, Message: inReach, Sender: "ada"})
	w.followAll(ada)
	if ada.state.OwnOrdered != 4 {
		t.Errorf("own messages below %d are in the order", ada.state.OwnOrdered)
	}
}

func mustStep(t *testing.T, w *world, m *member, s State, in Input) Transition {
	t.Helper()
	tr, err := Step(s, in, w.env(m))
	if err != nil || tr.Reply.Err != nil {
		t.Fatalf("%T: %v %v", in, err, tr.Reply.Err)
	}
	return tr
}

// TestClearedProposalThatIsInTheOrder clears an own proposal which the
// delivery service had accepted all the same.
func TestClearedProposalThatIsInTheOrder(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	cara := w.newMember("cara")
	r := w.step(bob, ProposeAdd{CommandMeta: w.meta(bob), KeyPackage: w.invite(cara)})
	w.step(bob, ClearProposal{CommandMeta: w.meta(bob), Ref: r.Proposal.Ref})
	w.everybody()
	if len(bob.state.Pending) != 1 || len(ada.state.Pending) != 1 {
		t.Fatalf("%d and %d proposals are pending", len(bob.state.Pending), len(ada.state.Pending))
	}
	w.commit(ada, CommitPending{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != Active || bob.state.Epoch() != 2 {
		t.Errorf("bob is %s in epoch %d", bob.state.Lifecycle, bob.state.Epoch())
	}
}

// TestHandshakesFromBesideTheOrder hands a valid commit and a valid proposal in
// that the group's order does not have.
func TestHandshakesFromBesideTheOrder(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	rival := mustStep(t, w, ada, ada.state, UpdateKeyMaterial{}).Outbox[0].(SendBundle)
	proposal := mustStep(t, w, ada, ada.state, ProposeUpdate{}).Reply.Proposal
	for _, m := range []*member{ada, bob} {
		for _, message := range [][]byte{rival.Commit, proposal.Message} {
			if o := w.hear(m, message); o.Code != NotInOrder {
				t.Errorf("%s: %+v", m.name, o)
			}
		}
	}
	w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	if o := w.hear(ada, ada.state.Staged.Commit); o.Code != NotInOrder || ada.state.Staged == nil {
		t.Errorf("our own commit, which nobody has accepted: %+v", o)
	}
	w.everybody()
	if o := w.hear(bob, w.say(ada, "words are free")); o.Kind != OutcomeApplication {
		t.Errorf("a message: %+v", o)
	}
}

// TestTextThatIsNone gives every string of a record bytes that are no text; the
// world encodes each record.
func TestTextThatIsNone(t *testing.T) {
	w, ada, _ := pair(t, foreign(DefaultConfig()))
	ada.answers = nil
	odd := strings.Repeat("é", 200) + "\xff"
	w.step(ada, ExportSecret{CommandMeta: w.meta(ada), Label: "\xff\xfe", Length: 16})
	w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.step(ada, TransportAnswered{Bundle: ada.state.Staged.Digest, Outcome: TransportRetry, Reason: odd})
	r := w.step(ada, TransportAnswered{Bundle: ada.state.Staged.Digest, Outcome: TransportAbort, Reason: odd})
	if len(r.Completed) != 1 || !errors.Is(r.Completed[0].Err, TransportAborted) {
		t.Errorf("completed %+v", r.Completed)
	}
	w.step(ada, Checkpoint{Reason: odd, Force: true})
	for _, meta := range []CommandMeta{
		{ID: "1", Principal: "\xff", IssuedMs: w.nowMs},
		{Principal: strings.Repeat("p", principalBytesMax+1)},
		{ID: ids.CommandID(strings.Repeat("i", commandIDBytesMax+1)), IssuedMs: w.nowMs},
	} {
		w.refused(ada, UpdateKeyMaterial{CommandMeta: meta}, InvalidCommand)
		w.refused(ada, Encrypt{CommandMeta: meta}, InvalidCommand)
	}
	config := DefaultConfig()
	config.Credential = "\xff"
	w.refused(w.newMember("eve"), Create{Config: config}, InvalidConfiguration)
	w.step(ada, MarkRolledBack{Reason: odd})
	w.step(ada, MarkSecretsLost{Reason: odd})
}

// TestForEverIsNotThePast keeps messages and epochs for ever.
func TestForEverIsNotThePast(t *testing.T) {
	config := DefaultConfig()
	config.SpoolAgeMs, config.PastEpochAgeMs = math.MaxUint64, math.MaxUint64
	w, ada, bob := pair(t, config)
	w.speak(ada)
	w.everybody()
	w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.step(bob, ExpireSpool{})
	w.step(bob, Checkpoint{Force: true})
	if bob.state.Spool.Acknowledged != 0 || len(bob.state.Past) != 1 {
		t.Errorf("acknowledged up to %d, %d past epochs", bob.state.Spool.Acknowledged, len(bob.state.Past))
	}
	if l := lifetimeFrom(w.nowMs, math.MaxUint64); !l.Contains(w.nowMs / 1000) {
		t.Errorf("a lifetime of for ever ends at %d", l.NotAfter)
	}
}

// TestMoreProposalsThanWeWouldMake lets the order hold as many proposals as a
// member has, and a commit bring one more.
func TestMoreProposalsThanWeWouldMake(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	cara := w.newMember("cara")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(cara)}})
	maker := bob.state
	for range PendingMax {
		tr := mustStep(t, w, bob, maker, ProposeUpdate{})
		maker = tr.Next
		w.append(Entry{Kind: EntryProposal, Message: tr.Reply.Proposal.Message, Sender: "bob"})
	}
	if tr, err := Step(maker, ProposeUpdate{}, w.env(bob)); err != nil || !errors.Is(tr.Reply.Err, TooManyProposals) {
		t.Errorf("one more: %v %v", tr.Reply.Err, err)
	}
	own := mustStep(t, w, cara, cara.state, ProposeUpdate{}) // not in the order yet
	cara.state = own.Next
	follow := func(m *member) State {
		s := m.state
		for int(s.Position) < len(w.order) {
			tr := mustStep(t, w, m, s, Entries{Entries: w.order[s.Position:]})
			s = tr.Next
		}
		return s
	}
	if n := len(follow(cara).Pending); n != PendingMax+1 {
		t.Fatalf("cara has %d proposals", n)
	}
	b := mustStep(t, w, cara, follow(cara), RemoveMembers{Clients: []ids.ClientID{"bob"}}).Outbox[0].(SendBundle)
	w.append(Entry{Kind: EntryCommit, Message: b.Commit, Proposals: [][]byte{own.Reply.Proposal.Message}, Sender: "cara"})
	if s := follow(ada); s.Lifecycle != Active || s.Epoch() != 3 {
		t.Errorf("ada is %s in epoch %d", s.Lifecycle, s.Epoch())
	}
}

// TestSpeakersSealTheirStateToo only sends: what was sent must not stay
// readable with a private state that nothing replaces.
func TestSpeakersSealTheirStateToo(t *testing.T) {
	config := DefaultConfig()
	config.MaximumForwardDistance = 10 * CheckpointEvery
	w, ada, _ := pair(t, config)
	sealed := 0
	for range CheckpointEvery + 1 {
		before := len(ada.log)
		w.say(ada, "on and on")
		for _, r := range ada.log[before:] {
			if slices.Contains(kindsOf(r.Events), "SecretsCheckpoint") {
				sealed++
			}
		}
	}
	if sealed != 1 {
		t.Errorf("%d checkpoints", sealed)
	}
	if ada.state.CheckpointAt() == 0 {
		t.Error("no checkpoint will be due")
	}
	w.restart(ada)
	w.say(ada, "and on")
}

// TestLeaseIsNeededForASecretAsked derives a secret again, on a node that has
// lost the conversation.
func TestLeaseIsNeededForASecretAsked(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	in := ExportSecret{CommandMeta: w.meta(ada), Length: 32}
	first := w.step(ada, in)
	env := w.env(ada)
	env.LeaseValid = false
	tr, err := Step(ada.state, in, env)
	if err != nil || !errors.Is(tr.Reply.Err, LeaseLost) || tr.Reply.Secret.Len() > 0 || first.Secret.Len() != 32 {
		t.Errorf("%v, %v", tr.Reply.Err, err)
	}
}

// TestANewGroupHasANewOrder creates a group where an older one had removed us.
func TestANewGroupHasANewOrder(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}})
	if bob.state.Lifecycle != Evicted || bob.state.Position == 0 {
		t.Fatalf("bob is %s at %d", bob.state.Lifecycle, bob.state.Position)
	}
	if s := mustStep(t, w, bob, bob.state, Create{Config: w.config}).Next; s.Position != 0 || !s.Unregistered() {
		t.Errorf("the new group is followed from %d", s.Position)
	}
}

func TestConfigurationsAreBounded(t *testing.T) {
	for _, spoil := range []func(*Config){
		func(c *Config) { c.MaximumForwardDistance = math.MaxUint32 },
		func(c *Config) { c.OutOfOrderTolerance = math.MaxUint32 },
		func(c *Config) { c.ExternalSenders = make([]mlsengine.ExternalSender, 1) },
		func(c *Config) { c.ExternalSenders = make([]mlsengine.ExternalSender, externalSendersMax+1) },
		func(c *Config) {
			c.ExternalSenders = []mlsengine.ExternalSender{{SignatureKey: []byte("short"), Credential: mlsengine.BasicCredential([]byte("service"))}}
		},
	} {
		config := DefaultConfig()
		spoil(&config)
		w := newWorld(t, 1, config)
		w.refused(w.newMember("ada"), Create{Config: config}, InvalidConfiguration)
	}
	tr, err := StepClient(NewClientState("ada"), AddCredential{CipherSuite: 1, Credential: &mlsengine.Credential{}}, Env{Entropy: newSeeded(1)})
	if err != nil || !errors.Is(tr.Reply.Err, CredentialRefused) {
		t.Errorf("a credential that is none: %v %v", tr.Reply.Err, err)
	}
}

// TestFindingTheGoodProposalsIsBounded has a check that every second proposal
// breaks, and counts what it costs.
func TestFindingTheGoodProposalsIsBounded(t *testing.T) {
	contents := make([]*mlsengine.Content, PendingMax)
	bad := map[*mlsengine.Content]bool{}
	for i := range contents {
		contents[i] = new(mlsengine.Content)
		bad[contents[i]] = i%2 == 1
	}
	looked := 0
	a := admission{effort: effortMax, check: func(list []*mlsengine.Content) error {
		looked += len(list)
		if slices.ContainsFunc(list, func(c *mlsengine.Content) bool { return bad[c] }) {
			return CommitInvalid
		}
		return nil
	}}
	got := a.admit(nil, contents)
	if slices.ContainsFunc(got, func(c *mlsengine.Content) bool { return bad[c] }) || len(got) == 0 {
		t.Errorf("%d proposals, bad ones among them", len(got))
	}
	if looked > effortMax+PendingMax {
		t.Errorf("looked at %d proposals", looked)
	}
}

// TestProposalsThatNoCommitCanHold lets a member propose what breaks a rule;
// the others' proposals are committed without it.
func TestProposalsThatNoCommitCanHold(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	cara := w.newMember("cara")
	for range 3 {
		w.propose(bob, &mlsengine.PreSharedKey{PSK: mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: []byte("nobody has it"), Nonce: bob.entropy.Draw("nonce", 32)}})
	}
	w.step(bob, ProposeAdd{CommandMeta: w.meta(bob), KeyPackage: w.invite(cara)})
	w.everybody()
	w.commit(ada, CommitPending{CommandMeta: w.meta(ada)})
	if got := ada.state.ClientIDs(); !slices.Equal(got, []ids.ClientID{"ada", "bob", "cara"}) {
		t.Errorf("members %v", got)
	}
}

// propose puts a member's proposal of any kind into the order.
func (w *world) propose(m *member, p mlsengine.Proposal) {
	w.t.Helper()
	out, err := m.state.Private.Group.Propose(p, mlsengine.Framing{}, w.env(m).engine())
	if err != nil {
		w.t.Fatal(err)
	}
	w.append(Entry{Kind: EntryProposal, Message: out.Message, Sender: ids.ClientID(m.name)})
}

// TestRefusedHandshakesDoNotRunAwayFromTheOthers has commits refused until the
// others could no longer read the next one, which would be accepted.
func TestRefusedHandshakesDoNotRunAwayFromTheOthers(t *testing.T) {
	config := DefaultConfig()
	config.WirePolicy, config.MaximumForwardDistance = WireCiphertext, 8
	w, ada, bob := pair(t, config)
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
	w.everybody()
	for range 8 {
		s := mustStep(t, w, ada, ada.state, CommitPending{}).Next
		tr := mustStep(t, w, ada, s, TransportAnswered{Bundle: s.Staged.Digest, Outcome: TransportAbort})
		ada.state = tr.Next
	}
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}) // eight are skipped: just in reach
	w.followAll(bob)
	if n := len(bob.state.Pending); n != 2 {
		t.Fatalf("bob has %d proposals", n)
	}
	w.refused(ada, ProposeUpdate{}, UpdateRequired) // the second proposal is not known to be in the order yet
	w.followAll(ada)
	if tr := mustStep(t, w, ada, ada.state, CommitPending{}); !tr.Reply.InFlight {
		t.Errorf("once it is: %+v", tr.Reply)
	}
}

// TestRemovalIsNotLostAmongBadProposals hides a proposed removal behind more
// proposals that go with nothing than anybody looks at.
func TestRemovalIsNotLostAmongBadProposals(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	for range PendingMax - 1 {
		w.propose(bob, &mlsengine.PreSharedKey{PSK: mlsengine.PreSharedKeyID{
			Type: mlsengine.PSKTypeExternal, ID: []byte("nobody has it"), Nonce: bob.entropy.Draw("nonce", 32),
		}})
	}
	w.propose(bob, &mlsengine.Remove{Removed: bob.state.OwnLeaf})
	s := ada.state
	for int(s.Position) < len(w.order) {
		s = mustStep(t, w, ada, s, Entries{Entries: w.order[s.Position:]}).Next
	}
	b := mustStep(t, w, ada, s, RemoveMembers{Clients: []ids.ClientID{"bob"}}).Outbox[0].(SendBundle)
	if len(b.Removed) != 1 || b.Removed[0].Client != "bob" {
		t.Errorf("the commit removes %v", b.Removed)
	}
}

// TestOldWelcomeDoesNotLeadBack joins again by the Welcome of the first time,
// whose key package a client that lost its end may still hold.
func TestOldWelcomeDoesNotLeadBack(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	var welcome []byte
	for _, r := range ada.log {
		for _, e := range r.Events {
			if staged, ok := e.Body.(*v1.CommitStaged); ok {
				welcome = staged.GetWelcome()
			}
		}
	}
	w.say(bob, "with the first key")
	again := Join{Config: w.config, Welcome: welcome, KeyPackage: w.invitations[0].kp, Secrets: w.invitations[0].secrets, Position: 2}
	if tr := mustStep(t, w, bob, NewState("bob", w.group), again); tr.Next.Epoch() != 1 {
		t.Fatalf("the Welcome leads to epoch %d", tr.Next.Epoch())
	}
	for _, lost := range []Input{MarkRolledBack{Epoch: 1}, MarkBehind{First: 99}, MarkSecretsLost{}} {
		s := mustStep(t, w, bob, bob.state, lost).Next
		if tr, err := Step(s, again, w.env(bob)); err != nil || !errors.Is(tr.Reply.Err, InvalidWelcome) {
			t.Errorf("%T: %v %v", lost, tr.Reply.Err, err)
		}
	}
}
