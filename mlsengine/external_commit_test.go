package mlsengine

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// externalJoin is an external commit with a place to spoil it (§12.4.3.2).
type externalJoin struct {
	groupInfo  *GroupInfo
	removed    *LeafIndex
	beforeSign func(*Commit) // to break rules
}

// create makes the commit and the joiner's group.
func (j *externalJoin) create(t testing.TB, c *testClient) []byte {
	t.Helper()
	p := ExternalCommitParams{GroupInfo: j.groupInfo, PSKStore: c.psks}
	if j.removed != nil {
		p.Resync = ResyncLeaf(*j.removed)
	}
	x := must(newExternalCommit(must(NewPublicGroup(j.groupInfo, nil))(t), p, c.env))(t)
	check(t, x.makePath())
	if j.beforeSign != nil {
		j.beforeSign(x.commit)
	}
	out := must(x.finish())(t)
	c.group = out.Staged.Next
	return out.Message
}

// bothStores finds keys in the first store, then in the second.
type bothStores [2]PSKStore

func (b bothStores) PSK(id PreSharedKeyID) ([]byte, bool) {
	if key, known := b[0].PSK(id); known {
		return key, true
	}
	return b[1].PSK(id)
}

// joinParams are those of a plain join with the tree in the GroupInfo.
func joinParams(t *testing.T, helper *testClient) ExternalCommitParams {
	t.Helper()
	return ExternalCommitParams{GroupInfo: must(helper.group.GroupInfo(WithTree, helper.env))(t)}
}

// follow lets members follow an external commit and the joiner take its group.
func follow(t *testing.T, members []*testClient, joiner *testClient, out *CommitOut) Effects {
	t.Helper()
	var effects Effects
	for _, c := range members {
		staged := c.stage(t, c.open(t, out.Message), nil)
		c.group, effects = staged.Next, staged.Effects
	}
	joiner.group = out.Staged.Next
	wantAgreement(t, append([]*testClient{joiner}, members...))
	return effects
}

func TestExternalCommitInEverySuite(t *testing.T) {
	for _, id := range suite.IDs() {
		clients := newTestGroup(t, id, "alice", "bob")
		dave := newTestClient(t, id, "dave")
		p := joinParams(t, clients[0])
		p.AAD = []byte("let me in")
		out := must(ExternalCommit(p, dave.env))(t)
		effects := follow(t, clients, dave, out)
		if !effects.External || effects.CommitterLeaf != dave.group.OwnLeaf() || len(effects.Added) != 1 {
			t.Errorf("suite %d: %+v", id, effects)
		}
		if m := must(ParseMessage(out.Message))(t); string(m.AAD()) != "let me in" {
			t.Errorf("suite %d: AAD %q", id, m.AAD())
		}
		commit(t, append(clients, dave), 2, CommitIntent{})
	}
}

func TestResyncReplacesTheOldLeaf(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	p := joinParams(t, clients[0])
	p.Resync = ResyncFound()
	back := newTestClient(t, 1, "bob") // the same key as before
	effects := follow(t, []*testClient{clients[0], clients[2]}, back, must(ExternalCommit(p, back.env))(t))
	if len(effects.Removed) != 1 || effects.Removed[0].Index != 1 || effects.CommitterLeaf != 1 {
		t.Errorf("%+v", effects)
	}
	if outcome := clients[1].stage(t, clients[1].open(t, must(ExternalCommit(p, back.env))(t).Message), nil); !outcome.Removed {
		t.Error("the old appearance did not learn that it is gone")
	}
}

func TestResyncFindsNothingToReplace(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	p := joinParams(t, clients[0])
	p.Resync = ResyncFound()
	if _, err := ExternalCommit(p, newTestClient(t, 1, "dave").env); !errors.Is(err, ErrNoOldLeaf) {
		t.Errorf("a stranger: %v", err)
	}
	p.Resync = ResyncLeaf(1)
	_, err := ExternalCommit(p, newTestClient(t, 1, "dave").env)
	wantRule(t, ExternalCommitIdentity, err)
	p.Resync = ResyncLeaf(3)
	_, err = ExternalCommit(p, newTestClient(t, 1, "dave").env)
	wantRule(t, RemoveBlankLeaf, err)
}

// TestResyncTakesTheLeafOfItsKey: two clients may present one identity.
func TestResyncTakesTheLeafOfItsKey(t *testing.T) {
	first, second := newTestClient(t, 1, "bob"), newTestClient(t, 1, "bob")
	second.identity = second.newIdentity(t)
	second.keyPackage(t) // so that the next keys are other ones than those of the first
	alice := newTestClient(t, 1, "alice")
	alice.create(t, "group", nil)
	out := must(alice.group.Commit(CommitIntent{Inline: []Proposal{
		&Add{KeyPackage: *first.keyPackage(t)}, &Add{KeyPackage: *second.keyPackage(t)},
	}}, alice.env))(t)
	alice.group = out.Staged.Next
	p := joinParams(t, alice)
	p.Resync = ResyncFound()
	staged := must(ExternalCommit(p, second.env))(t).Staged
	if staged.Effects.Removed[0].Index != 2 {
		t.Errorf("replaced leaf %d", staged.Effects.Removed[0].Index)
	}
	third := newTestClient(t, 1, "bob")
	third.newIdentity(t)
	third.identity = third.newIdentity(t)
	if _, err := ExternalCommit(p, third.env); !errors.Is(err, ErrNoOldLeaf) {
		t.Errorf("two leaves to choose from: %v", err)
	}
}

func TestExternalCommitChecksWhatItJoins(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	alice, dave := clients[0], newTestClient(t, 1, "dave")
	join := func(change func(*ExternalCommitParams)) error {
		p := joinParams(t, alice)
		change(&p)
		_, err := ExternalCommit(p, dave.env)
		return err
	}
	wantRule(t, GroupInfoSignature, join(func(p *ExternalCommitParams) { p.GroupInfo.Signature = flipped(p.GroupInfo.Signature) }))
	wantRule(t, TreeHashMismatch, join(func(p *ExternalCommitParams) {
		p.GroupInfo = must(alice.group.GroupInfo(WithoutTree, alice.env))(t)
		p.Tree = must(NewGroup(GroupParams{Suite: 1, Identity: dave.identity}, dave.env))(t).Public().Tree()
	}))
	wantRule(t, GroupInfoTree, join(func(p *ExternalCommitParams) { p.GroupInfo = must(alice.group.GroupInfo(WithoutTree, alice.env))(t) }))
	wantRule(t, GroupInfoExternalPub, join(func(p *ExternalCommitParams) {
		p.GroupInfo = must(alice.group.describe(nil, WithTree, alice.env))(t)
	}))
	wantRule(t, GroupInfoExternalPub, join(func(p *ExternalCommitParams) {
		unusable := Extensions{extension(ExtensionTypeExternalPub, &externalPub{make([]byte, 32)})}
		p.GroupInfo = must(alice.group.describe(unusable, WithTree, alice.env))(t)
	}))
	wantRule(t, PSKUnknown, join(func(p *ExternalCommitParams) {
		p.PSKs = []PreSharedKeyID{{Type: PSKTypeExternal, ID: []byte("unheard of")}}
	}))
	wantRule(t, LeafSignature, func() error {
		other := newTestClient(t, 1, "erin")
		dave.env.Identity = &SigningIdentity{Credential: dave.identity.Credential, Public: dave.identity.Public, Key: other.identity.Key}
		defer func() { dave.env.Identity = &dave.identity }()
		return join(func(*ExternalCommitParams) {})
	}())
	dave.env.Identity = nil
	if err := join(func(*ExternalCommitParams) {}); !errors.Is(err, ErrIdentity) {
		t.Errorf("nobody joins: %v", err)
	}
}

func TestExternalCommitNeedsWhatTheGroupRequires(t *testing.T) {
	alice, dave := newTestClient(t, 1, "alice"), newTestClient(t, 1, "dave")
	able := Capabilities{Extensions: []ExtensionType{privateExtension}, Proposals: []ProposalType{0xf001}}
	alice.group = must(NewGroup(GroupParams{
		GroupID: GroupID("group"), Suite: 1, Identity: alice.identity, Capabilities: able,
		Extensions: Extensions{
			{Type: privateExtension}, extension(ExtensionTypeRequiredCapabilities, &RequiredCapabilities{ProposalTypes: []ProposalType{0xf001}}),
		},
	}, alice.env))(t)
	p := joinParams(t, alice)
	_, err := ExternalCommit(p, dave.env)
	wantRule(t, GroupInfoExtension, err)
	p.Capabilities.Extensions = able.Extensions
	_, err = ExternalCommit(p, dave.env)
	wantRule(t, LeafRequiredCapabilities, err)
	p.Capabilities = able
	follow(t, []*testClient{alice}, dave, must(ExternalCommit(p, dave.env))(t))
}

func TestExternalCommitIsResumedOnlyByItsOwnSecrets(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	dave := newTestClient(t, 1, "dave")
	p := joinParams(t, clients[0])
	one, other := must(ExternalCommit(p, dave.env))(t), must(ExternalCommit(p, dave.env))(t)
	resume := func(message []byte, kept secret.Bytes) error {
		_, err := ResumeExternalCommit(ExternalResume{GroupInfo: p.GroupInfo, Message: message, Secrets: kept}, dave.env)
		return err
	}
	check(t, resume(one.Message, one.Secrets))
	members := must(clients[0].group.Commit(CommitIntent{}, clients[0].env))(t)
	for name, err := range map[string]error{
		"of another join": resume(one.Message, other.Secrets), "of a member": resume(members.Message, one.Secrets),
		"of none": resume(one.Message, secret.New([]byte{9})),
	} {
		if !errors.Is(err, ErrStoredState) {
			t.Errorf("secrets %s: %v", name, err)
		}
	}
}

// TestWhoMayReplaceACertificate: certificates of one client differ, and those of two are of one type.
func TestWhoMayReplaceACertificate(t *testing.T) {
	named := func(name string, serial byte) *testClient {
		c := newTestClient(t, 1, fmt.Sprint(name, serial))
		key := ed25519.NewKeyFromSeed(c.identity.Key.Raw().Expose())
		template := x509.Certificate{
			SerialNumber: big.NewInt(int64(serial)), NotAfter: time.Unix(testNow, 0), URIs: []*url.URL{{Scheme: "name", Opaque: name}},
		}
		der := must(x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key))(t)
		c.identity.Credential = X509Credential([][]byte{der})
		c.env.Identify = func(k Credential) string { return strings.Join(k.URIs(), " ") }
		return c
	}
	alice, bob := named("alice", 1), named("bob", 1)
	alice.create(t, "group", nil)
	out := must(alice.group.Commit(CommitIntent{Inline: []Proposal{&Add{KeyPackage: *bob.keyPackage(t)}}, TreeInWelcome: WithTree}, alice.env))(t)
	alice.group = out.Staged.Next
	bob.join(t, out.Welcome, nil)
	p := joinParams(t, alice)
	p.Resync = ResyncLeaf(0)
	_, err := ExternalCommit(p, named("bob", 2).env)
	wantRule(t, ExternalCommitIdentity, err)
	join := externalJoin{groupInfo: p.GroupInfo, beforeSign: func(m *Commit) { m.Proposals = append(m.Proposals, byValue(&Remove{Removed: 1})...) }}
	wantRule(t, ExternalCommitIdentity, refusedBy(t, alice, join.create(t, named("mallory", 1)), nil))
	p.Resync = ResyncFound()
	again := named("bob", 2)
	if effects := follow(t, []*testClient{alice}, again, must(ExternalCommit(p, again.env))(t)); len(effects.Removed) != 1 || effects.Removed[0].Index != 1 {
		t.Errorf("%+v", effects)
	}
}

// TestResyncIsOfOneClient: what is one client is the application's to say, for
// the joiner and for everybody who follows.
func TestResyncIsOfOneClient(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob/old", "carol")
	rest := []*testClient{clients[0], clients[2]}
	p := joinParams(t, clients[0])
	p.Resync = ResyncFound()
	back := newTestClient(t, 1, "bob/new")
	if _, err := ExternalCommit(p, back.env); !errors.Is(err, ErrNoOldLeaf) {
		t.Errorf("credentials that nobody compares: %v", err)
	}
	back.env.Identify = func(k Credential) string {
		name, _, _ := strings.Cut(string(k.Identity()), "/")
		return name
	}
	out := must(ExternalCommit(p, back.env))(t)
	wantRule(t, ExternalCommitIdentity, refusedBy(t, clients[0], out.Message, nil))
	for _, c := range rest {
		c.env.Identify = back.env.Identify
	}
	if effects := follow(t, rest, back, out); effects.Removed[0].Index != 1 {
		t.Errorf("%+v", effects)
	}
}
