package conversation

import (
	"bytes"
	"fmt"
	"testing"

	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// used knows every key that something was encrypted with: epoch, sender, kind
// of message and generation. None may come twice.
type used map[string]string

func (u used) take(t testing.TB, m *member, kind string, generation uint32, by string) {
	t.Helper()
	key := fmt.Sprintf("%x %s %s %d", m.state.EpochAuthenticator(), m.name, kind, generation)
	if other, twice := u[key]; twice {
		t.Fatalf("%s: %s generation %d of epoch %d is used by %s and by %s", m.name, kind, generation, m.state.Epoch(), other, by)
	}
	u[key] = by
}

// TestLawOnOddHistories lets members meet what should never happen: forged,
// damaged and repeated messages, answers about nothing, lost logs and rings,
// aborted transactions, orders that are gone. The law holds at every step, and
// no key is used twice.
func TestLawOnOddHistories(t *testing.T) {
	for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("policy %d seed %d", policy, seed), func(t *testing.T) {
				t.Parallel()
				config := DefaultConfig()
				config.WirePolicy, config.MaximumForwardDistance = policy, 40+uint32(seed)*40
				w := newWorld(t, 99000+seed*10+uint64(policy), config)
				o := oddWorld{world: w, used: used{}}
				founder := w.newMember("ada")
				w.step(founder, Create{CommandMeta: w.meta(founder), Config: config})
				w.followAll(founder)
				for range 6 {
					m := w.newMember(fmt.Sprintf("m%d", len(w.members)))
					w.commit(founder, AddMembers{CommandMeta: w.meta(founder), KeyPackages: [][]byte{w.invite(m)}})
				}
				for range 400 {
					w.nowMs += uint64(w.rng.IntN(400_000))
					o.oddStep(w.members[w.rng.IntN(len(w.members))])
				}
			})
		}
	}
}

type oddWorld struct {
	*world
	used used
}

// oddStep is a step of an ordinary history, or something that is not.
func (o *oddWorld) oddStep(m *member) {
	w := o.world
	switch w.rng.IntN(24) {
	case 0:
		if w.rng.IntN(8) == 0 {
			w.step(m, MarkRolledBack{Reason: "odd", Epoch: m.state.Epoch() + mlsengine.Epoch(w.rng.IntN(3)), Owed: w.rng.IntN(2) == 0})
		}
	case 1:
		if w.rng.IntN(20) == 0 {
			w.step(m, MarkSecretsLost{Reason: "odd"})
		}
	case 2:
		if w.rng.IntN(20) == 0 {
			w.step(m, MarkBehind{First: m.state.Position + uint64(w.rng.IntN(4))})
		}
	case 3:
		if w.rng.IntN(30) == 0 {
			w.step(m, Wipe{CommandMeta: w.meta(m)})
		}
	case 4:
		o.abortedTransaction(m)
	case 5:
		o.damagedMessage(m)
	case 6:
		digest := ids.DigestOf([]byte("nothing"))
		if m.state.Staged != nil && w.rng.IntN(2) == 0 {
			digest = m.state.Staged.Digest
		}
		w.step(m, TransportAnswered{Bundle: digest, Outcome: TransportOutcome(1 + w.rng.IntN(3)), Reason: "odd"})
	case 7:
		if n := len(m.state.Pending); n > 0 {
			w.step(m, ClearProposal{CommandMeta: w.meta(m), Ref: m.state.Pending[w.rng.IntN(n)].Ref})
		}
	case 8:
		o.hearAgain(m)
	case 9:
		w.restart(m)
	case 10:
		w.step(m, Burn{Reserved: Reserved{Application: m.state.Reserved.Application + uint32(w.rng.IntN(40)), Handshake: uint32(w.rng.IntN(8))}})
	case 11, 12, 13, 14:
		o.speak(m)
	case 15:
		o.commitSomething(m)
	case 16:
		o.proposeSomething(m)
	case 17:
		w.answer(m)
	case 18:
		w.step(m, Checkpoint{Reason: "odd", Force: true})
		w.step(m, Acknowledge{Through: uint64(w.rng.IntN(1000)), Version: uint64(w.rng.IntN(1000))})
	default:
		w.follow(m, 1+w.rng.IntN(20))
	}
}

func (o *oddWorld) speak(m *member) {
	r := o.step(m, Encrypt{CommandMeta: o.meta(m), Plaintext: []byte("odd")})
	if r.Err != nil {
		return
	}
	o.used.take(o.t, m, "application", r.Generation, "a message")
	if o.rng.IntN(3) > 0 { // the others never reach the order
		o.append(Entry{Kind: EntryApplication, Message: r.Ciphertext, Sender: ids.ClientID(m.name), Generation: r.Generation})
	}
}

// handshake notes the generation of what a step made.
func (o *oddWorld) handshake(m *member, before uint32, r Reply) {
	if r.Err == nil && o.config.WirePolicy == WireCiphertext && m.state.Lifecycle == Active && m.state.Reserved.Handshake > before {
		for g := before; g < m.state.Reserved.Handshake; g++ {
			o.used.take(o.t, m, "handshake", g, "a handshake")
		}
	}
}

func (o *oddWorld) commitSomething(m *member) {
	before := m.state.Reserved.Handshake
	o.handshake(m, before, o.step(m, UpdateKeyMaterial{CommandMeta: o.meta(m)}))
}

func (o *oddWorld) proposeSomething(m *member) {
	before := m.state.Reserved.Handshake
	if o.rng.IntN(2) == 0 {
		o.handshake(m, before, o.step(m, ProposeUpdate{CommandMeta: o.meta(m)}))
		return
	}
	victim := o.members[1+o.rng.IntN(len(o.members)-1)]
	if o.rng.IntN(6) == 0 {
		o.handshake(m, before, o.step(m, ProposeRemove{CommandMeta: o.meta(m), Client: ids.ClientID(victim.name)}))
	}
}

// abortedTransaction works on a copy whose events nobody stores. Its caller saw
// what it made; what only the copy had reserved is burned.
func (o *oddWorld) abortedTransaction(m *member) {
	c := m.state
	for range 1 + o.rng.IntN(40) {
		tr, err := Step(c, Encrypt{Plaintext: []byte("undone")}, o.env(m))
		if err != nil {
			o.t.Fatal(err)
		}
		if tr.Reply.Err != nil {
			break
		}
		o.used.take(o.t, m, "application", tr.Reply.Generation, "an aborted transaction")
		c = tr.Next
	}
	o.step(m, Burn{Reserved: c.Reserved})
}

// damagedMessage puts a damaged copy of something into the order. A commit that
// its sequencer could not have accepted is left out: it would be the end.
func (o *oddWorld) damagedMessage(m *member) {
	if len(o.order) == 0 {
		return
	}
	e := o.order[o.rng.IntN(len(o.order))]
	if len(e.Message) == 0 || e.Kind == EntryCommit || e.Kind == EntryGroup {
		return
	}
	damaged := Entry{Kind: e.Kind, Message: bytes.Clone(e.Message), Sender: ids.ClientID(m.name)}
	switch o.rng.IntN(3) {
	case 0:
		damaged.Message[o.rng.IntN(len(damaged.Message))] ^= byte(1 + o.rng.IntN(255))
	case 1:
		damaged.Message = damaged.Message[:o.rng.IntN(len(damaged.Message))]
	}
	o.append(damaged)
}

// hearAgain hands in something old from beside the order.
func (o *oddWorld) hearAgain(m *member) {
	if n := len(o.order); n > 0 {
		o.step(m, Received{CommandMeta: o.meta(m), Message: o.order[o.rng.IntN(n)].Message})
	}
}

// TestWhoCannotFollowKeepsNoSecrets ends a membership in each of the ways after
// which only joining again helps: what is of no use any more is sealed away.
func TestWhoCannotFollowKeepsNoSecrets(t *testing.T) {
	ends := map[string]func(*world, *member){
		"unreachable": func(w *world, m *member) {
			w.step(w.members[0], UpdateKeyMaterial{})
			commit := &w.order[len(w.order)-1]
			commit.Message = append(bytes.Clone(commit.Message[:len(commit.Message)-1]), 0, 0)[:len(commit.Message)]
			w.followAll(m)
		},
		"behind": func(w *world, m *member) { w.step(m, MarkBehind{First: m.state.Position + 2}) },
		"restarted": func(w *world, m *member) {
			w.append(Entry{Kind: EntryRestarted, Message: []byte("next")})
			w.followAll(m)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w, _, bob := pair(t, DefaultConfig())
			end(w, bob)
			if bob.state.Lifecycle == Active || bob.state.Private != nil || !Reseals(bob.log[len(bob.log)-1].Events) {
				t.Errorf("%s keeps its secrets", bob.state.Lifecycle)
			}
			for _, e := range bob.log[len(bob.log)-1].Events {
				if plain, ok := e.Secret(events.ClassPrivateState); ok && plain.Len() > 8 {
					t.Errorf("%d bytes are sealed again", plain.Len())
				}
			}
			w.restart(bob)
		})
	}
}
