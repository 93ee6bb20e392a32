package scripts

import (
	"context"
	"slices"

	"parley/internal/interop/mlsclient"
)

// externalJoin lets somebody join from outside: a new actor, one that was a member before, or a member that starts anew.
func (w *world) externalJoin(ctx context.Context) error {
	joiner, back, prior := w.newcomer()
	members := w.others(joiner)
	helper := pick(w, members)
	gi, err := call(ctx, helper, mlsclient.MLSClientClient.GroupInfo, &mlsclient.GroupInfoRequest{StateId: helper.state, ExternalTree: w.treeBeside(40)})
	if err != nil {
		return err
	}
	var keys []*mlsclient.PreSharedKey
	for range w.rand.IntN(keysMax + 1) {
		k := w.newKey()
		keys = append(keys, k)
		for _, a := range members {
			if err := give(ctx, a, a.state, k); err != nil {
				return err
			}
		}
	}
	r, err := call(ctx, joiner, mlsclient.MLSClientClient.ExternalJoin, &mlsclient.ExternalJoinRequest{
		GroupInfo: gi.GetGroupInfo(), RatchetTree: gi.GetRatchetTree(), EncryptHandshake: w.private,
		Identity: []byte(joiner.name), RemovePrior: prior, Psks: keys,
	})
	if err != nil {
		return err
	}
	for _, a := range members {
		if err := a.follow(ctx, nil, r.GetCommit(), r.GetEpochAuthenticator()); err != nil {
			return err
		}
	}
	w.epoch++
	w.members = members
	w.trace.note("epoch %d, %s joined from outside", w.epoch, joiner)
	return w.arrive(ctx, joiner, back || prior, r.GetStateId())
}

// newcomer draws who joins from outside.
func (w *world) newcomer() (joiner *actor, back, prior bool) {
	full := len(w.members) >= w.options.ActorsMax
	switch {
	case len(w.members) > 1 && (full || w.chance(40)):
		return pick(w, w.members), false, true
	case len(w.gone) > 0 && w.chance(50):
		return pick(w, w.gone), true, false
	}
	return w.newActor(), false, false
}

// reinit closes the group and goes on in a new one with the same members.
func (w *world) reinit(ctx context.Context) error {
	if err := w.read(ctx, 100); err != nil { // the old group's messages are not read from the new one
		return err
	}
	asked, kept := w.successor()
	proposal, err := w.proposeReInit(ctx, asked)
	if err != nil {
		return err
	}
	committer := pick(w, w.members)
	out, err := callNamed(ctx, committer, "ReInitCommit", mlsclient.MLSClientClient.ReInitCommit, &mlsclient.CommitRequest{
		StateId: committer.state, ByReference: [][]byte{proposal}, ForcePath: w.chance(30),
	})
	if err != nil {
		return err
	}
	mine, err := callNamed(ctx, committer, "HandlePendingReInitCommit", mlsclient.MLSClientClient.HandlePendingReInitCommit, &mlsclient.HandlePendingCommitRequest{StateId: committer.state})
	if err != nil {
		return err
	}
	closed := map[*actor]*mlsclient.HandleReInitCommitResponse{committer: mine}
	for _, a := range w.others(committer) {
		closed[a], err = callNamed(ctx, a, "HandleReInitCommit", mlsclient.MLSClientClient.HandleReInitCommit, &mlsclient.HandleCommitRequest{
			StateId: a.state, Proposal: [][]byte{proposal}, Commit: out.GetCommit(),
		})
		if err != nil {
			return err
		}
		if err := sameAuthenticator(a, closed[a].GetEpochAuthenticator(), mine.GetEpochAuthenticator()); err != nil {
			return err
		}
	}
	w.suite, w.signers = asked.GetCipherSuite(), kept
	if err := w.reopen(ctx, closed); err != nil {
		return err
	}
	w.trace.note("reinitialized with suite %d", w.suite)
	return nil
}

// successor draws what the next group is like. Keys of external signers are of one suite, so they only stay if it does.
func (w *world) successor() (*mlsclient.ProposalDescription, []*signer) {
	d := &mlsclient.ProposalDescription{ProposalType: []byte("reinit"), CipherSuite: w.suite, GroupId: w.group}
	if w.chance(50) {
		d.CipherSuite = pick(w, commonSuites(w.options))
	}
	if w.chance(70) {
		w.group = append(slices.Clone(w.group), '+')
		d.GroupId = w.group
	}
	if !w.chance(50) {
		return d, nil
	}
	before := w.signers
	if d.GetCipherSuite() != w.suite {
		w.signers = nil
	}
	list, kept := w.anyExtensions()
	w.signers, d.Extensions = before, list
	return d, kept
}

// proposeReInit lets a member or an external signer propose it.
func (w *world) proposeReInit(ctx context.Context, d *mlsclient.ProposalDescription) ([]byte, error) {
	if len(w.signers) > 0 && w.chance(50) && w.can(External) {
		return w.signerProposal(ctx, pick(w, w.signers), d)
	}
	by := pick(w, w.members)
	r, err := call(ctx, by, mlsclient.MLSClientClient.ReInitProposal, &mlsclient.ReInitProposalRequest{
		StateId: by.state, CipherSuite: d.GetCipherSuite(), GroupId: d.GetGroupId(), Extensions: d.GetExtensions(),
	})
	return r.GetProposal(), err
}

// reopen lets one member make the new group and the others join it.
func (w *world) reopen(ctx context.Context, closed map[*actor]*mlsclient.HandleReInitCommitResponse) error {
	welcomer := pick(w, w.members)
	var offered [][]byte
	for _, a := range w.others(welcomer) {
		offered = append(offered, closed[a].GetKeyPackage())
	}
	made, err := call(ctx, welcomer, mlsclient.MLSClientClient.ReInitWelcome, &mlsclient.ReInitWelcomeRequest{
		ReinitId: closed[welcomer].GetReinitId(), KeyPackage: offered, ForcePath: w.chance(40), ExternalTree: w.treeBeside(40),
	})
	if err != nil {
		return err
	}
	states := map[*actor]uint32{welcomer: made.GetStateId()}
	for _, a := range w.others(welcomer) {
		r, err := call(ctx, a, mlsclient.MLSClientClient.HandleReInitWelcome, &mlsclient.HandleReInitWelcomeRequest{
			ReinitId: closed[a].GetReinitId(), Welcome: made.GetWelcome(), RatchetTree: made.GetRatchetTree(),
		})
		if err != nil {
			return err
		}
		if err := sameAuthenticator(a, r.GetEpochAuthenticator(), made.GetEpochAuthenticator()); err != nil {
			return err
		}
		states[a] = r.GetStateId()
	}
	return w.begin(ctx, w.members, states)
}

// begin makes a group of its own out of some members: epoch 1, with nothing said. Their states in the old group are let go.
func (w *world) begin(ctx context.Context, members []*actor, states map[*actor]uint32) error {
	w.epoch, w.members, w.said = 1, members, nil
	for _, a := range members {
		if err := a.free(ctx); err != nil {
			return err
		}
		a.state, a.since = states[a], 1
	}
	return nil
}

// branch makes a subgroup. The script goes on in it, or lets go of it and stays in the group.
func (w *world) branch(ctx context.Context) error {
	some := slices.Clone(w.members)
	w.rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	some = some[:2+w.rand.IntN(len(some)-1)]
	founder, joiners := some[0], some[1:]
	group := append(slices.Clone(w.group), '/')
	list, kept := w.anyExtensions()
	transactions := make(map[*actor]uint32)
	var offered [][]byte
	for _, a := range joiners {
		r, err := call(ctx, a, mlsclient.MLSClientClient.CreateKeyPackage, &mlsclient.CreateKeyPackageRequest{
			CipherSuite: w.suite, Identity: []byte(a.name),
		})
		if err != nil {
			return err
		}
		transactions[a] = r.GetTransactionId()
		offered = append(offered, r.GetKeyPackage())
	}
	made, err := call(ctx, founder, mlsclient.MLSClientClient.CreateBranch, &mlsclient.CreateBranchRequest{
		StateId: founder.state, GroupId: group, Extensions: list, KeyPackages: offered, ForcePath: w.chance(40), ExternalTree: w.treeBeside(40),
	})
	if err != nil {
		return err
	}
	states := map[*actor]uint32{founder: made.GetStateId()}
	for _, a := range joiners {
		r, err := call(ctx, a, mlsclient.MLSClientClient.HandleBranch, &mlsclient.HandleBranchRequest{
			StateId: a.state, TransactionId: transactions[a], Welcome: made.GetWelcome(), RatchetTree: made.GetRatchetTree(),
		})
		if err != nil {
			return err
		}
		if err := sameAuthenticator(a, r.GetEpochAuthenticator(), made.GetEpochAuthenticator()); err != nil {
			return err
		}
		states[a] = r.GetStateId()
	}
	if w.chance(50) {
		w.trace.note("in the branch, %d members", len(some))
		w.gone = slices.Concat(w.gone, w.others(some...))
		w.group, w.signers = group, kept
		return w.begin(ctx, some, states)
	}
	w.trace.note("the branch is given up")
	for _, a := range some {
		if _, err := call(ctx, a, mlsclient.MLSClientClient.Free, &mlsclient.FreeRequest{StateId: states[a]}); err != nil {
			return err
		}
	}
	return nil
}
