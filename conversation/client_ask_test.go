package conversation

import (
	"testing"

	"parley/mlsengine"
)

// TestProposalsToJoinAreSentAFewTimes: what is not known to have been sent is due, later each time and not for ever; it ends when it was sent, and
// with the key package inside. One that its owner carries is never due.
func TestProposalsToJoinAreSentAFewTimes(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, _ := newClient(t, w)
	step := func(in ClientInput) { s = stepClient(t, w, s, in).Next }
	ask := func(transport TransportKind) (last mlsengine.ProposalRef) {
		tr := stepClient(t, w, s, AskToJoin{Group: "tea", Epoch: 3, CipherSuite: suiteOne, Transport: transport, Renews: true})
		s = tr.Next
		return tr.Reply.Proposal.Ref
	}
	ask(0)
	if s.AskingDue() != 0 {
		t.Error("what its owner sends is due")
	}
	first, second, third := ask(TransportBuiltIn), ask(TransportBuiltIn), ask(TransportForeign)
	if due := s.AskingDue(); due != s.TimeMs+askingGraceMs || len(s.Askings) != 3 {
		t.Errorf("due at %d, now it is %d: %+v", due, s.TimeMs, s.Askings)
	}
	step(RemoveKeyPackages{Refs: []mlsengine.KeyPackageRef{s.Askings[2].KeyPackage}})
	step(EndAsking{Ref: second})
	if s.Asks(second) || s.Asks(third) || !s.Asks(first) {
		t.Errorf("left are %+v", s.Askings)
	}
	var last uint64
	for range AskingsMax {
		step(PlanAsking{Ref: first})
		pause := s.AskingDue() - s.TimeMs
		if pause < last || pause > askingPauseMax {
			t.Errorf("a pause of %d after one of %d", pause, last)
		}
		last = pause
	}
	step(PlanAsking{Ref: first})
	if s.AskingDue() != 0 {
		t.Errorf("it is still due: %+v", s.Askings)
	}
}
