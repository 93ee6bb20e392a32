package conversation

import (
	"bytes"
	"fmt"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// Joining is a commit of our own by which we join a group, or come back to it,
// between being made and the transport's verdict. Until then nothing has
// changed: a membership that we may still have goes on.
type Joining struct {
	Digest       ids.Digest      // of the bundle: its idempotency key
	Epoch        mlsengine.Epoch // that it joins from
	GroupInfo    []byte          // MLSMessage, of that epoch
	Commit       []byte          // MLSMessage
	NewGroupInfo []byte          // MLSMessage, of the epoch it leads to
	Config       Config
	Command      CommandRef
	Added        []Member // ourselves
	Removed      []Member // our older appearance
	StagedMs     uint64
	Failed       bool // the transport gave no answer: nobody waits, and the commit may still turn up
}

// joinExternally makes a commit that joins the group of a GroupInfo
// (§12.4.3.2). One that is pending without an answer is replaced: should it
// have been accepted, the new one finds its leaf and takes its place.
func (w *work) joinExternally(in JoinExternally) error {
	if waiting := w.s.waiting(); waiting.Name != "" {
		return refuse(PendingCommit, Retry, "%s waits for the transport", waiting.Name)
	}
	if j := w.s.Joining; j != nil && j.Command.same(refOf(in)) {
		return w.joinAgain(j, refOf(in))
	}
	if in.Returning && w.s.Loss == nil {
		return refuse(ConversationAlreadyExists, GiveUp, "it has come back already") // an attempt that was under way for long
	}
	config := in.Config
	info, public, err := openGroupInfo(in.GroupInfo)
	if err != nil {
		return refuseRule(InvalidGroupInfo, err)
	}
	config.CipherSuite = public.CipherSuite()
	if refused := config.validate(); refused != nil {
		return refused
	}
	if ids.ConversationID(public.GroupID()) != w.s.Conversation {
		return refuse(WrongGroup, GiveUp, "the GroupInfo is of %s", ids.ConversationID(public.GroupID()))
	}
	if w.s.Group != nil && public.Epoch() < w.s.Epoch() {
		return refuse(InvalidGroupInfo, Retry, "it is of epoch %d, we have been in %d", public.Epoch(), w.s.Epoch())
	}
	id := w.env.Identity
	if id == nil {
		return refuse(CredentialNotFound, GiveUp, "credential %q", config.Credential)
	}
	if client := ClientOf(id.Credential); !w.authentic(client, id.Credential, id.Public) {
		return refuse(CredentialRefused, GiveUp, "client %s", client)
	}
	out, err := mlsengine.ExternalCommit(mlsengine.ExternalCommitParams{
		GroupInfo: info, Resync: olderSelf(public, id), PSKStore: w.env.PSKs, Capabilities: capabilities(), TreeInInfo: mlsengine.WithTree,
	}, w.env.engine())
	if err != nil {
		return engineFault(InvalidGroupInfo, err)
	}
	in.Config, in.GroupInfo = config, info.Message()
	return w.stageJoin(in, out, public.Epoch())
}

// openGroupInfo reads a GroupInfo, bare or as an MLSMessage, and checks it with
// the tree inside.
func openGroupInfo(b []byte) (*mlsengine.GroupInfo, *mlsengine.PublicGroup, error) {
	m, err := mlsengine.ParseMessage(b)
	if err != nil || m.GroupInfo() == nil {
		m, err = mlsengine.ParseMessage(append([]byte{0, 1, 0, byte(mlsengine.WireFormatGroupInfo)}, b...))
	}
	if err != nil {
		return nil, nil, err
	}
	public, err := mlsengine.NewPublicGroup(m.GroupInfo(), nil)
	return m.GroupInfo(), public, err
}

// GroupOf is the group that a GroupInfo, bare or as an MLSMessage, describes with
// the tree inside.
func GroupOf(groupInfo []byte) (*mlsengine.PublicGroup, *CommandError) {
	_, public, err := openGroupInfo(groupInfo)
	if err != nil {
		return nil, refuseRule(InvalidGroupInfo, err)
	}
	return public, nil
}

// SuiteOf is the cipher suite of the group that a GroupInfo describes.
func SuiteOf(groupInfo []byte) (mlsengine.CipherSuite, *CommandError) {
	public, refused := GroupOf(groupInfo)
	if refused != nil {
		return 0, refused
	}
	return public.CipherSuite(), nil
}

// Carrier is who carries the conversation's messages: of a group that we are
// joining, the one it is to have.
func (p Public) Carrier() TransportKind {
	if p.Joining != nil {
		return p.Joining.Config.Transport
	}
	return p.Config.Transport
}

// olderSelf finds a leaf that presents the joiner already: by its key, or else
// by its client.
func olderSelf(public *mlsengine.PublicGroup, joiner *mlsengine.SigningIdentity) mlsengine.Resync {
	client, found := ClientOf(joiner.Credential), mlsengine.Resync{}
	members := public.Members()
	for i := len(members) - 1; i >= 0; i-- {
		switch m := members[i]; {
		case bytes.Equal(m.SignatureKey, joiner.Public):
			return mlsengine.ResyncLeaf(m.Index)
		case ClientOf(m.Credential) == client:
			found = mlsengine.ResyncLeaf(m.Index)
		}
	}
	return found
}

func (w *work) stageJoin(in JoinExternally, out *mlsengine.CommitOut, epoch mlsengine.Epoch) error {
	digest := ids.DigestOf([]byte("parley bundle"), lengthOf(out.Message), out.Message, lengthOf(nil), out.GroupInfo)
	body := &v1.ExternalJoinStaged{
		GroupInfo: in.GroupInfo, Commit: out.Message, Config: in.Config.toProto(), BundleDigest: digest[:], Epoch: uint64(epoch),
		NewGroupInfo: out.GroupInfo, Command: refOf(in).toProto(),
		Added: membersToProto(changed(out.Staged.Effects.Added)), Removed: membersToProto(changed(out.Staged.Effects.Removed)),
	}
	w.s.joining = out.Secrets
	if err := w.emitSealed(event{body: body}, w.s.Private); err != nil {
		return err
	}
	w.s.Live.joining = out.Staged
	w.outbox = append(w.outbox, w.s.joinBundle())
	w.reply.InFlight = true
	return nil
}

// joinAgain offers the identical commit once more, to which there was no
// answer, for the same command asked again: it may have been accepted.
func (w *work) joinAgain(j *Joining, command CommandRef) error {
	body := &v1.CommitRetried{BundleDigest: j.Digest[:], Attempt: 1, Reason: "asked again", Command: command.toProto()}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	w.outbox = append(w.outbox, w.s.joinBundle())
	w.reply.InFlight = true
	return nil
}

// joinBundle is what the transport gets of the commit that joins.
func (s State) joinBundle() SendBundle {
	j := s.Joining
	return SendBundle{
		Digest: j.Digest, Epoch: j.Epoch, Commit: j.Commit, GroupInfo: j.NewGroupInfo, Added: j.Added, Removed: j.Removed, External: true,
		Command: j.Command,
	}
}

// answerJoin settles the commit that joins.
func (w *work) answerJoin(j *Joining, in TransportAnswered) error {
	switch in.Outcome {
	case TransportSuccess:
		if err := w.enterJoined(j, in.Position); err != nil {
			return err
		}
		return w.replay()
	case TransportRetry:
		return w.rejectJoin(j, refuse(CannotRetryJoin, Retry, "another commit may have won: join again from the newest GroupInfo"))
	case TransportAbort:
		return w.rejectJoin(j, refuse(TransportAborted, GiveUp, "%s", in.Reason))
	case TransportFailed:
		if j.Failed {
			return nil
		}
		if err := w.emit(event{body: &v1.CommitUnanswered{BundleDigest: j.Digest[:], Reason: bounded(in.Reason)}}); err != nil {
			return err
		}
		return w.complete(j.Command, refuse(TransportError, Retry, "%s", in.Reason), commandOutcome{})
	}
	return brokenf("transport outcome %d", in.Outcome)
}

// rejectJoin forgets the commit that was to join. What waited for it waits on
// where it is to be tried again.
func (w *work) rejectJoin(j *Joining, why *CommandError) error {
	body := &v1.ExternalJoinRejected{BundleDigest: j.Digest[:], Code: string(why.Code), Reason: bounded(why.Detail)}
	if why.Advice != Retry && !w.s.Exists() {
		if err := w.clearBuffer("the group was not joined"); err != nil {
			return err
		}
	}
	w.s.joining = secret.Bytes{}
	if err := w.emitSealed(event{body: body}, w.s.Private); err != nil {
		return err
	}
	if j.Failed {
		return nil
	}
	return w.complete(j.Command, why, commandOutcome{})
}

// abandonJoin gives a pending join up.
func (w *work) abandonJoin(in AbandonJoin) error {
	if w.s.Joining == nil {
		return refuse(PendingJoinNotFound, GiveUp, "no join of %s is pending", w.s.Conversation)
	}
	if err := w.rejectJoin(w.s.Joining, refuse(JoinAbandoned, GiveUp, "the join was given up")); err != nil {
		return err
	}
	return w.done(in, commandOutcome{})
}

// enterJoined takes the commit that joins: the transport has accepted it. A
// membership that we still had is over with it. Of what has waited there only
// what is of the new epoch can be read.
func (w *work) enterJoined(j *Joining, position uint64) error {
	staged, err := w.resumeJoin(j)
	if err != nil {
		return fmt.Errorf("%w: resume the join from epoch %d: %w", ErrBroken, j.Epoch, err)
	}
	w.s.joining = secret.Bytes{}
	missed := w.s.missed()
	if err := w.emit(event{body: &v1.ExternalJoinAccepted{BundleDigest: j.Digest[:], Position: position}}); err != nil {
		return err
	}
	group, digest := staged.Next, ids.DigestOf(j.Commit)
	public := group.Public()
	roster := rosterOf(public)
	body := &v1.ConversationJoined{
		Config: j.Config.toProto(), GroupInfo: j.NewGroupInfo, PublicGroup: public.Marshal(), Facts: factsOf(public, group), Position: position,
		Roster: membersToProto(roster), OwnLeaf: uint32(group.OwnLeaf()), Warnings: w.doubts(public, roster), External: true, MessageDigest: digest[:],
		Missed: missed,
	}
	if err := w.emitSealed(event{body: body, group: public, secrets: verificationOf(group)}, &Private{Group: group}); err != nil {
		return err
	}
	if err := w.foundIn(&w.reply.DistributionPoints, credentialsOf(public)); err != nil {
		return err
	}
	if j.Failed {
		return w.completeLate(j.Command)
	}
	return w.complete(j.Command, nil, commandOutcome{epoch: w.s.Epoch()})
}

// resumeJoin is the outcome of the commit that joins: as it was made, or from
// what the log has of it.
func (w *work) resumeJoin(j *Joining) (*mlsengine.Staged, error) {
	if w.s.Live.joining != nil {
		return w.s.Live.joining, nil
	}
	info, _, err := openGroupInfo(j.GroupInfo)
	if err != nil {
		return nil, err
	}
	return mlsengine.ResumeExternalCommit(mlsengine.ExternalResume{
		GroupInfo: info, Message: j.Commit, Secrets: w.s.joining, PSKs: w.env.PSKs,
	}, w.env.engine())
}

// joinEcho takes the commit that joins when it comes back: it won.
func (w *work) joinEcho(in incoming, j *Joining) error {
	if err := w.enterJoined(j, in.position); err != nil {
		return err
	}
	w.note(Outcome{
		Kind: OutcomeCommit, Position: in.position, Epoch: j.Epoch, Sender: w.s.Client, Leaf: w.s.OwnLeaf,
		Identity: w.identityAt(w.s.Group, w.s.OwnLeaf),
	})
	return w.replay()
}

// joins reports whether a message is the commit by which we join.
func (w *work) joins(digest ids.Digest) bool {
	return w.s.Joining != nil && ids.DigestOf(w.s.Joining.Commit) == digest
}

// takePending takes a message while we are no member yet: what is of an epoch
// that we may be in soon waits, unread.
func (w *work) takePending(in incoming) error {
	if w.joins(in.digest) {
		return w.joinEcho(in, w.s.Joining)
	}
	if in.message.Epoch() > w.s.Joining.Epoch {
		return w.buffer(in, BufferedForPendingConversation)
	}
	switch in.message.ContentType() {
	case mlsengine.ContentTypeCommit:
		return w.refuseMessage(in, StaleCommit, nil)
	case mlsengine.ContentTypeProposal:
		return w.refuseMessage(in, StaleProposal, nil)
	}
	return w.refuseMessage(in, MessageEpochTooOld, nil)
}

// evolveJoining is what the events of a join make of the public state.
func (p *Public) evolveJoining(body events.Body) error {
	switch e := body.(type) {
	case *v1.ExternalJoinStaged:
		config, err := configFromProto(e.GetConfig())
		if err != nil {
			return err
		}
		p.Joining = &Joining{
			Epoch: mlsengine.Epoch(e.GetEpoch()), GroupInfo: e.GetGroupInfo(), Commit: e.GetCommit(), NewGroupInfo: e.GetNewGroupInfo(),
			Config: config, Command: refFromProto(e.GetCommand()), Added: membersFromProto(e.GetAdded()), Removed: membersFromProto(e.GetRemoved()),
			StagedMs: p.TimeMs,
		}
		copy(p.Joining.Digest[:], e.GetBundleDigest())
	case *v1.ExternalJoinAccepted, *v1.ExternalJoinRejected:
		p.Joining = nil
	}
	p.Consumed, p.SealedMs = 0, p.TimeMs // the private state was sealed anew
	return nil
}

// keepsJoin reports whether an event leaves a pending join as it is.
func keepsJoin(body events.Body) bool {
	switch body.(type) {
	case *v1.ExternalJoinAccepted, *v1.ExternalJoinRejected, *v1.ConversationCreated, *v1.ConversationJoined, *v1.ConversationWiped,
		*v1.SecretsLost, *v1.GroupRestarted:
		return false
	}
	return true
}
