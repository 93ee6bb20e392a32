package delivery

import (
	"testing"

	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
	"parley/mlsengine"
)

// FuzzRequest lets anything that claims to come from another node meet a group's sequencer: it answers every submission, and takes into
// the order only what it can fold again.
func FuzzRequest(f *testing.F) {
	alice, bob := newBot(f, "alice"), newBot(f, "bob")
	registration := alice.create(testGroup)
	base := NewSequencerState(testGroup, Limits{})
	if err := base.Apply(Decide(base, &registration, Env{NowMs: registration.Origin.IssuedMs})); err != nil {
		f.Fatal(err)
	}
	text := alice.message("hello")
	bundle, _ := alice.add(bob)
	sealed, _ := alice.sealed(mlsengine.CommitIntent{ForcePath: true})
	proposal := must(alice.group.Propose(&mlsengine.GroupContextExtensions{}, mlsengine.Framing{}, alice.env()))(f)
	for _, sub := range []Submission{
		&registration, &text, &bundle, &sealed, &Proposal{Group: testGroup, Origin: alice.origin(), Message: proposal.Message},
		&Lookup{Group: testGroup, Origin: alice.origin()}, &Restart{Group: testGroup, Origin: alice.origin(), Successor: "next"},
	} {
		f.Add(must(proto.Marshal(requestTo(testGroup, []Submission{sub}, "node")))(f))
	}
	checkpoint := must(base.Marshal())(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		request := &deliveryv1.Request{}
		if proto.Unmarshal(data, request) != nil {
			return
		}
		subs, refused := submissionsFrom(request)
		if refused != nil {
			return
		}
		s := NewSequencerState(testGroup, Limits{})
		if err := s.Restore(checkpoint); err != nil {
			t.Fatal(err)
		}
		for _, sub := range subs {
			d := Decide(s, sub, Env{NowMs: registration.Origin.IssuedMs})
			if d.Outcome.Answer == nil && d.Outcome.Err == nil && d.Outcome.Position == 0 && d.Outcome.Standing == nil {
				t.Fatalf("%T was not answered", sub)
			}
			if err := s.Apply(d); err != nil {
				t.Fatalf("%T was accepted and does not fold: %v", sub, err)
			}
		}
	})
}

// FuzzCheckpoint: whatever a checkpoint says, restoring it ends in a state or an error.
func FuzzCheckpoint(f *testing.F) {
	alice := newBot(f, "alice")
	registration := alice.create(testGroup)
	s := NewSequencerState(testGroup, Limits{})
	if err := s.Apply(Decide(s, &registration, Env{NowMs: registration.Origin.IssuedMs})); err != nil {
		f.Fatal(err)
	}
	if err := s.materialize(); err != nil {
		f.Fatal(err)
	}
	f.Add(must(s.Marshal())(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := NewSequencerState(testGroup, Limits{})
		if s.Restore(data) != nil {
			return
		}
		if _, err := s.Marshal(); err != nil {
			t.Fatal(err)
		}
		_ = newDirectoryState("bob", &s.limits).restore(data)
	})
}
