//go:build parley_sim

package sim

import "parley/conversation"

// fanOut puts an entry of the order on its way to everybody: it may get lost, come twice, or be overtaken.
func (w *world) fanOut(place int) {
	if !w.foreign() {
		return
	}
	for _, c := range w.clients {
		if !w.calm && w.chance(12) {
			w.tally[tallyLost]++
			continue
		}
		c.incoming = append(c.incoming, place)
		if !w.calm && w.chance(12) {
			c.incoming = append(c.incoming, place)
		}
		if n := len(c.incoming); !w.calm && n > 1 && w.chance(6) {
			c.incoming[n-1], c.incoming[n-2] = c.incoming[n-2], c.incoming[n-1]
		}
	}
}

// hearSome hands over some of what has arrived.
func (m *member) hearSome(most int) {
	c := m.client
	c.world.order.entries(0, 0)
	for range most {
		if len(c.incoming) == 0 || !m.alive() || c.world.broken != nil {
			return
		}
		place := c.incoming[0]
		c.incoming = c.incoming[1:]
		m.hearEntry(place)
	}
}

func (m *member) hearEntry(place int) {
	e := m.client.world.order.known[place]
	if !m.state.Exists() || e.Kind == conversation.EntryGroup {
		return
	}
	messages := append(e.Proposals[:len(e.Proposals):len(e.Proposals)], e.Message)
	if len(e.EncryptedMessage) > 0 {
		messages = append(messages, e.EncryptedMessage)
	}
	for _, p := range messages {
		if m.alive() && m.state.Exists() {
			m.step(conversation.Received{CommandMeta: m.client.meta(), Message: p})
		}
	}
}

// catchUp takes all there is: of a foreign service its whole history, in order, since nobody knows what was lost on the way.
func (m *member) catchUp() {
	w := m.client.world
	if !w.foreign() {
		m.follow(1 << 12)
		return
	}
	w.order.entries(0, 0)
	m.client.incoming = nil
	for place := range w.order.known {
		if w.broken == nil && m.alive() && m.state.Exists() {
			m.hearEntry(place)
		}
	}
}
