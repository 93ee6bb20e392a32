package conversation

import (
	"bytes"
	"errors"
	"slices"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// SupersededCommit is what remains of an own commit when another one wins its
// epoch. The command goes on: what it wants, less what others have done
// meanwhile, is committed anew in the epoch that the winner led to, once the
// transport has answered that it may be tried again.
//
// Its proposals travel in the new commit itself, so that whoever receives the
// commit can apply it.
type SupersededCommit struct {
	Digest     ids.Digest // of the bundle that lost
	Command    CommandRef
	Intent     string // the command's name
	Clients    []ids.ClientID
	Inline     [][]byte // what it still wants, as Proposal structs
	Done       bool     // others have done all of it
	Rebuilt    uint32
	Credential CredentialRef // what the own leaf is to present; empty: what it does
}

func superseded(c *StagedCommit) *SupersededCommit {
	s := &SupersededCommit{
		Digest: c.Digest, Command: c.Command, Intent: c.Intent, Clients: c.Clients, Inline: c.Inline, Rebuilt: c.Rebuilt, Done: c.carriedOut,
	}
	if c.Intent == (SetCredential{}).Name() {
		s.Credential = c.Credential // of any other command it was that of a pending Update, which is made anew by itself
	}
	return s
}

// CommitInFlight reports whether a command waits for the fate of its commit.
func (p Public) CommitInFlight() bool { return p.waiting().Name != "" }

// waiting is the command that waits; zero where none does.
func (p Public) waiting() CommandRef {
	if p.Joining != nil && !p.Joining.Failed {
		return p.Joining.Command
	}
	return p.committing()
}

// committing is the command that waits for a commit of this membership, and
// ends with it.
func (p Public) committing() CommandRef {
	switch {
	case p.Superseded != nil:
		return p.Superseded.Command
	case p.Staged != nil && !p.Staged.Failed:
		return p.Staged.Command
	}
	return CommandRef{}
}

// after is what a command still wants after an epoch's commit. An Add is done
// when the client was added, a Remove when its leaf was vacated: whoever has
// taken the leaf since is somebody else. The credential is what our leaf presents
// behind the commit.
func (s *SupersededCommit) after(e *v1.EpochAdvanced, own mlsengine.LeafIndex, presented CredentialRef) *SupersededCommit {
	next := *s
	next.Inline = nil
	for _, b := range s.Inline {
		p, err := mlsengine.ParseProposal(b)
		if err != nil {
			continue
		}
		if left := wantedAfter(p, e); left != nil {
			next.Inline = append(next.Inline, mlsengine.MarshalProposal(left))
		}
	}
	switch {
	case len(s.Inline) > 0:
		next.Done = len(next.Inline) == 0
	case s.Intent == (UpdateKeyMaterial{}).Name():
		next.Done = s.Done || updates(e, own)
	case s.Intent == (SetCredential{}).Name():
		next.Done = presented == s.Credential
	}
	return &next
}

// wantedAfter is what a proposal still wants after a commit, nil for nothing. A
// member that came in anew in place of its own old leaf has escaped nobody.
func wantedAfter(p mlsengine.Proposal, e *v1.EpochAdvanced) mlsengine.Proposal {
	switch wanted := p.(type) {
	case *mlsengine.Add:
		client := ClientOf(wanted.KeyPackage.LeafNode.Credential)
		if slices.ContainsFunc(e.GetAdded(), func(m *v1.MemberChange) bool { return ids.ClientID(m.GetClient()) == client }) {
			return nil
		}
	case *mlsengine.Remove:
		i := slices.IndexFunc(e.GetRemoved(), func(m *v1.MemberChange) bool { return m.GetLeaf() == uint32(wanted.Removed) })
		switch {
		case i < 0:
		case e.GetCause() == v1.EpochCause_EPOCH_CAUSE_EXTERNAL && bytes.Equal(e.GetRemoved()[i].GetClient(), e.GetCommitter()):
			return &mlsengine.Remove{Removed: mlsengine.LeafIndex(e.GetCommitterLeaf())}
		default:
			return nil
		}
	}
	return p
}

// updates reports whether a commit put an Update of a leaf into effect.
func updates(e *v1.EpochAdvanced, leaf mlsengine.LeafIndex) bool {
	return slices.ContainsFunc(e.GetProposals(), func(f *v1.ProposalFacts) bool {
		return mlsengine.ProposalType(f.GetType()) == mlsengine.ProposalTypeUpdate &&
			mlsengine.SenderType(f.GetSenderType()) == mlsengine.SenderTypeMember && f.GetSenderIndex() == uint32(leaf)
	})
}

// answerSuperseded decides how a command goes on whose commit lost its epoch.
func (w *work) answerSuperseded(lost SupersededCommit, in TransportAnswered) error {
	switch in.Outcome {
	case TransportRetry:
		return w.rebuild(lost)
	case TransportAbort:
		return w.giveUp(lost, refuse(TransportAborted, GiveUp, "%s", in.Reason))
	case TransportSuccess, TransportFailed:
		return w.giveUp(lost, refuse(CommitSuperseded, Retry, "another commit won the epoch"))
	}
	return brokenf("transport outcome %d", in.Outcome)
}

// rebuild commits anew what is left of a command. Where nothing is, it is done.
func (w *work) rebuild(lost SupersededCommit) error {
	switch {
	case lost.Done, lost.Intent == (Resolve{}).Name(), lost.Intent == (CommitPending{}).Name() && len(w.s.Pending) == 0, w.s.shared(lost.Intent):
		return w.giveUp(lost, nil)
	case lost.Rebuilt >= RebuildsMax:
		return w.giveUp(lost, refuse(RetriesExhausted, Retry, "%d other commits won their epochs", lost.Rebuilt+1))
	}
	again := intent{
		command: lost.Command, name: lost.Intent, clients: lost.Clients, forcePath: lost.Intent != (RemoveMembers{}).Name(), rebuilt: lost.Rebuilt + 1,
		credential: lost.Credential,
	}
	for _, b := range lost.Inline {
		p, err := mlsengine.ParseProposal(b)
		if err != nil {
			return brokenf("a proposal of %s: %v", lost.Intent, err)
		}
		again.inline = append(again.inline, p)
	}
	err := w.member()
	if err == nil && w.env.Identity == nil {
		err = refuse(CredentialNotFound, GiveUp, "credential %q has no signature key here", w.s.Config.Credential)
	}
	if err == nil {
		err = w.commit(again)
	}
	var refused *CommandError
	if errors.As(err, &refused) {
		return w.giveUp(lost, refused)
	}
	return err
}

// giveUp ends the command of a superseded commit: with an error, or because
// others have done what it wanted.
func (w *work) giveUp(lost SupersededCommit, why *CommandError) error {
	body := &v1.CommitAbandoned{BundleDigest: lost.Digest[:]}
	if why != nil {
		body.Code, body.Reason = string(why.Code), bounded(why.Detail)
	}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	return w.complete(lost.Command, why, commandOutcome{})
}
