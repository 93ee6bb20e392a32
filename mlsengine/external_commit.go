package mlsengine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"parley/internal/secret"
	"parley/internal/syntax"
)

// ErrNoOldLeaf is returned where a joiner asked to replace its older
// appearance and the group has none, or more than one to choose from.
var ErrNoOldLeaf = errors.New("mlsengine: no leaf to replace")

// Resync says whether an external commit also removes an older appearance of
// the joiner (§12.4.3.2). The zero value is a plain join.
type Resync struct {
	wanted bool
	named  bool
	leaf   LeafIndex
}

// ResyncFound replaces the leaf of the joiner's client, see Env.Identify. Where
// there are several, it is the one with the joiner's signature key.
func ResyncFound() Resync { return Resync{wanted: true} }

// ResyncLeaf replaces the leaf at i, which must be the same client's: see
// Env.Identify.
func ResyncLeaf(i LeafIndex) Resync { return Resync{wanted: true, named: true, leaf: i} }

// ExternalCommitParams says how a client that is no member joins.
type ExternalCommitParams struct {
	GroupInfo    *GroupInfo   // of the group's current epoch, with external_pub
	Tree         *RatchetTree // when the GroupInfo does not carry it
	Resync       Resync
	PSKs         []PreSharedKeyID // included by value in this order; an empty nonce is drawn
	PSKStore     PSKStore         // gives those keys
	Proposals    []*Content       // verified, included by reference: only such as an external commit may refer to
	Inline       []Proposal       // included by value, after all others: only such as an external commit may hold
	AAD          []byte
	Capabilities Capabilities // zero values are filled in with what this engine supports
	Extensions   Extensions   // of the leaf
	TreeInInfo   TreeInclusion
}

// ExternalCommit makes a commit by which its sender, env.Identity, joins the
// group or comes back to it (§12.4.3.2). The GroupInfo and its tree are checked
// as for a Welcome. The commit travels as a PublicMessage; until the group has
// accepted it nothing has changed, and Staged.Next is not to be used.
func ExternalCommit(p ExternalCommitParams, env Env) (*CommitOut, error) {
	if env.Identity == nil {
		return nil, ErrIdentity
	}
	public, err := NewPublicGroup(p.GroupInfo, p.Tree)
	if err != nil {
		return nil, err
	}
	x, err := newExternalCommit(public, p, env)
	if err != nil {
		return nil, err
	}
	if err := x.makePath(); err != nil {
		return nil, err
	}
	return x.finish()
}

// externalCommit is an external commit in the making. Its group is the epoch
// as the joiner knows it: without any secret.
type externalCommit struct {
	committing
	params ExternalCommitParams
	leaf   *LeafNode  // what the joiner's leaf is like
	init   initSecret // of the new epoch (§8.3)
}

// newExternalCommit checks that the joiner fits the group, and stages the
// proposals.
func newExternalCommit(public *PublicGroup, p ExternalCommitParams, env Env) (*externalCommit, error) {
	x := &externalCommit{params: p, committing: committing{env: env, identity: env.Identity, commit: new(Commit)}}
	x.in.NewIdentity = env.Identity // its halves are checked against each other
	x.leaf = &LeafNode{Credential: env.Identity.Credential, SignatureKey: env.Identity.Public}
	x.leaf = x.leaf.saying(&LeafContent{p.Capabilities, p.Extensions}, public.CipherSuite(), env)
	if t, found := lacking(public.context.Extensions.types(), x.leaf.Capabilities.supported()); found {
		return nil, broken(GroupInfoExtension, "extension type %d", t)
	}
	if err := x.propose(public); err != nil {
		return nil, err
	}
	list, err := public.resolve(Sender{Type: SenderTypeNewMemberCommit}, x.commit, p.Proposals)
	if err != nil {
		return nil, err
	}
	list.hasPath, list.path = true, &UpdatePath{LeafNode: *x.leaf}
	if x.st, err = public.stage(list, env); err != nil {
		return nil, err
	}
	x.group = &Group{public: public, own: x.st.committer}
	return x, nil
}

// propose fills the commit with what an external commit may hold (§12.2).
func (x *externalCommit) propose(public *PublicGroup) error {
	s := public.suite
	external, err := x.params.GroupInfo.externalPub()
	if err != nil {
		return err
	}
	kem, chosen, err := s.ExternalInitSend(external, x.env.draw("external_init", s.HPKEEntropySize()))
	if err != nil {
		return broken(GroupInfoExternalPub, "%v", err)
	}
	x.init = initSecret{chosen}
	for _, c := range x.params.Proposals {
		x.commit.Proposals = append(x.commit.Proposals, ProposalOrRef{Ref: c.ProposalRef()})
	}
	proposals := []Proposal{&ExternalInit{KEMOutput: kem}}
	if x.params.Resync.wanted {
		old, err := public.oldLeaf(x.params.Resync, x.identity, x.env.Identify)
		if err != nil {
			return err
		}
		proposals = append(proposals, &Remove{Removed: old})
	}
	for _, id := range x.params.PSKs {
		proposals = append(proposals, withNonce(&PreSharedKey{PSK: id}, s, x.env))
	}
	for _, p := range append(proposals, x.params.Inline...) {
		x.commit.Proposals = append(x.commit.Proposals, ProposalOrRef{Proposal: p})
	}
	return nil
}

// oldLeaf finds the leaf that a resync replaces. Whether it may is the
// proposal list's to check.
func (g *PublicGroup) oldLeaf(r Resync, joiner *SigningIdentity, identify Identifier) (LeafIndex, error) {
	if r.named {
		return r.leaf, nil
	}
	var found []LeafIndex
	for i, leaf := range g.tree.Members {
		switch {
		case identify.of(leaf.Credential) != identify.of(joiner.Credential):
		case bytes.Equal(leaf.SignatureKey, joiner.Public):
			return i, nil
		default:
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%w: %d are the client's", ErrNoOldLeaf, len(found))
	}
	return found[0], nil
}

// makePath puts the joiner into the tree, with a path.
func (x *externalCommit) makePath() error {
	if err := x.setPath(x.leaf); err != nil {
		return err
	}
	if err := x.st.finishTree(); err != nil {
		return err
	}
	return x.sealPath()
}

// finish signs the commit, enters the new epoch and makes the messages.
func (x *externalCommit) finish() (*CommitOut, error) {
	g := x.group.public
	a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
		GroupID: g.context.GroupID, Epoch: g.context.Epoch, Sender: x.st.list.committer, AAD: slices.Clone(x.params.AAD),
		ContentType: ContentTypeCommit, Commit: x.commit,
	}}
	if err := signContent(x.identity, a, g.encoded); err != nil {
		return nil, err
	}
	if err := g.context.checkAAD(a.Content.AAD); err != nil {
		return nil, err
	}
	x.st.conclude(a)
	entered, err := x.group.enter(x.st, x.init, x.secret, x.params.PSKStore)
	x.secret.Wipe()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	a.ConfirmationTag = entered.tag
	out := &CommitOut{
		Staged:  x.st.joined(entered, x.fresh),
		Message: sealPublic(g.suite, a, membershipKey{}, nil).Bytes(),
		Secrets: secret.New(syntax.Encode(&externalSecrets{x.path, x.init})),
	}
	out.Staged.Commit = newContent(g.suite, a, 0)
	info, err := out.Staged.Next.GroupInfo(x.params.TreeInInfo, x.env)
	if err != nil {
		return nil, err
	}
	out.GroupInfo = groupInfoMessage(info).Bytes()
	return out, nil
}

// joined is the outcome of an external commit to its sender.
func (st *staging) joined(e *enteredEpoch, fresh []nodeKey) *Staged {
	next := &Group{
		public:   st.public(e.tag),
		own:      st.committer,
		keys:     nodeKeys(nil).with(fresh),
		secrets:  e.secrets,
		ratchets: newSecretTree(st.from.suite, e.roots.encryption, st.tree.size),
		exports:  newExportTree(st.from.suite, e.roots.export),
	}
	return st.staged(next, e.tag)
}

// externalSecrets is what has to be kept of an external commit until it is
// accepted.
type externalSecrets struct {
	path ownPath
	init initSecret
}

// Code walks the stored form.
func (p *externalSecrets) Code(c *syntax.Coder) {
	codeFormat(c, privateFormat)
	codeSecret(c, &p.path.leafSecret.Bytes)
	codeSecret(c, &p.path.first.Bytes)
	codeSecret(c, &p.init.Bytes)
}

// ExternalResume is an external commit of our own found again after a crash.
type ExternalResume struct {
	GroupInfo *GroupInfo   // as given to ExternalCommit, like the next one
	Tree      *RatchetTree // when the GroupInfo does not carry it
	Message   []byte
	Secrets   secret.Bytes // CommitOut.Secrets
	Proposals []*Content
	PSKs      PSKStore
}

// ResumeExternalCommit stages an external commit of our own from its message
// and secrets; the outcome is the one ExternalCommit had.
func ResumeExternalCommit(in ExternalResume, env Env) (*Staged, error) {
	kept, err := syntax.Decode[externalSecrets](in.Secrets.Expose())
	if err != nil {
		return nil, storedError("commit secrets", err)
	}
	public, err := NewPublicGroup(in.GroupInfo, in.Tree)
	if err != nil {
		return nil, err
	}
	m, err := ParseMessage(in.Message)
	if err != nil {
		return nil, err
	}
	c, err := public.VerifyMessage(m)
	if err != nil {
		return nil, err
	}
	if c.Sender().Type != SenderTypeNewMemberCommit {
		return nil, storedError("commit secrets", errNotThisCommit)
	}
	st, err := public.receive(c, in.Proposals, env)
	if err != nil {
		return nil, err
	}
	fresh, commit, err := kept.path.reopen(st, c.Commit().Path)
	if err != nil {
		return nil, err
	}
	st.conclude(&c.authenticated)
	entered, err := (&Group{public: public}).enter(st, kept.init, commit, in.PSKs)
	commit.Wipe()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	if !bytes.Equal(entered.tag, c.ConfirmationTag()) {
		return nil, broken(InvalidConfirmationTag, "epoch %d", st.context.Epoch)
	}
	staged := st.joined(entered, fresh)
	staged.Commit = c
	return staged, nil
}

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

// nothingByReference: a joiner refers to nothing but members that leave by
// themselves.
func (l *proposalList) nothingByReference() error {
	for _, c := range l.all {
		if _, leaves := c.proposal.(*SelfRemove); c.ref != nil && !leaves {
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
		if l.group.suite.ValidateKEMOutput(p.KEMOutput) != nil {
			return broken(ExternalInitKEM, "%d bytes", len(p.KEMOutput))
		}
		return nil
	})
}

func (l *proposalList) onlyExternalTypes() error {
	for _, c := range l.all {
		switch kind := c.proposal.ProposalType(); kind {
		case ProposalTypeExternalInit, ProposalTypeRemove, ProposalTypePSK,
			ProposalTypeAppDataUpdate, ProposalTypeAppEphemeral, ProposalTypeSelfRemove:
		default:
			return broken(ExternalCommitProposal, "proposal type %d", kind)
		}
	}
	return nil
}

// oneRemoveOfOldSelf checks that the joiner removes at most one member, and
// that this is an older appearance of itself (§12.2). What makes two
// credentials one client is for the application to say.
func (l *proposalList) oneRemoveOfOldSelf() error {
	if n := l.count(ProposalTypeRemove); n > 1 {
		return broken(ExternalCommitRemoves, "%d remove proposals", n)
	}
	return eachProposal(l, func(p *Remove, _ committed) error {
		old, joiner := l.group.tree.leaf(p.Removed), &l.path.LeafNode
		if bytes.Equal(old.EncryptionKey, joiner.EncryptionKey) {
			return broken(LeafKeyUnchanged, "the joiner keeps the encryption key of leaf %d", p.Removed)
		}
		if l.identify.of(old.Credential) != l.identify.of(joiner.Credential) {
			return broken(ExternalCommitIdentity, "leaf %d is another client", p.Removed)
		}
		return nil
	})
}
