package conversation

import (
	"fmt"
	"slices"
	"testing"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// renewed hands a competing commit in, and lists what was made anew.
func (w *world) renewed(m *member, commit []byte) []Proposal {
	w.t.Helper()
	o := w.hear(m, commit)
	if o.Kind != OutcomeCommit || !o.EpochChanged() {
		w.t.Fatalf("%s: %+v", m.name, o)
	}
	if n := len(m.state.ownProposals()); n != len(o.Proposals) {
		w.t.Fatalf("%s: %d proposals were made anew, %d are pending", m.name, len(o.Proposals), n)
	}
	if has := o.Delay != nil; has != (len(m.state.Pending) > 0) {
		w.t.Errorf("%s: delay %v with %d proposals pending", m.name, o.Delay, len(m.state.Pending))
	}
	w.restart(m)
	return o.Proposals
}

// pendingType is the type of the only proposal that is pending.
func pendingType(t *testing.T, m *member) mlsengine.ProposalType {
	t.Helper()
	if len(m.state.Pending) != 1 {
		t.Fatalf("%s: %d proposals are pending", m.name, len(m.state.Pending))
	}
	return m.state.Pending[0].Type
}

// TestOrphanedAddIsRenewed: an own Add that a competing commit left out is
// pending again, reaches a peer, and is committed by it.
func TestOrphanedAddIsRenewed(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := DefaultConfig()
		config.WirePolicy = policy
		w, ada, bob, cara := trio(t, config)
		dan := w.newMember("dan")
		w.step(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(dan)})
		commit := w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
		w.hear(cara, commit)
		again := w.renewed(ada, commit)
		if len(again) != 1 || pendingType(t, ada) != mlsengine.ProposalTypeAdd {
			t.Fatalf("made anew: %d", len(again))
		}
		w.refused(ada, Encrypt{Plaintext: []byte("x")}, PendingProposals)
		w.hear(bob, again[0].Message)
		w.hear(cara, again[0].Message)
		next := w.committed(bob, CommitPending{CommandMeta: w.meta(bob)})
		if left := w.renewed(ada, next); len(left) != 0 || dan.state.Lifecycle != Active {
			t.Errorf("%d proposals are left, dan is %s", len(left), dan.state.Lifecycle)
		}
	}
}

func TestAddIsNotRenewedWhenTheClientWasAdded(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	w.step(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(dan)})
	if again := w.renewed(ada, w.committed(bob, AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(dan)}})); len(again) != 0 {
		t.Errorf("%d proposals were made anew", len(again))
	}
}

// TestOthersProposalsAreTheirsToRenew: nothing of a peer or of a sender from
// outside is made anew by us.
func TestOthersProposalsAreTheirsToRenew(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	w.hear(ada, w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message)
	w.hear(ada, w.step(cara, ProposeRemove{CommandMeta: w.meta(cara), Client: "bob"}).Proposal.Message)
	if again := w.renewed(ada, w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})); len(again) != 0 || len(ada.state.Pending) != 0 {
		t.Errorf("%d proposals were made anew", len(again))
	}
}

func TestUpdateIsRenewedOnce(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	first := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}).Proposal
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
	refs := []string{string(first.Ref)}
	for range 2 {
		commit := w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
		w.hear(cara, commit)
		if again := w.renewed(ada, commit); len(again) != 1 || pendingType(t, ada) != mlsengine.ProposalTypeUpdate {
			t.Fatalf("%d proposals were made anew", len(again))
		}
		if ref := string(ada.state.Pending[0].Ref); slices.Contains(refs, ref) {
			t.Error("the proposal is the old one")
		} else {
			refs = append(refs, ref)
		}
	}
	w.hear(bob, ada.state.Pending[0].Message)
	if again := w.renewed(ada, w.committed(bob, CommitPending{CommandMeta: w.meta(bob)})); len(again) != 0 {
		t.Errorf("%d proposals were made anew after the commit held one", len(again))
	}
}

func TestRenewalsAreBounded(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	w.step(ada, ProposeRemove{CommandMeta: w.meta(ada), Client: "cara"})
	for range RenewalsMax {
		commit := w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
		w.hear(cara, commit)
		if again := w.renewed(ada, commit); len(again) != 1 {
			t.Fatalf("%d proposals were made anew", len(again))
		}
	}
	if again := w.renewed(ada, w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})); len(again) != 0 {
		t.Error("made anew for ever")
	}
}

// TestRemoveNeverHitsWhoReusedTheLeaf: the winner removes the one we meant and
// puts somebody else in its place.
func TestRemoveNeverHitsWhoReusedTheLeaf(t *testing.T) {
	for _, staged := range []bool{false, true} {
		w, ada, bob, _ := trio(t, DefaultConfig())
		if staged {
			w.staged(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}})
		} else {
			w.step(ada, ProposeRemove{CommandMeta: w.meta(ada), Client: "cara"})
		}
		zoe := w.newMember("zoe")
		w.hear(ada, w.step(bob, ProposeAdd{CommandMeta: w.meta(bob), KeyPackage: w.invite(zoe)}).Proposal.Message)
		commit := w.committed(bob, RemoveMembers{CommandMeta: w.meta(bob), Clients: []ids.ClientID{"cara"}})
		if again := w.renewedOrHeld(ada, commit); again != 0 {
			t.Errorf("staged %v: %d proposals go on", staged, again)
		}
		reused, ok := ada.state.Group.Member(2)
		if !ok || string(ClientOf(reused.Credential)) == "cara" {
			t.Fatal("the leaf was not used again")
		}
		if staged {
			r := w.step(ada, TransportAnswered{Bundle: ada.state.Superseded.Digest, Outcome: TransportRetry})
			if ada.state.Staged != nil || len(r.Completed) != 1 || r.Completed[0].Err != nil {
				t.Errorf("reply %+v", r)
			}
		}
	}
}

// renewedOrHeld hands a commit in and counts what we still want afterwards.
func (w *world) renewedOrHeld(m *member, commit []byte) int {
	w.t.Helper()
	if o := w.hear(m, commit); o.Kind != OutcomeCommit {
		w.t.Fatalf("%s: %+v", m.name, o)
	}
	w.restart(m)
	n := len(m.state.ownProposals())
	if m.state.Superseded != nil {
		n += len(m.state.Superseded.Inline)
	}
	return n
}

func TestRemoveIsRenewedWhileItsMemberStays(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	w.step(ada, ProposeRemove{CommandMeta: w.meta(ada), Client: "cara"})
	commit := w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	w.hear(cara, commit)
	again := w.renewed(ada, commit)
	if len(again) != 1 || pendingType(t, ada) != mlsengine.ProposalTypeRemove {
		t.Fatalf("%d proposals were made anew", len(again))
	}
	// Our own commit holds it by value: nobody else need have got the proposal.
	final := w.committed(ada, CommitPending{CommandMeta: w.meta(ada)})
	if len(ada.state.ClientIDs()) != 2 {
		t.Errorf("members %v", ada.state.ClientIDs())
	}
	if o := w.hear(bob, final); o.Kind != OutcomeCommit {
		t.Errorf("bob: %+v", o)
	}
	w.hear(cara, final)
	if cara.state.Lifecycle != Evicted {
		t.Errorf("cara is %s", cara.state.Lifecycle)
	}
}

// TestWhoComesBackHasNotEscaped: a member that joins anew in place of its own
// old leaf is still the one that was to be removed.
func TestWhoComesBackHasNotEscaped(t *testing.T) {
	e := &v1.EpochAdvanced{
		Cause: v1.EpochCause_EPOCH_CAUSE_EXTERNAL, Committer: []byte("cara"), CommitterLeaf: 5,
		Removed: []*v1.MemberChange{{Leaf: 2, Client: []byte("cara")}}, Added: []*v1.MemberChange{{Leaf: 5, Client: []byte("cara")}},
	}
	got, ok := wantedAfter(&mlsengine.Remove{Removed: 2}, e).(*mlsengine.Remove)
	if !ok || got.Removed != 5 {
		t.Errorf("wanted %v", got)
	}
	if other := wantedAfter(&mlsengine.Remove{Removed: 1}, e).(*mlsengine.Remove); other.Removed != 1 {
		t.Errorf("wanted %v", other)
	}
}

// TestNothingIsRenewedWithoutAKey: what cannot be made anew keeps nobody from
// following the commit.
func TestNothingIsRenewedWithoutAKey(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	w.step(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(w.newMember("dan"))})
	commit := w.committed(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	env := w.env(ada)
	env.Identity = nil
	tr, err := Step(ada.state, Received{Message: commit}, env)
	if err != nil || tr.Reply.Err != nil || tr.Next.Epoch() != 2 || len(tr.Next.Pending) != 0 {
		t.Errorf("%v %v, epoch %d", err, tr.Reply.Err, tr.Next.Epoch())
	}
	// A key package that has expired meanwhile is a warning.
	w.nowMs += (lifetimeSeconds + 1) * 1000
	o := w.hear(ada, commit)
	if o.Kind != OutcomeCommit || len(o.Proposals) != 0 || !slices.Contains(o.Warnings, fmt.Sprint(warningNotRenewed, CommitInvalid)) {
		t.Errorf("outcome %+v", o)
	}
}

// TestRenewedProposalsTravelInABuiltInGroup: they go out by themselves.
func TestRenewedProposalsTravelInABuiltInGroup(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.staged(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	dan := w.newMember("dan")
	w.step(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(dan)}) // the order has moved on: it is lost
	w.everybody()
	if n := len(bob.state.Pending); n != 1 {
		t.Fatalf("%d proposals are pending", n)
	}
	w.commit(bob, CommitPending{CommandMeta: w.meta(bob)})
	if dan.state.Lifecycle != Active {
		t.Errorf("dan is %s", dan.state.Lifecycle)
	}
}
