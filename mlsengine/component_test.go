package mlsengine

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

const (
	counter ComponentID = 0x8001 // its updates are added up
	plain   ComponentID = 0x8002 // its last update is its data
)

// componentCapabilities are those of a client that knows all of the draft that is here.
func componentCapabilities() Capabilities {
	return Capabilities{
		Extensions: []ExtensionType{ExtensionTypeAppDataDictionary},
		Proposals:  []ProposalType{ProposalTypeAppDataUpdate, ProposalTypeAppEphemeral, ProposalTypeSelfRemove},
	}
}

func testComponents() Components {
	return Components{plain: {}, counter: {
		Update: func(old []byte, _ bool, updates [][]byte) ([]byte, error) {
			for _, u := range updates {
				if len(u) != 1 {
					return nil, errors.New("not one byte")
				}
				old = append(slices.Clone(old), u...)
			}
			return old, nil
		},
		Ephemeral: func(data []byte) error {
			if len(data) == 0 {
				return errors.New("nothing")
			}
			return nil
		},
	}}
}

// newComponentGroup is a group of clients that know the draft.
func newComponentGroup(t testing.TB, extensions Extensions, names ...string) []*testClient {
	t.Helper()
	var clients []*testClient
	in := CommitIntent{TreeInWelcome: WithTree, ForcePath: true}
	for i, name := range names {
		c := newTestClient(t, 1, name)
		c.env.Components = testComponents()
		clients = append(clients, c)
		if i > 0 {
			in.Inline = append(in.Inline, &Add{KeyPackage: *c.componentPackage(t)})
		}
	}
	founder := clients[0]
	founder.group = must(NewGroup(GroupParams{
		GroupID: GroupID("group"), Suite: 1, Identity: founder.identity, Capabilities: componentCapabilities(), Extensions: extensions,
	}, founder.env))(t)
	if len(extensions) > 0 && extensions.framesAAD() {
		in.Framing.AAD = SafeAAD{}.Bytes()
	}
	out := must(founder.group.Commit(in, founder.env))(t)
	founder.group = out.Staged.Next
	for _, c := range clients[1:] {
		c.join(t, out.Welcome, nil)
	}
	return clients
}

func (c *testClient) componentPackage(t testing.TB) *KeyPackage {
	t.Helper()
	var err error
	c.kp, c.secrets, err = NewKeyPackage(KeyPackageParams{
		Suite: 1, Identity: c.identity, Capabilities: componentCapabilities(), Lifetime: Lifetime{NotAfter: testNow + 1},
	}, c.env)
	return must(c.kp, err)(t)
}

// refusedComponent gives the error of a commit in a group that has data of the counter.
func refusedComponent(t *testing.T, proposals ...Proposal) error {
	t.Helper()
	d := AppDataDictionary{{counter, []byte{1}}}
	clients := newComponentGroup(t, Extensions{}.WithAppData(d), "alice", "bob", "carol")
	err := (&rogueCommit{proposals: byValue(proposals...)}).refused(t, clients)
	if _, ownErr := clients[0].group.Commit(CommitIntent{Inline: proposals}, clients[0].env); ownErr == nil || err == nil || ownErr.Error() != err.Error() {
		t.Errorf("others say %v, the committer %v", err, ownErr)
	}
	return err
}

func appUpdate(id ComponentID, b ...byte) *AppDataUpdate {
	return &AppDataUpdate{Component: id, Update: b}
}

func appRemove(id ComponentID) *AppDataUpdate { return &AppDataUpdate{Component: id, Remove: true} }

func componentRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		AppComponentUnknown: func(t *testing.T) error {
			wantRule(t, AppComponentUnknown, refusedComponent(t, appUpdate(7, 1)))
			wantRule(t, AppComponentUnknown, refusedComponent(t, appRemove(7)))
			return refusedComponent(t, &AppEphemeral{Component: 7})
		},
		AppComponentRefused: func(t *testing.T) error {
			wantRule(t, AppComponentRefused, refusedComponent(t, appUpdate(counter, 1, 2)))
			return refusedComponent(t, &AppEphemeral{Component: counter})
		},
		AppDataUpdateConflict: func(t *testing.T) error {
			wantRule(t, AppDataUpdateConflict, refusedComponent(t, appRemove(counter), appRemove(counter)))
			wantRule(t, AppDataUpdateConflict, refusedComponent(t, appRemove(counter), appUpdate(counter, 1)))
			wantRule(t, AppDataUpdateConflict, refusedComponent(t, appUpdate(plain, 1), appUpdate(counter, 1), appUpdate(counter, 1), appRemove(counter)))
			return refusedComponent(t, appUpdate(counter, 1), appRemove(counter))
		},
		AppDataRemoveAbsent: func(t *testing.T) error {
			clients := newComponentGroup(t, nil, "alice", "bob")
			_, err := clients[0].group.Propose(appRemove(plain), Framing{}, clients[0].env)
			wantRule(t, AppDataRemoveAbsent, err)
			return refusedComponent(t, appRemove(plain))
		},
		AppDataLocked: func(t *testing.T) error {
			locked := Extensions{}.WithRequiredCapabilities(RequiredCapabilities{ProposalTypes: []ProposalType{ProposalTypeAppDataUpdate}})
			with := locked.WithAppData(AppDataDictionary{{plain, []byte{1}}})
			for _, c := range []struct{ before, after Extensions }{
				{locked, with}, {with, locked}, {with, with.WithAppData(AppDataDictionary{{plain, []byte{2}}})},
			} {
				clients := newComponentGroup(t, c.before, "alice", "bob")
				wantRule(t, AppDataLocked, (&rogueCommit{proposals: byValue(&GroupContextExtensions{c.after})}).refused(t, clients))
			}
			clients := newComponentGroup(t, with, "alice", "bob")
			free := with.WithExternalSenders(ExternalSenders{{SignatureKey: clients[0].identity.Public, Credential: clients[0].identity.Credential}})
			commit(t, clients, 0, CommitIntent{Inline: []Proposal{&GroupContextExtensions{free}, appUpdate(plain, 9)}})
			_, err := clients[0].group.Commit(CommitIntent{Inline: []Proposal{&GroupContextExtensions{locked}}}, clients[0].env)
			return err
		},
		SelfRemoveByValue: func(t *testing.T) error { return refusedComponent(t, &SelfRemove{}) },
		SelfRemoveEncrypted: func(t *testing.T) error {
			clients := newComponentGroup(t, nil, "alice", "bob", "carol")
			_, err := clients[1].group.Propose(&SelfRemove{}, Framing{Encrypt: true}, clients[1].env)
			wantRule(t, SelfRemoveEncrypted, err)
			a := must(clients[1].group.frame(framedContent{ContentType: ContentTypeProposal, Proposal: &SelfRemove{}}, Framing{Encrypt: true}, clients[1].env))(t)
			content := newContent(clients[1].suite, a, 0)
			wantRule(t, SelfRemoveEncrypted, clients[0].group.CheckProposal(content, clients[0].env))
			return (&rogueCommit{proposals: byReference(content), known: []*Content{content}}).refused(t, clients)
		},
		SafeAADMalformed: func(t *testing.T) error {
			clients := newComponentGroup(t, Extensions{}.WithAppData(AppDataDictionary{}.WithComponents(ComponentSafeAAD)), "alice", "bob")
			alice, bob := clients[0], clients[1]
			for _, aad := range [][]byte{nil, []byte("plain"), {8, 0, 2, 1, 'b', 0, 1, 1, 'a'}, {8, 0, 1, 1, 'b', 0, 1, 1, 'a'}} {
				_, err := alice.group.Propose(appUpdate(plain, 1), Framing{AAD: aad}, alice.env)
				wantRule(t, SafeAADMalformed, err)
				_, err = ProposeToJoin(&alice.group.public.context, newTestClient(t, 1, "dave").componentPackage(t), aad, newTestClient(t, 1, "dave").env)
				wantRule(t, SafeAADMalformed, err)
			}
			a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
				GroupID: GroupID("group"), Epoch: 1, Sender: MemberSender(0), ContentType: ContentTypeProposal, Proposal: appUpdate(plain, 1),
			}}
			check(t, signContent(&alice.identity, a, alice.group.public.encoded))
			return refusedBy(t, bob, sealPublic(alice.suite, a, alice.group.secrets.membership, alice.group.public.encoded).Bytes(), nil)
		},
	}
}

func TestAppDataFollowsItsComponents(t *testing.T) {
	clients := newComponentGroup(t, nil, "alice", "bob", "carol")
	data := func() AppDataDictionary {
		t.Helper()
		return must(clients[1].group.public.context.Extensions.AppData())(t)
	}
	proposed := must(clients[1].group.Propose(appUpdate(counter, 7), Framing{}, clients[1].env))(t)
	for _, c := range []*testClient{clients[0], clients[2]} {
		check(t, c.group.CheckProposal(c.open(t, proposed.Message), c.env))
	}
	out := commit(t, clients, 0, CommitIntent{
		Proposals: []*Content{proposed.Content},
		Inline:    []Proposal{appUpdate(plain, 1), appUpdate(counter, 8), &AppEphemeral{counter, []byte("hear")}, appUpdate(plain, 2)},
	})
	if out.Staged.Commit.Commit().Path != nil || !out.Staged.Effects.ContextChanged || len(out.Staged.Effects.Proposals) != 5 {
		t.Errorf("path or effects: %+v", out.Staged.Effects)
	}
	want := AppDataDictionary{{counter, []byte{7, 8}}, {plain, []byte{2}}}
	if got := data(); !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("data %v", got)
	}
	commit(t, clients, 2, CommitIntent{Inline: []Proposal{appRemove(plain)}})
	if got := data(); !bytes.Equal(got.Bytes(), want.Without(plain).Bytes()) {
		t.Errorf("data %v", got)
	}
	commit(t, clients, 2, CommitIntent{Inline: []Proposal{appRemove(counter)}})
	if got := data(); got == nil || len(got) != 0 {
		t.Errorf("data %v: an empty dictionary stays", got)
	}
	// Whoever joins later learns the data with the context, and an external commit may change it.
	dave := newTestClient(t, 1, "dave")
	dave.env.Components = testComponents()
	p := joinParams(t, clients[0])
	p.Capabilities, p.Inline = componentCapabilities(), []Proposal{appUpdate(plain, 4)}
	follow(t, clients, dave, must(ExternalCommit(p, dave.env))(t))
	if got, _ := data().Find(plain); !bytes.Equal(got, []byte{4}) {
		t.Errorf("data %v", got)
	}
	// An outsider that does not know the component cannot follow it, and says so.
	out = must(clients[0].group.Commit(CommitIntent{Inline: []Proposal{appUpdate(plain, 5)}}, clients[0].env))(t)
	_, err := clients[1].group.public.StageCommit(out.Staged.Commit, nil, Env{Now: testNow})
	wantRule(t, AppComponentUnknown, err)
	if _, err := clients[1].group.public.StageCommit(out.Staged.Commit, nil, clients[1].env); err != nil {
		t.Error(err)
	}
}

func TestExternalSendersUpdateAppData(t *testing.T) {
	service := newTestClient(t, 1, "service")
	service.env.Components = testComponents()
	senders := Extensions{}.WithExternalSenders(ExternalSenders{{SignatureKey: service.identity.Public, Credential: service.identity.Credential}})
	clients := newComponentGroup(t, senders, "alice", "bob")
	proposed := must(clients[0].group.public.ProposeExternally(appUpdate(plain, 1), nil, service.env))(t)
	var content *Content
	for _, c := range clients {
		content = c.open(t, proposed.Message)
	}
	commit(t, clients, 0, CommitIntent{Proposals: []*Content{content}})
	_, err := clients[0].group.public.ProposeExternally(&SelfRemove{}, nil, service.env)
	wantRule(t, ExternalProposalType, err)
}

func TestProposalsOfTheDraftNeedTheirListing(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	for _, c := range clients {
		c.env.Components = testComponents()
	}
	for _, p := range []Proposal{appUpdate(plain, 1), &AppEphemeral{Component: plain}, &SelfRemove{}} {
		_, err := clients[0].group.Propose(p, Framing{}, clients[0].env)
		wantRule(t, ProposalUnsupported, err)
	}
	able := newComponentGroup(t, nil, "alice", "bob")
	dave := newTestClient(t, 1, "dave")
	dave.env.Components = testComponents()
	p := joinParams(t, able[0])
	p.Inline = []Proposal{appUpdate(plain, 1)}
	_, err := ExternalCommit(p, dave.env)
	wantRule(t, ProposalUnsupported, err)
	if len(able[0].group.public.Members()[1].Leaf.Capabilities.Proposals) != 3 || len(clients[1].group.public.Members()[1].Leaf.Capabilities.Proposals) != 0 {
		t.Error("nothing is advertised that was not asked for")
	}
}

func TestMembersRemoveThemselves(t *testing.T) {
	for _, external := range []bool{false, true} {
		clients := newComponentGroup(t, nil, "alice", "bob", "carol", "dora")
		alice, bob, carol, dora := clients[0], clients[1], clients[2], clients[3]
		leave := func(c *testClient) *Content {
			proposed := must(c.group.Propose(&SelfRemove{}, Framing{}, c.env))(t)
			for _, other := range clients {
				if other != c {
					check(t, other.group.CheckProposal(other.open(t, proposed.Message), other.env))
				}
			}
			return must(alice.group.public.VerifyMessage(must(ParseMessage(proposed.Message))(t)))(t) // as a joiner verifies it
		}
		known := []*Content{leave(bob), leave(dora)}
		joiner := newTestClient(t, 1, "erin")
		var out *CommitOut
		if external {
			p := joinParams(t, alice)
			p.Capabilities, p.Proposals = componentCapabilities(), known
			out = must(ExternalCommit(p, joiner.env))(t)
		} else {
			out = must(alice.group.Commit(CommitIntent{Proposals: known}, alice.env))(t)
			if out.Staged.Commit.Commit().Path == nil {
				t.Error("a commit with a SelfRemove has no path")
			}
			joiner = alice
		}
		for _, c := range []*testClient{bob, dora} {
			if staged := c.stage(t, c.open(t, out.Message), known); !staged.Removed || len(staged.Effects.Removed) != 2 {
				t.Errorf("%s: %+v", c.name, staged.Effects)
			}
		}
		joiner.group = out.Staged.Next
		members := []*testClient{carol}
		if external {
			members = append(members, alice)
		}
		for _, c := range members {
			c.group = c.stage(t, c.open(t, out.Message), known).Next
		}
		wantAgreement(t, append(members, joiner))
		if n := len(carol.group.public.Members()); n != 2 && !external || n != 3 && external {
			t.Errorf("%d members are left", n)
		}
	}
}

func TestSelfRemovesAreRemoves(t *testing.T) {
	clients := newComponentGroup(t, nil, "alice", "bob", "carol")
	content, _ := rogueProposal(t, clients[1], &SelfRemove{})
	again, _ := rogueProposal(t, clients[1], &SelfRemove{})
	update := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t).Content
	own, _ := rogueProposal(t, clients[0], &SelfRemove{})
	known := []*Content{content, again, update, own}
	refused := func(want Rule, proposals ...ProposalOrRef) {
		t.Helper()
		wantRule(t, want, (&rogueCommit{proposals: proposals, known: known}).refused(t, clients))
	}
	refused(MultipleChangesOfLeaf, append(byReference(content), byValue(&Remove{Removed: 1})...)...)
	refused(MultipleChangesOfLeaf, byReference(content, update)...)
	refused(RemoveCommitter, byReference(own)...)
	p := joinParams(t, clients[0])
	p.Capabilities, p.Proposals, p.Resync = componentCapabilities(), []*Content{content}, ResyncLeaf(1)
	bob := newTestClient(t, 1, "bob")
	bob.identity = bob.newIdentity(t)
	_, err := ExternalCommit(p, bob.env)
	wantRule(t, MultipleChangesOfLeaf, err)
	// In an external commit, nothing else goes by reference, and SelfRemove not by value.
	join := externalJoin{groupInfo: p.GroupInfo, beforeSign: func(m *Commit) { m.Proposals = append(m.Proposals, byValue(&SelfRemove{})...) }}
	dave := newTestClient(t, 1, "dave")
	wantRule(t, ProposalUnsupported, refusedBy(t, clients[2], join.create(t, dave), nil))
	join.beforeSign = func(m *Commit) {
		m.Proposals = append(m.Proposals, byValue(&SelfRemove{})...)
		m.Path.LeafNode.Capabilities.Proposals = componentCapabilities().Proposals
	}
	wantRule(t, SelfRemoveByValue, refusedBy(t, clients[2], join.create(t, newTestClient(t, 1, "dave")), nil))
}

func TestSafeExportIsForwardSecret(t *testing.T) {
	clients := newComponentGroup(t, nil, "alice", "bob")
	var first []byte
	for _, c := range clients {
		for _, id := range []ComponentID{counter, 0, 0xffff} {
			before := c.group.MarshalPrivate().Expose()
			got, next, err := c.group.SafeExport(id)
			check(t, err)
			if got.Len() != c.suite.HashSize() {
				t.Errorf("%d bytes", got.Len())
			}
			wantBytes(t, "the group before", c.group.MarshalPrivate().Expose(), before)
			if _, _, err := next.SafeExport(id); !errors.Is(err, ErrExported) {
				t.Errorf("a second time: %v", err)
			}
			c.group = must(RestoreGroup(next.Public(), next.MarshalPrivate().Expose()))(t)
			if _, _, err := c.group.SafeExport(id); !errors.Is(err, ErrExported) {
				t.Errorf("after a restart: %v", err)
			}
			if bytes.Contains(c.group.MarshalPrivate().Expose(), got.Expose()) {
				t.Error("the secret is still in the state")
			}
			if id == counter && first == nil {
				first = got.Expose()
			} else if same := bytes.Equal(got.Expose(), first); same != (id == counter) {
				t.Errorf("component %d: the secrets agree: %v", id, same)
			}
		}
	}
	// The tree is that of section 9 with 2^16 leaves under "application_export".
	s := clients[0].suite
	root := epochSecret{clients[0].group.secrets.init.Bytes}
	_, roots := deriveEpochSecrets(s, root)
	secret := s.DeriveSecret(root.Expose(), "application_export")
	for bit := 15; bit >= 0; bit-- {
		side := "left"
		if counter>>bit&1 == 1 {
			side = "right"
		}
		secret = s.ExpandWithLabel(secret, "tree", []byte(side), s.HashSize())
	}
	got, _, err := (&Group{exports: newExportTree(s, roots.export)}).SafeExport(counter)
	check(t, err)
	wantBytes(t, "exported secret", got.Expose(), secret)
	if _, _, err := clients[0].group.Retire().SafeExport(7); !errors.Is(err, ErrRetired) {
		t.Errorf("of a past epoch: %v", err)
	}
	commit(t, clients, 0, CommitIntent{})
	if _, _, err := clients[0].group.SafeExport(counter); err != nil {
		t.Errorf("in the next epoch: %v", err)
	}
}

func TestSafeAADTravels(t *testing.T) {
	clients := newComponentGroup(t, Extensions{}.WithAppData(AppDataDictionary{}.WithComponents(ComponentSafeAAD, plain)), "alice", "bob")
	aad := SafeAAD{{plain, []byte("item")}}
	commit(t, clients, 0, CommitIntent{Framing: Framing{AAD: aad.Bytes()}})
	_, next, block, err := clients[1].group.Reserve(ContentTypeApplication, 1)
	check(t, err)
	clients[1].group = next
	message, _, err := next.SealApplication(block, Plaintext{AAD: SafeAAD{}.Bytes(), Data: []byte("hi")}, clients[1].env)
	check(t, err)
	if got := clients[0].open(t, message); len(must(ParseAppData(got.AAD()))(t)) != 0 {
		t.Error("items from nowhere")
	}
	if ids := must(must(clients[0].group.public.context.Extensions.AppData())(t).Components(ComponentSafeAAD))(t); !slices.Equal(ids, []ComponentID{plain}) {
		t.Errorf("components %v", ids)
	}
	p := joinParams(t, clients[0])
	p.Capabilities = componentCapabilities()
	_, err = ExternalCommit(p, newTestClient(t, 1, "dave").env)
	wantRule(t, SafeAADMalformed, err)
	p.AAD = SafeAAD{}.Bytes()
	dave := newTestClient(t, 1, "dave")
	follow(t, clients, dave, must(ExternalCommit(p, dave.env))(t))
}

func TestComponentsHaveKeysAndLabelsOfTheirOwn(t *testing.T) {
	clients := newComponentGroup(t, nil, "alice", "bob")
	psk := PreSharedKeyID{Type: PSKTypeApplication, ID: []byte("key"), Component: plain}
	for _, c := range clients {
		c.psks[pskName(psk)] = []byte("agreed on")
	}
	commit(t, clients, 0, CommitIntent{Inline: []Proposal{&PreSharedKey{PSK: psk}}, PSKs: clients[0].psks})
	alice := clients[0]
	label := ComponentLabel(plain, "greeting")
	if want := "\x0dMLS Component\x80\x02\x08greeting"; label != want {
		t.Errorf("label %q", label)
	}
	signature := must(alice.identity.Sign(label, []byte("hi")))(t)
	check(t, alice.suite.VerifyWithLabel(alice.identity.Public, label, []byte("hi"), signature))
	if err := alice.suite.VerifyWithLabel(alice.identity.Public, ComponentLabel(counter, "greeting"), []byte("hi"), signature); !errors.Is(err, suite.ErrSignature) {
		t.Errorf("under another component's label: %v", err)
	}
}

func TestDictionariesAreSorted(t *testing.T) {
	d := AppDataDictionary{}.With(5, []byte("five")).With(1, nil).With(5, []byte("FIVE")).With(3, []byte("three")).Without(1)
	if len(d) != 2 || d[0].Component != 3 || string(d[1].Data) != "FIVE" {
		t.Errorf("%v", d)
	}
	again := must(ParseAppData(d.Bytes()))(t)
	wantBytes(t, "dictionary", again.Bytes(), d.Bytes())
	if _, err := d.Components(3); !errors.Is(err, MalformedExtension) {
		t.Errorf("a list that is none: %v", err)
	}
	for _, wrong := range [][]byte{{6, 0, 2, 0, 0, 1, 0}, {6, 0, 1, 0, 0, 1, 0}} {
		_, err := ParseAppData(wrong)
		wantRule(t, MalformedMessage, err)
		_, err = NewGroup(GroupParams{
			Suite: 1, Identity: newTestClient(t, 1, "alice").identity, Capabilities: componentCapabilities(),
			Extensions: Extensions{{Type: ExtensionTypeAppDataDictionary, Data: wrong}},
		}, testEnv("x"))
		wantRule(t, MalformedExtension, err)
	}
	_, err := ParseProposal([]byte{0, 8, 0, 1, 3, 0})
	wantRule(t, MalformedMessage, err)
	for _, p := range []Proposal{appUpdate(1, 2), appRemove(1), &AppEphemeral{1, []byte{2}}, &SelfRemove{}} {
		wantBytes(t, "proposal", MarshalProposal(must(ParseProposal(MarshalProposal(p)))(t)), MarshalProposal(p))
	}
}

func TestLastResortIsMarkedEitherWay(t *testing.T) {
	dave := newTestClient(t, 1, "dave")
	k := *dave.componentPackage(t)
	if k.LastResort() {
		t.Error("a key package for one use")
	}
	k.Extensions = Extensions{}.WithAppData(AppDataDictionary{{ComponentLastResortKeyPackage, nil}})
	check(t, dave.signKeyPackage(t, k).Validate(dave.env))
	if !k.LastResort() || !(&KeyPackage{Extensions: Extensions{{Type: ExtensionTypeLastResort}}}).LastResort() {
		t.Error("one of last resort was not recognized")
	}
}

func TestApplicationDataIsFramed(t *testing.T) {
	f := ApplicationFraming{MediaType: MediaType{Type: []byte("text/plain"), Parameters: []MediaParameter{{[]byte("charset"), []byte("UTF-8")}}}, Content: []byte("hi")}
	again := must(ParseApplicationFraming(f.Bytes()))(t)
	wantBytes(t, "framing", again.Bytes(), f.Bytes())
	types := MediaTypes{f.MediaType}
	wantBytes(t, "types", must(ParseMediaTypes(types.Bytes()))(t).Bytes(), types.Bytes())
	_, err := ParseMediaTypes([]byte{0})
	wantRule(t, MalformedMessage, err)
	if _, err := ParseApplicationFraming(syntax.Encode(&f.MediaType)); !errors.Is(err, MalformedMessage) {
		t.Errorf("truncated: %v", err)
	}
}

func FuzzAppData(f *testing.F) {
	d := AppDataDictionary{{1, []byte("one")}, {counter, nil}}
	fuzzCanonical(f, decoderOf[AppDataDictionary], d.Bytes(), []byte{0})
}

func FuzzApplicationFraming(f *testing.F) {
	framing := ApplicationFraming{MediaType: MediaType{[]byte("text/plain"), []MediaParameter{{[]byte("charset"), []byte("UTF-8")}}}, Content: []byte("hi")}
	fuzzCanonical(f, decoderOf[ApplicationFraming], framing.Bytes())
}
