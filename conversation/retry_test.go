package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
)

// raced lets a command of ada's lose its epoch to a commit of bob's, which ada
// takes in before the transport answers. cara has heard the winner too.
func raced(t *testing.T, config Config, in func(w *world, ada *member) Command) (w *world, ada, bob, cara *member, lost ids.Digest) {
	t.Helper()
	w, ada, bob, cara = trio(t, config)
	w.staged(ada, in(w, ada))
	lost = ada.state.Staged.Digest
	w.win(bob, ada, cara)
	return w, ada, bob, cara, lost
}

// win lets a member's commit win the epoch at all the others.
func (w *world) win(m *member, others ...*member) {
	w.t.Helper()
	commit := w.committed(m, UpdateKeyMaterial{CommandMeta: w.meta(m)})
	for _, other := range others {
		if o := w.hear(other, commit); o.Kind != OutcomeCommit {
			w.t.Fatalf("%s: %+v", other.name, o)
		}
		w.restart(other)
	}
}

// verdict lets the transport answer, and returns how the command ended; nil
// where it goes on.
func (w *world) verdict(m *member, bundle ids.Digest, outcome TransportOutcome) *Completion {
	w.t.Helper()
	r := w.step(m, TransportAnswered{Bundle: bundle, Outcome: outcome, Reason: "said the service"})
	w.restart(m)
	if len(r.Completed) == 0 {
		return nil
	}
	return &r.Completed[0]
}

func addDan(w *world, ada *member) Command {
	return AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(w.newMember("dan"))}}
}

// TestRetryAfterALostRace: the commit is made anew, by value, and everybody can
// apply it; again and again until it wins.
func TestRetryAfterALostRace(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := DefaultConfig()
		config.WirePolicy = policy
		w, ada, bob, cara, lost := raced(t, config, addDan)
		for round := range 3 {
			if end := w.verdict(ada, lost, TransportRetry); end != nil || ada.state.Staged == nil {
				t.Fatalf("round %d: %+v", round, end)
			}
			if got := len(ada.state.Staged.Refs); got != 0 || ada.state.Staged.Digest == lost {
				t.Fatalf("round %d: %d proposals by reference", round, got)
			}
			lost = ada.state.Staged.Digest
			// A second Retry without a further epoch sends the identical bundle again.
			if end := w.verdict(ada, lost, TransportRetry); end != nil || ada.state.Staged.Digest != lost || ada.state.Staged.Attempt != 1 {
				t.Fatalf("round %d: sent again: %+v", round, end)
			}
			if round < 2 {
				w.win(bob, ada, cara)
			}
		}
		commit := ada.state.Staged.Commit
		if end := w.verdict(ada, lost, TransportSuccess); end == nil || end.Err != nil || end.Epoch != 5 {
			t.Fatalf("in the end: %+v", end)
		}
		for _, m := range []*member{bob, cara} {
			if o := w.hear(m, commit); o.Kind != OutcomeCommit || !slices.Contains(m.state.ClientIDs(), "dan") {
				t.Errorf("%s: %+v", m.name, o)
			}
		}
		if ada.state.Staged != nil || ada.state.Superseded != nil || len(ada.state.Pending) != 0 {
			t.Error("something is left")
		}
	}
}

func TestRebuildsAreBounded(t *testing.T) {
	w, ada, bob, cara, lost := raced(t, DefaultConfig(), addDan)
	for range RebuildsMax {
		if end := w.verdict(ada, lost, TransportRetry); end != nil {
			t.Fatalf("ended: %+v", end)
		}
		lost = ada.state.Staged.Digest
		w.win(bob, ada, cara)
	}
	end := w.verdict(ada, lost, TransportRetry)
	if end == nil || !errors.Is(end.Err, RetriesExhausted) || ada.state.CommitInFlight() {
		t.Errorf("in the end: %+v", end)
	}
	w.say(ada, "still here")
}

func TestAbortAfterALostRace(t *testing.T) {
	w, ada, _, _, lost := raced(t, DefaultConfig(), addDan)
	epoch := ada.state.Epoch()
	end := w.verdict(ada, lost, TransportAbort)
	if end == nil || !errors.Is(end.Err, TransportAborted) || ada.state.Epoch() != epoch || ada.state.CommitInFlight() {
		t.Errorf("ended %+v in epoch %d", end, ada.state.Epoch())
	}
	w.say(ada, "the winner's commit stands")
}

// TestOtherAnswersAfterALostRace: the service contradicts itself, or is gone.
func TestOtherAnswersAfterALostRace(t *testing.T) {
	for _, outcome := range []TransportOutcome{TransportSuccess, TransportFailed} {
		w, ada, _, _, lost := raced(t, DefaultConfig(), addDan)
		epoch := ada.state.Epoch()
		end := w.verdict(ada, lost, outcome)
		if end == nil || !errors.Is(end.Err, CommitSuperseded) || end.Err.Advice != Retry || ada.state.Epoch() != epoch {
			t.Errorf("ended %+v in epoch %d", end, ada.state.Epoch())
		}
	}
}

// TestWhatOthersHaveDoneIsNotDoneAgain: the winner has done what the command wanted.
func TestWhatOthersHaveDoneIsNotDoneAgain(t *testing.T) {
	cases := map[string]struct {
		lose func(w *world, ada *member) Command
		win  func(w *world, bob *member) Command
		sent bool // something is left to be sent
	}{
		"the same client was added": {addDan, func(w *world, bob *member) Command {
			return AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(w.members[3])}}
		}, false},
		"the same member was removed": {func(w *world, ada *member) Command {
			return RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}}
		}, func(w *world, bob *member) Command {
			return RemoveMembers{CommandMeta: w.meta(bob), Clients: []ids.ClientID{"cara"}}
		}, false},
		"somebody else was added": {addDan, func(w *world, bob *member) Command {
			return AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(w.newMember("eve"))}}
		}, true},
		"keys are renewed whatever others do": {func(w *world, ada *member) Command {
			return UpdateKeyMaterial{CommandMeta: w.meta(ada)}
		}, func(w *world, bob *member) Command {
			return UpdateKeyMaterial{CommandMeta: w.meta(bob)}
		}, true},
		"nothing is pending any more": {func(w *world, ada *member) Command {
			w.hear(ada, w.step(w.members[1], ProposeUpdate{CommandMeta: w.meta(w.members[1])}).Proposal.Message)
			return CommitPending{CommandMeta: w.meta(ada)}
		}, func(w *world, bob *member) Command {
			return UpdateKeyMaterial{CommandMeta: w.meta(bob)}
		}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, ada, bob, _ := trio(t, DefaultConfig())
			command := c.lose(w, ada)
			w.staged(ada, command)
			lost := ada.state.Staged.Digest
			w.hear(ada, w.committed(bob, c.win(w, bob)))
			end := w.verdict(ada, lost, TransportRetry)
			if c.sent && (end != nil || ada.state.Staged == nil) || !c.sent && (end == nil || end.Err != nil || ada.state.Staged != nil) {
				t.Errorf("ended %+v, staged %v", end, ada.state.Staged != nil)
			}
			if r := w.step(ada, command); !r.Repeated || r.InFlight != c.sent {
				t.Errorf("asked again: %+v", r)
			}
		})
	}
}

// TestOwnUpdateThatTheWinnerHoldsIsEnough: keys that others renewed for us need
// no commit of ours.
func TestOwnUpdateThatTheWinnerHoldsIsEnough(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	w.hear(bob, w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}).Proposal.Message)
	w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	lost := ada.state.Staged.Digest
	w.hear(ada, w.committed(bob, CommitPending{CommandMeta: w.meta(bob)}))
	if end := w.verdict(ada, lost, TransportRetry); end == nil || end.Err != nil || ada.state.RotatedMs != w.nowMs {
		t.Errorf("ended %+v", end)
	}
}

// TestCommitWithoutAnAnswer: the transport failed. The commit stays, blocks
// sending, and counts when it turns up, by echo or by a late answer.
func TestCommitWithoutAnAnswer(t *testing.T) {
	for _, echo := range []bool{false, true} {
		w, ada, bob, _ := trio(t, DefaultConfig())
		command := addDan(w, ada)
		commit := w.staged(ada, command)
		bundle := ada.state.Staged.Digest
		end := w.verdict(ada, bundle, TransportFailed)
		if end == nil || !errors.Is(end.Err, TransportError) || end.Err.Advice != Retry || !ada.state.Staged.Failed || ada.state.CommitInFlight() {
			t.Fatalf("ended %+v", end)
		}
		w.refused(ada, Encrypt{Plaintext: []byte("x")}, PendingCommit)
		w.refused(ada, ProposeUpdate{}, PendingCommit)
		if n := len(ada.state.Unsent()); n != 0 {
			t.Errorf("%d effects are unsent", n)
		}
		w.hear(bob, commit)
		if echo {
			if o := w.hear(ada, commit); o.Kind != OutcomeCommit || o.Identity == nil || o.Sender != "ada" {
				t.Errorf("echo: %+v", o)
			}
		} else if end := w.verdict(ada, bundle, TransportSuccess); end != nil {
			t.Errorf("a command that had ended ended again: %+v", end)
		}
		if ada.state.Epoch() != 2 || bob.state.Epoch() != 2 || ada.state.Staged != nil {
			t.Errorf("epochs %d and %d", ada.state.Epoch(), bob.state.Epoch())
		}
	}
}

// TestStuckCommitIsReplaced: a new commit takes the place of one without an
// answer; whichever the service has accepted counts.
func TestStuckCommitIsReplaced(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		for _, first := range []bool{false, true} {
			config := DefaultConfig()
			config.WirePolicy = policy
			w, ada, bob, cara := trio(t, config)
			stuck := w.staged(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}})
			w.verdict(ada, ada.state.Staged.Digest, TransportFailed)
			fresh := w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
			bundle := ada.state.Staged.Digest
			w.restart(ada)
			if len(ada.state.Shelved) != 1 || bytes.Equal(stuck, fresh) {
				t.Fatalf("%d commits were discarded", len(ada.state.Shelved))
			}
			winner := fresh
			if first {
				winner = stuck
			}
			for _, m := range []*member{bob, cara} {
				w.hear(m, winner)
			}
			if o := w.hear(ada, winner); o.Kind != OutcomeCommit || ada.state.Epoch() != 2 || len(ada.state.Shelved) != 0 {
				t.Fatalf("first %v: %+v", first, o)
			}
			w.restart(ada)
			if first != (cara.state.Lifecycle == Evicted) {
				t.Errorf("first %v: cara is %s", first, cara.state.Lifecycle)
			}
			if first {
				if end := w.verdict(ada, bundle, TransportRetry); end != nil || ada.state.Staged == nil {
					t.Errorf("the newer command: %+v", end)
				}
			}
		}
	}
}

// TestAnswersAboutDiscardedCommits come late and count as well.
func TestAnswersAboutDiscardedCommits(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	proposal := w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal
	w.hear(ada, proposal.Message)
	var bundles []ids.Digest
	var commits [][]byte
	for range 3 {
		commits = append(commits, w.staged(ada, CommitPending{CommandMeta: w.meta(ada)}))
		bundles = append(bundles, ada.state.Staged.Digest)
		w.verdict(ada, ada.state.Staged.Digest, TransportFailed)
	}
	w.step(ada, CommitPending{CommandMeta: w.meta(ada)})
	w.refused(ada, ClearProposal{Ref: proposal.Ref}, PendingCommit)
	w.verdict(ada, ada.state.Staged.Digest, TransportAbort)
	w.step(ada, ClearProposal{Ref: proposal.Ref})
	w.verdict(ada, bundles[0], TransportAbort)
	w.verdict(ada, bundles[0], TransportFailed)
	if n := len(ada.state.Shelved); n != 2 {
		t.Fatalf("%d commits are discarded and may turn up", n)
	}
	w.hear(bob, commits[1])
	w.verdict(ada, bundles[1], TransportSuccess)
	if ada.state.Epoch() != 2 || len(ada.state.Shelved) != 0 {
		t.Errorf("epoch %d", ada.state.Epoch())
	}
	if o := w.hear(ada, commits[2]); o.Code != StaleCommit {
		t.Errorf("the last one: %+v", o)
	}
}

func TestDiscardedCommitsAreBounded(t *testing.T) {
	w, ada, _, _ := trio(t, DefaultConfig())
	for range ShelvedMax + 1 {
		w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
		w.verdict(ada, ada.state.Staged.Digest, TransportFailed)
	}
	w.refused(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)}, PendingCommit)
}

// TestTimeTriesAgainAfterAFailedCommit: a commit that time asked for is made anew.
func TestTimeTriesAgainAfterAFailedCommit(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	w.hear(ada, w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal.Message)
	w.nowMs = ada.state.CommitDueMs
	w.step(ada, Tick{MayCommit: true})
	w.verdict(ada, ada.state.Staged.Digest, TransportFailed)
	w.nowMs = ada.state.NextDue(true)
	if r := w.step(ada, Tick{MayCommit: true}); !r.InFlight || len(ada.state.Shelved) != 1 {
		t.Errorf("reply %+v", r)
	}
}

// TestTamperedOwnCommit: a copy that was changed is refused and leaves the
// staged commit alone; one of ours that nobody knows of is ignored.
func TestTamperedOwnCommit(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	commit := w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	tampered := bytes.Clone(commit)
	tampered[len(tampered)-1] ^= 1
	if o := w.hear(ada, tampered); o.Code != InvalidMessage || ada.state.Staged == nil {
		t.Errorf("tampered: %+v", o)
	}
	w.verdict(ada, ada.state.Staged.Digest, TransportAbort)
	if o := w.hear(ada, commit); o.Code != SelfCommitIgnored || o.Advice() != Rejoin {
		t.Errorf("refused before: %+v", o)
	}
	commit = w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.accept(ada)
	if o := w.hear(ada, commit); o.Code != DuplicateMessage {
		t.Errorf("merged before: %+v", o)
	}
	w.hear(bob, commit)
}

// TestManyRacersAllGetTheirCommits: in our own service every command ends well,
// whoever wins first.
func TestManyRacersAllGetTheirCommits(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	racers := []*member{ada, bob}
	for i := range 4 {
		m := w.newMember(fmt.Sprintf("racer %d", i))
		w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(m)}})
		racers = append(racers, m)
	}
	epoch := ada.state.Epoch()
	for _, m := range racers {
		w.step(m, UpdateKeyMaterial{CommandMeta: w.meta(m)})
	}
	for range len(racers) {
		w.everybody()
	}
	for _, m := range racers {
		if m.state.CommitInFlight() || m.state.Epoch() != epoch+mlsengine.Epoch(len(racers)) {
			t.Errorf("%s is in epoch %d, in flight %v", m.name, m.state.Epoch(), m.state.CommitInFlight())
		}
	}
}
