package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

func TestCommitOperations(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		t.Run(fmt.Sprint("policy ", policy), func(t *testing.T) {
			config := DefaultConfig()
			config.WirePolicy = policy
			w, ada, bob := pair(t, config)
			cara, dan := w.newMember("cara"), w.newMember("dan")
			w.step(bob, ProposeAdd{CommandMeta: w.meta(bob), KeyPackage: w.invite(cara)})
			w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
			w.everybody()
			w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(dan)}})
			if got := len(dan.state.ClientIDs()); got != 4 || cara.state.Lifecycle != Active {
				t.Fatalf("%d members, cara is %s", got, cara.state.Lifecycle)
			}
			if len(bob.state.Pending) != 0 {
				t.Error("proposals survived their epoch")
			}
			w.commit(cara, RemoveMembers{CommandMeta: w.meta(cara), Clients: []ids.ClientID{"dan", "nobody"}})
			if dan.state.Lifecycle != Evicted {
				t.Errorf("dan is %s", dan.state.Lifecycle)
			}
			w.step(ada, ProposeRemove{CommandMeta: w.meta(ada), Client: "cara"})
			w.everybody()
			w.commit(bob, CommitPending{CommandMeta: w.meta(bob)})
			if got := bob.state.ClientIDs(); !slices.Equal(got, []ids.ClientID{"ada", "bob"}) {
				t.Errorf("members %v", got)
			}
			w.checkExport(ada, bob)
		})
	}
}

func (w *world) checkExport(a, b *member) {
	w.t.Helper()
	x := w.step(a, ExportSecret{CommandMeta: w.meta(a), Length: 40}).Secret
	y := w.step(b, ExportSecret{CommandMeta: w.meta(b), Length: 40}).Secret
	if x.Len() != 40 || !x.Equal(y) {
		w.t.Error("members export different secrets")
	}
	w.refused(a, ExportSecret{Length: 1 << 16}, KeyLengthTooLong)
}

func TestRefusedCommands(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	w.refused(eve, Encrypt{Plaintext: []byte("x")}, ConversationNotFound)
	w.refused(eve, Wipe{}, ConversationNotFound)
	w.refused(ada, Create{Config: w.config}, ConversationAlreadyExists)
	w.refused(ada, AddMembers{}, NothingToCommit)
	w.refused(ada, AddMembers{KeyPackages: [][]byte{{1, 2, 3}}}, InvalidKeyPackage)
	w.refused(ada, RemoveMembers{Clients: []ids.ClientID{"nobody"}}, NothingToCommit)
	w.refused(ada, RemoveMembers{Clients: []ids.ClientID{"ada"}}, CannotRemoveSelf)
	w.refused(ada, ProposeRemove{Client: "nobody"}, ClientNotFound)
	w.refused(ada, ClearProposal{Ref: []byte{1}}, PendingProposalNotFound)
	w.refused(ada, Encrypt{Plaintext: make([]byte, PlaintextMax+1)}, MessageTooLarge)
	w.refused(ada, AddMembers{KeyPackages: [][]byte{w.invite(bob)}}, DuplicateSignature)
	twice := w.refused(ada, AddMembers{KeyPackages: [][]byte{w.invite(eve), w.invite(eve)}}, DuplicateSignature)
	if !slices.Equal(twice.Clients, []string{"eve", "eve"}) {
		t.Errorf("clients %v", twice.Clients)
	}
	expired := w.invite(eve)
	w.nowMs += (lifetimeSeconds + 1) * 1000
	w.refused(ada, AddMembers{KeyPackages: [][]byte{expired}}, InvalidKeyPackage)
	if r := w.step(ada, CommitPending{CommandMeta: w.meta(ada)}); r.Err != nil || r.InFlight {
		t.Errorf("nothing to commit: %+v", r)
	}
}

func TestPendingRemovalOfOurselvesForbidsCommits(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(ada, ProposeRemove{CommandMeta: w.meta(ada), Client: "bob"})
	w.everybody()
	w.refused(bob, UpdateKeyMaterial{}, CannotRemoveSelf)
	w.commit(ada, CommitPending{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != Evicted {
		t.Errorf("bob is %s", bob.state.Lifecycle)
	}
}

// TestCrashAfterStaging crashes at every point around a commit, accepted or
// not, with the transport's answer or the group's order arriving first.
func TestCrashAfterStaging(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		for _, kind := range []TransportKind{TransportBuiltIn, TransportForeign} {
			t.Run(fmt.Sprintf("policy %d transport %d", policy, kind), func(t *testing.T) {
				config := DefaultConfig()
				config.WirePolicy, config.Transport = policy, kind
				w, ada, bob := pair(t, config)
				cara := w.newMember("cara")
				w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
				own := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
				w.step(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(cara)}})
				live := ada.state.Live.staged.Next
				w.restart(ada)
				if ada.state.Live.staged != nil || ada.state.Staged == nil {
					t.Fatal("the crash left the wrong things")
				}
				if n := len(ada.state.Unsent()); kind == TransportForeign && n != 1 {
					t.Fatalf("%d effects are unsent", n)
				}
				_ = own
				w.everybody()
				if ada.state.Staged != nil || ada.state.Epoch() != 2 {
					t.Fatalf("staged %v in epoch %d", ada.state.Staged != nil, ada.state.Epoch())
				}
				if !ada.state.Private.Group.MarshalPrivate().Equal(live.MarshalPrivate()) {
					t.Error("the resumed epoch is another than the live one")
				}
			})
		}
	}
}

func TestRivalCommitWins(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	first := w.meta(ada)
	w.step(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	if r := w.step(ada, UpdateKeyMaterial{CommandMeta: first}); !r.InFlight {
		t.Fatal(r.Err)
	}
	if r := w.step(ada, UpdateKeyMaterial{CommandMeta: first}); !r.InFlight || !r.Repeated {
		t.Errorf("in flight: %+v", r)
	}
	lost := ada.state.Staged.Digest
	w.followAll(ada)
	if ada.state.Staged != nil || ada.state.Superseded == nil || ada.state.Superseded.Digest != lost {
		t.Fatal("the commit that lost is not superseded")
	}
	if r := w.step(ada, UpdateKeyMaterial{CommandMeta: first}); !r.InFlight || !r.Repeated {
		t.Errorf("superseded: %+v", r)
	}
	w.refused(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)}, PendingCommit)
	w.restart(ada)
	w.everybody()
	if ada.state.Epoch() != 3 || bob.state.Epoch() != 3 {
		t.Errorf("epochs %d and %d", ada.state.Epoch(), bob.state.Epoch())
	}
	if r := w.step(ada, UpdateKeyMaterial{CommandMeta: first}); !r.Repeated || r.Err != nil || len(r.Completed) != 1 {
		t.Errorf("afterwards: %+v", r)
	}
}

func TestTransportAnswers(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	ada.answers = nil
	proposal := w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal
	w.hear(ada, proposal.Message)
	command := w.meta(ada)
	w.step(ada, CommitPending{CommandMeta: command})
	digest := ada.state.Staged.Digest
	for i := range RetriesMax {
		r := w.step(ada, TransportAnswered{Bundle: digest, Outcome: TransportRetry, Reason: "busy"})
		if len(r.Completed) != 0 || ada.state.Staged.Attempt != uint32(i+1) {
			t.Fatalf("retry %d: %+v", i, r)
		}
		w.restart(ada)
	}
	r := w.step(ada, TransportAnswered{Bundle: digest, Outcome: TransportRetry, Reason: "busy"})
	if len(r.Completed) != 1 || !errors.Is(r.Completed[0].Err, RetriesExhausted) || ada.state.Staged != nil {
		t.Fatalf("after the last: %+v", r)
	}
	if got := kindsOf(ada.log[len(ada.log)-1].Events); !slices.Equal(got, []string{"CommitRejected", "SecretsCheckpoint"}) {
		t.Errorf("events %v", got)
	}
	if len(ada.state.Pending) != 1 {
		t.Error("the proposal is gone")
	}
	w.step(ada, CommitPending{CommandMeta: w.meta(ada)})
	r = w.step(ada, TransportAnswered{Bundle: ada.state.Staged.Digest, Outcome: TransportAbort, Reason: "no"})
	if !errors.Is(r.Completed[0].Err, TransportAborted) {
		t.Errorf("abort: %+v", r.Completed[0])
	}
	before := len(ada.log)
	w.step(ada, TransportAnswered{Bundle: digest, Outcome: TransportSuccess})
	if len(ada.log) != before {
		t.Error("an answer about an older bundle was an event")
	}
}

func TestAcceptedCommitThatCannotBeFollowed(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	ours := w.order[len(w.order)-1].Message
	damaged := bytes.Clone(ours)
	damaged[len(damaged)-1] ^= 1
	w.order[len(w.order)-1].Message = damaged
	command := w.meta(bob)
	w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
	w.step(bob, CommitPending{CommandMeta: command})
	w.followAll(bob)
	if bob.state.Lifecycle != Unreachable {
		t.Fatalf("bob is %s", bob.state.Lifecycle)
	}
	if e := w.refused(bob, Encrypt{Plaintext: []byte("x")}, ConversationUnreachable); e.Advice != Rejoin {
		t.Errorf("advice %s", e.Advice)
	}
	w.restart(bob)
	// A new Welcome ends it.
	w.order[len(w.order)-1].Message = ours
	w.everybody()
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}})
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(bob)}})
	if bob.state.Lifecycle != Active {
		t.Errorf("bob is %s", bob.state.Lifecycle)
	}
}

func TestBadProposalsDoNotBlockCommits(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	// The same newcomer twice, the founder's removal twice, an Update of one who is removed.
	cara, dan := w.newMember("cara"), w.newMember("dan")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(cara)}})
	w.step(bob, ProposeAdd{CommandMeta: w.meta(bob), KeyPackage: w.invite(dan)})
	w.step(cara, ProposeAdd{CommandMeta: w.meta(cara), KeyPackage: w.invite(dan)})
	w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)})
	w.step(bob, ProposeRemove{CommandMeta: w.meta(bob), Client: "cara"})
	w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)})
	w.everybody()
	if n := len(ada.state.Pending); n != 5 {
		t.Fatalf("%d proposals are pending", n)
	}
	w.commit(ada, CommitPending{CommandMeta: w.meta(ada)})
	if got := ada.state.ClientIDs(); !slices.Equal(got, []ids.ClientID{"ada", "bob", "dan"}) {
		t.Errorf("members %v", got)
	}
}

func TestCommandIDs(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	meta := w.meta(ada)
	meta.RequestDigest = ids.DigestOf([]byte("request"))
	first := w.step(ada, ProposeUpdate{CommandMeta: meta})
	records := len(ada.log)
	again := w.step(ada, ProposeUpdate{CommandMeta: meta})
	if !again.Repeated || !bytes.Equal(again.Proposal.Ref, first.Proposal.Ref) || !bytes.Equal(again.Proposal.Message, first.Proposal.Message) {
		t.Errorf("repeated: %+v", again)
	}
	other := meta
	other.RequestDigest = ids.DigestOf([]byte("another request"))
	w.refused(ada, ProposeUpdate{CommandMeta: other}, CommandMismatch)
	w.refused(ada, ClearProposal{CommandMeta: meta, Ref: first.Proposal.Ref}, CommandMismatch)
	stranger := meta
	stranger.Principal = "somebody else"
	if r := w.step(ada, ProposeUpdate{CommandMeta: stranger}); r.Repeated {
		t.Error("another principal's command was taken for ours")
	}
	future := w.meta(ada)
	future.IssuedMs = w.nowMs + FutureMs + 1
	w.refused(ada, ProposeUpdate{CommandMeta: future}, CommandFromFuture)
	if len(ada.log) != records+1 {
		t.Errorf("%d records", len(ada.log))
	}
	w.nowMs += Window + 1
	w.refused(ada, ProposeUpdate{CommandMeta: meta}, CommandExpired)
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
	if n := len(ada.state.Commands); n != 1 {
		t.Errorf("%d commands are remembered", n)
	}
}

func TestFullCommandTableIsBusy(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	for i := range CommandsMax {
		ada.state.Commands = append(ada.state.Commands, RememberedCommand{CommandRef: CommandRef{ID: ids.CommandID(fmt.Sprint(i)), IssuedMs: w.nowMs}})
	}
	w.refused(ada, ProposeUpdate{CommandMeta: w.meta(ada)}, Busy)
}

func TestExportedSecretIsDerivedAgain(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	meta := w.meta(ada)
	first := w.step(ada, ExportSecret{CommandMeta: meta, Length: 32}).Secret
	if again := w.step(ada, ExportSecret{CommandMeta: meta, Length: 32}); !again.Repeated || !again.Secret.Equal(first) {
		t.Error("the repeated export gave another secret")
	}
	w.commit(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	w.refused(ada, ExportSecret{CommandMeta: meta, Length: 32}, OutcomeExpired)
}

// TestOneRecordOfSeveralSteps folds what a group commit or a transaction
// stores: the events of several steps in one record.
func TestOneRecordOfSeveralSteps(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := foreign(DefaultConfig())
		config.WirePolicy = policy
		w, ada, bob := pair(t, config)
		heard := w.say(bob, "between")
		inputs := []Input{
			Encrypt{Plaintext: []byte("one")}, Received{Message: heard}, ProposeUpdate{CommandMeta: w.meta(ada)},
			ExportSecret{CommandMeta: w.meta(ada), Length: 16}, CommitPending{CommandMeta: w.meta(ada)}, Received{Message: heard},
			Acknowledge{Through: 1}, Checkpoint{Force: true},
		}
		s := ada.state
		var all []events.Event
		for _, in := range inputs {
			tr, err := Step(s, in, w.env(ada))
			if err != nil || tr.Reply.Err != nil {
				t.Fatal(err, tr.Reply.Err)
			}
			all = append(all, tr.Events...)
			s = tr.Next
		}
		w.store(ada, nil, Transition{Next: s, Events: all})
		w.restart(ada)
		w.step(ada, TransportAnswered{Bundle: ada.state.Staged.Digest, Outcome: TransportSuccess})
		if ada.state.Epoch() != mlsengine.Epoch(2) {
			t.Errorf("epoch %d", ada.state.Epoch())
		}
	}
}
