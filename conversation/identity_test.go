package conversation

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"

	v1 "parley/events/v1"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// certified makes a member whose credential is a certificate.
func (w *world) certified(name string) *member {
	w.t.Helper()
	m := w.newMember(name)
	seed := m.entropy.Draw("certificate", ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := suite.Get(w.config.CipherSuite)
	if err != nil {
		w.t.Fatal(err)
	}
	private, public, err := s.GenerateSignatureKeyPair(seed)
	if err != nil {
		w.t.Fatal(err)
	}
	m.identity = &mlsengine.SigningIdentity{Credential: mlsengine.X509Credential([][]byte{der}), Key: private, Public: public}
	m.name = string(ClientOf(m.identity.Credential))
	return m
}

// listed finds the same revocation list in every chain, unless it is registered.
type listed struct{ registered bool }

func (l listed) DistributionPoints([][]byte) []string {
	if l.registered {
		return nil
	}
	return []string{"http://ca.example/list", "http://ca.example/list", "http://ca.example/\xff"}
}

// looked steps with somebody who looks into chains.
func (w *world) looked(m *member, in Input, c Certificates) Reply {
	w.t.Helper()
	env := w.env(m)
	env.Certificates = c
	tr, err := Step(m.state, in, env)
	if err != nil || tr.Reply.Err != nil {
		w.t.Fatalf("%s: %v %v", m.name, err, tr.Reply.Err)
	}
	w.store(m, in, tr)
	return tr.Reply
}

func TestRevocationListsAreFound(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	dan, eve := w.certified("dan"), w.certified("eve")
	want := []string{"http://ca.example/list"}
	propose := w.looked(ada, ProposeAdd{CommandMeta: w.meta(ada), KeyPackage: w.invite(dan)}, listed{}).Proposal
	if !slices.Equal(propose.DistributionPoints, want) {
		t.Errorf("in what we propose: %q", propose.DistributionPoints)
	}
	if r := w.looked(bob, Received{Message: propose.Message}, listed{}); !slices.Equal(r.Outcomes[0].DistributionPoints, want) {
		t.Errorf("in a proposal: %q", r.Outcomes[0].DistributionPoints)
	}
	if r := w.looked(bob, AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(eve)}}, listed{}); !slices.Equal(r.DistributionPoints, want) {
		t.Errorf("in what we add: %q", r.DistributionPoints)
	}
	commit := bob.state.Staged.Commit
	w.accept(bob)
	r := w.looked(ada, Received{Message: commit}, listed{registered: true})
	if got := r.Outcomes[0].DistributionPoints; got == nil || len(got) != 0 {
		t.Errorf("all known: %q", got)
	}
	found := 0
	for _, e := range bob.log[len(bob.log)-2].Events {
		if _, ok := e.Body.(*v1.CrlDistributionPointsFound); ok {
			found++
		}
	}
	if found == 0 {
		t.Error("nothing was recorded")
	}
	w.hear(cara, propose.Message)
	if o := w.hear(cara, commit); o.DistributionPoints != nil || o.Kind != OutcomeCommit {
		t.Errorf("nobody looked: %+v", o)
	}
	// Their own joins look into everybody's chain.
	late := w.certified("late")
	w.knocks(late)
	join := w.looked(late, TransportAnswered{Bundle: late.state.Joining.Digest, Outcome: TransportSuccess}, listed{})
	if !slices.Equal(join.DistributionPoints, want) {
		t.Errorf("in the group joined: %q", join.DistributionPoints)
	}
	o := w.hear(ada, w.say(bob, "as myself"))
	if o.Identity == nil || o.Identity.Client != "bob" || o.DistributionPoints != nil || o.Delay != nil {
		t.Errorf("an application message: %+v", o)
	}
}

// TestDuplicatesAreKnownAcrossEpochs: whatever took effect once is known when
// it comes again, encrypted or not, some epochs later too.
func TestDuplicatesAreKnownAcrossEpochs(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		config := DefaultConfig()
		config.WirePolicy = policy
		w, ada, bob, cara := trio(t, config)
		said := w.say(cara, "once")
		proposal := w.step(cara, ProposeUpdate{CommandMeta: w.meta(cara)}).Proposal.Message
		var seen [][]byte
		take := func(message []byte, want OutcomeKind) {
			t.Helper()
			w.hear(ada, message)
			if o := w.hear(bob, message); o.Kind != want {
				t.Fatalf("%+v", o)
			}
			seen = append(seen, message)
		}
		take(said, OutcomeApplication)
		take(proposal, OutcomeProposal)
		dan := w.newMember("dan")
		w.info = w.infoOf(ada)
		external := w.knocks(dan).Commit
		commit := w.committed(ada, CommitPending{CommandMeta: w.meta(ada)})
		if o := w.hear(bob, commit); o.Kind != OutcomeCommit {
			t.Fatalf("%+v", o)
		}
		w.hear(cara, commit)
		seen = append(seen, commit)
		if o := w.hear(bob, external); o.Code != StaleCommit {
			t.Errorf("a commit that lost: %+v", o)
		}
		w.verdict(dan, dan.state.Joining.Digest, TransportRetry)
		external = w.knocks(dan).Commit
		w.letIn(dan)
		take(external, OutcomeCommit)
		for range 2 {
			for _, message := range seen {
				if o := w.hear(bob, message); o.Code != DuplicateMessage {
					t.Errorf("policy %d: %+v", policy, o)
				}
			}
			next := w.committed(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
			w.hear(bob, next)
			seen = append(seen, next)
		}
	}
}

// infoOf is a GroupInfo that a member gives.
func (w *world) infoOf(m *member) []byte {
	w.t.Helper()
	info, err := m.state.Private.Group.GroupInfo(mlsengine.WithTree, w.env(m).engine())
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Message()
}
