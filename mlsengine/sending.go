package mlsengine

// checkAlone checks a proposal by the rules a commit would apply, as far as
// they concern this proposal alone.
func (g *PublicGroup) checkAlone(c committed, env Env) error {
	list := &proposalList{group: g, hasPath: true, all: []committed{c}, custom: env.CustomProposals, components: env.Components}
	list.committer = Sender{Type: SenderTypeExternal} // somebody else will commit it
	if err := list.validate(); err != nil {
		return err
	}
	if err := list.checkUnderstood(); err != nil {
		return err
	}
	d, err := g.context.Extensions.AppData()
	if err != nil {
		return err
	}
	if err := list.appRemovesPresent(d); err != nil {
		return err
	}
	if add, isAdd := c.proposal.(*Add); isAdd {
		return add.KeyPackage.LeafNode.validateLifetime(env)
	}
	return nil
}

// checkSent is checkAlone for a proposal that we are about to send. A receiver
// leaves it to the whole list whether the members support what a proposal
// brings; we do not count on another one to make up for it.
func (g *PublicGroup) checkSent(c committed, env Env) error {
	if err := g.checkAlone(c, env); err != nil {
		return err
	}
	if err := proposalWithoutGREASE(c.proposal); err != nil {
		return err
	}
	switch p := c.proposal.(type) {
	case *Add:
		return g.checkFits(&p.KeyPackage.LeafNode)
	case *Update:
		return g.checkFits(&p.LeafNode)
	case *GroupContextExtensions:
		asked, err := p.Extensions.requirements()
		if err != nil {
			return err
		}
		return g.tree.checkSupport(asked)
	}
	return nil
}

// checkSent checks what only the committer asks of its proposals.
func (l *proposalList) checkSent() error {
	for _, c := range l.all {
		if err := proposalWithoutGREASE(c.proposal); err != nil {
			return err
		}
	}
	return l.checkUnderstood()
}

// checkFits checks that a new leaf and the present members support what each
// other bring (§7.3, §11.1, §13.4).
func (g *PublicGroup) checkFits(leaf *LeafNode) error {
	asked, err := g.context.Extensions.requirements()
	if err != nil {
		return err
	}
	if err := leaf.validateInGroup(asked); err != nil {
		return err
	}
	inUse, kind := g.tree.credentialTypes(), leaf.Credential.Type()
	for _, t := range inUse {
		if !leaf.Capabilities.supportsCredential(t) {
			return broken(LeafCredentialOfOthers, "credential type %d", t)
		}
	}
	for i, member := range g.tree.Members {
		if !member.Capabilities.supportsCredential(kind) {
			return broken(LeafCredentialUnsupported, "leaf %d does not support credential type %d", i, kind)
		}
	}
	return nil
}

// checkSupport checks that all members support what new group extensions ask
// (§12.1.7).
func (t *slots) checkSupport(asked *requirements) error {
	for i, leaf := range t.members {
		if err := leaf.validateInGroup(asked); err != nil {
			return broken(GroupContextRequirements, "leaf %d: %v", i, err)
		}
	}
	return nil
}
