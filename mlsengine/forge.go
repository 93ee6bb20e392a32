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
	list, err := b.list()
	if err != nil {
		return nil, err
	}
	if b.st, err = g.public.stage(list, env); err != nil {
		return nil, err
	}
	if err := b.setPath(b.st.draft.leaf(g.own)); err != nil {
		return nil, err
	}
	if err := b.st.finishTree(); err != nil {
		return nil, err
	}
	if err := b.sealPath(); err != nil {
		return nil, err
	}
	if err := b.misseal(f.Subtree - 1); err != nil {
		return nil, err
	}
	if f.Mutate != nil {
		f.Mutate(b.commit)
	}
	return b.finishForged(f)
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

func (b *committing) finishForged(f Forgery) (*CommitOut, error) {
	g := b.group
	content, err := g.frame(framedContent{ContentType: ContentTypeCommit, Commit: b.commit}, b.in.Framing, b.env)
	if err != nil {
		return nil, err
	}
	b.st.conclude(content)
	entered, err := g.enterNext(b.st, b.secret, b.in.PSKs)
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	if f.Tag {
		entered.tag[0] ^= 1
	}
	content.ConfirmationTag = entered.tag
	next := g.successor(b.st, entered, b.fresh)
	out := &CommitOut{Staged: b.st.staged(next, entered.tag)}
	message, err := g.protect(content, b.in.Framing, b.env)
	if err != nil {
		return nil, err
	}
	out.Message = message.Bytes()
	info, err := next.GroupInfo(b.in.TreeInInfo, Env{Identity: b.identity})
	if err != nil {
		return nil, err
	}
	out.GroupInfo = groupInfoMessage(info).Bytes()
	return out, nil
}
