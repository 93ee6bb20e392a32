package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// proposeAdd makes an Add proposal.
func (w *work) proposeAdd(in ProposeAdd) error {
	if err := w.committer(); err != nil {
		return err
	}
	kp, _, err := w.keyPackage(in.KeyPackage)
	if err != nil {
		return err
	}
	add := &mlsengine.Add{KeyPackage: *kp}
	if err := w.s.Private.Group.CheckProposals(nil, []mlsengine.Proposal{add}, nil, w.env.engine()); err != nil {
		return commitFault(err)
	}
	return w.propose(in, add)
}

// proposeRemove makes a Remove proposal. One of ourselves asks the others to
// let us go.
func (w *work) proposeRemove(in ProposeRemove) error {
	if err := w.committer(); err != nil {
		return err
	}
	for _, m := range w.s.Roster() {
		if m.Client == in.Client {
			return w.propose(in, &mlsengine.Remove{Removed: m.Leaf})
		}
	}
	return refuse(ClientNotFound, GiveUp, "client %s", in.Client)
}

// propose makes a proposal, which is pending from then on.
func (w *work) propose(command Command, p mlsengine.Proposal) error {
	return w.proposeAs(command, wish{proposal: p})
}

// proposeUpdate makes an Update proposal of ourselves.
func (w *work) proposeUpdate(in ProposeUpdate) error {
	if err := w.committer(); err != nil {
		return err
	}
	if in.Credential != "" {
		if _, err := w.successor(in.Credential); err != nil {
			return err
		}
	}
	return w.proposeAs(in, wish{proposal: &mlsengine.Update{}, credential: in.Credential})
}

// wish is a proposal to be made.
type wish struct {
	proposal   mlsengine.Proposal
	credential CredentialRef // of an Update: what our leaf is to present; empty: what it does
	renewed    uint32        // how often it was made before
}

func (w *work) proposeAs(command Command, p wish) error {
	if err := w.committer(); err != nil {
		return err
	}
	made, err := w.makeProposal(p)
	if err != nil {
		return err
	}
	if err := w.foundIn(&made.DistributionPoints, w.broughtBy(p)); err != nil {
		return err
	}
	w.reply.Proposal = made
	w.outbox[len(w.outbox)-1] = SendProposal{Message: made.Message, Ref: made.Ref, Epoch: w.s.Epoch(), Command: refOf(command)}
	return w.done(command, commandOutcome{ref: made.Ref})
}

// makeProposal makes a proposal and puts it on its way.
func (w *work) makeProposal(p wish) (*Proposal, error) {
	if len(w.s.Pending) >= PendingMax {
		return nil, refuse(TooManyProposals, Retry, "%d proposals are pending", len(w.s.Pending))
	}
	private, block, generation, err := w.framing(mlsengine.ContentTypeProposal)
	if err != nil {
		return nil, err
	}
	framing := mlsengine.Framing{Encrypt: block != nil, Block: block, Padding: int(w.s.Config.PaddingBlock)}
	out, err := w.frameProposal(private.Group, p, framing)
	if err != nil {
		return nil, commitFault(err)
	}
	body := &v1.ProposalCreated{Facts: w.proposalFacts(out.Content), Message: out.Message, Renewed: p.renewed, Credential: string(p.credential)}
	var secrets []events.Secret
	if out.Secrets.Len() > 0 {
		secrets = append(secrets, events.Secret{Class: events.ClassConsumption, Plain: out.Secrets})
	}
	var content secret.Bytes
	if block != nil {
		body.Encrypted, body.Generation = true, generation
		content = secret.New(out.Content.Marshal())
		secrets = append(secrets, events.Secret{Class: events.ClassAudit, Plain: content})
	}
	grace := uint64(0)
	if p.renewed == 0 {
		grace = ownGraceMs
	}
	body.CommitDueMs = w.s.commitDue(w.now()+grace, pendingFrom(body.Facts, body.Encrypted))
	w.s.Private = private.withProposal(out.Ref, out.Secrets, content)
	if err := w.emit(event{body: body, secrets: secrets}); err != nil {
		return nil, err
	}
	w.outbox = append(w.outbox, SendProposal{Message: out.Message, Ref: out.Ref, Epoch: w.s.Epoch()})
	return &Proposal{Ref: out.Ref, Message: out.Message}, nil
}

// frameProposal signs a proposal. An Update says what our leaf is to present.
func (w *work) frameProposal(group *mlsengine.Group, p wish, framing mlsengine.Framing) (*mlsengine.Proposed, error) {
	if _, update := p.proposal.(*mlsengine.Update); !update || p.credential == "" {
		return group.Propose(p.proposal, framing, w.env.engine())
	}
	id, err := w.successor(p.credential)
	if err != nil {
		return nil, err
	}
	return group.ProposeUpdate(id, nil, framing, w.env.engine())
}

// proposalFacts is what the log shows of a proposal.
func (w *work) proposalFacts(c *mlsengine.Content) *v1.ProposalFacts {
	sender := c.Sender()
	f := &v1.ProposalFacts{
		Type: uint32(c.Proposal().ProposalType()), Proposal: mlsengine.MarshalProposal(c.Proposal()),
		SenderType: uint32(sender.Type), SenderIndex: senderIndex(sender), Ref: c.ProposalRef(),
		Client: []byte(w.s.subject(c.Proposal(), sender)),
	}
	if !c.Encrypted() {
		f.Content = c.Marshal()
	}
	return f
}

// Parties names who made a pending proposal and whom it is about; empty where
// that is no client. A proposal of the group's service has a sender without a
// name, one of a client that asks to be added has that client.
func (p Public) Parties(q PendingProposal) (sender, subject ids.ClientID) {
	proposal, err := mlsengine.ParseProposal(q.Proposal)
	if err != nil || p.Group == nil {
		return "", ""
	}
	subject = p.subject(proposal, mlsengine.Sender{Type: q.SenderType, Leaf: mlsengine.LeafIndex(q.SenderIndex)})
	switch q.SenderType {
	case mlsengine.SenderTypeMember:
		if m, ok := p.Group.Member(mlsengine.LeafIndex(q.SenderIndex)); ok {
			sender = ClientOf(m.Credential)
		}
	case mlsengine.SenderTypeNewMemberProposal:
		sender = subject
	}
	return sender, subject
}

// subject names whom a proposal of the current epoch is about.
func (p Public) subject(proposal mlsengine.Proposal, sender mlsengine.Sender) ids.ClientID {
	leaf := sender.Leaf
	switch proposal := proposal.(type) {
	case *mlsengine.Add:
		return ClientOf(proposal.KeyPackage.LeafNode.Credential)
	case *mlsengine.Remove:
		leaf = proposal.Removed
	case *mlsengine.Update:
	default:
		return ""
	}
	if m, ok := p.Group.Member(leaf); ok {
		return ClientOf(m.Credential)
	}
	return ""
}

func senderIndex(s mlsengine.Sender) uint32 {
	if s.Type == mlsengine.SenderTypeMember {
		return uint32(s.Leaf)
	}
	return s.Index
}

// clearProposal drops a pending proposal. What a commit of somebody else needs
// that refers to it all the same is kept as long as the epoch lasts.
func (w *work) clearProposal(in ClearProposal) error {
	if err := w.member(); err != nil {
		return err
	}
	if err := w.unstaged(); err != nil {
		return err
	}
	if len(w.s.Cleared) >= PendingMax {
		return refuse(TooManyProposals, Retry, "%d proposals of epoch %d were dropped", len(w.s.Cleared), w.s.Epoch())
	}
	if w.s.pendingIndex(in.Ref) < 0 {
		return refuse(PendingProposalNotFound, GiveUp, "%x", []byte(in.Ref))
	}
	body := &v1.ProposalCleared{Ref: in.Ref, Reason: "asked for"}
	if left := w.s.lessProposal(in.Ref); len(left) > 0 {
		body.CommitDueMs = w.s.dueWith(w.now(), left)
	}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	return w.done(in, commandOutcome{ref: in.Ref})
}
