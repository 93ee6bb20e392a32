package mlsengine

// Branch says what a subgroup is like (§11.3). Version and cipher suite are
// those of the group it branches from.
type Branch struct {
	GroupID    GroupID
	Extensions Extensions
}

// FoundBranch makes a group of ourselves and some other members of this one
// (§11.3), signed by env.Identity. Out of it come Staged.Next, in epoch 1, and
// the Welcome for the others; the commit itself is of no use to anybody. They
// join with this group, in this epoch, as their Origin.
func (g *Group) FoundBranch(b Branch, f Founding, env Env) (*CommitOut, error) {
	switch {
	case g.retired:
		return nil, ErrRetired
	case g.public.reinit != nil:
		return nil, broken(GroupEnded, "reinitialized in epoch %d", g.public.context.Epoch)
	}
	return g.found(GroupParams{GroupID: b.GroupID, Suite: g.public.CipherSuite(), Extensions: b.Extensions}, ResumptionPSKUsageBranch, f, env)
}

// checkBranch checks that g branched off origin.
func checkBranch(g *PublicGroup, id *PreSharedKeyID, origin *PublicGroup, identify Identifier) error {
	if g.context.Epoch != 1 {
		return broken(BranchEpoch, "epoch %d", g.context.Epoch)
	}
	if !origin.isAt(id) {
		return broken(BranchParameters, "the old group is not known in epoch %d", id.Epoch)
	}
	if g.context.Version != origin.context.Version || g.context.CipherSuite != origin.context.CipherSuite {
		return broken(BranchParameters, "version %d, cipher suite %d", g.context.Version, g.context.CipherSuite)
	}
	known := origin.clients(identify)
	for i, leaf := range g.tree.Members {
		if known[identify.of(leaf.Credential)] == 0 {
			return broken(BranchMember, "leaf %d", i)
		}
	}
	return nil
}
