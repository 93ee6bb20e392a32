package scripts

import (
	"context"
	"slices"

	"parley/internal/interop/mlsclient"
)

const (
	// signersMax bounds the external signers of a group.
	signersMax = 3
	// addsMax and keysMax bound what one commit holds of a kind.
	addsMax = 3
	keysMax = 2
)

// commit draws a commit of a member and takes the group to the next epoch.
func (w *world) commit(ctx context.Context) error {
	p := &plan{world: w, committer: pick(w, w.members), signers: slices.Clone(w.signers), proposers: w.members}
	if err := p.draw(ctx); err != nil {
		return err
	}
	w.rand.Shuffle(len(p.later), func(i, j int) { p.later[i], p.later[j] = p.later[j], p.later[i] })
	for _, propose := range p.later {
		if err := propose(ctx); err != nil {
			return err
		}
	}
	if w.chance(10) && w.can(Orphans) {
		by := pick(w, w.members)
		r, err := call(ctx, by, mlsclient.MLSClientClient.UpdateProposal, &mlsclient.UpdateProposalRequest{StateId: by.state})
		if err != nil {
			return err
		}
		p.orphans = append(p.orphans, r.GetProposal())
	}
	return p.run(ctx)
}

// draw decides what the commit changes.
func (p *plan) draw(ctx context.Context) error {
	w := p.world
	for range w.rand.IntN(addsMax + 1) {
		if len(w.members)+len(p.joiners) < w.options.ActorsMax {
			if err := p.addSomebody(ctx); err != nil {
				return err
			}
		}
	}
	for _, a := range w.others(p.committer) {
		switch kind := w.rand.IntN(100); {
		case kind < 15 && len(w.members)-len(p.leaving) > 2:
			p.remove(a)
		case kind < 35:
			p.update(a)
		}
	}
	for range w.rand.IntN(keysMax + 1) {
		if w.chance(30) {
			if err := p.externalKey(ctx); err != nil {
				return err
			}
		}
	}
	if len(p.joiners) == 0 && w.chance(25) && w.can(Resume) {
		p.resumptionKey()
	}
	switch kind := w.rand.IntN(100); {
	case kind < 10 && w.can(Extend):
		p.changeExtensions()
	case kind < 25 && len(w.signers) < signersMax && w.can(External):
		return p.addSigner(ctx)
	}
	return nil
}

// run makes the commit and lets everybody follow.
func (p *plan) run(ctx context.Context) error {
	w := p.world
	beside := w.treeBeside(40)
	out, err := call(ctx, p.committer, mlsclient.MLSClientClient.Commit, &mlsclient.CommitRequest{
		StateId: p.committer.state, ByReference: p.byRef, ByValue: p.byValue, ForcePath: w.chance(40), ExternalTree: beside,
	})
	if err != nil {
		return err
	}
	if w.chance(20) && w.can(Late) { // the committer can still talk in the old epoch
		if err := w.say(ctx, p.committer); err != nil {
			return err
		}
	}
	mine, err := call(ctx, p.committer, mlsclient.MLSClientClient.HandlePendingCommit, &mlsclient.HandlePendingCommitRequest{StateId: p.committer.state})
	if err != nil {
		return err
	}
	p.committer.state = mine.GetStateId()
	for _, a := range p.staying() {
		if a == p.committer {
			continue
		}
		if err := a.follow(ctx, slices.Concat(p.orphans, p.byRef), out.GetCommit(), mine.GetEpochAuthenticator()); err != nil {
			return err
		}
	}
	w.epoch++
	w.members = p.staying()
	w.gone = append(w.gone, p.leaving...)
	w.signers = p.signers
	for _, j := range p.joiners {
		if err := p.welcome(ctx, j, out, mine.GetEpochAuthenticator()); err != nil {
			return err
		}
	}
	w.trace.note("epoch %d, %d members", w.epoch, len(w.members))
	return nil
}

// follow lets a member handle a commit.
func (a *actor) follow(ctx context.Context, proposals [][]byte, commit, authenticator []byte) error {
	r, err := call(ctx, a, mlsclient.MLSClientClient.HandleCommit, &mlsclient.HandleCommitRequest{
		StateId: a.state, Proposal: proposals, Commit: commit,
	})
	if err != nil {
		return err
	}
	a.state = r.GetStateId()
	return sameAuthenticator(a, r.GetEpochAuthenticator(), authenticator)
}

// welcome lets a new member join.
func (p *plan) welcome(ctx context.Context, j *joiner, out *mlsclient.CommitResponse, authenticator []byte) error {
	w := p.world
	r, err := call(ctx, j.actor, mlsclient.MLSClientClient.JoinGroup, &mlsclient.JoinGroupRequest{
		TransactionId: j.transaction, Welcome: out.GetWelcome(), EncryptHandshake: w.private,
		Identity: []byte(j.actor.name), RatchetTree: out.GetRatchetTree(),
	})
	if err != nil {
		return err
	}
	if err := sameAuthenticator(j.actor, r.GetEpochAuthenticator(), authenticator); err != nil {
		return err
	}
	return w.arrive(ctx, j.actor, j.back, r.GetStateId())
}

// arrive makes an actor a member of the present epoch.
func (w *world) arrive(ctx context.Context, a *actor, back bool, state uint32) error {
	if back {
		w.forgetUnread(a)
		w.gone = slices.DeleteFunc(w.gone, func(b *actor) bool { return a == b })
		if err := a.free(ctx); err != nil {
			return err
		}
	}
	a.state, a.since = state, w.epoch
	w.members = append(w.members, a)
	return nil
}
