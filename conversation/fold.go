package conversation

import (
	"bytes"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// Fold is the state after a record. Public always follows; Private follows
// where the record's secrets can be read and is nil where they cannot, until a
// record brings the whole private state again.
//
// The law: with t of Step(s, in, env) and r the record of t.Events at
// t.Next.TimeMs, Fold(s, r) equals t.Next.At(r.Version) in Public and Private.
func Fold(s State, r *events.Record) (State, error) {
	if !follows(s.Version, r) {
		return s, brokenf("record %d does not follow version %d", r.Version, s.Version)
	}
	if r.TimeMS < s.TimeMs {
		return s, brokenf("record %d is of an earlier time than the one before", r.Version)
	}
	next := s
	next.Live = Live{}
	next.Public.begin(r.TimeMS)
	for i := range r.Events {
		if err := next.fold(r.Events[i]); err != nil {
			return s, err
		}
	}
	return next.At(r.Version), nil
}

// follows reports whether a record comes next behind a version. What a torn
// batch left in between never happened, and is not given: behind it stands a
// no-op that has taken a place, or the record that says so. What a ring that is
// gone had vouched for is not given either, and the record that says so is the
// first.
func follows(version uint64, r *events.Record) bool {
	if r.Version == version+1 || len(r.Events) == 0 {
		return r.Version == version+1
	}
	switch body := r.Events[0].Body.(type) {
	case *v1.Claimed:
		return r.Version == version+2 && len(r.Events) == 1
	case *v1.TransactionTorn:
		return r.Version == version+2 && body.GetVersion() == version+1
	case *v1.SecretsLost:
		return version == 0
	}
	return false
}

func (s *State) fold(e events.Event) error {
	group, err := s.epochOf(e.Body)
	if err != nil {
		return err
	}
	if err := s.Public.evolve(e.Body, group); err != nil {
		return err
	}
	if !keepsJoin(e.Body) {
		s.joining = secret.Bytes{}
	}
	for _, part := range e.Secrets {
		if part.Class != events.ClassPrivateState {
			continue
		}
		if part.Plain.IsZero() {
			s.Private, s.joining = nil, secret.Bytes{}
			return nil
		}
		return s.unseal(part.Plain)
	}
	s.Private, err = s.privateAfter(e)
	return err
}

// epochOf reads the epoch that an event leads to out of its open parts, and
// checks it against the facts beside them.
func (s *State) epochOf(body events.Body) (group *mlsengine.PublicGroup, err error) {
	var facts *v1.EpochFacts
	switch e := body.(type) {
	case *v1.ConversationCreated:
		facts = e.GetFacts()
		group, err = mlsengine.ParsePublicGroup(e.GetPublicGroup())
	case *v1.ConversationJoined:
		facts = e.GetFacts()
		group, err = mlsengine.ParsePublicGroup(e.GetPublicGroup())
	case *v1.EpochAdvanced:
		if s.Group == nil {
			return nil, brokenf("an epoch follows on no group")
		}
		facts = e.GetFacts()
		group, err = s.Group.ApplyDelta(e.GetDelta())
	default:
		return nil, nil
	}
	if err != nil {
		return nil, brokenf("epoch %d: %v", facts.GetEpoch(), err)
	}
	if uint64(group.Epoch()) != facts.GetEpoch() || !bytes.Equal(group.TreeHash(), facts.GetTreeHash()) ||
		!bytes.Equal(group.ConfirmedTranscriptHash(), facts.GetConfirmedTranscriptHash()) ||
		!bytes.Equal(group.ConfirmationTag(), facts.GetConfirmationTag()) {
		return nil, brokenf("epoch %d: the facts are not those of the public state", facts.GetEpoch())
	}
	return group, nil
}

// privateAfter is the private state after an event that does not hold the whole
// of it and that the public state has taken already.
func (s *State) privateAfter(e events.Event) (*Private, error) {
	switch e.Body.(type) {
	case *v1.ConversationCreated, *v1.ConversationJoined, *v1.EpochAdvanced:
		return nil, nil // a new epoch without its secrets
	}
	if s.Private == nil {
		return nil, nil
	}
	p := s.Private.without(e.Body)
	switch body := e.Body.(type) {
	case *v1.GenerationsReserved:
		return p.reserve(mlsengine.ContentType(body.GetContentType()), body.GetFrom(), body.GetCount())
	case *v1.ProposalCreated:
		return p.foldCreated(body, e)
	case *v1.ProposalReceived:
		return p.foldReceived(body, e, s.Config.handshakeLimits())
	case *v1.CommitStaged:
		return p.foldStaged(body, e)
	case *v1.MessagesConsumed, *v1.HistorySecretHeld:
		return p.foldConsumed(e, s.Config.limits())
	}
	return p, nil
}

// partOf finds a sealed part; missing says that the event has one that cannot
// be read.
func partOf(e events.Event, class events.Class) (plain secret.Bytes, missing bool) {
	for _, part := range e.Secrets {
		if part.Class == class {
			return part.Plain, part.Plain.IsZero()
		}
	}
	return secret.Bytes{}, false
}

func (p *Private) foldCreated(body *v1.ProposalCreated, e events.Event) (*Private, error) {
	update, gone := partOf(e, events.ClassConsumption)
	content, unread := partOf(e, events.ClassAudit)
	if gone || unread {
		return nil, nil
	}
	if body.GetEncrypted() {
		var err error
		if p, err = p.reserve(mlsengine.ContentTypeProposal, body.GetGeneration(), 1); err != nil {
			return nil, err
		}
	}
	return p.withProposal(body.GetFacts().GetRef(), update, content), nil
}

func (p *Private) foldReceived(body *v1.ProposalReceived, e events.Event, limits mlsengine.Limits) (*Private, error) {
	content, unread := partOf(e, events.ClassAudit)
	if unread {
		return nil, nil
	}
	next, err := p.foldConsumed(e, limits)
	if next == nil || err != nil {
		return next, err
	}
	return next.withProposal(body.GetFacts().GetRef(), secret.Bytes{}, content), nil
}

func (p *Private) foldStaged(body *v1.CommitStaged, e events.Event) (*Private, error) {
	secrets, gone := partOf(e, events.ClassConsumption)
	if gone {
		return nil, nil
	}
	if body.GetEncrypted() {
		var err error
		if p, err = p.reserve(mlsengine.ContentTypeCommit, body.GetReservedFrom(), body.GetReservedCount()); err != nil {
			return nil, err
		}
	}
	return p.withStaged(secrets), nil
}

func (p *Private) foldConsumed(e events.Event, limits mlsengine.Limits) (*Private, error) {
	plain, gone := partOf(e, events.ClassConsumption)
	if gone {
		return nil, nil
	}
	if plain.IsZero() {
		return p, nil
	}
	uses, err := syntax.Decode[consumptions](plain.Expose())
	if err != nil {
		return nil, brokenf("consumption: %v", err)
	}
	for _, u := range uses {
		if p, err = p.consume(u, limits); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Reseals reports whether the events hold the whole private state. Right before such a record is the place for a
// snapshot of Public: with that record and the following ones it gives the private state too.
func Reseals(evs []events.Event) bool {
	for i := range evs {
		for _, s := range evs[i].Secrets {
			if s.Class == events.ClassPrivateState {
				return true
			}
		}
	}
	return false
}

// Messages reads the spooled plaintexts of a record: what has to be handed to
// the owner again after a restart. Those whose key is gone are left out.
func Messages(r *events.Record) ([]ReceivedMessage, error) {
	var messages []ReceivedMessage
	for i := range r.Events {
		switch r.Events[i].Body.(type) {
		case *v1.MessagesConsumed, *v1.HistorySecretHeld:
		default:
			continue
		}
		plain, ok := r.Events[i].Secret(events.ClassSpool)
		if !ok {
			continue
		}
		list, err := syntax.Decode[spooled](plain.Expose())
		if err != nil {
			return nil, brokenf("spool of record %d: %v", r.Version, err)
		}
		messages = append(messages, list...)
	}
	return messages, nil
}

// TellsOnly reports whether these messages, which a step has decrypted, are all that its events tell the owner.
func TellsOnly(evs []events.Event, messages []ReceivedMessage) bool {
	if len(evs) != 1 {
		return false
	}
	body, ok := evs[0].Body.(*v1.MessagesConsumed)
	return ok && int(body.GetSpooled()) == len(messages)
}
