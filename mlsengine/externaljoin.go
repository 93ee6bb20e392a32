package mlsengine

import "bytes"

// initSecret is the epoch's own, or the one an external joiner chose (§8.3).
func (g *Group) initSecret(list *proposalList) (initSecret, error) {
	init := g.secrets.init
	err := eachProposal(list, func(p *ExternalInit, _ committed) error {
		private, _, err := g.secrets.external.keyPair(g.public.suite)
		if err != nil {
			return err
		}
		chosen, err := g.public.suite.ExternalInitReceive(private, p.KEMOutput)
		if err != nil {
			return broken(ExternalInitKEM, "%d bytes", len(p.KEMOutput))
		}
		init = initSecret{chosen}
		return nil
	})
	return init, err
}

// The constraints of §12.2 on the proposals of an external commit.

func (l *proposalList) nothingByReference() error {
	for _, c := range l.all {
		if c.ref != nil {
			return broken(ExternalCommitReference, "proposal %x", []byte(c.ref))
		}
	}
	return nil
}

func (l *proposalList) oneExternalInit() error {
	if n := l.count(ProposalTypeExternalInit); n != 1 {
		return broken(ExternalInitCount, "%d external_init proposals", n)
	}
	return eachProposal(l, func(p *ExternalInit, _ committed) error {
		if l.group.suite.ValidateHPKEPublicKey(p.KEMOutput) != nil {
			return broken(ExternalInitKEM, "%d bytes", len(p.KEMOutput))
		}
		return nil
	})
}

func (l *proposalList) onlyExternalTypes() error {
	for _, c := range l.all {
		switch kind := c.proposal.ProposalType(); kind {
		case ProposalTypeExternalInit, ProposalTypeRemove, ProposalTypePSK:
		default:
			return broken(ExternalCommitProposal, "proposal type %d", kind)
		}
	}
	return nil
}

// oneRemoveOfOldSelf checks that the joiner removes at most one member, and
// that this is an older appearance of itself (§12.2). What makes two X.509
// credentials the same client is for the application to say.
func (l *proposalList) oneRemoveOfOldSelf() error {
	if n := l.count(ProposalTypeRemove); n > 1 {
		return broken(ExternalCommitRemoves, "%d remove proposals", n)
	}
	return eachProposal(l, func(p *Remove, _ committed) error {
		old, joiner := l.group.tree.leaf(p.Removed), &l.path.LeafNode
		if bytes.Equal(old.EncryptionKey, joiner.EncryptionKey) {
			return broken(LeafKeyUnchanged, "the joiner keeps the encryption key of leaf %d", p.Removed)
		}
		if old.Credential.Type() != joiner.Credential.Type() ||
			old.Credential.Type() == CredentialTypeBasic && !bytes.Equal(old.Credential.Identity(), joiner.Credential.Identity()) {
			return broken(ExternalCommitIdentity, "leaf %d is another client", p.Removed)
		}
		return nil
	})
}
