package conversation

import (
	"fmt"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// TestLawOnRandomHistories lets several members do everything at once, in both
// wire policies and several suites, with crashes between steps. The law is
// checked at every step; see world.step.
func TestLawOnRandomHistories(t *testing.T) {
	suites := []mlsengine.CipherSuite{suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519}
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext, WireMixed} {
		for i, id := range suites {
			for _, transport := range []TransportKind{TransportBuiltIn, TransportForeign} {
				t.Run(fmt.Sprintf("policy %d suite %d transport %d", policy, id, transport), func(t *testing.T) {
					t.Parallel()
					config := DefaultConfig()
					config.CipherSuite, config.WirePolicy, config.Transport = id, policy, transport
					config.KeyRotationSpanMs = uint64(i) * 20 * minuteMs
					config.OutOfOrderTolerance = 64 // a message may be overtaken again and again
					randomHistory(newWorld(t, uint64(i)*10+uint64(policy), config), 200)
				})
			}
		}
	}
}

func randomHistory(w *world, steps int) {
	w.t.Helper()
	w.unreliable = w.config.Transport == TransportForeign
	founder := w.newMember("ada")
	w.step(founder, Create{CommandMeta: w.meta(founder), Config: w.config})
	w.catchUp(founder)
	for range steps {
		w.nowMs += uint64(w.rng.IntN(90_000))
		m := w.members[w.rng.IntN(len(w.members))]
		for range 3 {
			if !m.state.Exists() { // outsiders have little to tell
				m = w.members[w.rng.IntN(len(w.members))]
			}
		}
		w.randomStep(m)
	}
	w.settle()
}

// randomStep does one thing that a member, its shell or its transport may do.
func (w *world) randomStep(m *member) {
	switch w.rng.IntN(23) {
	case 0:
		if other := w.outsider(); other != nil {
			w.try(m, AddMembers{CommandMeta: w.meta(m), KeyPackages: [][]byte{w.invite(other)}})
		}
	case 1:
		victim := w.members[w.rng.IntN(len(w.members))]
		if w.rng.IntN(3) == 0 && victim.name != "ada" {
			w.try(m, RemoveMembers{CommandMeta: w.meta(m), Clients: []ids.ClientID{ids.ClientID(victim.name)}})
		}
	case 2:
		w.try(m, UpdateKeyMaterial{CommandMeta: w.meta(m)})
	case 3:
		w.try(m, CommitPending{CommandMeta: w.meta(m)})
	case 4:
		w.try(m, ProposeUpdate{CommandMeta: w.meta(m)})
	case 5:
		if other := w.outsider(); other != nil {
			w.try(m, ProposeAdd{CommandMeta: w.meta(m), KeyPackage: w.invite(other)})
		}
	case 6:
		victim := w.members[w.rng.IntN(len(w.members))]
		if w.rng.IntN(3) == 0 && victim.name != "ada" {
			w.try(m, ProposeRemove{CommandMeta: w.meta(m), Client: ids.ClientID(victim.name)})
		}
	case 7, 8, 9:
		w.speak(m)
	case 10:
		w.answer(m)
	case 11:
		w.restart(m)
	case 12:
		w.step(m, Acknowledge{Through: uint64(w.rng.IntN(int(m.state.Spool.Next)))})
		w.mishandles(m)
		w.step(m, Checkpoint{Reason: "timer"})
	case 13:
		w.try(m, ExportSecret{CommandMeta: w.meta(m), Length: 32})
		w.step(m, ExpireSpool{})
	case 17:
		if len(w.info) > 0 && w.rng.IntN(3) == 0 {
			w.try(m, JoinExternally{CommandMeta: w.meta(m), Config: w.config, GroupInfo: w.info})
		}
	case 18:
		in := Command(SetCredential{CommandMeta: w.meta(m), Credential: w.another(m, m.name)})
		if w.rng.IntN(2) == 0 {
			in = ProposeUpdate{CommandMeta: w.meta(m), Credential: w.another(m, m.name)}
		}
		w.try(m, in)
	case 15:
		w.step(m, Tick{MayCommit: w.rng.IntN(4) > 0})
	case 16:
		w.step(m, MarkAsChild{CommandMeta: w.meta(m), Parent: "parent", Exists: true})
		if own := m.state.ownProposals(); len(own) > 0 && w.rng.IntN(3) == 0 {
			w.try(m, ClearProposal{CommandMeta: w.meta(m), Ref: own[0].Ref})
		}
	case 14:
		inputs := []Input{
			Encrypt{Plaintext: []byte("together")}, ProposeUpdate{CommandMeta: w.meta(m)}, ExportSecret{CommandMeta: w.meta(m), Length: 8},
			UpdateKeyMaterial{CommandMeta: w.meta(m)}, Checkpoint{Force: true}, Acknowledge{Through: m.state.Spool.Next - 1},
		}
		w.rng.Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
		w.together(m, inputs[:2+w.rng.IntN(3)]...)
	default:
		w.listen(m)
	}
}

// outsider is somebody who is no member, nil where there are enough people.
func (w *world) outsider() *member {
	for _, m := range w.members {
		if !m.state.Exists() && w.rng.IntN(2) == 0 {
			return m
		}
	}
	if len(w.members) < 7 {
		return w.newMember(fmt.Sprintf("m%d", len(w.members)))
	}
	return nil
}

// listen takes some of what there is to hear.
func (w *world) listen(m *member) {
	w.t.Helper()
	if w.config.Transport == TransportForeign {
		w.hearQueue(m, 1+w.rng.IntN(12))
		return
	}
	w.follow(m, 1+w.rng.IntN(12))
}

// catchUp takes all there is to hear.
func (w *world) catchUp(m *member) {
	w.t.Helper()
	if w.config.Transport == TransportForeign {
		for range 8 {
			w.hearQueue(m, len(m.queue))
		}
		return
	}
	w.followAll(m)
}

// try steps a command that may be refused; the state says which.
func (w *world) try(m *member, in Input) {
	w.t.Helper()
	w.step(m, in)
}

func (w *world) speak(m *member) {
	w.t.Helper()
	r := w.step(m, Encrypt{CommandMeta: w.meta(m), Plaintext: fmt.Appendf(nil, "%s says %d", m.name, m.commands)})
	if r.Err != nil {
		return
	}
	if m.state.Epoch()+mlsengine.Epoch(w.config.PastEpochs) >= w.head() {
		w.fanOut(m, r.Ciphertext, false)
		w.append(Entry{Kind: EntryApplication, Message: r.Ciphertext, Sender: ids.ClientID(m.name), Generation: r.Generation})
	}
}

// settle lets everybody catch up, and checks that they agree.
func (w *world) settle() {
	w.t.Helper()
	for range 3 {
		for _, m := range w.members {
			w.answer(m)
			w.catchUp(m)
			for _, e := range m.state.Unsent() {
				w.send(m, e)
			}
			w.answer(m)
			w.catchUp(m)
		}
	}
	epoch := w.members[0].state.Epoch()
	for _, m := range w.members {
		w.restart(m)
		if m.state.Lifecycle == Active && m.state.Epoch() != epoch {
			w.t.Fatalf("%s is in epoch %d, others in %d", m.name, m.state.Epoch(), epoch)
		}
		if m.state.Lifecycle == Unreachable {
			w.t.Fatalf("%s cannot follow", m.name)
		}
	}
	if epoch == 0 {
		w.t.Error("nothing was ever committed")
	}
}
