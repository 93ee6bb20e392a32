//go:build parley_sim

package sim

import (
	"fmt"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// found lets the first client create the group.
func (w *world) found() {
	c := w.newClient()
	for range 50 {
		m := c.serving()
		if m == nil {
			continue
		}
		if m.state.Exists() {
			return
		}
		m.step(conversation.Create{CommandMeta: c.meta(), Config: w.config})
	}
}

// chaos is one thing that happens.
func (w *world) chaos() {
	w.nowMs += uint64(w.rng.IntN(20_000))
	w.fuse = 0
	if w.chance(6) {
		w.fuse = 1 + w.rng.IntN(8)
	}
	if w.chance(25) {
		w.misfortune()
		return
	}
	c := w.clients[w.rng.IntN(len(w.clients))]
	m := c.serving()
	if c.ghost != nil && w.chance(2) {
		m = c.ghost
	}
	if m == nil {
		return
	}
	if !m.state.Exists() && !w.chance(20) {
		m.join()
		if m.alive() && !m.state.Exists() && w.chance(8) {
			m.joinExternally()
		} else if m.alive() && m.state.Joining != nil {
			m.work()
		}
		return
	}
	switch n := w.rng.IntN(20); {
	case n < 6:
		m.work()
	case n < 11:
		m.follow(1 + w.rng.IntN(8))
	case n < 12:
		m.join()
	case n < 15:
		m.speak()
	case n < 16 && w.evil && w.chance(4):
		m.insider()
	case n < 16 && w.chance(4):
		m.corrupt()
	default:
		m.command()
	}
}

// misfortune strikes.
func (w *world) misfortune() {
	c := w.clients[w.rng.IntN(len(w.clients))]
	switch w.rng.IntN(6) {
	case 0:
		if c.current != nil {
			w.tell("%s is killed", c.id)
			c.current.die()
		}
	case 5:
		w.killNode(w.rng.IntN(nodes))
	case 1:
		c.replace()
	case 2:
		w.order.replace()
	case 3:
		w.order.current = nil
	case 4:
		w.log.arrive()
	}
}

// nodes are the actor systems that share the clients among them.
const nodes = 3

// killNode ends every process of a node at once.
func (w *world) killNode(node int) {
	w.tell("node %d dies", node)
	for i, c := range w.clients {
		if i%nodes == node && c.current != nil {
			c.current.die()
		}
	}
}

// speak encrypts and sends.
func (m *member) speak() {
	c, w := m.client, m.client.world
	text := fmt.Sprintf("%s %d", c.id, c.commands+1)
	meta := c.meta()
	w.say(m, text)
	r, ok := m.step(conversation.Encrypt{CommandMeta: meta, Plaintext: []byte(text)})
	if !ok || r.Err != nil {
		return
	}
	message := delivery.Message{
		Group: m.group(), Origin: delivery.Origin{Client: c.id, CommandID: meta.ID, IssuedMs: meta.IssuedMs}, Bytes: r.Ciphertext, Generation: r.Generation,
	}
	m.tasks = append(m.tasks, func() { m.send(&message) })
}

// command draws something that an owner may ask for.
func (m *member) command() {
	c, w := m.client, m.client.world
	other := w.clients[w.rng.IntN(len(w.clients))]
	var in conversation.Input
	switch w.rng.IntN(16) {
	case 0, 1, 2:
		in = conversation.AddMembers{CommandMeta: c.meta(), KeyPackages: [][]byte{w.newcomer().invite()}}
	case 3:
		in = conversation.ProposeAdd{CommandMeta: c.meta(), KeyPackage: w.newcomer().invite()}
	case 4:
		if len(m.state.ClientIDs()) > 2 {
			in = conversation.RemoveMembers{CommandMeta: c.meta(), Clients: []ids.ClientID{other.id}}
		}
	case 5:
		in = conversation.ProposeRemove{CommandMeta: c.meta(), Client: other.id}
	case 6:
		in = conversation.UpdateKeyMaterial{CommandMeta: c.meta()}
	case 7:
		in = conversation.ProposeUpdate{CommandMeta: c.meta()}
	case 8, 9:
		in = conversation.CommitPending{CommandMeta: c.meta()}
	case 10:
		in = conversation.Checkpoint{Reason: "age", Force: w.chance(2)}
	case 11:
		in = m.handles()
	case 12:
		if w.chance(6) {
			m.joinExternally() // comes back into the group it is in
		}
	case 13:
		in = conversation.Tick{MayCommit: w.chance(2)}
	case 14:
		in = conversation.EnableHistorySharing{CommandMeta: c.meta()}
	case 15:
		if w.chance(3) {
			in = conversation.DisableHistorySharing{CommandMeta: c.meta()}
		}
	}
	if in != nil {
		m.step(in)
	}
}

// handles draws what the owner says of what it was handed.
func (m *member) handles() conversation.Input {
	w, spool := m.client.world, m.state.Spool
	fail := conversation.Fail{Message: m.last, Version: m.state.Version, Reason: "drawn"}
	if letter, ok := spool.Letter(m.last.Number); ok {
		fail.Turn = letter.Turn
	}
	switch w.rng.IntN(6) {
	case 0:
		return conversation.RequeueLetters{CommandMeta: m.client.meta(), All: true}
	case 1:
		return conversation.DropLetters{CommandMeta: m.client.meta(), All: true}
	case 2, 3:
		return fail
	}
	return conversation.Acknowledge{Through: spool.Next - 1, Version: m.state.Version, Histories: w.chance(2), Letter: m.last.Number}
}

// newcomer is somebody outside of the group as far as is known, or somebody new.
func (w *world) newcomer() *client {
	if len(w.clients) < w.size.Members {
		return w.newClient()
	}
	return w.clients[w.rng.IntN(len(w.clients))]
}

// settle ends all faults and lets everybody catch up; then they must work together.
func (w *world) settle() {
	w.calm, w.fuse = true, 0
	for _, c := range w.clients {
		// Whoever served a client, and however far behind a ghost it was: placement comes to rest, and the owner reads the log.
		c.ghost, c.current = nil, nil
	}
	w.order.ghost, w.order.current = nil, nil
	for len(w.log.late) > 0 {
		w.log.arrive()
	}
	w.exhaust()
	w.comeBack()
	w.talk()
	w.exhaust()
	if w.broken == nil {
		w.conclude()
	}
}

// exhaust works off everything.
func (w *world) exhaust() {
	for range 6 {
		for _, c := range w.clients {
			if w.broken != nil {
				return
			}
			for range 40 {
				m := c.serving()
				if m == nil {
					continue
				}
				if len(m.tasks) == 0 {
					break
				}
				m.work()
			}
			if m := c.serving(); m != nil {
				m.join()
				m.catchUp()
			}
		}
	}
}

// talk has what is pending committed, and everybody speak.
func (w *world) talk() {
	for _, c := range w.clients {
		if m := c.serving(); w.broken == nil && m != nil && m.state.Lifecycle == conversation.Active && len(m.state.Pending) > 0 {
			m.step(conversation.CommitPending{CommandMeta: c.meta()})
			w.exhaust()
		}
	}
	for _, c := range w.clients {
		if m := c.serving(); w.broken == nil && m != nil && m.state.Lifecycle == conversation.Active {
			m.speak()
		}
	}
}

// comeBack lets those whose leaf stands in the group and who are no members join from outside: they gave up a join that had been accepted,
// or could not follow a forged commit.
func (w *world) comeBack() {
	roster := w.roster()
	for _, c := range w.clients {
		if m := c.serving(); w.broken == nil && m != nil && m.state.Lifecycle != conversation.Active && roster[c.id] {
			m.joinExternally()
			w.exhaust()
		}
	}
}

// roster is who is in the group, as its active members see it.
func (w *world) roster() map[ids.ClientID]bool {
	roster := map[ids.ClientID]bool{}
	for _, c := range w.clients {
		m := c.serving()
		if m == nil || m.state.Lifecycle != conversation.Active || uint64(m.state.Epoch()) != w.order.epoch {
			continue
		}
		for _, id := range m.state.ClientIDs() {
			roster[id] = true
		}
	}
	return roster
}

// conclude checks that everybody is where the order is, and heard the last words.
func (w *world) conclude() {
	for _, c := range w.clients {
		m := c.serving()
		if m == nil || m.state.Lifecycle != conversation.Active {
			continue
		}
		// What a foreign service lets in binds nobody: members who refuse a forged commit stay where they are, and the group stands still.
		if uint64(m.state.Epoch()) != w.order.epoch && !(w.malice && w.foreign()) {
			w.fail(lawLive, "%s is in epoch %d, the group in %d", c.id, m.state.Epoch(), w.order.epoch)
		}
	}
	roster := w.roster()
	for _, c := range w.clients {
		m := c.serving()
		active := m != nil && m.state.Lifecycle == conversation.Active
		if !w.malice && active != roster[c.id] {
			w.fail(lawLive, "%s is active: %v; in the group: %v", c.id, active, roster[c.id])
		}
	}
}
