package mlsengine

import (
	"bytes"
	"slices"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// A rogue is a member that makes messages without checking them, but with
// valid signatures and tags: what breaks is only what the test breaks.

// rogueCommit is a commit in the making, with places to spoil it.
type rogueCommit struct {
	proposals  []ProposalOrRef
	known      []*Content                  // those that proposals refer to
	pathless   bool                        // leave out the path
	beforeSeal func(*committing)           // the tree is complete, the path secrets are not encrypted yet
	beforeSign func(*committing)           // the commit is complete
	afterSign  func(*authenticatedContent) // the tag is set
}

// byValue are proposals as a commit holds them.
func byValue(proposals ...Proposal) []ProposalOrRef {
	list := make([]ProposalOrRef, len(proposals))
	for i, p := range proposals {
		list[i].Proposal = p
	}
	return list
}

// byReference are proposals as a commit refers to them.
func byReference(contents ...*Content) []ProposalOrRef {
	list := make([]ProposalOrRef, len(contents))
	for i, c := range contents {
		list[i].Ref = c.ProposalRef()
	}
	return list
}

// make makes the commit. Where the proposals cannot be applied, its path is
// one for the tree without them.
func (r *rogueCommit) make(t *testing.T, c *testClient) []byte {
	t.Helper()
	g := c.group
	b := &committing{group: g, env: c.env, identity: &c.identity, commit: &Commit{Proposals: r.proposals}}
	list, err := g.public.resolve(MemberSender(g.own), b.commit, r.known)
	if err == nil {
		list.hasPath = true
		b.st, err = g.public.stage(list, c.env)
	}
	if err != nil {
		empty := must(g.public.resolve(MemberSender(g.own), &Commit{Path: new(UpdatePath)}, nil))(t)
		b.st = must(g.public.stage(empty, c.env))(t)
	}
	b.secret = zeroCommitSecret(c.suite)
	if !r.pathless {
		check(t, b.setPath(b.st.draft.leaf(g.own)))
	}
	b.st.tree = b.st.draft.seal()
	b.st.context.TreeHash = b.st.tree.hash()
	if r.beforeSeal != nil {
		r.beforeSeal(b)
	}
	if !r.pathless {
		check(t, b.sealPath())
	}
	if r.beforeSign != nil {
		r.beforeSign(b)
	}
	a := must(g.frame(framedContent{ContentType: ContentTypeCommit, Commit: b.commit}, Framing{}, c.env))(t)
	b.st.conclude(a)
	a.ConfirmationTag = []byte("never reached")
	if entered, err := g.enterNext(b.st, b.secret, c.psks); err == nil {
		a.ConfirmationTag = entered.tag
	}
	if r.afterSign != nil {
		r.afterSign(a)
	}
	return sealPublic(c.suite, a, g.secrets.membership, g.public.encoded).Bytes()
}

// refused lets the last client, and somebody without secrets, process the
// commit, and gives the error both came to. Both must be unchanged.
func (r *rogueCommit) refused(t *testing.T, clients []*testClient) error {
	t.Helper()
	message, receiver := r.make(t, clients[0]), clients[len(clients)-1]
	return refusedBy(t, receiver, message, r.known)
}

func refusedBy(t *testing.T, receiver *testClient, message []byte, known []*Content) error {
	t.Helper()
	g := receiver.group
	public, private := g.public.Marshal(), g.MarshalPrivate().Expose()
	content, next, err := g.Open(must(ParseMessage(message))(t), testLimits)
	if err == nil {
		_, err = next.StageCommit(CommitInput{Commit: content, Proposals: known, OwnUpdates: receiver.updates, PSKs: receiver.psks}, receiver.env)
		if _, publicErr := g.public.StageCommit(content, known, receiver.env); publicErr != nil && err != nil && publicErr.Error() != err.Error() {
			t.Errorf("a member says %v, an outsider %v", err, publicErr)
		}
	}
	wantBytes(t, "public state", g.public.Marshal(), public)
	wantBytes(t, "private state", g.MarshalPrivate().Expose(), private)
	return err
}

// rogueProposal signs and sends a proposal without checking it.
func rogueProposal(t *testing.T, c *testClient, p Proposal) (*Content, []byte) {
	t.Helper()
	a := must(c.group.frame(framedContent{ContentType: ContentTypeProposal, Proposal: p}, Framing{}, c.env))(t)
	m := sealPublic(c.suite, a, c.group.secrets.membership, c.group.public.encoded)
	return newContent(c.suite, a, 0), m.Bytes()
}

// outsiderProposal signs a proposal as somebody who is no member.
func outsiderProposal(t *testing.T, g *PublicGroup, sender Sender, p Proposal, identity *SigningIdentity) *Message {
	t.Helper()
	a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
		GroupID: g.context.GroupID, Epoch: g.context.Epoch, Sender: sender, ContentType: ContentTypeProposal, Proposal: p,
	}}
	check(t, signContent(identity, a, g.encoded))
	return sealPublic(g.suite, a, membershipKey{}, nil)
}

// spoiledKeyPackage is a key package in which something is wrong and both
// signatures are right.
func spoiledKeyPackage(t *testing.T, name string, spoil func(*testClient, *KeyPackage)) *KeyPackage {
	t.Helper()
	c := newTestClient(t, 1, name)
	k := *c.keyPackage(t)
	spoil(c, &k)
	return c.signKeyPackage(t, k)
}

// signKeyPackage signs leaf and key package anew.
func (c *testClient) signKeyPackage(t *testing.T, k KeyPackage) *KeyPackage {
	t.Helper()
	k.LeafNode = *must(k.LeafNode.sign(&c.identity, nil, 0))(t)
	k.Signature = must(c.identity.Sign("KeyPackageTBS", syntax.Encode(keyPackageTBS{&k})))(t)
	return &k
}

// refusedKeyPackage gives the error of validating a key package, which must be
// that of committing an Add of it as well.
func refusedKeyPackage(t *testing.T, k *KeyPackage) error {
	t.Helper()
	err := k.validate(must(suite.Get(1))(t))
	r := rogueCommit{proposals: byValue(&Add{KeyPackage: *k})}
	if inCommit := r.refused(t, newTestGroup(t, 1, "alice", "bob")); inCommit == nil || err == nil || inCommit.Error() != err.Error() {
		t.Errorf("alone: %v; in a commit: %v", err, inCommit)
	}
	return err
}

// refusedUpdate gives the error of a commit with an Update whose leaf was
// spoiled and signed again.
func refusedUpdate(t *testing.T, spoil func(*LeafNode)) error {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	bob := clients[1]
	_, public, err := bob.suite.DeriveHPKEKeyPair(bob.env.draw("leaf_key", 32))
	check(t, err)
	leaf := bob.group.public.tree.leaf(bob.group.own).renewed(LeafNodeSourceUpdate, public, &bob.identity)
	spoil(leaf)
	signed := must(leaf.sign(&bob.identity, bob.group.GroupID(), bob.group.own))(t)
	content, _ := rogueProposal(t, bob, &Update{LeafNode: *signed})
	r := rogueCommit{proposals: byReference(content), known: []*Content{content}}
	return r.refused(t, clients)
}

// refusedPath gives the error of a commit with a spoiled path.
func refusedPath(t *testing.T, beforeSign func(*committing)) error {
	t.Helper()
	r := rogueCommit{beforeSign: beforeSign}
	return r.refused(t, newTestGroup(t, 1, "alice", "bob", "carol", "dave"))
}

// refusedPathLeaf gives the error of a commit whose path has a spoiled leaf,
// signed again.
func refusedPathLeaf(t *testing.T, spoil func(*LeafNode)) error {
	t.Helper()
	return refusedPath(t, func(b *committing) {
		leaf := b.commit.Path.LeafNode
		spoil(&leaf)
		b.commit.Path.LeafNode = *must(leaf.sign(b.identity, b.group.GroupID(), b.group.own))(t)
	})
}

// treeWithUnmergedLeaf is a group in which eve, at
// leaf 2, is unmerged at nodes 3 and 7, and node 5 between is blank.
func treeWithUnmergedLeaf(t *testing.T) []*testClient {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol", "dave", "erin")
	rest := []*testClient{clients[0], clients[1], clients[3], clients[4]}
	content, message := rogueProposal(t, clients[0], &Remove{Removed: 2})
	for _, c := range rest[1:] {
		c.open(t, message)
	}
	commit(t, rest, 1, CommitIntent{Proposals: []*Content{content}})
	eve := newTestClient(t, 1, "eve")
	out := commit(t, rest, 0, CommitIntent{TreeInWelcome: WithTree, Inline: []Proposal{&Add{KeyPackage: *eve.keyPackage(t)}}})
	eve.join(t, out.Welcome, nil)
	if eve.group.own != 2 || len(eve.group.public.tree.at(3).parent.UnmergedLeaves) != 1 || len(eve.group.public.tree.at(7).parent.UnmergedLeaves) != 1 {
		t.Fatal("the tree is not as it should be")
	}
	return []*testClient{clients[0], clients[1], eve, clients[3], clients[4]}
}

// refusedTree gives the error of joining with a tree that a malicious member
// changed and vouched for.
func refusedTree(t *testing.T, change func([]*testClient, *treeDraft)) error {
	t.Helper()
	clients := treeWithUnmergedLeaf(t)
	alice := clients[0]
	gi := must(alice.group.GroupInfo(WithoutTree, alice.env))(t)
	d := alice.group.public.tree.draft()
	change(clients, d)
	tree := d.seal()
	gi.GroupContext.TreeHash = tree.hash()
	check(t, gi.sign(&alice.identity))
	_, err := NewPublicGroup(gi, tree)
	return err
}

// changeLeaf replaces a leaf by a changed copy that its owner signed.
func changeLeaf(t *testing.T, owner *testClient, d *treeDraft, change func(*LeafNode)) {
	t.Helper()
	leaf := *d.leaf(owner.group.own)
	leaf.Extensions = slices.Clone(leaf.Extensions)
	change(&leaf)
	d.setLeaf(owner.group.own, must(leaf.sign(&owner.identity, owner.group.GroupID(), owner.group.own))(t))
}

// changeParent replaces a parent by a changed copy.
func changeParent(d *treeDraft, x treemath.NodeIndex, change func(*parentNode)) {
	node := *d.at(x).parent
	node.UnmergedLeaves = slices.Clone(node.UnmergedLeaves)
	change(&node)
	d.setParent(x, &node)
}

// flipped is b with its last bit changed.
func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}
