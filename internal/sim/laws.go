//go:build parley_sim

package sim

import (
	"slices"

	"parley/conversation"
	"parley/internal/ids"
)

// checkEpoch: all members of an epoch agree on its authenticator.
func (w *world) checkEpoch(m *member) {
	auth := m.state.EpochAuthenticator()
	if auth == nil || m.state.Lifecycle != conversation.Active {
		if m.state.Lifecycle == conversation.Evicted && m.state.Private != nil {
			w.fail(lawEviction, "%s", m.client.id)
		}
		return
	}
	known, ok := w.ledger.authenticators[m.state.Epoch()]
	if ok && known != string(auth) {
		w.fail(lawAgreement, "%s in epoch %d", m.client.id, m.state.Epoch())
	}
	w.ledger.authenticators[m.state.Epoch()] = string(auth)
	if len(w.ledger.holders) > 0 && m.state.ExposedMs == 0 {
		w.checkReaders(m)
	}
}

// checkReaders: whoever has the secret of a reader in the group is a member himself. Where a commit has left that out the state says so, and
// another one makes up for it.
func (w *world) checkReaders(m *member) {
	members := m.state.ClientIDs()
	for _, id := range members {
		for holder := range w.ledger.holders[id] {
			if !slices.Contains(members, holder) {
				w.fail(lawReaders, "%s has the secret of %s, and is not in epoch %d", holder, id, m.state.Epoch())
			}
		}
	}
}

// hold notes who has a history secret.
func (w *world) hold(m *member, reader ids.ClientID) {
	w.tally[tallySecrets]++
	if w.ledger.holders[reader] == nil {
		w.ledger.holders[reader] = map[ids.ClientID]bool{}
	}
	w.ledger.holders[reader][m.client.id] = true
}

// say remembers what was encrypted, and for whom.
func (w *world) say(m *member, text string) {
	s := saying{sender: m.client.id, epoch: m.state.Epoch(), audience: map[ids.ClientID]bool{}}
	for _, id := range m.state.ClientIDs() {
		s.audience[id] = id != m.client.id
	}
	w.ledger.said[text] = s
}

// hear checks a message that was handed over.
func (w *world) hear(m *member, msg conversation.ReceivedMessage) {
	if msg.History != "" {
		w.hold(m, msg.History)
		return
	}
	text, c := string(msg.Plaintext.Expose()), m.client.id
	w.tally[tallyRead]++
	s, ok := w.ledger.said[text]
	switch {
	case !ok:
		w.fail(lawSecrecy, "%s reads what nobody said", c)
	case !s.audience[c]:
		w.fail(lawSecrecy, "%s reads %q of epoch %d", c, text, s.epoch)
	case s.sender != msg.Sender || s.epoch != msg.Epoch:
		w.fail(lawSecrecy, "%s believes that %s said %q in epoch %d; it was %s in epoch %d", c, msg.Sender, text, msg.Epoch, s.sender, s.epoch)
	}
	if w.ledger.heardBy[text] == nil {
		w.ledger.heardBy[text] = map[ids.ClientID]int{}
	}
	if w.ledger.heardBy[text][c]++; w.ledger.heardBy[text][c] > 1 {
		w.fail(lawOnce, "%s reads %q again", c, text)
	}
}

// judge looks at what became of messages: among the honest nothing that the order holds may be unintelligible.
func (w *world) judge(m *member, o conversation.Outcome) {
	if o.Kind == conversation.OutcomeUnreachable && w.malice {
		w.tally[tallyUnreachable]++
	}
	if o.Kind == conversation.OutcomeUnreachable && !w.malice {
		w.fail(lawLive, "%s cannot follow entry %d: %s %s", m.client.id, o.Position, o.Rule, o.Detail)
	}
}
