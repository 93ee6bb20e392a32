package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// Identity makes a member the Credentials of its steps.
func (m *member) Identity(ref CredentialRef, _ mlsengine.CipherSuite) (*mlsengine.SigningIdentity, CredentialRef, bool) {
	if ref == "" {
		return m.identity, "", true
	}
	id, ok := m.others[ref]
	return id, ref, ok
}

// another gives a member one more basic credential.
func (w *world) another(m *member, names string) CredentialRef {
	w.t.Helper()
	s, err := suite.Get(m.suite)
	if err != nil {
		w.t.Fatal(err)
	}
	private, public, err := s.GenerateSignatureKeyPair(m.entropy.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		w.t.Fatal(err)
	}
	if m.others == nil {
		m.others = map[CredentialRef]*mlsengine.SigningIdentity{}
	}
	ref := RefOf(m.suite, public)
	m.others[ref] = &mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(names)), Key: private, Public: public}
	return ref
}

// presents checks what everybody sees of a member, and that it can still speak and commit.
func (w *world) presents(m *member, ref CredentialRef, others ...*member) {
	w.t.Helper()
	if got := m.state.Config.Credential; got != ref {
		w.t.Fatalf("%s presents %q, not %q", m.name, got, ref)
	}
	for _, other := range append(others, m) {
		seen, ok := other.state.Group.Member(m.state.OwnLeaf)
		if !ok || !bytes.Equal(seen.SignatureKey, m.others[ref].Public) || ClientOf(seen.Credential) != ids.ClientID(m.name) {
			w.t.Errorf("%s sees %+v", other.name, seen)
		}
	}
	w.restart(m)
	text := w.say(m, "it is still me")
	for _, other := range others {
		if o := w.hear(other, text); o.Sender != ids.ClientID(m.name) {
			w.t.Errorf("%s: %+v", other.name, o)
		}
	}
	w.win(m, others...)
}

func TestOwnCredentialIsChanged(t *testing.T) {
	for _, id := range []mlsengine.CipherSuite{
		suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519,
		suite.P521_AES256GCM_SHA512_P521, suite.P384_AES256GCM_SHA384_P384,
	} {
		for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
			t.Run(fmt.Sprintf("suite %d policy %d", id, policy), func(t *testing.T) {
				config := DefaultConfig()
				config.WirePolicy, config.CipherSuite = policy, id
				w, ada, bob, cara := trio(t, config)
				ref := w.another(ada, "ada")
				commit := w.staged(ada, SetCredential{CommandMeta: w.meta(ada), Credential: ref})
				if got := ada.state.Staged.Updated; len(got) != 1 || got[0].Client != "ada" || !ada.state.Uses(ref) {
					t.Errorf("the commit changes %+v", got)
				}
				w.restart(ada) // what the process knew is lost between the commit and the answer
				w.accept(ada)
				if ada.state.Uses("") || !ada.state.Uses(ref) {
					t.Error("the wrong credential is in use")
				}
				for _, m := range []*member{bob, cara} {
					if o := w.hear(m, commit); o.Kind != OutcomeCommit || len(o.Warnings) != 0 {
						t.Errorf("%s: %+v", m.name, o)
					}
				}
				w.presents(ada, ref, bob, cara)
				again := w.another(ada, "ada")
				commit = w.committed(ada, SetCredential{CommandMeta: w.meta(ada), Credential: again})
				w.hear(bob, commit)
				w.hear(cara, commit)
				w.presents(ada, again, bob, cara)
			})
		}
	}
}

func TestChangeOfCredentialGoesOnAfterALostRace(t *testing.T) {
	var ref CredentialRef
	w, ada, bob, cara, lost := raced(t, DefaultConfig(), func(w *world, ada *member) Command {
		ref = w.another(ada, "ada")
		return SetCredential{CommandMeta: w.meta(ada), Credential: ref}
	})
	if !ada.state.Uses(ref) {
		t.Error("a change that is to be made anew does not count as use")
	}
	for range 2 {
		if end := w.verdict(ada, lost, TransportRetry); end != nil || ada.state.Staged == nil || ada.state.Staged.Credential != ref {
			t.Fatalf("%+v, staged %+v", end, ada.state.Staged)
		}
		lost = ada.state.Staged.Digest
		w.win(bob, ada, cara)
	}
	w.verdict(ada, lost, TransportRetry)
	commit := ada.state.Staged.Commit
	if end := w.verdict(ada, ada.state.Staged.Digest, TransportSuccess); end == nil || end.Err != nil {
		t.Fatalf("in the end: %+v", end)
	}
	w.hear(bob, commit)
	w.hear(cara, commit)
	w.presents(ada, ref, bob, cara)
}

// TestChangeOfCredentialThatLostItsKeyEnds: a command that cannot go on says so, and nothing is left behind.
func TestChangeOfCredentialThatLostItsKeyEnds(t *testing.T) {
	var ref CredentialRef
	w, ada, _, _, lost := raced(t, DefaultConfig(), func(w *world, ada *member) Command {
		ref = w.another(ada, "ada")
		return SetCredential{CommandMeta: w.meta(ada), Credential: ref}
	})
	delete(ada.others, ref)
	if end := w.verdict(ada, lost, TransportRetry); end == nil || !errors.Is(end.Err, CredentialNotFound) || ada.state.Uses(ref) {
		t.Errorf("%+v", end)
	}
	w.say(ada, "under the old name")
}

func TestUpdateProposalChangesTheCredential(t *testing.T) {
	propose := func(t *testing.T) (*world, *member, *member, *member, CredentialRef) {
		w, ada, bob, cara := trio(t, DefaultConfig())
		ref := w.another(ada, "ada")
		r := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada), Credential: ref})
		if r.Err != nil || !ada.state.Uses(ref) {
			t.Fatal(r.Err)
		}
		w.hear(bob, r.Proposal.Message)
		w.hear(cara, r.Proposal.Message)
		w.restart(ada)
		return w, ada, bob, cara, ref
	}
	t.Run("committed by another", func(t *testing.T) {
		w, ada, bob, cara, ref := propose(t)
		commit := w.committed(bob, CommitPending{CommandMeta: w.meta(bob)})
		w.hear(cara, commit)
		if left := w.renewed(ada, commit); len(left) != 0 {
			t.Errorf("%d proposals are made anew", len(left))
		}
		w.presents(ada, ref, bob, cara)
	})
	t.Run("taken along by an own commit", func(t *testing.T) {
		w, ada, bob, cara, ref := propose(t)
		commit := w.committed(ada, addDan(w, ada))
		w.hear(bob, commit)
		w.hear(cara, commit)
		w.presents(ada, ref, bob, cara)
	})
	t.Run("left out, and made anew", func(t *testing.T) {
		w, ada, bob, cara, ref := propose(t)
		plain := w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)}) // the latest one, but not what is wanted most
		bob.state.Pending, cara.state.Pending = nil, nil              // as if they had never heard of it
		w.hear(bob, plain.Proposal.Message)
		commit := w.committed(bob, CommitPending{CommandMeta: w.meta(bob)})
		again := w.renewed(ada, commit)
		if len(again) != 1 || ada.state.Pending[0].Credential != ref {
			t.Fatalf("made anew: %+v", ada.state.Pending)
		}
		w.hear(bob, again[0].Message)
		next := w.committed(bob, CommitPending{CommandMeta: w.meta(bob)})
		w.renewed(ada, next)
		w.presents(ada, ref, bob)
	})
}

func TestCredentialsThatMustNotBePresented(t *testing.T) {
	w, ada, _, _ := trio(t, DefaultConfig())
	mallory, other := w.another(ada, "mallory"), w.another(ada, "ada")
	for _, ref := range []CredentialRef{"", "1-unknown"} {
		w.refused(ada, SetCredential{Credential: ref}, CredentialNotFound)
	}
	w.refused(ada, ProposeUpdate{Credential: "1-unknown"}, CredentialNotFound)
	w.refused(ada, SetCredential{Credential: mallory}, CredentialRefused)
	w.refused(ada, ProposeUpdate{Credential: mallory}, CredentialRefused)
	env := w.env(ada)
	env.Auth = believesOnly{string(ada.identity.Public): true}
	for _, in := range []Input{SetCredential{Credential: other}, ProposeUpdate{Credential: other}} {
		if tr, err := Step(ada.state, in, env); err != nil || !errors.Is(tr.Reply.Err, CredentialRefused) || len(tr.Events) != 0 {
			t.Errorf("%T under doubt: %v %v", in, err, tr.Reply.Err)
		}
	}
}

// believesOnly is an authentication service that knows some keys.
type believesOnly map[string]bool

// Authenticate implements Authenticator.
func (b believesOnly) Authenticate(_ ids.ClientID, _ mlsengine.Credential, key []byte) bool {
	return b[string(key)]
}

// TestChangeOfCredentialWithANewReader: a commit that removes a member of a shared history and changes the own credential brings the new
// reader's secret under the new key, which is what the leaf presents in that epoch.
func TestChangeOfCredentialWithANewReader(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	ref := w.another(ada, "ada")
	first := w.staged(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	sealed := ada.state.Staged.EncryptedMessage
	w.accept(ada)
	w.hear(bob, first)
	if o := w.hear(bob, sealed); o.Kind != OutcomeHistory {
		t.Fatalf("the first secret: %+v", o)
	}
	w.hear(ada, w.step(bob, ProposeRemove{CommandMeta: w.meta(bob), Client: "cara"}).Proposal.Message)
	commit := w.staged(ada, SetCredential{CommandMeta: w.meta(ada), Credential: ref})
	sealed = ada.state.Staged.EncryptedMessage
	if len(sealed) == 0 || ada.state.Staged.Credential != ref {
		t.Fatal("the commit brings no secret, or no credential")
	}
	w.restart(ada)
	w.accept(ada)
	w.hear(bob, commit)
	if o := w.hear(bob, sealed); o.Kind != OutcomeHistory || o.Sender != "ada" {
		t.Errorf("the next secret: %+v", o)
	}
	w.presents(ada, ref, bob)
}
