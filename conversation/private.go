package conversation

import (
	"bytes"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// withGroup is the private state with another successor of its epoch.
func (p *Private) withGroup(g *mlsengine.Group) *Private {
	next := *p
	next.Group = g
	return &next
}

// withPast is the private state with another successor of a past epoch.
func (p *Private) withPast(i int, g *mlsengine.Group) *Private {
	next := *p
	next.Past = slices.Clone(p.Past)
	next.Past[i] = g
	return &next
}

// withProposal keeps what a pending proposal needs that its event does not
// show: the key of an own Update, the signed bytes of one that is encrypted.
func (p *Private) withProposal(ref mlsengine.ProposalRef, update, content secret.Bytes) *Private {
	next := *p
	if update.Len() > 0 {
		next.updates = append(slices.Clone(p.updates), keyed{ref, update})
	}
	if content.Len() > 0 {
		next.contents = append(slices.Clone(p.contents), keyed{ref, content})
	}
	return &next
}

// withStaged keeps what the own staged commit cannot be resumed without.
func (p *Private) withStaged(secrets secret.Bytes) *Private {
	next := *p
	next.staged = secrets
	return &next
}

// next is the private state of the next epoch.
func (p *Private) next(g *mlsengine.Group, pastEpochs uint32) *Private {
	past := append([]*mlsengine.Group{p.Group.Retire()}, p.Past...)
	if n := int(pastEpochs); len(past) > n {
		past = past[:n]
	}
	return &Private{Group: g, Past: past}
}

// consume repeats what a message used up, in whichever epoch it was.
func (p *Private) consume(u consumption, limits mlsengine.Limits) (*Private, error) {
	if p.Group.Epoch() == u.epoch {
		g, err := p.Group.Consume(u.leaf, u.content, u.generation, limits)
		if err != nil {
			return nil, brokenf("consumption in epoch %d: %v", u.epoch, err)
		}
		return p.withGroup(g), nil
	}
	for i, past := range p.Past {
		if past.Epoch() != u.epoch {
			continue
		}
		g, err := past.Consume(u.leaf, u.content, u.generation, limits)
		if err != nil {
			return nil, brokenf("consumption in past epoch %d: %v", u.epoch, err)
		}
		return p.withPast(i, g), nil
	}
	return nil, brokenf("consumption in epoch %d, which is not kept", u.epoch)
}

// reserve moves an own ratchet past generations that a record speaks for.
func (p *Private) reserve(ct mlsengine.ContentType, from, count uint32) (*Private, error) {
	got, g, block, err := p.Group.Reserve(ct, count)
	if err != nil {
		return nil, brokenf("reservation: %v", err)
	}
	block.Discard()
	if uint32(got) != from {
		return nil, brokenf("the record reserves from generation %d, the ratchet is at %d", from, got)
	}
	return p.withGroup(g), nil
}

// without is the private state after an event that only takes secrets away.
func (p *Private) without(body events.Body) *Private {
	if p == nil {
		return nil
	}
	next := *p
	switch e := body.(type) {
	case *v1.CommitDiscarded:
		next.shelved = append(slices.Clone(p.shelved), keyed{e.GetBundleDigest(), p.staged})
		next.staged = secret.Bytes{}
	case *v1.CommitRejected:
		if n := len(p.shelved); n > 0 {
			if next.shelved = withoutRef(p.shelved, e.GetBundleDigest()); len(next.shelved) < n {
				return &next
			}
		}
		next.staged = secret.Bytes{}
	case *v1.LogRolledBack:
		next.staged, next.shelved = secret.Bytes{}, nil
	case *v1.EpochKeysShredded:
		next.Past = slices.DeleteFunc(slices.Clone(p.Past), func(g *mlsengine.Group) bool { return uint64(g.Epoch()) == e.GetEpoch() })
	case *v1.ConversationWiped, *v1.MemberEvicted, *v1.SecretsLost, *v1.EpochUnreachable, *v1.GroupRestarted:
		return nil
	default:
		return p
	}
	return &next
}

// shelvedSecrets is what a discarded commit needs to be resumed.
func (p *Private) shelvedSecrets(bundle ids.Digest) secret.Bytes {
	for _, k := range p.shelved {
		if bytes.Equal(k.ref, bundle[:]) {
			return k.value
		}
	}
	return secret.Bytes{}
}

func withoutRef(list []keyed, ref []byte) []keyed {
	return slices.DeleteFunc(slices.Clone(list), func(k keyed) bool { return bytes.Equal(k.ref, ref) })
}

// ownUpdates is what the engine needs of own pending Updates.
func (p *Private) ownUpdates() mlsengine.OwnUpdates {
	updates := make(mlsengine.OwnUpdates, len(p.updates))
	for _, u := range p.updates {
		updates[string(u.ref)] = u.value
	}
	return updates
}

// content finds the signed bytes of a pending proposal.
func (p *Private) content(q PendingProposal) ([]byte, bool) {
	if !q.Encrypted {
		return q.Content, true
	}
	for _, k := range p.contents {
		if bytes.Equal(k.ref, q.Ref) {
			return k.value.Expose(), true
		}
	}
	return nil, false
}
