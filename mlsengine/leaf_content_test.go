package mlsengine

import (
	"bytes"
	"slices"
	"testing"
)

// sentLeafRuleCases break what only those ask who add somebody.
func sentLeafRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		LeafLifetimeTotal: func(t *testing.T) error {
			alice, dave := newTestGroup(t, 1, "alice", "bob")[0], newTestClient(t, 1, "dave")
			add := &Add{KeyPackage: *dave.keyPackage(t)} // for 200 seconds
			alice.env.LifetimeMax = 200
			check(t, add.KeyPackage.Validate(alice.env))
			alice.env.LifetimeMax = 199
			wantRule(t, LeafLifetimeTotal, add.KeyPackage.Validate(alice.env))
			_, err := alice.group.Propose(add, Framing{}, alice.env)
			wantRule(t, LeafLifetimeTotal, err)
			_, err = alice.group.Commit(CommitIntent{Inline: []Proposal{add}}, alice.env)
			return err
		},
	}
}

// TestMembersLearnSomethingNew: a group takes an extension into use once all
// its members have said that they support it, by Update and by commit.
func TestMembersLearnSomethingNew(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	alice, bob := clients[0], clients[1]
	use := &GroupContextExtensions{Extensions: Extensions{{Type: privateExtension, Data: []byte("in use")}}}
	content := &LeafContent{
		Capabilities: Capabilities{Extensions: []ExtensionType{privateExtension}}, Extensions: Extensions{{Type: privateExtension, Data: []byte("mine")}},
	}
	_, err := alice.group.Propose(use, Framing{}, alice.env)
	wantRule(t, GroupContextRequirements, err)
	proposed := must(bob.group.ProposeUpdate(&bob.identity, content, Framing{}, bob.env))(t)
	bob.updates[string(proposed.Ref)] = proposed.Secrets
	alice.open(t, proposed.Message)
	commit(t, clients, 0, CommitIntent{Proposals: []*Content{proposed.Content}, NewContent: content})
	for i := range LeafIndex(2) {
		leaf := bob.group.Public().Tree().Leaf(i)
		if !slices.Contains(leaf.Capabilities.Extensions, privateExtension) || !leaf.Extensions.Equal(content.Extensions) {
			t.Errorf("leaf %d says %+v", i, leaf.Capabilities)
		}
	}
	commit(t, clients, 1, CommitIntent{Inline: []Proposal{use}})
	_, err = alice.group.Commit(CommitIntent{NewContent: &LeafContent{}}, alice.env)
	wantRule(t, LeafGroupExtension, err)
	_, err = alice.group.ProposeUpdate(&alice.identity, &LeafContent{}, Framing{}, alice.env)
	wantRule(t, LeafGroupExtension, err)
}

func TestKeyPackageCarriesExtensionsOfItsOwn(t *testing.T) {
	dave := newTestClient(t, 1, "dave")
	k, _, err := NewKeyPackage(KeyPackageParams{
		Suite: 1, Identity: dave.identity, Lifetime: Lifetime{NotAfter: testNow}, LastResort: true,
		Outside: Extensions{{Type: privateExtension, Data: []byte("see inside")}},
	}, dave.env)
	check(t, err)
	read := must(ParseKeyPackage(k.Message()))(t)
	data, _ := read.Extensions.Find(privateExtension)
	if string(data) != "see inside" || !read.LastResort() {
		t.Errorf("read %+v", read.Extensions)
	}
	check(t, read.Validate(dave.env))
	wantBytes(t, "key package", read.Bytes(), k.Bytes())
}

func TestMessagesOfAnotherKindAreNoGroupInfoAndNoWelcome(t *testing.T) {
	dave := newTestClient(t, 1, "dave")
	m := must(ParseMessage(dave.keyPackage(t).Message()))(t)
	_, err := ExternalCommit(ExternalCommitParams{GroupInfo: m.GroupInfo()}, dave.env)
	wantRule(t, MalformedMessage, err)
	in := JoinInput{KeyPackage: dave.kp, Secrets: dave.secrets, Identity: dave.identity}
	_, err = JoinFromWelcome(m.Welcome(), in)
	wantRule(t, MalformedMessage, err)
	_, err = m.Welcome().OpenGroupInfo(in)
	wantRule(t, MalformedMessage, err)
}

// TestGroupInfoSaysWhatTheApplicationAdds: in a Welcome and beside a commit, and never twice.
func TestGroupInfoSaysWhatTheApplicationAdds(t *testing.T) {
	alice, bob, dave := newTestClient(t, 1, "alice"), newTestClient(t, 1, "bob"), newTestClient(t, 1, "dave")
	alice.create(t, "group", nil)
	note := Extension{Type: 0xf0c1, Data: []byte("where the files are")}
	alice.env.GroupInfo = Extensions{note}
	add := &Add{KeyPackage: *bob.keyPackage(t)}
	out := must(alice.group.Commit(CommitIntent{Inline: []Proposal{add}, TreeInWelcome: WithTree, TreeInInfo: WithTree}, alice.env))(t)
	welcome := must(ParseMessage(out.Welcome))(t).Welcome()
	beside := must(ParseMessage(out.GroupInfo))(t).GroupInfo()
	inside := must(welcome.OpenGroupInfo(JoinInput{KeyPackage: bob.kp, Secrets: bob.secrets, Identity: bob.identity}))(t)
	for _, gi := range []*GroupInfo{beside, inside} {
		if got, _ := gi.Extensions.Find(note.Type); !bytes.Equal(got, note.Data) {
			t.Errorf("the joiner reads %v", gi.Extensions)
		}
	}
	alice.group = out.Staged.Next
	bob.join(t, out.Welcome, nil)
	joined := must(ExternalCommit(ExternalCommitParams{GroupInfo: beside}, dave.env))(t)
	follow(t, []*testClient{alice, bob}, dave, joined)

	for _, taken := range []ExtensionType{ExtensionTypeExternalPub, ExtensionTypeRatchetTree} {
		alice.env.GroupInfo = Extensions{{Type: taken}}
		_, err := alice.group.GroupInfo(WithTree, alice.env)
		wantRule(t, DuplicateExtension, err)
	}
}
