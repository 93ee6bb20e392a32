package mlsengine

import (
	"bytes"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// CommitIntent says what a commit should do.
type CommitIntent struct {
	Proposals     []*Content // verified, included by reference in this order, before Inline
	Inline        []Proposal // included by value; the empty nonce of a PreSharedKey is drawn
	ForcePath     bool       // even where §12.4 does not ask for one
	NewIdentity   *SigningIdentity
	NewContent    *LeafContent // of the committer's leaf; nil says what it said before
	Framing       Framing
	PSKs          PSKStore
	TreeInWelcome TreeInclusion
	TreeInInfo    TreeInclusion
}

// CommitOut is a commit ready to be sent. Nothing has changed until Staged.Next
// is taken as the group.
type CommitOut struct {
	Message   []byte
	Welcome   []byte // MLSMessage; nil when nobody is added
	GroupInfo []byte // MLSMessage, of the new epoch
	Staged    *Staged
	Secrets   secret.Bytes // what ResumeCommit needs and the message does not tell
}

// committing is a commit in the making.
type committing struct {
	group    *Group
	in       CommitIntent
	env      Env
	identity *SigningIdentity // of the committer's new leaf
	commit   *Commit
	st       *staging
	steps    []pathStep
	path     ownPath
	fresh    []nodeKey // of the path, own leaf included
	secret   commitSecret
	founding bool // this is the first commit of a group that continues another
}

// Commit makes a commit (§12.4.1), signed by env.Identity. With NewIdentity the
// committer's new leaf carries that credential and signature key instead of
// the present ones, and everything of the new epoch is signed with it.
func (g *Group) Commit(in CommitIntent, env Env) (*CommitOut, error) {
	if err := g.checkSending(env.Identity); err != nil {
		return nil, err
	}
	b := &committing{group: g, in: in, env: env, identity: env.Identity, commit: new(Commit)}
	if in.NewIdentity != nil {
		b.identity = in.NewIdentity
	}
	return b.make()
}

// make makes the commit.
func (b *committing) make() (*CommitOut, error) {
	if err := b.build(); err != nil {
		return nil, err
	}
	content, entered, err := b.enter()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	return b.finish(content, entered)
}

// build puts the commit together: its proposals and its path.
func (b *committing) build() error {
	g := b.group
	list, err := b.list()
	if err != nil {
		return err
	}
	if b.st, err = g.public.stage(list, b.env); err != nil {
		return err
	}
	b.secret = zeroCommitSecret(g.public.suite)
	if list.hasPath {
		if err := b.setPath(b.st.draft.leaf(g.own)); err != nil {
			return err
		}
	}
	if err := b.st.finishTree(); err != nil || !list.hasPath {
		return err
	}
	return b.sealPath()
}

// list assembles the proposals: those by reference, then those by value. A key
// package is judged by the clock here, where we vouch for it, and nowhere else.
func (b *committing) list() (*proposalList, error) {
	for _, c := range b.in.Proposals {
		b.commit.Proposals = append(b.commit.Proposals, ProposalOrRef{Ref: c.ProposalRef()})
	}
	for _, p := range b.in.Inline {
		b.commit.Proposals = append(b.commit.Proposals, ProposalOrRef{Proposal: withNonce(p, b.group.public.suite, b.env)})
	}
	list, err := b.group.public.resolve(MemberSender(b.group.own), b.commit, b.in.Proposals)
	if err != nil {
		return nil, err
	}
	list.founding, list.custom, list.components = b.founding, b.env.CustomProposals, b.env.Components
	if err := list.checkSent(); err != nil {
		return nil, err
	}
	list.hasPath = b.in.ForcePath || b.in.NewIdentity != nil || b.in.NewContent != nil || list.pathRequired()
	return list, eachProposal(list, func(p *Add, _ committed) error {
		return p.KeyPackage.LeafNode.validateLifetime(b.env)
	})
}

// setPath draws new keys for the committer's path and puts them into the tree
// together with a new leaf in the likeness of an old one (§7.5).
func (b *committing) setPath(old *LeafNode) error {
	s, st := b.group.public.suite, b.st
	b.path = drawPath(s, b.env)
	private, public, err := b.path.leafKey(s)
	if err != nil {
		return err
	}
	b.steps = st.draft.filteredDirectPath(st.committer)
	nodes, keys, last, err := derivePath(s, b.steps, b.path.first)
	if err != nil {
		return err
	}
	b.fresh = append(nodes, nodeKey{st.committer.Node(), private})
	b.secret = commitSecret{last.Bytes}
	above := st.draft.setPath(st.committer, b.steps, keys)
	leaf := old.renewed(LeafNodeSourceCommit, public, b.identity).saying(b.in.NewContent, s.ID(), b.env)
	leaf.ParentHash = above
	signed, err := leaf.sign(b.identity, st.context.GroupID, st.committer)
	if err != nil {
		return err
	}
	if err := signed.validateAlone(s); err != nil {
		return err
	}
	if b.in.NewIdentity != nil {
		// A key that is not that of the public half would shut us out with the next epoch.
		if err := signed.verifySignature(s, st.context.GroupID, st.committer); err != nil {
			return err
		}
	}
	st.notePath(signed)
	st.draft.setLeaf(st.committer, signed)
	b.commit.Path = &UpdatePath{LeafNode: *signed}
	return nil
}

// sealPath encrypts the path secrets under the provisional context.
func (b *committing) sealPath() error {
	nodes, err := b.path.seal(b.st.tree, b.steps, b.st.added, b.st.provisional(), b.env)
	if err != nil {
		return err
	}
	b.commit.Path.Nodes = nodes
	return nil
}

// enter signs the commit and enters the new epoch.
func (b *committing) enter() (*authenticatedContent, *enteredEpoch, error) {
	g := b.group
	content, err := g.frame(framedContent{ContentType: ContentTypeCommit, Commit: b.commit}, b.in.Framing, b.env)
	if err != nil {
		return nil, nil, err
	}
	b.st.conclude(content)
	entered, err := g.enterNext(b.st, b.secret, b.in.PSKs)
	b.secret.Wipe()
	return content, entered, err
}

// finish makes the messages.
func (b *committing) finish(content *authenticatedContent, entered *enteredEpoch) (*CommitOut, error) {
	g := b.group
	content.ConfirmationTag = entered.tag
	next := g.successor(b.st, entered, b.fresh)
	out := &CommitOut{Staged: b.st.staged(next, entered.tag)}
	out.Staged.Commit = newContent(g.public.suite, content, 0)
	message, err := g.protect(content, b.in.Framing, b.env)
	if err != nil {
		return nil, err
	}
	out.Message = message.Bytes()
	out.Secrets = (&commitSecrets{b.path, content}).marshal()
	info, err := next.GroupInfo(b.in.TreeInInfo, b.signing())
	if err != nil {
		return nil, err
	}
	out.GroupInfo = groupInfoMessage(info).Bytes()
	if len(b.st.added) > 0 {
		if out.Welcome, err = b.welcome(next, entered); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// signing is the environment with the identity of the new epoch.
func (b *committing) signing() Env {
	env := b.env
	env.Identity = b.identity
	return env
}

// welcome makes the Welcome for everybody the commit adds (§12.4.3.1).
func (b *committing) welcome(next *Group, entered *enteredEpoch) ([]byte, error) {
	s := next.public.suite
	info, err := next.describe(nil, b.in.TreeInWelcome, b.signing())
	if err != nil {
		return nil, err
	}
	psks := b.st.list.pskIDs()
	var secrets []pathSecret
	if b.commit.Path != nil {
		secrets = b.path.secrets(s, len(b.steps))
	}
	var newcomers []newcomer
	err = eachProposal(b.st.list, func(p *Add, _ committed) error {
		n := newcomer{keyPackage: &p.KeyPackage, secrets: groupSecrets{joiner: entered.joiner, psks: psks}}
		if b.commit.Path != nil {
			n.secrets.path = &secrets[sharedStep(b.steps, b.st.added[len(newcomers)])]
		}
		newcomers = append(newcomers, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	w, err := sealWelcome(s, entered.member, info, newcomers, b.env)
	if err != nil {
		return nil, err
	}
	return welcomeMessage(w).Bytes(), nil
}

// commitSecrets is what has to be kept of a commit until it is accepted.
type commitSecrets struct {
	path    ownPath               // zero without a path
	content *authenticatedContent // of a PrivateMessage, which we cannot open ourselves
}

// Code walks the stored form.
func (p *commitSecrets) Code(c *syntax.Coder) {
	codeFormat(c, privateFormat)
	codeSecret(c, &p.path.leafSecret.Bytes)
	codeSecret(c, &p.path.first.Bytes)
	syntax.Optional(c, &p.content)
}

func (p *commitSecrets) marshal() secret.Bytes {
	kept := *p
	if kept.content.WireFormat == WireFormatPublicMessage {
		kept.content = nil // the message has it
	}
	return secret.New(syntax.Encode(&kept))
}

// ResumeInput is a commit of our own found again after a crash.
type ResumeInput struct {
	Message   []byte
	Secrets   secret.Bytes
	Proposals []*Content
	PSKs      PSKStore
}

// ResumeCommit stages a commit of our own from its message and secrets; the
// outcome is the one Commit had.
func (g *Group) ResumeCommit(in ResumeInput, env Env) (*Staged, error) {
	if g.retired {
		return nil, ErrRetired
	}
	kept, err := syntax.Decode[commitSecrets](in.Secrets.Expose())
	if err != nil {
		return nil, storedError("commit secrets", err)
	}
	content, err := kept.own(g, in.Message)
	if err != nil {
		return nil, err
	}
	c := newContent(g.public.suite, content, 0)
	st, err := g.public.receive(c, in.Proposals, env)
	if err != nil {
		return nil, err
	}
	commit := zeroCommitSecret(g.public.suite)
	var fresh []nodeKey
	if path := c.Commit().Path; path != nil {
		if fresh, commit, err = kept.path.reopen(st, path); err != nil {
			return nil, err
		}
	}
	st.conclude(content)
	entered, err := g.enterNext(st, commit, in.PSKs)
	commit.Wipe()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	if !bytes.Equal(entered.tag, content.ConfirmationTag) {
		return nil, broken(InvalidConfirmationTag, "epoch %d", st.context.Epoch)
	}
	staged := st.staged(g.successor(st, entered, fresh), entered.tag)
	staged.Commit = c
	return staged, nil
}

// own finds the commit in its message, or in the secrets when the message is
// encrypted, and checks that it is ours.
func (p *commitSecrets) own(g *Group, message []byte) (*authenticatedContent, error) {
	m, err := ParseMessage(message)
	if err != nil {
		return nil, err
	}
	content := p.content
	if m.public != nil {
		content = &m.public.content
	}
	if content == nil || content.WireFormat != m.wireFormat {
		return nil, storedError("commit secrets", errNotThisCommit)
	}
	if content.Content.Sender != MemberSender(g.own) || content.Content.ContentType != ContentTypeCommit {
		return nil, storedError("commit secrets", errNotThisCommit)
	}
	return content, g.public.verifyAuthenticated(content)
}

// reopen derives the keys of our own path from the secrets they came from.
func (o ownPath) reopen(st *staging, path *UpdatePath) ([]nodeKey, commitSecret, error) {
	s := st.from.suite
	private, public, err := o.leafKey(s)
	if err != nil || !bytes.Equal(public, path.LeafNode.EncryptionKey) {
		return nil, commitSecret{}, storedError("commit secrets", errNotThisCommit)
	}
	keys := make([]suite.HPKEPublicKey, len(path.Nodes))
	for i := range path.Nodes {
		keys[i] = path.Nodes[i].EncryptionKey
	}
	fresh, last, err := climb(s, st.tree.filteredDirectPath(st.committer), keys, o.first)
	if err != nil {
		return nil, commitSecret{}, storedError("commit secrets", err)
	}
	return append(fresh, nodeKey{st.committer.Node(), private}), commitSecret{last.Bytes}, nil
}
