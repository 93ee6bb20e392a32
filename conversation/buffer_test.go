package conversation

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// trio is three members of a group on a foreign transport, in epoch 1.
func trio(t *testing.T, config Config) (w *world, ada, bob, cara *member) {
	t.Helper()
	w = newWorld(t, 77, foreign(config))
	ada, bob, cara = w.newMember("ada"), w.newMember("bob"), w.newMember("cara")
	w.step(ada, Create{CommandMeta: w.meta(ada), Config: w.config})
	w.step(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(bob), w.invite(cara)}})
	w.answer(ada)
	if cara.state.Epoch() != 1 {
		t.Fatalf("cara is in epoch %d", cara.state.Epoch())
	}
	w.manual = true
	return w, ada, bob, cara
}

// staged stages a commit and returns its message, which is on its way.
func (w *world) staged(m *member, in Command) []byte {
	w.t.Helper()
	if r := w.step(m, in); r.Err != nil || !r.InFlight {
		w.t.Fatalf("%s: %s: %v", m.name, in.Name(), r.Err)
	}
	return m.state.Staged.Commit
}

// committed stages a commit that is accepted at once.
func (w *world) committed(m *member, in Command) []byte {
	w.t.Helper()
	commit := w.staged(m, in)
	w.accept(m)
	return commit
}

// accept lets the transport accept the staged commit, and welcomes whom it adds.
func (w *world) accept(m *member) Reply {
	w.t.Helper()
	staged := m.state.Staged
	w.info = staged.GroupInfo
	r := w.step(m, TransportAnswered{Bundle: staged.Digest, Outcome: TransportSuccess})
	for _, c := range staged.AddClients {
		w.welcome(c, SendBundle{Welcome: staged.Welcome}, 0)
	}
	return r
}

// waits hands in a message that has to wait.
func (w *world) waits(m *member, message []byte, why Code) {
	w.t.Helper()
	if o := w.hear(m, message); o.Kind != OutcomeBuffered || o.Code != why || o.Advice() != Retry {
		w.t.Fatalf("%s: %+v, want %s", m.name, o, why)
	}
	w.restart(m)
}

// early makes messages of the epoch that a commit of ada's leads to: one of
// each kind, the commit first.
func (w *world) early(ada, cara *member) (first []byte, later [][]byte) {
	w.t.Helper()
	first = w.committed(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.hear(cara, first)
	said := w.say(cara, "early")
	proposal := w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message
	w.hear(ada, proposal)
	second := w.committed(ada, CommitPending{CommandMeta: w.meta(ada)})
	return first, [][]byte{second, proposal, said}
}

func kindsTaken(r Reply) []OutcomeKind {
	var kinds []OutcomeKind
	for _, o := range r.Outcomes {
		kinds = append(kinds, o.Kind)
	}
	return kinds
}

func TestEarlyMessagesAreTakenWithTheCommitTheyWaitedFor(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		t.Run(fmt.Sprint("policy ", policy), func(t *testing.T) {
			config := DefaultConfig()
			config.WirePolicy = policy
			w, ada, bob, cara := trio(t, config)
			first, later := w.early(ada, cara)
			for _, message := range later {
				w.waits(bob, message, BufferedFutureMessage)
				w.waits(bob, message, BufferedFutureMessage)
			}
			if n := len(bob.state.Buffer.Messages); n != 3 {
				t.Fatalf("%d messages wait", n)
			}
			r := w.step(bob, Received{Message: first})
			if got := kindsTaken(r); !slices.Equal(got, []OutcomeKind{OutcomeCommit, OutcomeApplication, OutcomeProposal, OutcomeCommit}) {
				t.Fatalf("taken %v: %+v", got, r.Outcomes)
			}
			for i, o := range r.Outcomes {
				if o.Buffered != (i > 0) || !o.Active || o.Identity == nil {
					t.Errorf("outcome %d: %+v", i, o)
				}
			}
			if len(r.Messages) != 1 || string(r.Messages[0].Plaintext.Expose()) != "early" || r.Messages[0].Number != r.Outcomes[1].Number {
				t.Errorf("messages %v", r.Messages)
			}
			if bob.state.Epoch() != 3 || len(bob.state.Buffer.Messages) != 0 {
				t.Errorf("epoch %d, %d messages wait", bob.state.Epoch(), len(bob.state.Buffer.Messages))
			}
			w.restart(bob)
			for _, message := range append(later, first) {
				if o := w.hear(bob, message); o.Code != DuplicateMessage {
					t.Errorf("again: %+v", o)
				}
			}
		})
	}
}

// TestEarlyMessagesAreTakenWithTheOwnCommit lets messages of the next epoch
// arrive before the news that our own commit led there, by either way.
func TestEarlyMessagesAreTakenWithTheOwnCommit(t *testing.T) {
	for _, echo := range []bool{false, true} {
		w, ada, bob, cara := trio(t, DefaultConfig())
		own := w.staged(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
		w.hear(ada, own)
		w.hear(cara, own)
		proposal := w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message
		said := w.say(ada, "early")
		w.hear(ada, proposal)
		w.waits(bob, w.committed(ada, CommitPending{CommandMeta: w.meta(ada)}), BufferedFutureMessage)
		w.waits(bob, proposal, BufferedFutureMessage)
		w.waits(bob, said, BufferedFutureMessage)
		want, r := []OutcomeKind{OutcomeApplication, OutcomeProposal, OutcomeCommit}, Reply{}
		if echo {
			r = w.step(bob, Received{Message: own})
			want = append([]OutcomeKind{OutcomeCommit}, want...)
		} else {
			r = w.accept(bob)
		}
		if got := kindsTaken(r); !slices.Equal(got, want) || bob.state.Epoch() != 3 || len(bob.received) != 1 {
			t.Errorf("echo %v: taken %v in epoch %d", echo, got, bob.state.Epoch())
		}
		if len(r.Completed) == 0 || r.Completed[0].Err != nil {
			t.Errorf("completed %+v", r.Completed)
		}
	}
}

func TestCommitWaitsForItsProposals(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := DefaultConfig()
		config.WirePolicy = policy
		w, ada, bob, cara := trio(t, config)
		one := w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message
		dan := w.newMember("dan")
		two := w.step(cara, ProposeAdd{CommandMeta: w.meta(cara), KeyPackage: w.invite(dan)}).Proposal.Message
		w.hear(ada, one)
		w.hear(ada, two)
		commit := w.staged(ada, CommitPending{CommandMeta: w.meta(ada)})
		w.waits(bob, commit, BufferedCommit)
		if o := w.hear(bob, two); o.Kind != OutcomeProposal || o.Delay == nil || bob.state.Epoch() != 1 {
			t.Fatalf("outcome %+v in epoch %d", o, bob.state.Epoch())
		}
		w.restart(bob)
		r := w.step(bob, Received{Message: one})
		if got := kindsTaken(r); !slices.Equal(got, []OutcomeKind{OutcomeProposal, OutcomeCommit}) || bob.state.Epoch() != 2 {
			t.Errorf("taken %v in epoch %d", got, bob.state.Epoch())
		}
		w.restart(bob)
		if got := bob.state.ClientIDs(); !slices.Contains(got, "dan") {
			t.Errorf("members %v", got)
		}
	}
}

// TestSeveralCommitsWait: those of one epoch wait side by side; the first that
// becomes complete is taken, and the others are of no use any more.
func TestSeveralCommitsWait(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	update := w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message
	add := w.step(cara, ProposeAdd{CommandMeta: w.meta(cara), KeyPackage: w.invite(dan)}).Proposal.Message
	w.hear(ada, add)
	w.waits(bob, w.staged(ada, CommitPending{CommandMeta: w.meta(ada)}), BufferedCommit)
	w.waits(bob, w.staged(cara, CommitPending{CommandMeta: w.meta(cara)}), BufferedCommit)
	r := w.step(bob, Received{Message: add})
	if got := kindsTaken(r); !slices.Equal(got, []OutcomeKind{OutcomeProposal, OutcomeCommit, OutcomeRejected}) {
		t.Fatalf("taken %v", got)
	}
	if o := r.Outcomes[1]; o.Sender != "ada" || len(bob.state.Buffer.Messages) != 0 {
		t.Errorf("commit of %s, %d wait", o.Sender, len(bob.state.Buffer.Messages))
	}
	if o := r.Outcomes[2]; o.Code != StaleCommit {
		t.Errorf("the other commit: %+v", o)
	}
	if o := w.hear(bob, update); o.Code != StaleProposal {
		t.Errorf("the other proposal: %+v", o)
	}
}

// TestPoisonInTheBufferHarmsNothing puts garbage that claims to be of the next
// epoch among what waits.
func TestPoisonInTheBufferHarmsNothing(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	first, later := w.early(ada, cara)
	for i, message := range later {
		poison := bytes.Clone(message)
		poison[len(poison)-1-i] ^= 0x55
		w.waits(bob, poison, BufferedFutureMessage)
		w.waits(bob, message, BufferedFutureMessage)
	}
	r := w.step(bob, Received{Message: first})
	if r.Err != nil || bob.state.Epoch() != 3 || len(bob.received) != 1 || len(bob.state.Buffer.Messages) != 0 {
		t.Fatalf("epoch %d, %d messages, %d wait", bob.state.Epoch(), len(bob.received), len(bob.state.Buffer.Messages))
	}
	dropped := 0
	for _, e := range bob.log[len(bob.log)-1].Events {
		if body, ok := e.Body.(*v1.MessageDropped); ok {
			dropped++
			if body.GetCode() == "" || body.GetNumber() == 0 || len(body.GetDigest()) == 0 {
				t.Errorf("dropped %v", body)
			}
		}
	}
	if dropped != 3 {
		t.Errorf("%d messages were dropped", dropped)
	}
}

func TestOwnRemovalIsTakenWhateverWaits(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	removal := w.staged(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}})
	garbage := bytes.Clone(w.futureOf(cara))
	w.waits(bob, garbage, BufferedFutureMessage)
	w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
	w.staged(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	r := w.step(bob, Received{Message: removal})
	o := r.Outcomes[0]
	if o.Kind != OutcomeCommit || o.Active || o.Delay != nil || len(o.Proposals) != 0 || o.Sender != "ada" || !r.Removed {
		t.Errorf("outcome %+v", o)
	}
	if len(r.Completed) != 2 || r.Completed[0].Err == nil || r.Completed[0].Err.Advice != GiveUp {
		t.Errorf("completed %+v", r.Completed)
	}
	if bob.state.Lifecycle != Evicted || len(bob.state.Buffer.Messages) != 0 || bob.state.CommitInFlight() {
		t.Errorf("bob is %s", bob.state.Lifecycle)
	}
}

// futureOf makes a message of the epoch after the member's, in a world of its own.
func (w *world) futureOf(m *member) []byte {
	w.t.Helper()
	aside := *m
	w.committed(&aside, UpdateKeyMaterial{CommandMeta: w.meta(&aside)})
	delete(w.auth, aside.state.Epoch())
	return w.say(&aside, "of an epoch that never comes")
}

// TestBufferedCommitMayRemoveUs: what waited ends the membership.
func TestBufferedCommitMayRemoveUs(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	first := w.committed(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.hear(cara, first)
	w.waits(bob, w.committed(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}}), BufferedFutureMessage)
	r := w.step(bob, Received{Message: first})
	if bob.state.Lifecycle != Evicted || !r.Removed || !r.Outcomes[0].Active || r.Outcomes[1].Active {
		t.Errorf("bob is %s after %+v", bob.state.Lifecycle, r.Outcomes)
	}
}

func TestBufferIsBounded(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	next := w.committed(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.hear(cara, next)
	for i := range BufferMax {
		w.hear(bob, w.say(cara, fmt.Sprint(i)))
	}
	if o := w.hear(bob, w.say(cara, "one too many")); o.Code != BufferFull || o.Advice() != Retry {
		t.Fatalf("outcome %+v", o)
	}
	if at := bob.state.NextDue(false); at != w.nowMs+CheckpointAfterMs && at > w.nowMs+BufferAgeMs {
		t.Errorf("next due at %d, now %d", at, w.nowMs)
	}
	w.nowMs = bob.state.Buffer.expiry()
	w.step(bob, Tick{})
	if n := len(bob.state.Buffer.Messages); n != 0 {
		t.Fatalf("%d messages wait", n)
	}
	big := w.step(cara, Encrypt{Plaintext: make([]byte, PlaintextMax)}).Ciphertext
	for bob.state.Buffer.bytes()+len(big) <= BufferBytesMax {
		w.hear(bob, w.step(cara, Encrypt{Plaintext: make([]byte, PlaintextMax)}).Ciphertext)
	}
	if o := w.hear(bob, big); o.Code != BufferFull {
		t.Errorf("outcome %+v", o)
	}
	r := w.step(bob, Received{Message: next})
	if r.Outcomes[0].Kind != OutcomeCommit || len(bob.state.Buffer.Messages) != 0 {
		t.Errorf("%d outcomes, %d messages wait", len(r.Outcomes), len(bob.state.Buffer.Messages))
	}
}

func TestBufferEndsWithTheMembership(t *testing.T) {
	w, _, bob, cara := trio(t, DefaultConfig())
	w.waits(bob, w.futureOf(cara), BufferedFutureMessage)
	w.step(bob, Wipe{CommandMeta: w.meta(bob)})
	if got := kindsOf(bob.log[len(bob.log)-1].Events); got[0] != "BufferExpired" || len(bob.state.Buffer.Messages) != 0 {
		t.Errorf("events %v", got)
	}
	w.restart(bob)
}

// TestEarlyApplicationMessageOfABuiltInGroup: a ciphertext handed over beside
// the group's order waits for the order to get there.
func TestEarlyApplicationMessageOfABuiltInGroup(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.answer(ada)
	w.followAll(ada)
	w.waits(bob, w.say(ada, "early"), BufferedFutureMessage)
	w.followAll(bob)
	if !slices.Equal(bob.received, []string{"early"}) || len(bob.state.Buffer.Messages) != 0 {
		t.Errorf("bob got %q", bob.received)
	}
	if o := w.hear(bob, farAhead(t, w, ada)); o.Code != WrongEpoch || o.Advice() != Retry {
		t.Errorf("outcome %+v", o)
	}
}

// farAhead is a message of the epoch after the next.
func farAhead(t *testing.T, w *world, m *member) []byte {
	t.Helper()
	for range 2 {
		w.step(m, UpdateKeyMaterial{CommandMeta: w.meta(m)})
		w.answer(m)
		w.followAll(m)
	}
	if m.state.Epoch() != mlsengine.Epoch(4) {
		t.Fatalf("epoch %d", m.state.Epoch())
	}
	return w.say(m, "far ahead")
}
