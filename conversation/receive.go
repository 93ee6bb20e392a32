package conversation

import (
	"errors"
	"fmt"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// incoming is one message on its way in.
type incoming struct {
	bytes    []byte
	position uint64
	ordered  bool         // it stands in the group's order: what was accepted there binds us
	sender   ids.ClientID // who the order says sent it; empty: it does not say
	content  mlsengine.ContentType
	message  *mlsengine.Message
	digest   ids.Digest
	number   uint64 // in the buffer, where it waited
}

// received takes one message of a foreign transport.
func (w *work) received(in Received) error {
	if err := w.listener(); err != nil && w.s.Joining == nil {
		return err
	}
	if err := w.take(incoming{bytes: in.Message, position: in.Position}); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	o := w.reply.Outcomes[0]
	return w.done(in, commandOutcome{ref: o.Ref, kind: o.Kind, code: o.Code, rule: o.Rule, number: o.Number, position: o.Position})
}

// listener checks that messages can be taken: also in an epoch in which we do
// not speak any more.
func (w *work) listener() error {
	if w.s.Lifecycle == RolledBack && w.s.Private != nil {
		return nil
	}
	if w.s.Lifecycle == Active && w.s.Private != nil {
		return nil // a group that ended says so message by message
	}
	return w.member()
}

// take decides what a message means. Whatever a peer did wrong is an outcome
// and an event, and leaves everything else as it was.
func (w *work) take(in incoming) error {
	if len(in.bytes) > MessageMax {
		return w.refuseMessage(in, MessageTooLarge, nil)
	}
	m, err := mlsengine.ParseMessage(in.bytes)
	if err != nil {
		return w.refuseMessage(in, messageCode(err), err)
	}
	if f := m.WireFormat(); f != mlsengine.WireFormatPublicMessage && f != mlsengine.WireFormatPrivateMessage {
		return w.refuseMessage(in, IncompatibleWireFormat, nil)
	}
	in.message = m
	if ids.ConversationID(m.GroupID()) != w.s.Conversation {
		return w.refuseMessage(in, WrongGroup, nil)
	}
	if in.ordered && m.ContentType() != in.content {
		return w.refuseMessage(in, InvalidMessage, nil)
	}
	if w.listening() && m.ContentType() == mlsengine.ContentTypeApplication {
		return w.takeApplication(in)
	}
	in.digest = ids.DigestOf(in.bytes) // of application messages nobody asks for it, unless they are refused
	if !w.listening() {
		return w.takePending(in)
	}
	switch m.ContentType() {
	case mlsengine.ContentTypeProposal, mlsengine.ContentTypeCommit:
		if !in.ordered && w.s.Config.Transport == TransportBuiltIn {
			return w.refuseMessage(in, NotInOrder, nil) // one commit per epoch: the order's
		}
		return w.takeHandshake(in)
	}
	return w.refuseMessage(in, MalformedMessage, nil)
}

// takeApplication opens an application message of this epoch or of a past one
// that is still readable.
func (w *work) takeApplication(in incoming) error {
	epoch := in.message.Epoch()
	if epoch > w.s.Epoch() {
		return w.early(in)
	}
	group, past := w.s.Private.Group, -1
	if epoch < w.s.Epoch() {
		past = slices.IndexFunc(w.s.Private.Past, func(g *mlsengine.Group) bool { return g.Epoch() == epoch })
		if past < 0 {
			return w.refuseMessage(in, MessageEpochTooOld, nil)
		}
		group = w.s.Private.Past[past]
	}
	if in.ordered && (in.sender == "" || in.sender == w.s.Client) {
		if leaf, generation, err := group.SenderOf(in.message); err == nil && leaf == group.OwnLeaf() {
			return w.ownApplication(in, group, generation)
		}
	}
	content, next, err := group.OpenWith(in.message, w.s.Config.limits(), w.env.KeyTables)
	if err != nil {
		return w.refuseMessage(in, messageCode(err), err)
	}
	if leaf := content.Sender().Leaf; readerAt(group.Public(), leaf) {
		return w.refuseMessage(in, HistoryClientCannotWrite, nil)
	}
	if past < 0 {
		w.s.Private = w.s.Private.withGroup(next)
	} else {
		w.s.Private = w.s.Private.withPast(past, next)
	}
	return w.deliver(in, content, group.Public())
}

// deliver puts a decrypted message into the open batch.
func (w *work) deliver(in incoming, content *mlsengine.Content, epoch *mlsengine.PublicGroup) error {
	leaf := content.Sender().Leaf
	m := ReceivedMessage{
		Number: w.s.Spool.Next + uint64(len(w.batch.messages)), Leaf: leaf, Epoch: content.Epoch(), TimeMs: w.now(),
		Position: in.position, AAD: content.AAD(), Plaintext: secret.New(content.Application()), // the content is ours alone
	}
	sender := w.identityAt(epoch, leaf) // as of the message's epoch: the leaf may be somebody else's by now
	if sender != nil {
		m.Sender = sender.Client
	}
	use := consumption{content.Epoch(), leaf, mlsengine.ContentTypeApplication, content.Generation()}
	if history := historyIn(content.Application(), epoch); history != nil {
		m.History = history.Client
		if err := w.holdHistory(m, consumptions{use}); err != nil {
			return err
		}
		w.note(Outcome{
			Kind: OutcomeHistory, Position: in.position, Epoch: m.Epoch, Sender: m.Sender, Leaf: leaf, Number: w.s.Spool.Secrets, Identity: sender,
		})
		return nil
	}
	w.batch.uses = append(w.batch.uses, use)
	w.batch.messages = append(w.batch.messages, m)
	w.batch.bytes += m.Plaintext.Len() + len(m.AAD)
	w.batch.follow(in)
	w.reply.Messages = append(w.reply.Messages, m)
	w.note(Outcome{
		Kind: OutcomeApplication, Position: in.position, Epoch: m.Epoch, Sender: m.Sender, Leaf: leaf, Number: m.Number, Identity: sender,
	})
	return nil
}

// ownApplication counts an own message that the order has: it is not consumed,
// for its key was gone when it was sent. For the same reason nothing proves it:
// every member can put our leaf and any generation into the sender data. So it
// counts only if we are who sent it, and under a generation that we reserved;
// else somebody could keep us from seeing how far ahead of the order we are.
func (w *work) ownApplication(in incoming, group *mlsengine.Group, generation mlsengine.Generation) error {
	if w.s.Lifecycle == Active && group.Epoch() == w.s.Epoch() && uint32(generation) >= w.s.Reserved.Application {
		return w.refuseMessage(in, OwnMessage, nil)
	}
	w.batch.own++
	if group.Epoch() == w.s.Epoch() {
		w.batch.ownGeneration = max(w.batch.ownGeneration, uint32(generation)+1)
	}
	w.batch.follow(in)
	w.note(Outcome{Kind: OutcomeOwn, Position: in.position, Epoch: group.Epoch(), Sender: w.s.Client, Leaf: w.s.OwnLeaf})
	return nil
}

// takeHandshake takes a proposal or a commit. What is ours is known by its
// bytes; what took effect before is known by its digest.
func (w *work) takeHandshake(in incoming) error {
	if w.joins(in.digest) {
		return w.joinEcho(in, w.s.Joining)
	}
	if own := w.ownCommit(in.digest); own != nil {
		return w.ownEcho(in, own)
	}
	if q, ok := w.ownProposal(in.digest); ok && in.ordered {
		return w.ownOrdered(in, q)
	}
	if slices.Contains(w.s.Recent, in.digest) {
		return w.refuseMessage(in, DuplicateMessage, nil)
	}
	commit := in.message.ContentType() == mlsengine.ContentTypeCommit
	switch epoch := in.message.Epoch(); {
	case epoch > w.s.Epoch() && in.ordered && commit:
		return w.unreachable(in, &mlsengine.RuleError{Rule: mlsengine.WrongEpoch, Detail: "the order is ahead of us"})
	case epoch > w.s.Epoch():
		return w.early(in)
	case epoch < w.s.Epoch() && commit:
		return w.refuseMessage(in, StaleCommit, nil)
	case epoch < w.s.Epoch():
		return w.refuseMessage(in, StaleProposal, nil)
	}
	return w.openHandshake(in, commit)
}

// ownCommit finds an own commit of this epoch by the digest of its message:
// the staged one, or one that was discarded.
func (w *work) ownCommit(digest ids.Digest) *StagedCommit {
	if staged := w.s.Staged; staged != nil && ids.DigestOf(staged.Commit) == digest {
		return staged
	}
	for i := range w.s.Shelved {
		if ids.DigestOf(w.s.Shelved[i].Commit) == digest {
			return &w.s.Shelved[i]
		}
	}
	return nil
}

// ownEcho merges an own commit that came back: it won.
func (w *work) ownEcho(in incoming, own *StagedCommit) error {
	self := w.identityAt(w.s.Group, w.s.OwnLeaf)
	if err := w.merge(own, in.position); err != nil {
		return err
	}
	if w.listening() {
		w.note(Outcome{
			Kind: OutcomeCommit, Position: in.position, Epoch: own.Epoch, Sender: w.s.Client, Leaf: w.s.OwnLeaf, Identity: self,
		})
	}
	return w.replay()
}

// early takes a message of a later epoch: that of the next one waits for it. In
// the group's order nothing is early.
func (w *work) early(in incoming) error {
	if in.ordered || in.message.Epoch() != w.s.Epoch()+1 {
		return w.refuseMessage(in, WrongEpoch, nil)
	}
	return w.buffer(in, BufferedFutureMessage)
}

// ownProposal finds a proposal of ours by the digest of its message, one that
// was dropped included.
func (w *work) ownProposal(digest ids.Digest) (PendingProposal, bool) {
	for _, list := range [][]PendingProposal{w.s.Pending, w.s.Cleared} {
		for _, q := range list {
			if q.Own && q.Digest == digest {
				return q, true
			}
		}
	}
	return PendingProposal{}, false
}

// ownOrdered notes where an own proposal stands in the group's order. One that
// was dropped is pending again: others may commit it.
func (w *work) ownOrdered(in incoming, q PendingProposal) error {
	body := &v1.ProposalReceived{
		Facts:    &v1.ProposalFacts{Type: uint32(q.Type), SenderType: uint32(q.SenderType), SenderIndex: q.SenderIndex, Ref: q.Ref},
		Position: in.position, Encrypted: q.Encrypted, Own: true, CommitDueMs: w.s.commitDue(w.now(), q),
	}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	w.note(Outcome{Kind: OutcomeOwn, Position: in.position, Epoch: w.s.Epoch(), Sender: w.s.Client, Leaf: w.s.OwnLeaf, Ref: q.Ref})
	return nil
}

// The warning about a handshake that travelled in the other wire format than
// the policy wants.
const warningWireFormat = "IncompatibleWireFormat"

// The warning about a handshake of a client that was let in to read.
const warningReader = string(HistoryClientCannotWrite)

// openHandshake authenticates a handshake message of the current epoch. Local
// policy refuses what comes from anywhere; what stands in the order was
// accepted for everybody, so there it is only a warning.
func (w *work) openHandshake(in incoming, commit bool) error {
	var warnings []string
	if !w.fitsPolicy(in.message) {
		if !in.ordered {
			return w.refuseMessage(in, IncompatibleWireFormat, nil)
		}
		warnings = append(warnings, warningWireFormat)
	}
	content, next, err := w.s.Private.Group.Open(in.message, w.s.Config.handshakeLimits())
	switch {
	case errors.Is(err, mlsengine.OwnMessage) && !commit && in.ordered:
		return w.ownProposalAgain(in)
	case errors.Is(err, mlsengine.OwnMessage) && commit && !in.ordered:
		return w.refuseMessage(in, SelfCommitIgnored, err)
	case err != nil && commit && in.ordered:
		return w.unreachable(in, err)
	case err != nil:
		return w.refuseMessage(in, messageCode(err), err)
	}
	if sender := content.Sender(); sender.Type == mlsengine.SenderTypeMember && readerAt(w.s.Group, sender.Leaf) {
		warnings = append(warnings, warningReader) // whoever let it through has let it through for everybody
	}
	if commit {
		return w.takeCommit(in, opened{content, next, warnings})
	}
	return w.takeProposal(in, opened{content, next, warnings})
}

// opened is an authenticated handshake and what it used up.
type opened struct {
	content  *mlsengine.Content
	next     *mlsengine.Group
	warnings []string
}

// fitsPolicy checks the wire format of a member's handshake. Outsiders cannot
// encrypt.
func (w *work) fitsPolicy(m *mlsengine.Message) bool {
	sender, public := m.Sender()
	switch w.s.Config.WirePolicy {
	case WirePlaintext:
		return public
	case WireCiphertext:
		return !public || sender.Type != mlsengine.SenderTypeMember
	}
	return true
}

// ownProposalAgain takes a public proposal of ours that is no longer pending
// and nevertheless stands in the order: others may commit it, so we need it.
func (w *work) ownProposalAgain(in incoming) error {
	content, err := w.s.Group.VerifyMessage(in.message)
	if err != nil {
		return w.refuseMessage(in, OwnMessage, err)
	}
	return w.takeProposal(in, opened{content: content, next: w.s.Private.Group})
}

// takeProposal makes a proposal pending.
func (w *work) takeProposal(in incoming, o opened) error {
	if w.s.pendingIndex(o.content.ProposalRef()) >= 0 {
		return w.refuseMessage(in, DuplicateMessage, nil)
	}
	// The order has bounds of its own. Refusing what it holds would leave us behind with the next commit.
	if n := len(w.s.Pending); n >= PendingOrderedMax || n >= PendingMax && !in.ordered {
		return w.refuseMessage(in, TooManyProposals, nil)
	}
	if err := w.flush(); err != nil {
		return err
	}
	sender, proposer := o.content.Sender(), w.proposer(o.content)
	body := &v1.ProposalReceived{
		Facts: w.proposalFacts(o.content), Position: in.position, Encrypted: o.content.Encrypted(), MessageDigest: in.digest[:],
		Warnings: append(o.warnings, w.proposalDoubts(o.content)...), Own: w.isOwn(sender),
	}
	body.CommitDueMs = w.s.commitDue(w.now(), pendingFrom(body.Facts, body.Encrypted))
	e := event{body: body}
	if o.content.Encrypted() {
		use := consumptions{{o.content.Epoch(), sender.Leaf, mlsengine.ContentTypeProposal, o.content.Generation()}}
		content := secret.New(o.content.Marshal())
		e.secrets = []events.Secret{
			{Class: events.ClassConsumption, Plain: sealedList(&use)},
			{Class: events.ClassAudit, Plain: content},
		}
		w.s.Private = w.s.Private.withGroup(o.next).withProposal(o.content.ProposalRef(), secret.Bytes{}, content)
		w.batch.consumed = true
	}
	if err := w.emit(e); err != nil {
		return err
	}
	taken := Outcome{
		Kind: OutcomeProposal, Position: in.position, Epoch: w.s.Epoch(), Leaf: sender.Leaf,
		Ref: o.content.ProposalRef(), Warnings: body.GetWarnings(), Identity: proposer,
	}
	if sender.Type == mlsengine.SenderTypeMember && proposer != nil {
		taken.Sender = proposer.Client
	}
	if err := w.foundIn(&taken.DistributionPoints, newcomers(o.content.Proposal())); err != nil {
		return err
	}
	w.note(taken)
	return w.replay() // a commit may have waited for it
}

func (w *work) isOwn(s mlsengine.Sender) bool {
	return s.Type == mlsengine.SenderTypeMember && s.Leaf == w.s.OwnLeaf
}

// proposalDoubts asks the authentication service about whom a proposal brings in.
func (w *work) proposalDoubts(c *mlsengine.Content) []string {
	var leaf *mlsengine.LeafNode
	var doubts []string
	switch p := c.Proposal().(type) {
	case *mlsengine.Add:
		leaf = &p.KeyPackage.LeafNode
	case *mlsengine.Update:
		leaf = &p.LeafNode
		if m, ok := w.s.Group.Member(c.Sender().Leaf); ok && ClientOf(m.Credential) != ClientOf(leaf.Credential) {
			doubts = append(doubts, fmt.Sprintf("%s%d", warningSuccessor, m.Index))
		}
	default:
		return nil
	}
	if !w.authentic(ClientOf(leaf.Credential), leaf.Credential, leaf.SignatureKey) {
		doubts = append(doubts, warningCredential)
	}
	return doubts
}

// takeCommit enters the epoch of somebody else's commit.
func (w *work) takeCommit(in incoming, o opened) error {
	contents, err := w.knownContents()
	if err != nil {
		return err
	}
	staged, err := o.next.StageCommit(mlsengine.CommitInput{
		Commit: o.content, Proposals: contents, OwnUpdates: w.s.Private.ownUpdates(), PSKs: w.env.PSKs,
	}, w.env.engine())
	switch {
	case err == nil:
	case in.ordered:
		return w.unreachable(in, err)
	case errors.Is(err, mlsengine.UnknownProposal) && in.number == 0:
		return w.buffer(in, BufferedCommit)
	default:
		return w.refuseMessage(in, messageCode(err), err)
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.s.Private = w.s.Private.withGroup(o.next)
	a := advance{
		staged: staged, content: o.content, cause: v1.EpochCause_EPOCH_CAUSE_PEER, position: in.position,
		digest: in.digest, encrypted: o.content.Encrypted(), warnings: o.warnings,
	}
	if staged.Effects.External {
		a.cause = v1.EpochCause_EPOCH_CAUSE_EXTERNAL
	}
	return w.follow(in, a)
}

// follow takes a commit of somebody else: own proposals that it left out are
// made anew, and what waited for its epoch is read.
func (w *work) follow(in incoming, a advance) error {
	effects := a.staged.Effects
	taken := Outcome{
		Kind: OutcomeCommit, Position: in.position, Epoch: w.s.Epoch(), Sender: w.committerOf(effects), Leaf: effects.CommitterLeaf,
	}
	if effects.External {
		taken.Identity = w.identityAt(a.staged.Public, effects.CommitterLeaf)
	} else {
		taken.Identity = w.identityAt(w.s.Group, effects.CommitterLeaf)
	}
	own := w.s.ownProposals()
	advanced, err := w.enterEpoch(a)
	if err != nil {
		return err
	}
	renewed, err := w.renew(own, advanced)
	if err != nil {
		return err
	}
	taken.Proposals, taken.Warnings = renewed.proposals, slices.Concat(a.warnings, renewed.warnings)
	if err := w.foundIn(&taken.DistributionPoints, broughtIn(a.staged)); err != nil {
		return err
	}
	w.note(taken)
	return w.replay()
}
