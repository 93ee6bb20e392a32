package conversation

import (
	"bytes"
	"errors"
	"testing"

	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// FuzzReceived gives a member arbitrary bytes: from a foreign transport and as
// entries of an order. Nothing panics, a refused message changes nothing, and
// the law holds for whatever is accepted. Run it with -fuzzminimizetime 10x, as
// make fuzz does: else hardly anything but the search for smaller inputs is done.
func FuzzReceived(f *testing.F) {
	w := newWorld(f, 42, foreign(DefaultConfig()))
	ada, bob := w.newMember("ada"), w.newMember("bob")
	w.step(ada, Create{Config: w.config})
	w.step(ada, AddMembers{KeyPackages: [][]byte{w.invite(bob)}})
	w.answer(ada)
	f.Add(w.say(ada, "hello"))
	f.Add(w.step(ada, ProposeUpdate{}).Proposal.Message)
	w.step(ada, CommitPending{})
	f.Add(ada.state.Staged.Commit)
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, 42, w.config)
		m := &member{name: "bob", identity: bob.identity, entropy: newSeeded(1), state: bob.state}
		if o := w.step(m, Received{Message: b}).Outcomes[0]; o.Kind == OutcomeRejected {
			w.checkRejected(m, bob.state)
		}
		for kind := EntryGroup; kind <= EntryRestarted; kind++ {
			m.state = bob.state
			w.step(m, Entries{Entries: []Entry{{Number: m.state.Position + 1, Kind: kind, Message: b, Proposals: [][]byte{b}, EncryptedMessage: b}}})
		}
	})
}

func BenchmarkStep(b *testing.B) {
	w := newWorld(b, 42, foreign(DefaultConfig()))
	ada, bob := w.newMember("ada"), w.newMember("bob")
	w.step(ada, Create{Config: w.config})
	w.step(ada, AddMembers{KeyPackages: [][]byte{w.invite(bob)}})
	w.answer(ada)
	plain := make([]byte, 1024)
	b.Run("encrypt", func(b *testing.B) {
		s := ada.state
		for b.Loop() {
			tr, err := Step(s, Encrypt{Plaintext: plain}, w.env(ada))
			if err != nil || tr.Reply.Err != nil {
				b.Fatal(err, tr.Reply.Err)
			}
			s = tr.Next
		}
	})
	r := w.step(ada, Encrypt{Plaintext: plain})
	b.Run("decrypt", func(b *testing.B) {
		for b.Loop() {
			tr, err := Step(bob.state, Received{Message: r.Ciphertext}, w.env(bob))
			if err != nil || tr.Reply.Outcomes[0].Kind != OutcomeApplication {
				b.Fatal(err, tr.Reply.Outcomes)
			}
		}
	})
	b.Run("verify", func(b *testing.B) { benchmarkVerify(b, ada) })
}

// benchmarkVerify is the unit that the others are measured in.
func benchmarkVerify(b *testing.B, m *member) {
	signature, err := m.identity.Sign("benchmark", []byte("content"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := suite.Get(m.suite)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.VerifyWithLabel(m.identity.Public, "benchmark", []byte("content"), signature); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFoldEpochs folds a history of commits, as a recovery does.
func BenchmarkFoldEpochs(b *testing.B) {
	w := newWorld(b, 42, DefaultConfig())
	ada := w.newMember("ada")
	w.step(ada, Create{Config: w.config})
	for range 100 {
		w.step(ada, UpdateKeyMaterial{})
		w.followAll(ada)
	}
	if ada.state.Epoch() != mlsengine.Epoch(100) {
		b.Fatal(ada.state.Epoch())
	}
	for b.Loop() {
		s := NewState("ada", w.group)
		var err error
		for _, r := range ada.log {
			if s, err = Fold(s, r); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// FuzzHistorySecret: whatever a peer sends as a history secret is refused or
// reads back as it was written.
func FuzzHistorySecret(f *testing.F) {
	w := newWorld(f, 42, DefaultConfig())
	ada := w.newMember("ada")
	w.step(ada, Create{Config: w.config})
	w.step(ada, EnableHistorySharing{})
	w.answer(ada)
	w.followAll(ada)
	for _, r := range ada.log {
		messages, err := Messages(r)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range messages {
			f.Add(m.Plaintext.Expose())
		}
	}
	f.Add(append(bytes.Clone(historyMagic), historyFormat))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseHistorySecret(b)
		if err != nil {
			if !errors.Is(err, InvalidHistorySecret) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(s.Encode().Expose(), b) {
			t.Fatal("it reads back differently")
		}
	})
}
