package conversation

import (
	"errors"
	"fmt"
	"slices"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// transportAnswered settles the staged commit, or sends it again. An answer
// about a bundle that is settled already means nothing any more.
func (w *work) transportAnswered(in TransportAnswered) error {
	if lost := w.s.Superseded; lost != nil && lost.Digest == in.Bundle {
		return w.answerSuperseded(*lost, in)
	}
	if i := slices.IndexFunc(w.s.Shelved, func(c StagedCommit) bool { return c.Digest == in.Bundle }); i >= 0 {
		return w.answerShelved(&w.s.Shelved[i], in)
	}
	if j := w.s.Joining; j != nil && j.Digest == in.Bundle {
		return w.answerJoin(j, in)
	}
	staged := w.s.Staged
	if staged == nil || staged.Digest != in.Bundle {
		return nil
	}
	switch in.Outcome {
	case TransportSuccess:
		return w.accepted(staged, in.Position)
	case TransportRetry:
		return w.resend(staged, in.Reason)
	case TransportAbort:
		return w.reject(staged, refuse(TransportAborted, GiveUp, "%s", in.Reason))
	case TransportFailed:
		return w.unanswered(staged, in.Reason)
	}
	return brokenf("transport outcome %d", in.Outcome)
}

// accepted merges an own commit at once where the transport's word is all
// there is. In our own service acceptance is final and stands in the order: it
// is merged where it is seen there, behind everything before it.
func (w *work) accepted(own *StagedCommit, position uint64) error {
	if w.s.Config.Transport == TransportBuiltIn {
		w.reply.FollowThrough = position
		return nil
	}
	if err := w.merge(own, position); err != nil {
		return err
	}
	return w.replay()
}

// resend offers the identical bundle again.
func (w *work) resend(staged *StagedCommit, reason string) error {
	if staged.Attempt >= RetriesMax {
		return w.reject(staged, refuse(RetriesExhausted, Retry, "after %d attempts: %s", staged.Attempt+1, reason))
	}
	body := &v1.CommitRetried{BundleDigest: staged.Digest[:], Attempt: staged.Attempt + 1, Reason: bounded(reason)}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	w.outbox = append(w.outbox, w.s.bundle())
	return nil
}

// unanswered ends the wait for a transport that failed. The commit may have
// been accepted, so it stays staged: until it turns up, or a new one takes its
// place.
func (w *work) unanswered(staged *StagedCommit, reason string) error {
	if staged.Failed {
		return nil
	}
	command := staged.Command
	if err := w.emit(event{body: &v1.CommitUnanswered{BundleDigest: staged.Digest[:], Reason: bounded(reason)}}); err != nil {
		return err
	}
	return w.complete(command, refuse(TransportError, Retry, "%s", reason), commandOutcome{})
}

// discard makes room for a new commit in place of one whose outcome nobody
// knows. What it needs is kept for the rest of the epoch: should it have been
// accepted after all, it counts.
func (w *work) discard() error {
	if w.s.Staged == nil {
		return nil
	}
	return w.emit(event{body: &v1.CommitDiscarded{BundleDigest: w.s.Staged.Digest[:], Reason: "a new commit takes its place"}})
}

// answerShelved hears late of a discarded commit.
func (w *work) answerShelved(own *StagedCommit, in TransportAnswered) error {
	switch in.Outcome {
	case TransportSuccess:
		return w.accepted(own, in.Position)
	case TransportAbort:
		return w.emit(rejection(own, refuse(TransportAborted, GiveUp, "%s", in.Reason)))
	}
	return nil
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
	if staged.Failed {
		return nil // its command has ended already
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

// merge takes an own commit as the next epoch: the transport has accepted it.
// After a crash only its message and secrets are left, and lead to the same
// epoch.
func (w *work) merge(commit *StagedCommit, position uint64) error {
	if err := w.flush(); err != nil {
		return err
	}
	secrets, err := w.secretsOf(commit)
	if err != nil {
		return err
	}
	staged, err := w.resume(commit, secrets.resume)
	if errors.Is(err, ErrBroken) || errors.Is(err, mlsengine.ErrStoredState) {
		return fmt.Errorf("%w: resume the commit of epoch %d: %w", ErrBroken, commit.Epoch, err)
	}
	if err != nil {
		return w.unreachable(incoming{position: position, ordered: true}, err)
	}
	if err := w.emit(event{body: &v1.CommitAccepted{BundleDigest: commit.Digest[:], Position: position}}); err != nil {
		return err
	}
	_, err = w.enterEpoch(advance{
		staged: staged, content: staged.Commit, cause: v1.EpochCause_EPOCH_CAUSE_OWN, position: position,
		digest: ids.DigestOf(commit.Commit), encrypted: commit.Encrypted, reserved: commit.NextReserved,
	})
	if err != nil {
		return err
	}
	if err := w.holdOwnHistory(secrets.history, position); err != nil {
		return err
	}
	if commit.Failed {
		return w.completeLate(commit.Command)
	}
	return w.complete(commit.Command, nil, commandOutcome{epoch: w.s.Epoch()})
}

// completeLate remembers that a command was carried out whose caller has been
// told to ask again. One who has done so waits for another commit, and hears of
// that.
func (w *work) completeLate(command CommandRef) error {
	if command.ID == "" || w.s.waiting().same(command) {
		return nil
	}
	if first, err := admit(w.s.Commands, command, w.now()); first != nil || err != nil {
		return nil // it was done by another commit, or is too old to be asked for again
	}
	outcome := commandOutcome{epoch: w.s.Epoch()}
	return w.emit(event{body: &v1.CommandCompleted{Command: command.toProto(), Outcome: syntax.Encode(&outcome)}})
}

// resume is the outcome of the staged commit: as it was made, or from what the
// log has of it.
func (w *work) resume(commit *StagedCommit, secrets secret.Bytes) (*mlsengine.Staged, error) {
	if current := w.s.Staged; current != nil && current.Digest == commit.Digest && w.s.Live.staged != nil {
		return w.s.Live.staged, nil
	}
	contents, err := w.knownContents()
	if err != nil {
		return nil, err
	}
	return w.s.Private.Group.ResumeCommit(mlsengine.ResumeInput{
		Message: commit.Commit, Secrets: secrets, Proposals: contents, PSKs: w.env.PSKs,
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
	waiting := w.s.committing()
	if err := w.clearBuffer("the group cannot be followed"); err != nil {
		return err
	}
	if err := w.emitSealed(event{body: body}, nil); err != nil { // what is of no use any more must not be kept until the rejoin
		return err
	}
	w.note(Outcome{
		Kind: OutcomeUnreachable, Code: ConversationUnreachable, Rule: body.Rule, Detail: body.Detail,
		Position: in.position, Epoch: w.s.Epoch(),
	})
	return w.abandon(waiting, refuse(ConversationUnreachable, Rejoin, "an accepted commit cannot be followed"))
}
