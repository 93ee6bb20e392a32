package mlsengine

import (
	"parley/mlsengine/suite"
)

// SenderOf reads who sent a PrivateMessage of this epoch, ourselves included,
// and under which generation (§6.3.2). The content stays unopened and
// unverified.
func (g *Group) SenderOf(m *Message) (LeafIndex, Generation, error) {
	p := m.private
	if p == nil {
		return 0, 0, broken(UnsupportedWireFormat, "wire format %d has no sender data", m.wireFormat)
	}
	if err := g.public.checkPlace(p.groupID, p.epoch); err != nil {
		return 0, 0, err
	}
	data, err := openSenderData(g.public.suite, g.secrets.senderData, p)
	if err != nil {
		return 0, 0, err
	}
	return data.Leaf, data.Generation, nil
}

// CheckProposal says whether any commit of ours may hold a proposal by
// reference, as far as that does not depend on the others in it (§12.1).
func (g *Group) CheckProposal(c *Content, env Env) error {
	if c.Proposal() == nil {
		return broken(MalformedContent, "not a proposal")
	}
	if err := g.public.checkPlace(c.GroupID(), c.Epoch()); err != nil {
		return err
	}
	return g.public.checkAlone(committed{c.Proposal(), c.Sender(), c.ProposalRef(), c.Encrypted()}, env)
}

// CheckProposals says whether a commit of ours may hold these proposals, by
// reference and by value, as far as that does not depend on its path. It makes
// nothing: so a committer finds out which proposals of others to leave out.
func (g *Group) CheckProposals(proposals []*Content, inline []Proposal, psks PSKStore, env Env) error {
	if g.retired {
		return ErrRetired
	}
	b := &committing{group: g, in: CommitIntent{Proposals: proposals, Inline: inline}, env: env, commit: new(Commit)}
	list, err := b.list()
	if err != nil {
		return err
	}
	st, err := g.public.stage(list, env)
	if err != nil {
		return err
	}
	if err := st.checkMembers(); err != nil {
		return err
	}
	for _, id := range list.pskIDs() {
		if _, known := g.findPSK(id, psks); !known {
			return broken(PSKUnknown, "%x", id.ID)
		}
	}
	return nil
}

// OpenGroupInfo reads the GroupInfo inside a Welcome, as JoinFromWelcome would,
// without joining and without verifying it: it tells which group it is for.
func (w *Welcome) OpenGroupInfo(in JoinInput) (*GroupInfo, error) {
	if w == nil {
		return nil, broken(MalformedMessage, "no Welcome")
	}
	s, err := suite.Get(w.CipherSuite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", w.CipherSuite)
	}
	secrets, err := w.open(s, in)
	if err != nil {
		return nil, err
	}
	psk, err := joinPSKs(s, secrets.psks, in)
	if err != nil {
		return nil, err
	}
	return w.openGroupInfo(s, deriveMemberSecret(s, secrets.joiner, psk))
}
