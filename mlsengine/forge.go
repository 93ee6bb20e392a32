//go:build parley_sim

package mlsengine

// Forgery says how a commit shall be wrong. It exists in builds for simulation only: what an insider can sign who does not keep the rules.
type Forgery struct {
	// Mutate changes the commit after its path was sealed and before it is signed.
	Mutate func(*Commit)
	// Subtree, from 1, names a node of the path whose recipients get a path secret that is well encrypted and not the one (§16.1 warns of
	// it): they can decrypt it, and it leads elsewhere.
	Subtree int
	// Tag makes the confirmation tag wrong.
	Tag bool
}

// ForgeCommit makes a commit as Commit does, and makes it wrong.
func (g *Group) ForgeCommit(in CommitIntent, f Forgery, env Env) (*CommitOut, error) {
	b := &committing{group: g, in: in, env: env, identity: env.Identity, commit: new(Commit)}
	b.in.ForcePath = true
	if err := b.build(); err != nil {
		return nil, err
	}
	if err := b.misseal(f.Subtree - 1); err != nil {
		return nil, err
	}
	if f.Mutate != nil {
		f.Mutate(b.commit)
	}
	content, entered, err := b.enter()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	if f.Tag {
		entered.tag[0] ^= 1
	}
	return b.finish(content, entered)
}

// misseal exchanges the secrets of one node for those of another path.
func (b *committing) misseal(node int) error {
	if node < 0 || node >= len(b.commit.Path.Nodes) {
		return nil
	}
	other := drawPath(b.group.public.suite, b.env)
	nodes, err := other.seal(b.st.tree, b.steps, b.st.added, b.st.provisional(), b.env)
	if err != nil {
		return err
	}
	b.commit.Path.Nodes[node].EncryptedPathSecret = nodes[node].EncryptedPathSecret
	return nil
}
