package mlsengine

import "parley/internal/syntax"

// checkOrigin checks a group that was made to replace another or to branch off
// it against that other group (§11.2, §11.3, §12.4.3.1). It asks nothing of a
// group whose Welcome names no such key.
func checkOrigin(g *PublicGroup, psks []PreSharedKeyID, origin *PublicGroup) error {
	for i := range psks {
		id := &psks[i]
		if !id.linksGroups() {
			continue
		}
		if id.Usage == ResumptionPSKUsageReInit {
			return checkReInit(g, id, origin)
		}
		return checkBranch(g, id, origin)
	}
	return nil
}

// checkReInit checks that g is the group that origin was closed for.
func checkReInit(g *PublicGroup, id *PreSharedKeyID, origin *PublicGroup) error {
	if g.context.Epoch != 1 {
		return broken(ReInitEpoch, "epoch %d", g.context.Epoch)
	}
	if !origin.isAt(id) || origin.reinit == nil {
		return broken(ReInitParameters, "the old group is not known, or not closed in epoch %d", id.Epoch)
	}
	asked := origin.reinit
	switch {
	case string(asked.GroupID) != string(g.context.GroupID):
		return broken(ReInitParameters, "another group id")
	case asked.Version != g.context.Version:
		return broken(ReInitParameters, "version %d", g.context.Version)
	case asked.CipherSuite != g.context.CipherSuite:
		return broken(ReInitParameters, "cipher suite %d", g.context.CipherSuite)
	case !asked.Extensions.Equal(g.context.Extensions):
		return broken(ReInitParameters, "other extensions")
	}
	present := g.credentials()
	for i, leaf := range origin.tree.Members {
		if _, member := present[string(syntax.Encode(&leaf.Credential))]; !member {
			return broken(ReInitMember, "the member at leaf %d is missing", i)
		}
	}
	return nil
}

// checkBranch checks that g branched off origin.
func checkBranch(g *PublicGroup, id *PreSharedKeyID, origin *PublicGroup) error {
	if g.context.Epoch != 1 {
		return broken(BranchEpoch, "epoch %d", g.context.Epoch)
	}
	if !origin.isAt(id) {
		return broken(BranchParameters, "the old group is not known in epoch %d", id.Epoch)
	}
	if g.context.Version != origin.context.Version || g.context.CipherSuite != origin.context.CipherSuite {
		return broken(BranchParameters, "version %d, cipher suite %d", g.context.Version, g.context.CipherSuite)
	}
	known := origin.credentials()
	for i, leaf := range g.tree.Members {
		if _, member := known[string(syntax.Encode(&leaf.Credential))]; !member {
			return broken(BranchMember, "leaf %d", i)
		}
	}
	return nil
}

// isAt reports whether g is the epoch that a resumption key names.
func (g *PublicGroup) isAt(id *PreSharedKeyID) bool {
	return g != nil && string(g.context.GroupID) == string(id.Group) && g.context.Epoch == id.Epoch
}

// credentials is the set of credentials that the members present, encoded.
func (g *PublicGroup) credentials() map[string]struct{} {
	set := make(map[string]struct{})
	for _, leaf := range g.tree.Members {
		set[string(syntax.Encode(&leaf.Credential))] = struct{}{}
	}
	return set
}
