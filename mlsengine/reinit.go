package mlsengine

import "maps"

// FoundSuccessor makes the group that this one was closed for by a ReInit
// (§11.2), with all of its members. Any member may do so. It is signed by
// env.Identity, our identity under the new cipher suite, with the credential of
// the old group. Out of it come Staged.Next, in epoch 1, and the Welcome for
// the others; the commit itself is of no use to anybody. They join with the
// closed group as their Origin.
func (g *Group) FoundSuccessor(f Founding, env Env) (*CommitOut, error) {
	asked := g.public.reinit
	switch {
	case asked == nil:
		return nil, broken(ReInitParameters, "the group is not closed in epoch %d", g.public.context.Epoch)
	case asked.Version != VersionMLS10:
		return nil, broken(UnsupportedVersion, "version %d", asked.Version)
	}
	return g.found(GroupParams{GroupID: asked.GroupID, Suite: asked.CipherSuite, Extensions: asked.Extensions}, ResumptionPSKUsageReInit, f, env)
}

// checkReInit checks that g is the group that origin was closed for.
func checkReInit(g *PublicGroup, id *PreSharedKeyID, origin *PublicGroup, identify Identifier) error {
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
	before, now := origin.clients(identify), g.clients(identify)
	if !maps.Equal(before, now) {
		return broken(ReInitMember, "%d clients before, %d now", len(before), len(now))
	}
	return nil
}
