package mlsengine

// Verify checks the epoch's tree from scratch, as a joiner would (§12.4.3.1): its structure, its parent hashes and every leaf with its
// signature. A group reached by StageCommit or a Welcome has passed these checks on the way; one that came out of storage by
// ParsePublicGroup or ApplyDelta has only been held against its tree hash.
func (g *PublicGroup) Verify() error {
	if err := g.checkStored(); err != nil {
		return err
	}
	return g.tree.verify(g.context.GroupID, g.context.Extensions)
}
