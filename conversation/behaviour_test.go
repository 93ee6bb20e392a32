package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/internal/ids"
)

// pair is two members of a group, ada and bob, in epoch 1.
func pair(t *testing.T, config Config) (w *world, ada, bob *member) {
	t.Helper()
	w = newWorld(t, 42, config)
	ada, bob = w.newMember("ada"), w.newMember("bob")
	w.step(ada, Create{CommandMeta: w.meta(ada), Config: config})
	w.followAll(ada)
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(bob)}})
	if bob.state.Lifecycle != Active || bob.state.Epoch() != 1 {
		t.Fatalf("bob is %s in epoch %d", bob.state.Lifecycle, bob.state.Epoch())
	}
	return w, ada, bob
}

// commit stages a commit and lets everybody follow.
func (w *world) commit(m *member, in Command) {
	w.t.Helper()
	if r := w.step(m, in); r.Err != nil || !r.InFlight {
		w.t.Fatalf("%s: %s: %v", m.name, in.Name(), r.Err)
	}
	w.everybody()
}

func (w *world) everybody() {
	w.t.Helper()
	for _, m := range w.members {
		w.answer(m)
		w.followAll(m)
	}
}

// refused steps a command that must be refused with a code.
func (w *world) refused(m *member, in Input, want Code) *CommandError {
	w.t.Helper()
	r := w.step(m, in)
	if !errors.Is(r.Err, want) {
		w.t.Fatalf("%s: %T: %v, want %s", m.name, in, r.Err, want)
	}
	return r.Err
}

// say encrypts and fails the test where that is refused.
func (w *world) say(m *member, text string) []byte {
	w.t.Helper()
	r := w.step(m, Encrypt{CommandMeta: w.meta(m), Plaintext: []byte(text)})
	if r.Err != nil {
		w.t.Fatalf("%s: %v", m.name, r.Err)
	}
	return r.Ciphertext
}

// hear takes a message and returns what became of it.
func (w *world) hear(m *member, message []byte) Outcome {
	w.t.Helper()
	before := m.state
	r := w.step(m, Received{Message: message})
	if r.Err != nil {
		w.t.Fatalf("%s: %v", m.name, r.Err)
	}
	o := r.Outcomes[0]
	if o.Kind == OutcomeRejected {
		w.checkRejected(m, before)
	}
	return o
}

// checkRejected checks that a refused message was an event and nothing else.
func (w *world) checkRejected(m *member, before State) {
	w.t.Helper()
	last := m.log[len(m.log)-1]
	if got := kindsOf(last.Events); !slices.Equal(got, []string{"MessageRejected"}) {
		w.t.Fatalf("%s: a refused message left %v", m.name, got)
	}
	after := m.state
	after.Version, after.TimeMs = before.Version, before.TimeMs
	if after.Digest() != before.Digest() || !samePrivate(after, before) {
		w.t.Fatalf("%s: a refused message changed the state", m.name)
	}
}

func foreign(c Config) Config {
	c.Transport = TransportForeign
	return c
}

func TestMembersReadEachOther(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	o := w.hear(bob, w.say(ada, "hello"))
	if o.Kind != OutcomeApplication || o.Sender != "ada" || o.Number != 1 || o.Epoch != 1 {
		t.Errorf("outcome %+v", o)
	}
	spool := bob.log[len(bob.log)-1]
	w.hear(ada, w.say(bob, "hi"))
	if !slices.Equal(bob.received, []string{"hello"}) || !slices.Equal(ada.received, []string{"hi"}) {
		t.Errorf("bob got %q, ada %q", bob.received, ada.received)
	}
	messages, err := Messages(spool)
	if err != nil || len(messages) != 1 || string(messages[0].Plaintext.Expose()) != "hello" || messages[0].Sender != "ada" {
		t.Errorf("spool %v %v", messages, err)
	}
	if got := ada.state.ClientIDs(); !slices.Equal(got, []ids.ClientID{"ada", "bob"}) {
		t.Errorf("client ids %v", got)
	}
}

func TestOnlyTheFirstMessageOfABlockIsAnEvent(t *testing.T) {
	w, ada, _ := pair(t, foreign(DefaultConfig()))
	before := len(ada.log)
	seen := map[uint32]bool{}
	for i := range 2*SendBlockSize + 1 {
		r := w.step(ada, Encrypt{Plaintext: fmt.Append(nil, i)})
		if r.Err != nil || seen[r.Generation] {
			t.Fatalf("message %d: generation %d, %v", i, r.Generation, r.Err)
		}
		seen[r.Generation] = true
	}
	if got := len(ada.log) - before; got != 3 {
		t.Errorf("%d records for %d messages, want 3", got, 2*SendBlockSize+1)
	}
	if ada.state.Reserved.Application != 3*SendBlockSize {
		t.Errorf("reserved %d", ada.state.Reserved.Application)
	}
	env := w.env(ada)
	env.LeaseValid = false
	tr, err := Step(ada.state, Encrypt{Plaintext: []byte("x")}, env)
	if err != nil || !errors.Is(tr.Reply.Err, LeaseLost) {
		t.Errorf("without a lease: %v %v", tr.Reply.Err, err)
	}
	w.restart(ada)
	r := w.step(ada, Encrypt{Plaintext: []byte("after a crash")})
	if r.Generation != 3*SendBlockSize {
		t.Errorf("generation %d after a restart, want the next block", r.Generation)
	}
}

func TestAbortedReservationsAreBurned(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	tr, err := Step(ada.state, Encrypt{Plaintext: []byte("in a transaction")}, w.env(ada))
	if err != nil || tr.Reply.Err != nil {
		t.Fatal(err, tr.Reply.Err)
	}
	w.step(ada, Burn{Reserved: tr.Next.Reserved})
	r := w.step(ada, Encrypt{Plaintext: []byte("after it")})
	if r.Generation <= tr.Reply.Generation {
		t.Errorf("generation %d was given out twice", r.Generation)
	}
	for _, ciphertext := range [][]byte{r.Ciphertext} {
		if o := w.hear(bob, ciphertext); o.Kind != OutcomeApplication {
			t.Errorf("outcome %+v", o)
		}
	}
}

func TestEncryptIsRefusedWithTwoErrors(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
	w.refused(bob, Encrypt{Plaintext: []byte("x")}, PendingProposals)
	w.everybody()
	w.refused(ada, Encrypt{Plaintext: []byte("x")}, PendingProposals)
	w.step(ada, CommitPending{CommandMeta: w.meta(ada)})
	w.refused(ada, Encrypt{Plaintext: []byte("x")}, PendingCommit)
	w.refused(ada, UpdateKeyMaterial{}, PendingCommit)
	w.refused(ada, ProposeUpdate{}, PendingCommit)
	w.everybody()
	w.say(ada, "x")
	w.say(bob, "x")
}

func TestMessagesOutOfOrder(t *testing.T) {
	for _, tolerance := range []uint32{0, 2, 5} {
		config := foreign(DefaultConfig())
		config.OutOfOrderTolerance = tolerance
		w, ada, bob := pair(t, config)
		var sent [][]byte
		for i := range 2*int(tolerance) + 2 {
			sent = append(sent, w.say(ada, fmt.Sprint(i)))
		}
		slices.Reverse(sent)
		read := 0
		for _, b := range sent {
			switch o := w.hear(bob, b); {
			case o.Kind == OutcomeApplication:
				read++
			case o.Code != DuplicateMessage:
				t.Errorf("tolerance %d: %s", tolerance, o.Code)
			}
		}
		if read != max(int(tolerance), 1) {
			t.Errorf("tolerance %d: read %d of %d", tolerance, read, len(sent))
		}
	}
}

func TestBadMessagesChangeNothing(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	other, eve, _ := pair(t, foreign(DefaultConfig()))
	_ = other
	good := w.say(ada, "once")
	stale := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}).Proposal
	w.step(ada, ClearProposal{Ref: stale.Ref})
	far := w.say(ada, "later")
	w.hear(bob, good)
	flipped := bytes.Clone(far)
	flipped[len(flipped)-1] ^= 1
	oddGroup := mustSay(t, eve)
	cases := []struct {
		name    string
		message []byte
		want    Code
	}{
		{"nothing", nil, MalformedMessage},
		{"garbage", []byte("garbage that is no message"), MalformedMessage},
		{"truncated", good[:len(good)/2], MalformedMessage},
		{"trailing", append(bytes.Clone(good), 0), MalformedMessage},
		{"oversized", make([]byte, MessageMax+1), MessageTooLarge},
		{"another version", append([]byte{0, 9}, good[2:]...), MalformedMessage},
		{"another wire format", append([]byte{0, 1, 0, 77}, good[4:]...), IncompatibleWireFormat},
		{"a key package", mustPackage(w, ada), IncompatibleWireFormat},
		{"another group", oddGroup, WrongGroup},
		{"replayed", good, DuplicateMessage},
		{"flipped", flipped, DecryptionError},
		{"of myself", w.say(bob, "echo"), OwnMessage},
	}
	for _, c := range cases {
		if o := w.hear(bob, c.message); o.Kind != OutcomeRejected || o.Code != c.want {
			t.Errorf("%s: %s %q (%s), want %s", c.name, o.Code, o.Rule, o.Detail, c.want)
		}
	}
	if o := w.hear(bob, far); o.Kind != OutcomeApplication {
		t.Errorf("after all that: %+v", o)
	}
}

// mustSay makes a message of another group.
func mustSay(t *testing.T, m *member) []byte {
	t.Helper()
	s := NewState("eve", "another group")
	w := newWorld(t, 9, foreign(DefaultConfig()))
	w.group = "another group"
	m.state = s
	w.step(m, Create{Config: w.config})
	return w.say(m, "astray")
}

func mustPackage(w *world, m *member) []byte {
	kp, _ := w.keyPackage(m)
	return append([]byte{0, 1, 0, 5}, kp.Bytes()...)
}

func TestWrongEpochs(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	old := w.say(ada, "old")
	oldProposal := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}).Proposal
	w.step(ada, ClearProposal{Ref: oldProposal.Ref})
	var commits [][]byte
	for range 5 {
		w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
		commits = append(commits, ada.state.Staged.Commit)
		w.answer(ada)
	}
	future := w.say(ada, "future")
	if o := w.hear(bob, future); o.Code != WrongEpoch {
		t.Errorf("future message: %s", o.Code)
	}
	if o := w.hear(bob, commits[2]); o.Code != WrongEpoch {
		t.Errorf("future commit: %s", o.Code)
	}
	for i, c := range commits[:3] {
		if o := w.hear(bob, c); o.Kind != OutcomeCommit || o.Sender != "ada" {
			t.Fatalf("commit %d: %+v", i, o)
		}
	}
	if o := w.hear(bob, old); o.Kind != OutcomeApplication {
		t.Errorf("three epochs later: %+v", o)
	}
	if o := w.hear(bob, commits[3]); o.Kind != OutcomeCommit {
		t.Errorf("commit: %+v", o)
	}
	if o := w.hear(bob, old); o.Code != MessageEpochTooOld {
		t.Errorf("four epochs later: %s", o.Code)
	}
	if o := w.hear(bob, oldProposal.Message); o.Code != StaleProposal {
		t.Errorf("old proposal: %s", o.Code)
	}
	if o := w.hear(bob, commits[3]); o.Code != DuplicateMessage {
		t.Errorf("the commit again: %s", o.Code)
	}
	w.hear(bob, commits[4])
	if o := w.hear(bob, future); o.Kind != OutcomeApplication {
		t.Errorf("in its epoch: %+v", o)
	}
	forged, _, _ := pair(t, foreign(DefaultConfig()))
	forged.config = w.config
	if o := w.hear(bob, staleCommit(t)); o.Code != StaleCommit {
		t.Errorf("unknown old commit: %s", o.Code)
	}
}

// staleCommit is a commit of epoch 1 that nobody in the group has seen.
func staleCommit(t *testing.T) []byte {
	t.Helper()
	w, _, bob := pair(t, foreign(DefaultConfig()))
	w.step(bob, UpdateKeyMaterial{})
	return bob.state.Staged.Commit
}

func TestDepartedSenderIsStillReadable(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve)}})
	late := w.say(eve, "a late word")
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"eve"}})
	newcomer := w.newMember("zoe")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(newcomer)}})
	w.restart(bob)
	if o := w.hear(bob, late); o.Kind != OutcomeApplication || o.Sender != "eve" {
		t.Errorf("outcome %+v", o)
	}
	if eve.state.Lifecycle != Evicted || eve.state.Private != nil {
		t.Errorf("eve is %s", eve.state.Lifecycle)
	}
	w.refused(eve, Encrypt{Plaintext: []byte("x")}, ConversationNotFound)
	w.refused(eve, Received{Message: late}, ConversationNotFound)
}

// TestEncryptedProposalsMayOvertakeEachOther: the order binds everybody, so what stands there is followed however few messages may be late.
func TestEncryptedProposalsMayOvertakeEachOther(t *testing.T) {
	config := DefaultConfig()
	config.WirePolicy, config.OutOfOrderTolerance = WireCiphertext, 0
	w, ada, bob := pair(t, config)
	before := len(w.order)
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
	eve := w.newMember("eve")
	w.step(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(eve)})
	first, second := &w.order[before], &w.order[before+1]
	first.Message, second.Message = second.Message, first.Message
	w.followAll(ada)
	w.followAll(bob)
	w.step(ada, CommitPending{CommandMeta: w.meta(ada)})
	w.answer(ada)
	w.followAll(bob)
	if bob.state.Lifecycle != Active || bob.state.Epoch() != 2 {
		t.Errorf("bob is %s in epoch %d", bob.state.Lifecycle, bob.state.Epoch())
	}
}

func TestWirePolicyIsEnforced(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := foreign(DefaultConfig())
		config.WirePolicy = policy
		w, ada, bob := pair(t, config)
		ada.state.Config.WirePolicy = WirePlaintext + WireCiphertext - policy // a peer with the other policy
		proposal := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}).Proposal
		if o := w.hear(bob, proposal.Message); o.Code != IncompatibleWireFormat {
			t.Errorf("policy %d: %s", policy, o.Code)
		}
	}
}
