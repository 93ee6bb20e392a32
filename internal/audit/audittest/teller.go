package audittest

import (
	"errors"
	"fmt"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// env is what a step may know.
func (p *player) env(nowMS uint64) environment {
	return environment{conversation.Env{NowMs: nowMS, Entropy: p.entropy, Identity: &p.identity, LeaseValid: true}}
}

type environment struct{ conversation.Env }

func (e environment) engine() mlsengine.Env {
	return mlsengine.Env{Now: e.NowMs / 1000, Entropy: e.Entropy, Identity: e.Identity}
}

func (t *teller) meta(id string) conversation.CommandMeta {
	return conversation.CommandMeta{ID: ids.CommandID(id), Principal: "operator", IssuedMs: t.now, RequestDigest: ids.DigestOf([]byte(id))}
}

func (t *teller) cause(command string) events.Cause {
	return events.Cause{Command: command, Principal: "operator"}
}

// record adds a record of events made by hand.
func (t *teller) record(log events.LogID, cause events.Cause, bodies ...events.Body) {
	d := events.Draft{TimeMS: t.now, Cause: cause}
	for _, b := range bodies {
		d.Events = append(d.Events, events.Event{Body: b})
	}
	t.drafts = append(t.drafts, Draft{Log: log, Draft: d})
}

// transition steps a player and records what came of it.
func (t *teller) transition(p *player, in conversation.Input) (conversation.Transition, error) {
	t.now += 1000
	tr, err := conversation.Step(p.state, in, p.env(t.now).Env)
	if err != nil {
		return tr, fmt.Errorf("%s: %T: %w", p.id, in, err)
	}
	if tr.Reply.Err != nil {
		return tr, fmt.Errorf("%s: %T: %w", p.id, in, tr.Reply.Err)
	}
	p.state = tr.Next
	if len(tr.Events) == 0 {
		return tr, nil
	}
	d := events.Draft{TimeMS: tr.Next.TimeMs, Events: tr.Events, Anchor: tr.Anchor}
	if c, ok := in.(conversation.Command); ok {
		m := c.Meta()
		d.Cause = events.Cause{Command: c.Name(), CommandID: m.ID, Principal: m.Principal, IssuedMS: m.IssuedMs, RequestDigest: m.RequestDigest}
	}
	p.version++
	p.state = p.state.At(p.version)
	t.drafts = append(t.drafts, Draft{Log: events.ConversationLog(p.id, Group), Draft: d})
	return tr, nil
}

func (t *teller) step(name ids.ClientID, in conversation.Input) ([]conversation.Effect, error) {
	tr, err := t.transition(t.players[name], in)
	return tr.Outbox, err
}

// enter gives an entry its place in the order.
func (t *teller) enter(e conversation.Entry, body *eventsv1.OrderEntry) {
	e.Number = uint64(len(t.order) + 1)
	e.TimeMs = t.now
	t.order = append(t.order, e)
	body.Number, body.Message, body.Sender, body.Generation, body.TimeMs = e.Number, e.Message, []byte(e.Sender), e.Generation, t.now
	body.ProposalMessages = e.Proposals
	if group := t.players["ann"].state.Group; group != nil && body.Epoch == 0 {
		body.Epoch = uint64(group.Epoch())
	}
	t.record(events.OrderLog(Group), events.Cause{}, body)
}

// commit runs a command that stages a commit, orders it, and has everybody follow.
func (t *teller) commit(name ids.ClientID, in conversation.Input) (conversation.SendBundle, error) {
	out, err := t.step(name, in)
	if err != nil {
		return conversation.SendBundle{}, err
	}
	for _, effect := range out {
		bundle, ok := effect.(conversation.SendBundle)
		if !ok {
			continue
		}
		t.enter(conversation.Entry{Kind: conversation.EntryCommit, Message: bundle.Commit, Proposals: bundle.Proposals, Sender: name},
			&eventsv1.OrderEntry{
				Kind: eventsv1.EntryKind_ENTRY_KIND_COMMIT, Epoch: uint64(bundle.Epoch), Welcome: bundle.Welcome, GroupInfo: bundle.GroupInfo, Digest: bundle.Digest[:],
			})
		if _, err := t.step(name, conversation.TransportAnswered{Bundle: bundle.Digest, Outcome: conversation.TransportSuccess, Position: uint64(len(t.order))}); err != nil {
			return bundle, err
		}
		return bundle, t.followAll("ann", "bob", "cem")
	}
	return conversation.SendBundle{}, errors.New("no commit was staged")
}

// propose orders a proposal.
func (t *teller) propose(name ids.ClientID, out []conversation.Effect) error {
	for _, effect := range out {
		if p, ok := effect.(conversation.SendProposal); ok {
			t.enter(conversation.Entry{Kind: conversation.EntryProposal, Message: p.Message, Sender: name},
				&eventsv1.OrderEntry{Kind: eventsv1.EntryKind_ENTRY_KIND_PROPOSAL, Epoch: uint64(p.Epoch)})
			return nil
		}
	}
	return errors.New("no proposal was made")
}

// followAll has members take what the order has for them.
func (t *teller) followAll(names ...ids.ClientID) error {
	for _, name := range names {
		p := t.players[name]
		if p.state.Lifecycle != conversation.Active {
			continue
		}
		for p.state.Position < uint64(len(t.order)) && p.state.Lifecycle == conversation.Active {
			before := p.state.Position
			if _, err := t.transition(p, conversation.Entries{Entries: t.order[before:]}); err != nil {
				return err
			}
			if p.state.Position == before {
				return fmt.Errorf("%s does not move on from position %d", name, before)
			}
		}
	}
	return nil
}
