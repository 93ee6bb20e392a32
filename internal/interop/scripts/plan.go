package scripts

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"parley/internal/interop/mlsclient"
)

// plan is a commit in the making: what it changes, and how each change gets into it.
type plan struct {
	world     *world
	committer *actor
	joiners   []*joiner
	leaving   []*actor
	signers   []*signer // after the commit
	proposers []*actor  // members who may send proposals
	byRef     [][]byte
	byValue   []*mlsclient.ProposalDescription
	orphans   [][]byte                      // proposals that the commit leaves out, and that the others are handed all the same
	later     []func(context.Context) error // what is proposed, in random order
}

// joiner is an actor about to be added.
type joiner struct {
	actor       *actor
	transaction uint32
	back        bool // it was a member before
}

// staying lists who is a member before and after the commit.
func (p *plan) staying() []*actor { return p.world.others(p.leaving...) }

// include puts a change into the commit: by value, or by reference to a proposal of a member or of an external signer.
func (p *plan) include(d *mlsclient.ProposalDescription, propose func(context.Context, *actor) (*mlsclient.ProposalResponse, error)) {
	w := p.world
	switch way := w.rand.IntN(100); {
	case way < 40:
		p.byValue = append(p.byValue, d)
	case way < 60 && len(w.signers) > 0 && w.can(External):
		s := pick(w, w.signers)
		p.propose(func(ctx context.Context) ([]byte, error) { return w.signerProposal(ctx, s, d) })
	default:
		by := pick(w, p.proposers)
		p.propose(func(ctx context.Context) ([]byte, error) {
			r, err := propose(ctx, by)
			return r.GetProposal(), err
		})
	}
}

// propose has a proposal sent later, and committed by reference.
func (p *plan) propose(send func(context.Context) ([]byte, error)) {
	p.later = append(p.later, func(ctx context.Context) error {
		message, err := send(ctx)
		p.byRef = append(p.byRef, message)
		return err
	})
}

// signerProposal lets an external signer propose something.
func (w *world) signerProposal(ctx context.Context, s *signer, d *mlsclient.ProposalDescription) ([]byte, error) {
	helper := pick(w, w.members)
	beside := w.treeBeside(70) || !w.can(Inside)
	gi, err := call(ctx, helper, mlsclient.MLSClientClient.GroupInfo, &mlsclient.GroupInfoRequest{StateId: helper.state, ExternalTree: beside})
	if err != nil {
		return nil, err
	}
	r, err := call(ctx, s.actor, mlsclient.MLSClientClient.ExternalSignerProposal, &mlsclient.ExternalSignerProposalRequest{
		SignerId: s.id, GroupInfo: gi.GetGroupInfo(), RatchetTree: gi.GetRatchetTree(), Description: d,
	})
	return r.GetProposal(), err
}

// addSomebody adds a new actor, or one that was a member before.
func (p *plan) addSomebody(ctx context.Context) error {
	w := p.world
	j := &joiner{}
	if len(w.gone) > 0 && w.chance(40) {
		j.actor, j.back = pick(w, w.gone), true
	} else {
		j.actor = w.newActor()
	}
	if slices.ContainsFunc(p.joiners, func(other *joiner) bool { return other.actor == j.actor }) {
		return nil
	}
	p.joiners = append(p.joiners, j)
	if w.chance(20) && w.can(External) {
		return p.addItself(ctx, j)
	}
	r, err := call(ctx, j.actor, mlsclient.MLSClientClient.CreateKeyPackage, &mlsclient.CreateKeyPackageRequest{
		CipherSuite: w.suite, Identity: []byte(j.actor.name),
	})
	if err != nil {
		return err
	}
	j.transaction = r.GetTransactionId()
	kp := r.GetKeyPackage()
	p.include(&mlsclient.ProposalDescription{ProposalType: []byte("add"), KeyPackage: kp},
		func(ctx context.Context, by *actor) (*mlsclient.ProposalResponse, error) {
			return call(ctx, by, mlsclient.MLSClientClient.AddProposal, &mlsclient.AddProposalRequest{StateId: by.state, KeyPackage: kp})
		})
	return nil
}

// addItself lets a joiner propose from outside to be added.
func (p *plan) addItself(ctx context.Context, j *joiner) error {
	helper := pick(p.world, p.world.members)
	gi, err := call(ctx, helper, mlsclient.MLSClientClient.GroupInfo, &mlsclient.GroupInfoRequest{StateId: helper.state})
	if err != nil {
		return err
	}
	r, err := call(ctx, j.actor, mlsclient.MLSClientClient.NewMemberAddProposal, &mlsclient.NewMemberAddProposalRequest{
		GroupInfo: gi.GetGroupInfo(), Identity: []byte(j.actor.name),
	})
	if err != nil {
		return err
	}
	j.transaction = r.GetTransactionId()
	p.byRef = append(p.byRef, r.GetProposal())
	return nil
}

// remove lets a member go.
func (p *plan) remove(a *actor) {
	p.leaving = append(p.leaving, a)
	p.include(&mlsclient.ProposalDescription{ProposalType: []byte("remove"), RemovedId: []byte(a.name)},
		func(ctx context.Context, by *actor) (*mlsclient.ProposalResponse, error) {
			return call(ctx, by, mlsclient.MLSClientClient.RemoveProposal, &mlsclient.RemoveProposalRequest{
				StateId: by.state, RemovedId: []byte(a.name),
			})
		})
}

// update lets a member replace its leaf.
func (p *plan) update(a *actor) {
	p.propose(func(ctx context.Context) ([]byte, error) {
		r, err := call(ctx, a, mlsclient.MLSClientClient.UpdateProposal, &mlsclient.UpdateProposalRequest{StateId: a.state})
		return r.GetProposal(), err
	})
}

// newKey draws an external pre-shared key.
func (w *world) newKey() *mlsclient.PreSharedKey {
	w.keyCount++
	k := &mlsclient.PreSharedKey{PskId: fmt.Appendf(nil, "key %d", w.keyCount), PskSecret: make([]byte, 16+w.rand.IntN(48))}
	for i := range k.PskSecret {
		k.PskSecret[i] = byte(w.rand.Uint32())
	}
	return k
}

func give(ctx context.Context, a *actor, id uint32, k *mlsclient.PreSharedKey) error {
	_, err := call(ctx, a, mlsclient.MLSClientClient.StorePSK, &mlsclient.StorePSKRequest{
		StateOrTransactionId: id, PskId: k.GetPskId(), PskSecret: k.GetPskSecret(),
	})
	return err
}

// externalKey gives everybody a key and mixes it in. Who is about to leave gets it too: it may be the one who proposes.
func (p *plan) externalKey(ctx context.Context) error {
	k := p.world.newKey()
	for _, a := range p.world.members {
		if err := give(ctx, a, a.state, k); err != nil {
			return err
		}
	}
	for _, j := range p.joiners {
		if err := give(ctx, j.actor, j.transaction, k); err != nil {
			return err
		}
	}
	p.include(&mlsclient.ProposalDescription{ProposalType: []byte("externalPSK"), PskId: k.GetPskId()},
		func(ctx context.Context, by *actor) (*mlsclient.ProposalResponse, error) {
			return call(ctx, by, mlsclient.MLSClientClient.ExternalPSKProposal, &mlsclient.ExternalPSKProposalRequest{
				StateId: by.state, PskId: k.GetPskId(),
			})
		})
	return nil
}

// resumptionReach is how many epochs ago a resumption key may be from.
const resumptionReach = 8

// resumptionKey mixes in the key of an epoch in which all who stay were members. Joiners cannot know one.
func (p *plan) resumptionKey() {
	w := p.world
	first := w.epoch - min(w.epoch, resumptionReach)
	for _, a := range p.staying() {
		first = max(first, a.since)
	}
	epoch := first + w.rand.Uint64N(w.epoch-first+1)
	p.include(&mlsclient.ProposalDescription{ProposalType: []byte("resumptionPSK"), EpochId: epoch},
		func(ctx context.Context, by *actor) (*mlsclient.ProposalResponse, error) {
			return call(ctx, by, mlsclient.MLSClientClient.ResumptionPSKProposal, &mlsclient.ResumptionPSKProposalRequest{
				StateId: by.state, EpochId: epoch,
			})
		})
}

// The extensions of a group that every client supports (RFC 9420 section 17.3).
const (
	requiredCapabilities = 3
	externalSenders      = 5
)

// anyExtensions draws extensions for a group. External signers stay, or all of them go.
func (w *world) anyExtensions() ([]*mlsclient.Extension, []*signer) {
	if !w.can(Extend) {
		return nil, nil
	}
	var list []*mlsclient.Extension
	switch w.rand.IntN(3) {
	case 0: // three empty lists
		list = append(list, &mlsclient.Extension{ExtensionType: requiredCapabilities, ExtensionData: []byte{0, 0, 0}})
	case 1: // credential type basic
		if !w.can(Require) {
			break
		}
		list = append(list, &mlsclient.Extension{ExtensionType: requiredCapabilities, ExtensionData: []byte{0, 0, 2, 0, 1}})
	}
	var kept []*signer
	if len(w.signers) > 0 && w.chance(70) {
		kept = slices.Clone(w.signers)
	}
	if len(kept) > 0 || w.chance(30) {
		var senders []byte
		for _, s := range kept {
			senders = append(senders, s.sender...)
		}
		list = append(list, &mlsclient.Extension{ExtensionType: externalSenders, ExtensionData: append(vectorLength(len(senders)), senders...)})
	}
	return list, kept
}

// vectorLength is the header of a vector (RFC 9420 section 2.1.2).
func vectorLength(n int) []byte {
	switch {
	case n < 1<<6:
		return []byte{byte(n)}
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(nil, 1<<14|uint16(n))
	}
	return binary.BigEndian.AppendUint32(nil, 1<<31|uint32(n))
}

// changeExtensions replaces the group's extensions.
func (p *plan) changeExtensions() {
	var list []*mlsclient.Extension
	list, p.signers = p.world.anyExtensions()
	p.include(&mlsclient.ProposalDescription{ProposalType: []byte("groupContextExtensions"), Extensions: list},
		func(ctx context.Context, by *actor) (*mlsclient.ProposalResponse, error) {
			return call(ctx, by, mlsclient.MLSClientClient.GroupContextExtensionsProposal, &mlsclient.GroupContextExtensionsProposalRequest{
				StateId: by.state, Extensions: list,
			})
		})
}

// addSigner lets somebody from outside send proposals from the next epoch on.
func (p *plan) addSigner(ctx context.Context) error {
	w := p.world
	s := &signer{actor: w.newActor()}
	r, err := call(ctx, s.actor, mlsclient.MLSClientClient.CreateExternalSigner, &mlsclient.CreateExternalSignerRequest{
		CipherSuite: w.suite, Identity: []byte(s.actor.name),
	})
	if err != nil {
		return err
	}
	s.id, s.sender = r.GetSignerId(), r.GetExternalSender()
	p.signers = append(p.signers, s)
	by := pick(w, p.proposers)
	p.propose(func(ctx context.Context) ([]byte, error) {
		r, err := call(ctx, by, mlsclient.MLSClientClient.AddExternalSigner, &mlsclient.AddExternalSignerRequest{
			StateId: by.state, ExternalSender: s.sender,
		})
		return r.GetProposal(), err
	})
	return nil
}
