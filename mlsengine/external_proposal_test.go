package mlsengine

import (
	"errors"
	"testing"
)

// newGroupWithSenders is a group that lets outsiders propose.
func newGroupWithSenders(t *testing.T, senders []*testClient, names ...string) []*testClient {
	t.Helper()
	clients := newTestGroup(t, 1, names...)
	var allowed ExternalSenders
	for _, s := range senders {
		allowed = append(allowed, ExternalSender{SignatureKey: s.identity.Public, Credential: s.identity.Credential})
	}
	context := clients[0].group.Public().Context()
	commit(t, clients, 0, CommitIntent{Inline: []Proposal{
		&GroupContextExtensions{Extensions: context.Extensions.WithExternalSenders(allowed)},
	}})
	return clients
}

// seenFromOutside is the group as its GroupInfo tells it.
func seenFromOutside(t *testing.T, helper *testClient) *PublicGroup {
	t.Helper()
	return must(NewPublicGroup(must(helper.group.GroupInfo(WithTree, helper.env))(t), nil))(t)
}

// commitExternal lets all members open a proposal from outside and the first
// one commit it.
func commitExternal(t *testing.T, clients []*testClient, proposed *Proposed) *CommitOut {
	t.Helper()
	var content *Content
	for _, c := range clients {
		content = c.open(t, proposed.Message)
		check(t, c.group.CheckProposal(content, c.env))
		wantBytes(t, "reference", content.ProposalRef(), proposed.Ref)
	}
	for _, c := range clients {
		c.psks["shared"] = []byte("known to all")
	}
	return commit(t, clients, 0, CommitIntent{Proposals: []*Content{content}, PSKs: clients[0].psks})
}

func TestExternalSendersProposeWhatTheyMay(t *testing.T) {
	other, service := newTestClient(t, 1, "other service"), newTestClient(t, 1, "service")
	for name, p := range map[string]Proposal{
		"add": &Add{KeyPackage: *newTestClient(t, 1, "dave").keyPackage(t)}, "psk": &PreSharedKey{PSK: PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("shared")}},
		"reinit": &ReInit{GroupID: GroupID("new"), Version: VersionMLS10, CipherSuite: 2}, "extensions": &GroupContextExtensions{},
	} {
		t.Run(name, func(t *testing.T) {
			clients := newGroupWithSenders(t, []*testClient{other, service}, "alice", "bob")
			proposed := must(seenFromOutside(t, clients[0]).ProposeExternally(p, []byte("why"), service.env))(t)
			if s := proposed.Content.Sender(); s.Type != SenderTypeExternal || s.Index != 1 {
				t.Errorf("sender %+v", s)
			}
			commitExternal(t, clients, proposed)
		})
	}
	t.Run("remove", func(t *testing.T) {
		clients := newGroupWithSenders(t, []*testClient{service}, "alice", "bob", "carol")
		proposed := must(seenFromOutside(t, clients[0]).ProposeExternally(&Remove{Removed: 2}, nil, service.env))(t)
		gone := clients[2].open(t, proposed.Message)
		out := commitExternal(t, clients[:2], proposed)
		if !clients[2].stage(t, clients[2].open(t, out.Message), []*Content{gone}).Removed {
			t.Error("carol is still there")
		}
	})
}

func TestExternalProposalsThatMustNotBeSent(t *testing.T) {
	service, dave := newTestClient(t, 1, "service"), newTestClient(t, 1, "dave")
	clients := newGroupWithSenders(t, []*testClient{service}, "alice", "bob")
	public := seenFromOutside(t, clients[0])
	propose := func(p Proposal, by *testClient) error {
		_, err := public.ProposeExternally(p, nil, by.env)
		return err
	}
	wantRule(t, UnknownExternalSender, propose(&Remove{Removed: 1}, dave))
	wantRule(t, ExternalProposalType, propose(&ExternalInit{KEMOutput: []byte("x")}, service))
	wantRule(t, RemoveBlankLeaf, propose(&Remove{Removed: 7}, service))
	wantRule(t, GroupContextRequirements, propose(&GroupContextExtensions{
		Extensions: Extensions{}.WithRequiredCapabilities(RequiredCapabilities{ProposalTypes: []ProposalType{0xf001}}),
	}, service))
	expired, _, err := NewKeyPackage(KeyPackageParams{Suite: 1, Identity: dave.identity}, dave.env)
	check(t, err)
	wantRule(t, LeafLifetime, propose(&Add{KeyPackage: *expired}, service))
	service.env.Identity = nil
	if err := propose(&Remove{Removed: 1}, service); !errors.Is(err, ErrIdentity) {
		t.Errorf("nobody proposes: %v", err)
	}
}

func TestNewMemberProposesToJoinByGroupContext(t *testing.T) {
	clients, dave := newTestGroup(t, 1, "alice", "bob"), newTestClient(t, 1, "dave")
	gi := must(clients[0].group.GroupInfo(WithoutTree, clients[0].env))(t)
	proposed := must(ProposeToJoin(&gi.GroupContext, dave.keyPackage(t), nil, dave.env))(t)
	content := clients[1].open(t, proposed.Message)
	clients[0].open(t, proposed.Message)
	out := commit(t, clients, 1, CommitIntent{Proposals: []*Content{content}, TreeInWelcome: WithTree})
	dave.join(t, out.Welcome, nil)
	wantAgreement(t, append(clients, dave))
}

func TestNewMemberMustFitTheGroup(t *testing.T) {
	alice, dave := newTestClient(t, 1, "alice"), newTestClient(t, 1, "dave")
	required := RequiredCapabilities{ProposalTypes: []ProposalType{0xf001}}
	alice.group = must(NewGroup(GroupParams{
		GroupID: GroupID("group"), Suite: 1, Identity: alice.identity, Extensions: Extensions{}.WithRequiredCapabilities(required),
		Capabilities: Capabilities{Proposals: required.ProposalTypes},
	}, alice.env))(t)
	context := alice.group.Public().Context()
	_, err := ProposeToJoin(&context, dave.keyPackage(t), nil, dave.env)
	wantRule(t, LeafRequiredCapabilities, err)
	_, err = alice.group.Propose(&Add{KeyPackage: *dave.kp}, Framing{}, alice.env)
	wantRule(t, LeafRequiredCapabilities, err)
	_, err = ProposeToJoin(&context, newTestClient(t, 2, "dave").keyPackage(t), nil, dave.env)
	if !errors.Is(err, ErrIdentity) {
		t.Errorf("the key package of another: %v", err)
	}
	context.CipherSuite = 3
	_, err = ProposeToJoin(&context, dave.kp, nil, dave.env)
	wantRule(t, KeyPackageCipherSuite, err)
	context.Version = 2
	_, err = ProposeToJoin(&context, dave.kp, nil, dave.env)
	wantRule(t, UnsupportedVersion, err)
}
