package conversation

import (
	"errors"
	"slices"

	v1 "parley/events/v1"
	"parley/mlsengine"
)

// The prefix of the warning that an own proposal which a commit left out could
// not be made anew; the reason follows.
const warningNotRenewed = "ProposalNotRenewed:"

// renewal is what became of the own proposals that a commit left out.
type renewal struct {
	proposals []Proposal
	warnings  []string
}

// ownProposals lists the own pending proposals.
func (p Public) ownProposals() []PendingProposal {
	var own []PendingProposal
	for _, q := range p.Pending {
		if q.Own {
			own = append(own, q)
		}
	}
	return own
}

// renew makes own proposals anew that the commit of their epoch left out,
// unless it did what they want. They are pending in the new epoch, and have to
// reach the others again.
//
//	Add             dropped when the commit added the client
//	Remove          dropped when the commit removed the member: who holds its leaf next is somebody else
//	Update          dropped when the commit holds one of ours; of several the first is made anew. One that changes
//	                what our leaf presents goes before, and is dropped only when the leaf does so
//	anything else   dropped
//
// Proposals of others are theirs to renew. What cannot be made anew is a
// warning: nothing may keep us from following the commit.
func (w *work) renew(before []PendingProposal, e *v1.EpochAdvanced) (renewal, error) {
	var r renewal
	if w.s.Lifecycle != Active || w.s.Private == nil || w.env.Identity == nil || w.s.Group.ReInit() != nil {
		return r, nil
	}
	done := &v1.ProposalsRenewed{}
	switches := w.switching(before)
	updated := updates(e, w.s.OwnLeaf) && switches == ""
	for _, q := range before {
		p, err := mlsengine.ParseProposal(q.Proposal)
		if err != nil || q.Renewed >= RenewalsMax || applied(q, e) {
			continue
		}
		p = wantedAfter(p, e)
		switch p.(type) {
		case *mlsengine.Add, *mlsengine.Remove:
		case *mlsengine.Update:
			if updated || q.Credential != switches {
				continue
			}
			updated = true
		default:
			continue
		}
		made, err := w.makeProposal(wish{proposal: p, credential: q.Credential, renewed: q.Renewed + 1})
		var refused *CommandError
		if errors.As(err, &refused) {
			r.warnings = append(r.warnings, bounded(warningNotRenewed+string(refused.Code)))
			continue
		}
		if err != nil {
			return r, err
		}
		r.proposals = append(r.proposals, *made)
		done.From, done.To = append(done.From, q.Ref), append(done.To, made.Ref)
	}
	if len(done.To) == 0 {
		return r, nil
	}
	return r, w.emit(event{body: done})
}

// switching is the credential that the latest of own proposals wants our leaf
// to present and that it does not present yet; empty: none.
func (w *work) switching(own []PendingProposal) CredentialRef {
	for i := len(own) - 1; i >= 0; i-- {
		if ref := own[i].Credential; ref != "" {
			if ref == w.s.Config.Credential {
				return ""
			}
			return ref
		}
	}
	return ""
}

// applied reports whether the commit put the proposal itself into effect.
func applied(q PendingProposal, e *v1.EpochAdvanced) bool {
	return slices.ContainsFunc(e.GetProposals(), func(f *v1.ProposalFacts) bool { return slices.Equal(f.GetRef(), q.Ref) })
}
