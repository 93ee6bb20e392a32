package mlsengine

import (
	"slices"
	"testing"
)

const (
	customType  ProposalType = 0xf00d
	anotherType ProposalType = 0xf00e
)

// newCustomGroup is a group whose members list and understand customType.
func newCustomGroup(t *testing.T, names ...string) []*testClient {
	t.Helper()
	able := Capabilities{Proposals: []ProposalType{customType, anotherType}}
	var clients []*testClient
	in := CommitIntent{TreeInWelcome: WithTree}
	for i, name := range names {
		c := newTestClient(t, 1, name)
		c.env.CustomProposals = CustomProposals{customType: PathRequired}
		clients = append(clients, c)
		if i == 0 {
			continue
		}
		var err error
		c.kp, c.secrets, err = NewKeyPackage(KeyPackageParams{
			Suite: 1, Identity: c.identity, Capabilities: able, Lifetime: Lifetime{NotAfter: testNow + 1},
		}, c.env)
		check(t, err)
		in.Inline = append(in.Inline, &Add{KeyPackage: *c.kp})
	}
	founder := clients[0]
	founder.group = must(NewGroup(GroupParams{GroupID: GroupID("group"), Suite: 1, Identity: founder.identity, Capabilities: able}, founder.env))(t)
	out := must(founder.group.Commit(in, founder.env))(t)
	founder.group = out.Staged.Next
	for _, c := range clients[1:] {
		c.join(t, out.Welcome, nil)
	}
	return clients
}

// customRuleCases break the rules of what extends the RFC.
func customRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		ProposalUnsupported: func(t *testing.T) error {
			clients := newCustomGroup(t, "alice", "bob")
			r := rogueCommit{proposals: byValue(&CustomProposal{Type: anotherType})} // listed, but not understood
			content := clients[1].open(t, r.make(t, clients[0]))
			_, err := clients[1].group.StageCommit(CommitInput{Commit: content}, clients[1].env)
			wantRule(t, ProposalUnsupported, err)
			if _, err := clients[1].group.public.StageCommit(content, nil, clients[1].env); err != nil {
				t.Errorf("an outsider need not understand it: %v", err)
			}
			return (&rogueCommit{proposals: byValue(&CustomProposal{Type: customType})}).refused(t, newTestGroup(t, 1, "alice", "bob"))
		},
		GREASEMisplaced: func(t *testing.T) error {
			alice := newTestGroup(t, 1, "alice", "bob")[0]
			bad := Extensions{{Type: 0x3a3a}}
			for _, p := range []Proposal{
				&GroupContextExtensions{Extensions: bad}, &CustomProposal{Type: 0xeaea},
				&ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 1, Extensions: bad},
			} {
				_, err := alice.group.Commit(CommitIntent{Inline: []Proposal{p}}, alice.env)
				wantRule(t, GREASEMisplaced, err)
			}
			_, err := NewGroup(GroupParams{Suite: 1, Identity: alice.identity, Extensions: bad}, alice.env)
			wantRule(t, GREASEMisplaced, err)
			_, err = alice.group.Propose(&ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 1, Extensions: bad}, Framing{}, alice.env)
			return err
		},
	}
}

func TestCustomProposalReachesTheApplication(t *testing.T) {
	clients := newCustomGroup(t, "alice", "bob", "carol")
	say := &CustomProposal{Type: customType, Body: []byte("dance")}
	proposed := must(clients[1].group.Propose(say, Framing{}, clients[1].env))(t)
	for _, c := range []*testClient{clients[0], clients[2]} {
		check(t, c.group.CheckProposal(c.open(t, proposed.Message), c.env))
	}
	content := proposed.Content
	out := commit(t, clients, 0, CommitIntent{Proposals: []*Content{content}})
	applied := out.Staged.Effects.Proposals
	if len(applied) != 1 || applied[0].Type != customType || applied[0].Sender != MemberSender(1) {
		t.Fatalf("applied %+v", applied)
	}
	got := must(ParseProposal(applied[0].Bytes))(t).(*CustomProposal)
	if got.Type != customType || string(got.Body) != "dance" {
		t.Errorf("carried %+v", got)
	}
	wantBytes(t, "encoding", MarshalProposal(got), applied[0].Bytes)
	if out.Staged.Commit.Commit().Path == nil {
		t.Error("no path, though the type asks for one")
	}
}

func TestCustomProposalDecidesAboutThePath(t *testing.T) {
	clients := newCustomGroup(t, "alice", "bob")
	r := rogueCommit{proposals: byValue(&CustomProposal{Type: customType}), pathless: true}
	content := clients[1].open(t, r.make(t, clients[0]))
	_, err := clients[1].group.StageCommit(CommitInput{Commit: content}, clients[1].env)
	wantRule(t, PathMissing, err)
	for _, c := range clients {
		c.env.CustomProposals = CustomProposals{customType: PathOptional}
	}
	out := commit(t, clients, 0, CommitIntent{Inline: []Proposal{&CustomProposal{Type: customType}}})
	if out.Staged.Commit.Commit().Path != nil {
		t.Error("a path that nobody asked for")
	}
}

func TestCustomProposalsThatMustNotBeSent(t *testing.T) {
	clients := newCustomGroup(t, "alice", "bob")
	alice := clients[0]
	propose := func(kind ProposalType) error {
		_, err := alice.group.Propose(&CustomProposal{Type: kind}, Framing{}, alice.env)
		return err
	}
	wantRule(t, ProposalUnsupported, propose(anotherType))
	alice.env.CustomProposals = CustomProposals{ProposalTypeRemove: PathRequired, 0xf00f: PathRequired}
	wantRule(t, ProposalUnsupported, propose(ProposalTypeRemove)) // not a way to make one of the RFC's
	wantRule(t, ProposalUnsupported, propose(0xf00f))             // nobody lists it
	_, err := ParseProposal([]byte{0, 0, 0})
	wantRule(t, MalformedMessage, err)
}

// TestRemovedMemberNeedNotKnowACustomProposal: only those who process the
// commit to its end need to.
func TestRemovedMemberNeedNotKnowACustomProposal(t *testing.T) {
	clients := newCustomGroup(t, "alice", "bob")
	dave := newTestClient(t, 1, "dave")
	out := commit(t, clients, 0, CommitIntent{Inline: []Proposal{&Add{KeyPackage: *dave.keyPackage(t)}}, TreeInWelcome: WithTree})
	dave.join(t, out.Welcome, nil)
	custom := &CustomProposal{Type: customType}
	_, err := clients[0].group.Commit(CommitIntent{Inline: []Proposal{custom}}, clients[0].env)
	wantRule(t, ProposalUnsupported, err)
	commit(t, clients, 0, CommitIntent{Inline: []Proposal{custom, &Remove{Removed: dave.group.OwnLeaf()}}})
}

func TestGREASEIsIgnoredEverywhere(t *testing.T) {
	alice, bob, dave := newTestClient(t, 1, "alice"), newTestClient(t, 1, "bob"), newTestClient(t, 1, "dave")
	for _, c := range []*testClient{alice, bob, dave} {
		c.env.GREASE = WithGREASE
	}
	alice.create(t, "group", nil)
	add := &Add{KeyPackage: *bob.keyPackage(t)}
	if !slices.ContainsFunc(bob.kp.Extensions, func(e Extension) bool { return isGREASE(e.Type) }) {
		t.Error("the key package holds none")
	}
	out := must(alice.group.Commit(CommitIntent{Inline: []Proposal{add}, TreeInWelcome: WithTree, TreeInInfo: WithTree}, alice.env))(t)
	alice.group = out.Staged.Next
	bob.join(t, out.Welcome, nil)
	gi := must(ParseMessage(out.GroupInfo))(t).GroupInfo()
	if !slices.ContainsFunc(gi.Extensions, func(e Extension) bool { return isGREASE(e.Type) }) {
		t.Error("the GroupInfo holds none")
	}
	joined := must(ExternalCommit(ExternalCommitParams{GroupInfo: gi}, dave.env))(t)
	follow(t, []*testClient{alice, bob}, dave, joined)
	for _, m := range alice.group.Public().Members() {
		cap := m.Leaf.Capabilities
		if !slices.ContainsFunc(cap.CipherSuites, isGREASE) || !slices.ContainsFunc(cap.Proposals, isGREASE) ||
			!slices.ContainsFunc(cap.Credentials, isGREASE) || !slices.ContainsFunc(m.Leaf.Extensions, func(e Extension) bool { return isGREASE(e.Type) }) {
			t.Errorf("leaf %d lists %+v", m.Index, cap)
		}
	}
	commit(t, []*testClient{alice, bob, dave}, 1, CommitIntent{ForcePath: true})
}

// TestUnlistedUnknownExtensionsOfKeyPackagesAreIgnored: RFC 9420 has only those
// of a leaf listed by it (§7.3, §13.5), and others send such key packages.
func TestUnlistedUnknownExtensionsOfKeyPackagesAreIgnored(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	dave := newTestClient(t, 1, "dave")
	offered := *dave.keyPackage(t)
	offered.Extensions = Extensions{{Type: grease[ExtensionType](3), Data: []byte("noise")}, {Type: privateExtension}}
	dave.kp = dave.signKeyPackage(t, offered)
	if err := dave.kp.Validate(dave.env); err != nil {
		t.Fatal(err)
	}
	wantRule(t, KeyPackageExtension, dave.kp.ValidateForOthers())
	if err := clients[0].keyPackage(t).ValidateForOthers(); err != nil {
		t.Errorf("our own: %v", err)
	}
	out := commit(t, clients, 0, CommitIntent{Inline: []Proposal{&Add{KeyPackage: *dave.kp}}, TreeInWelcome: WithTree})
	dave.join(t, out.Welcome, nil)
	commit(t, append(clients, dave), 2, CommitIntent{ForcePath: true})
}

// TestGREASEIsNoSupport: a group that really uses such a value is not for us.
func TestGREASEIsNoSupport(t *testing.T) {
	dave := newTestClient(t, 1, "dave")
	r := rogueWelcome{spoil: func(n *newcomer, gi *GroupInfo) {
		var err error
		dave.kp, dave.secrets, err = NewKeyPackage(KeyPackageParams{
			Suite: 1, Identity: dave.identity, Capabilities: Capabilities{Extensions: []ExtensionType{0x5a5a}},
		}, dave.env)
		check(t, err)
		n.keyPackage, gi.GroupContext.Extensions = dave.kp, Extensions{{Type: 0x5a5a}}
	}}
	wantRule(t, GroupInfoExtension, r.join(t, newTestGroup(t, 1, "alice", "bob")[0], dave))
}

func TestGREASEValues(t *testing.T) {
	found := 0
	for v := range 1 << 16 {
		if isGREASE(ProposalType(v)) {
			found++
		}
	}
	if found != greaseCount || !isGREASE(grease[ExtensionType](14)) || grease[ExtensionType](15) != 0x0a0a || isGREASE(ExtensionType(0xfafa)) {
		t.Errorf("%d values", found)
	}
}
