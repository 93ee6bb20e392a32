package delivery

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
	"parley/mlsengine"
)

// FuzzRequest lets anything that claims to come from another node meet a group's sequencer: it answers every submission, and takes into
// the order only what it can fold again.
func FuzzRequest(f *testing.F) {
	alice, bob := newBot(f, "alice"), newBot(f, "bob")
	registration, service := listingService(f, alice)
	base := NewSequencerState(testGroup, Limits{})
	if err := base.Apply(Decide(base, &registration, Env{NowMs: registration.Origin.IssuedMs})); err != nil {
		f.Fatal(err)
	}
	text := alice.message("hello")
	bundle, _ := alice.add(bob)
	sealed, _ := alice.sealed(mlsengine.CommitIntent{ForcePath: true})
	proposal := must(alice.group.Propose(&mlsengine.GroupContextExtensions{}, mlsengine.Framing{}, alice.env()))(f)
	seeds := []Submission{
		&registration, &text, &bundle, &sealed, &Proposal{Group: testGroup, Origin: alice.origin(), Message: proposal.Message},
		&Lookup{Group: testGroup, Origin: alice.origin(), Wishes: true}, &Restart{Group: testGroup, Origin: alice.origin(), Successor: "next"},
		&Wish{Group: testGroup, Origin: alice.origin(), Withdraw: wishesOf(bob)[0].ID()},
	}
	for _, want := range wishesOf(bob) {
		seeds = append(seeds, &Wish{Group: testGroup, Origin: alice.origin(), Want: want, Reason: "a seed"})
	}
	for _, sub := range seeds {
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
			d := Decide(s, sub, Env{NowMs: registration.Origin.IssuedMs, Service: service})
			if d.Event == nil && d.Outcome.Answer == nil && d.Outcome.Err == nil && d.Outcome.Position == 0 && d.Outcome.Standing == nil {
				t.Fatalf("%T was not answered", sub)
			}
			if err := s.Apply(d); err != nil {
				t.Fatalf("%T was accepted and does not fold: %v", sub, err)
			}
			for _, w := range s.dueWishes() {
				if err := s.foldBody(s.fulfil(w, service, registration.Origin.IssuedMs), nil); err != nil {
					t.Fatalf("a wish was taken and does not fold: %v", err)
				}
			}
		}
	})
}

// listingService makes a bot the only member of a group that lists the returned key of the service.
func listingService(t testing.TB, b *bot) (Registration, *mlsengine.SigningIdentity) {
	t.Helper()
	service := newBot(t, SenderName)
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID(testGroup), Suite: testSuite, Identity: b.identity, Lifetime: lifetime(),
		Extensions: mlsengine.Extensions{}.WithExternalSenders(mlsengine.ExternalSenders{{SignatureKey: service.identity.Public, Credential: service.identity.Credential}}),
	}, b.env())
	if err != nil {
		t.Fatal(err)
	}
	b.group = group
	return Registration{Group: testGroup, Origin: b.origin(), GroupInfo: b.info()}, &service.identity
}

// wishesOf are wants of every kind.
func wishesOf(b *bot) (wants []Want) {
	for _, row := range kinds(b) {
		wants = append(wants, wantOf(b.t, row.Type, b))
	}
	return wants
}

// FuzzCheckpoint: whatever a checkpoint says, restoring it ends in a state or an error.
func FuzzCheckpoint(f *testing.F) {
	alice := newBot(f, "alice")
	registration, service := listingService(f, alice)
	s := NewSequencerState(testGroup, Limits{})
	if err := s.Apply(Decide(s, &registration, Env{NowMs: registration.Origin.IssuedMs})); err != nil {
		f.Fatal(err)
	}
	if err := s.materialize(); err != nil {
		f.Fatal(err)
	}
	for _, want := range wishesOf(newBot(f, "bob")) {
		d := Decide(s, &Wish{Group: testGroup, Origin: alice.origin(), Want: want}, Env{NowMs: registration.Origin.IssuedMs, Service: service})
		if err := errors.Join(d.Outcome.Err, s.Apply(d)); err != nil && !errors.Is(err, NotMember) {
			f.Fatal(err)
		}
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
