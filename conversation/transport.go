package conversation

import (
	"errors"
	"fmt"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// transportAnswered settles the staged commit, or sends it again. An answer
// about any other bundle is about one that is settled already.
func (w *work) transportAnswered(in TransportAnswered) error {
	staged := w.s.Staged
	if staged == nil || staged.Digest != in.Bundle {
		return nil
	}
	switch in.Outcome {
	case TransportSuccess:
		if w.s.Config.Transport == TransportBuiltIn {
			// Acceptance is final and stands in the order. It is merged where it is seen there, behind everything before it.
			w.reply.FollowThrough = in.Position
			return nil
		}
		return w.merge(in.Position)
	case TransportRetry:
		if staged.Attempt >= RetriesMax {
			return w.reject(staged, refuse(RetriesExhausted, Retry, "after %d attempts: %s", staged.Attempt+1, in.Reason))
		}
		body := &v1.CommitRetried{BundleDigest: staged.Digest[:], Attempt: staged.Attempt + 1, Reason: bounded(in.Reason)}
		if err := w.emit(event{body: body}); err != nil {
			return err
		}
		w.outbox = append(w.outbox, w.s.bundle())
		return nil
	case TransportAbort:
		return w.reject(staged, refuse(TransportAborted, GiveUp, "%s", in.Reason))
	}
	return brokenf("transport outcome %d", in.Outcome)
}

// reject drops the staged commit. Its secrets die with a checkpoint in the same
// record; pending proposals stay.
func (w *work) reject(staged *StagedCommit, why *CommandError) error {
	if err := w.emit(rejection(staged, why)); err != nil {
		return err
	}
	if err := w.seal("commit rejected"); err != nil {
		return err
	}
	return w.complete(staged.Command, why, commandOutcome{})
}

func rejection(staged *StagedCommit, why *CommandError) event {
	outcome := TransportAbort
	if why.Advice == Retry {
		outcome = TransportRetry
	}
	return event{body: &v1.CommitRejected{
		BundleDigest: staged.Digest[:], Reason: bounded(why.Detail), Outcome: uint32(outcome), Code: string(why.Code),
	}}
}

// merge takes the own staged commit as the next epoch: the transport has
// accepted it. After a crash only its message and secrets are left, and lead to
// the same epoch.
func (w *work) merge(position uint64) error {
	if err := w.flush(); err != nil {
		return err
	}
	commit := w.s.Staged
	staged, err := w.resume(commit)
	if errors.Is(err, ErrBroken) || errors.Is(err, mlsengine.ErrStoredState) {
		return fmt.Errorf("%w: resume the commit of epoch %d: %w", ErrBroken, commit.Epoch, err)
	}
	if err != nil {
		return w.unreachable(incoming{position: position, ordered: true}, err)
	}
	if err := w.emit(event{body: &v1.CommitAccepted{BundleDigest: commit.Digest[:], Position: position}}); err != nil {
		return err
	}
	err = w.enterEpoch(advance{
		staged: staged, content: staged.Commit, cause: v1.EpochCause_EPOCH_CAUSE_OWN, position: position,
		digest: ids.DigestOf(commit.Commit), encrypted: commit.Encrypted,
	})
	if err != nil {
		return err
	}
	return w.complete(commit.Command, nil, commandOutcome{epoch: w.s.Epoch()})
}

// resume is the outcome of the staged commit: as it was made, or from what the
// log has of it.
func (w *work) resume(commit *StagedCommit) (*mlsengine.Staged, error) {
	if w.s.Live.staged != nil {
		return w.s.Live.staged, nil
	}
	contents, err := w.pendingContents()
	if err != nil {
		return nil, err
	}
	return w.s.Private.Group.ResumeCommit(mlsengine.ResumeInput{
		Message: commit.Commit, Secrets: w.s.Private.staged, Proposals: contents, PSKs: w.env.PSKs,
	}, w.env.engine())
}

// unreachable says that an accepted commit cannot be followed. Acceptance is
// final for everybody, so the only way on is to join again.
func (w *work) unreachable(in incoming, cause error) error {
	var rule *mlsengine.RuleError
	body := &v1.EpochUnreachable{Epoch: uint64(w.s.Epoch()), Position: in.position, Detail: bounded(cause.Error())}
	if errors.As(cause, &rule) {
		body.Rule = rule.Rule.Code()
	}
	staged := w.s.Staged
	if err := w.emitSealed(event{body: body}, nil); err != nil { // what is of no use any more must not be kept until the rejoin
		return err
	}
	w.note(Outcome{
		Kind: OutcomeUnreachable, Code: ConversationUnreachable, Rule: body.Rule, Detail: body.Detail,
		Position: in.position, Epoch: w.s.Epoch(),
	})
	return w.abandon(staged, refuse(ConversationUnreachable, Rejoin, "an accepted commit cannot be followed"))
}
