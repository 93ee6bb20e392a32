//go:build parley_sim

package sim

import (
	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

// insider is what a member does that keeps no rules: it signs and sends commits of its own making, beside its process, which knows nothing
// of it.
func (m *member) insider() {
	w, g := m.client.world, m.state.Private
	if g == nil || m.state.Lifecycle != conversation.Active || m.state.Staged != nil || w.config.WirePolicy == conversation.WireCiphertext {
		return
	}
	f, name, valid := w.drawForgery()
	env := mlsengine.Env{Now: w.nowMs / 1000, Entropy: m.entropy, Identity: m.client.identity}
	out, err := g.Group.ForgeCommit(mlsengine.CommitIntent{TreeInInfo: mlsengine.WithTree, TreeInWelcome: mlsengine.WithTree}, f, env)
	if err != nil {
		w.fail(lawSound, "forge: %v", err)
		return
	}
	m.settled(false) // its keys are nobody's that count
	b := delivery.Bundle{Group: m.group(), Origin: m.origin("forged/" + name), Commit: out.Message, GroupInfo: out.GroupInfo}
	w.malice = true
	w.tally[tallyForged]++
	answer, told := w.order.submit(&b)
	w.tell("%s forges %s: %+v", m.client.id, name, answer)
	_, won := answer.Answer.(delivery.Success)
	if told && won {
		w.tally[tallyForgedIn]++
	}
	if told && won && !valid {
		w.fail(lawPublic, "a forged commit (%s) was accepted", name)
	}
}

// drawForgery draws a way to be wrong. valid says that nobody without secrets can see it.
func (w *world) drawForgery() (f mlsengine.Forgery, name string, valid bool) {
	switch w.rng.IntN(8) {
	case 0, 1:
		return mlsengine.Forgery{Subtree: 1 + w.rng.IntN(3)}, "a wrong subtree", true
	case 2:
		return mlsengine.Forgery{Tag: true}, "a wrong confirmation tag", true
	case 3:
		f.Mutate = func(c *mlsengine.Commit) {
			c.Proposals = append(c.Proposals, mlsengine.ProposalOrRef{Proposal: &mlsengine.Remove{Removed: 4711}})
		}
		return f, "the removal of nobody", false
	case 4:
		f.Mutate = func(c *mlsengine.Commit) {
			c.Proposals = append(c.Proposals, mlsengine.ProposalOrRef{Ref: make(mlsengine.ProposalRef, 32)})
		}
		return f, "an unknown proposal", false
	case 5:
		f.Mutate = func(c *mlsengine.Commit) {
			if n := len(c.Path.Nodes); n > 0 {
				c.Path.Nodes = c.Path.Nodes[:n-1]
			} else {
				c.Path.LeafNode.Signature[0] ^= 1
			}
		}
		return f, "a path that is too short", false
	case 6:
		f.Mutate = func(c *mlsengine.Commit) { c.Path.LeafNode.Signature[0] ^= 1 }
		return f, "a leaf that is not signed", false
	default:
		f.Mutate = func(c *mlsengine.Commit) {
			if n := len(c.Path.Nodes); n > 0 {
				c.Path.Nodes[n-1].EncryptionKey = c.Path.LeafNode.EncryptionKey
			} else {
				c.Path.LeafNode.EncryptionKey = mlsengine.LeafNode{}.EncryptionKey
			}
		}
		return f, "keys that are not the path's", false
	}
}

// corrupt sends an application message with a flipped bit under the name of a member: no sequencer can see it.
func (m *member) corrupt() {
	w := m.client.world
	if len(w.order.known) == 0 || !m.state.Exists() {
		return
	}
	e := w.order.known[w.rng.IntN(len(w.order.known))]
	if len(e.Message) == 0 {
		return
	}
	b := append([]byte(nil), e.Message...)
	b[w.rng.IntN(len(b))] ^= 1 << w.rng.IntN(8)
	message := delivery.Message{Group: m.group(), Origin: m.origin("corrupt/" + string(m.client.meta().ID)), Bytes: b}
	m.tasks = append(m.tasks, func() { m.send(&message) })
}
