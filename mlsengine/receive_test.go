package mlsengine

import (
	"bytes"
	"errors"
	"testing"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// groupWithExternalSender is a group that lets "bot" send proposals.
func groupWithExternalSender(t *testing.T) ([]*testClient, *testClient) {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	bot := newTestClient(t, 1, "bot")
	senders := ExternalSenders{{SignatureKey: bot.identity.Public, Credential: bot.identity.Credential}}
	commit(t, clients, 0, CommitIntent{Inline: []Proposal{&GroupContextExtensions{Extensions: Extensions{extension(ExtensionTypeExternalSenders, &senders)}}}})
	if got := clients[1].group.Public().ExternalSenders(); len(got) != 1 || !bytes.Equal(got[0].SignatureKey, bot.identity.Public) {
		t.Fatalf("external senders are %v", got)
	}
	return clients, bot
}

// openAll lets every client open a message and gives the content of the first.
func openAll(t *testing.T, clients []*testClient, message []byte) *Content {
	t.Helper()
	content := clients[0].open(t, message)
	for _, c := range clients[1:] {
		wantBytes(t, "proposal reference", c.open(t, message).ProposalRef(), content.ProposalRef())
	}
	return content
}

func TestProposalsOfAnExternalSenderAreCommitted(t *testing.T) {
	clients, bot := groupWithExternalSender(t)
	dave, public := newTestClient(t, 1, "dave"), clients[0].group.Public()
	sender := Sender{Type: SenderTypeExternal, Index: 0}
	for _, c := range clients {
		c.psks["key"] = []byte("shared")
	}
	dave.psks = clients[0].psks
	var known []*Content
	for _, p := range []Proposal{&Add{KeyPackage: *dave.keyPackage(t)}, &Remove{Removed: 2}, externalPSK("key"), &GroupContextExtensions{}} {
		known = append(known, openAll(t, clients, outsiderProposal(t, public, sender, p, &bot.identity).Bytes()))
	}
	content := must(public.VerifyMessage(outsiderProposal(t, public, sender, &Remove{Removed: 2}, &bot.identity)))(t)
	if content.Sender() != sender {
		t.Errorf("sender is %v", content.Sender())
	}
	out := must(clients[0].group.Commit(CommitIntent{Proposals: known, PSKs: clients[0].psks, TreeInWelcome: WithTree}, clients[0].env))(t)
	removed := clients[2].stage(t, clients[2].open(t, out.Message), known)
	if !removed.Removed || removed.Next != nil || removed.Public == nil || len(removed.Delta) == 0 {
		t.Error("carol does not see that she was removed")
	}
	clients[1].group = clients[1].stage(t, clients[1].open(t, out.Message), known).Next
	clients[0].group = out.Staged.Next
	dave.join(t, out.Welcome, nil)
	wantAgreement(t, []*testClient{clients[0], clients[1], dave})
	if got := clients[1].group.Public().ExternalSenders(); len(got) != 0 {
		t.Error("the external senders are still there")
	}
}

func TestExternalSenderClosesTheGroup(t *testing.T) {
	clients, bot := groupWithExternalSender(t)
	reinit := &ReInit{GroupID: GroupID("next"), Version: VersionMLS10, CipherSuite: 3}
	content := openAll(t, clients, outsiderProposal(t, clients[0].group.Public(), Sender{Type: SenderTypeExternal}, reinit, &bot.identity).Bytes())
	out := commit(t, clients, 1, CommitIntent{Proposals: []*Content{content}})
	if out.Staged.ReInit == nil || clients[2].group.Public().ReInit() == nil {
		t.Fatal("the group is not closed")
	}
	restored := must(ParsePublicGroup(clients[2].group.Public().Marshal()))(t)
	if got := restored.ReInit(); got == nil || !bytes.Equal(got.GroupID, reinit.GroupID) || got.CipherSuite != 3 {
		t.Errorf("read back, the group is closed for %v", got)
	}
}

func TestForgedExternalProposalIsRefused(t *testing.T) {
	clients, bot := groupWithExternalSender(t)
	forged := outsiderProposal(t, clients[0].group.Public(), Sender{Type: SenderTypeExternal}, &Remove{Removed: 1}, &clients[2].identity)
	wantRule(t, InvalidSignature, refusedBy(t, clients[1], forged.Bytes(), nil))
	update := outsiderProposal(t, clients[0].group.Public(), Sender{Type: SenderTypeExternal}, &Update{LeafNode: *clients[1].group.public.tree.leaf(1)}, &bot.identity)
	wantRule(t, ExternalProposalType, refusedBy(t, clients[1], update.Bytes(), nil))
}

func TestNewMemberProposesItself(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	dave := newTestClient(t, 1, "dave")
	sender := Sender{Type: SenderTypeNewMemberProposal}
	content := openAll(t, clients, outsiderProposal(t, clients[0].group.Public(), sender, &Add{KeyPackage: *dave.keyPackage(t)}, &dave.identity).Bytes())
	out := commit(t, clients, 1, CommitIntent{Proposals: []*Content{content}, TreeInWelcome: WithTree})
	dave.join(t, out.Welcome, nil)
	wantAgreement(t, append(clients, dave))
	if got := out.Staged.Effects.Proposals; len(got) != 1 || got[0].Sender != sender || got[0].Type != ProposalTypeAdd {
		t.Errorf("applied %v", got)
	}
	other := newTestClient(t, 1, "mallory")
	forged := outsiderProposal(t, clients[0].group.Public(), sender, &Add{KeyPackage: *other.keyPackage(t)}, &dave.identity)
	wantRule(t, InvalidSignature, refusedBy(t, clients[1], forged.Bytes(), nil))
}

func TestPastResumptionKeysAreBounded(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	first := clients[0].group.Epoch()
	for range pastPSKsMax {
		commit(t, clients, 0, CommitIntent{})
	}
	psk := func(epoch Epoch) CommitIntent {
		id := PreSharedKeyID{Type: PSKTypeResumption, Usage: ResumptionPSKUsageApplication, Group: GroupID("group"), Epoch: epoch, Nonce: make([]byte, 32)}
		return CommitIntent{Inline: []Proposal{&PreSharedKey{PSK: id}}}
	}
	must(clients[0].group.Commit(psk(first), clients[0].env))(t)
	commit(t, clients, 1, psk(first+1))
	_, err := clients[0].group.Commit(psk(first), clients[0].env)
	wantRule(t, PSKUnknown, err)
	if len(clients[0].group.past) != pastPSKsMax {
		t.Errorf("%d past keys", len(clients[0].group.past))
	}
}

func TestRetiredGroupOnlyOpensLateMessages(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	late, again := speak(t, clients[0]), speak(t, clients[0])
	_, proposal := rogueProposal(t, clients[0], &Remove{Removed: 2})
	bob := clients[1]
	old := bob.group.Retire()
	wantBytes(t, "authenticator", old.EpochAuthenticator(), bob.group.EpochAuthenticator())
	old = must(RestoreGroup(old.Public(), old.MarshalPrivate().Expose()))(t)
	content, next, err := old.Open(must(ParseMessage(again))(t), testLimits)
	check(t, err)
	if string(content.Application()) != "hello" || !next.Retired() {
		t.Error("the late message did not open")
	}
	_, _, err = next.Open(must(ParseMessage(again))(t), testLimits)
	wantRule(t, GenerationConsumed, err)
	_, _, err = next.Open(must(ParseMessage(late))(t), testLimits)
	check(t, err)
	_, _, err = next.Open(must(ParseMessage(proposal))(t), testLimits)
	wantRule(t, WrongEpoch, err)
	replayed := must(old.Consume(0, ContentTypeApplication, 1, testLimits))(t)
	wantBytes(t, "replayed consumption", replayed.MarshalPrivate().Expose(), next.MarshalPrivate().Expose())
	for name, err := range map[string]error{
		"reserve": errOf3(old.Reserve(ContentTypeApplication, 1)),
		"propose": errOf(old.Propose(&Remove{Removed: 2}, Framing{}, bob.env)),
		"commit":  errOf(old.Commit(CommitIntent{}, bob.env)),
		"export":  errOf(old.Export("label", nil, 32)),
		"info":    errOf(old.GroupInfo(WithTree, bob.env)),
		"stage":   errOf(old.StageCommit(CommitInput{}, bob.env)),
		"resume":  errOf(old.ResumeCommit(ResumeInput{}, bob.env)),
	} {
		if !errors.Is(err, ErrRetired) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func errOf3[A, B, C any](_ A, _ B, _ C, err error) error { return err }

func TestMisuseIsRefused(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	alice := clients[0]
	wrong := alice.env
	wrong.Identity = &clients[1].identity
	none := alice.env
	none.Identity = nil
	for _, env := range []Env{wrong, none} {
		for name, err := range map[string]error{
			"propose": errOf(alice.group.Propose(&Remove{Removed: 1}, Framing{}, env)),
			"update":  errOf(alice.group.Propose(&Update{}, Framing{}, env)),
			"commit":  errOf(alice.group.Commit(CommitIntent{}, env)),
			"info":    errOf(alice.group.GroupInfo(WithTree, env)),
		} {
			if !errors.Is(err, ErrIdentity) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := alice.group.Commit(CommitIntent{Framing: Framing{Encrypt: true}}, alice.env); !errors.Is(err, ErrSendBlock) {
		t.Errorf("encrypted commit without a generation: %v", err)
	}
	split := SigningIdentity{Credential: alice.identity.Credential, Key: alice.identity.Key, Public: clients[1].identity.Public}
	if _, err := alice.group.Commit(CommitIntent{NewIdentity: &split}, alice.env); !errors.Is(err, LeafSignature) {
		t.Errorf("commit to an identity whose halves do not fit: %v", err)
	}
	if _, err := NewGroup(GroupParams{GroupID: GroupID("split"), Suite: 1, Identity: split}, alice.env); !errors.Is(err, LeafSignature) {
		t.Errorf("a group of an identity whose halves do not fit: %v", err)
	}
	if _, err := alice.group.StageCommit(CommitInput{Commit: commitOf(t, alice, Sender{Type: SenderTypeExternal})}, alice.env); !errors.Is(err, UnknownSender) {
		t.Errorf("a stored commit of an external sender: %v", err)
	}
	kp := clients[1]
	_, err := JoinFromWelcome(&Welcome{CipherSuite: 1}, JoinInput{KeyPackage: kp.keyPackage(t), Secrets: kp.secrets, Identity: alice.identity})
	if !errors.Is(err, ErrKeyPackageSecrets) {
		t.Errorf("join as somebody else: %v", err)
	}
}

// commitOf is a commit as a log could hold it, of a sender that commits nothing.
func commitOf(t *testing.T, c *testClient, sender Sender) *Content {
	t.Helper()
	a := authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
		GroupID: c.group.GroupID(), Epoch: c.group.Epoch(), Sender: sender, ContentType: ContentTypeCommit, Commit: &Commit{},
	}}
	return must(ParseContent(newContent(c.suite, &a, 0).Marshal()))(t)
}

func TestDamagedStoredStateIsNotAPeersFault(t *testing.T) {
	w := newFuzzWorld(t)
	private := w.alice.group.MarshalPrivate().Expose()
	public := w.alice.group.Public().Marshal()
	for i := range public {
		if g, err := ParsePublicGroup(flipAt(public, i)); err == nil && bytes.Equal(g.Marshal(), public) {
			t.Fatalf("byte %d does not matter", i)
		} else if err != nil && !errors.Is(err, ErrStoredState) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for i := range private {
		if _, err := RestoreGroup(w.alice.group.Public(), flipAt(private, i)); err != nil && !errors.Is(err, ErrStoredState) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for i := range w.out.Staged.Delta {
		next, err := w.before.ApplyDelta(flipAt(w.out.Staged.Delta, i))
		if err != nil && !errors.Is(err, ErrStoredState) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if err == nil && bytes.Equal(next.Marshal(), public) {
			t.Fatalf("byte %d of the delta does not matter", i)
		}
	}
	if _, err := RestoreGroup(w.before, private); !errors.Is(err, ErrStoredState) {
		t.Errorf("private state of another epoch: %v", err)
	}
	if _, err := w.alice.group.ResumeCommit(ResumeInput{Message: w.out.Message, Secrets: secret.New([]byte{1})}, w.alice.env); !errors.Is(err, ErrStoredState) {
		t.Errorf("damaged commit secrets: %v", err)
	}
}

func flipAt(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// TestSameDrawsGiveTheSameBytes makes one history twice.
func TestSameDrawsGiveTheSameBytes(t *testing.T) {
	for _, id := range suite.IDs() {
		var runs [2][]byte
		for i := range runs {
			clients := newTestGroup(t, id, "alice", "bob")
			update := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t)
			clients[1].updates[string(update.Ref)] = update.Secrets
			out := commit(t, clients, 0, CommitIntent{Proposals: []*Content{update.Content}, TreeInInfo: WithTree})
			runs[i] = bytes.Join([][]byte{
				update.Message, out.Message, out.GroupInfo, out.Staged.Delta, out.Secrets.Expose(), speak(t, clients[1]),
				clients[0].group.MarshalPrivate().Expose(), clients[1].group.Public().Marshal(),
			}, nil)
		}
		wantBytes(t, id.String(), runs[1], runs[0])
	}
}

// TestTheOnlyMemberJoinsAgain removes the last member by the external commit of
// its own return: between the two the tree is empty.
func TestTheOnlyMemberJoinsAgain(t *testing.T) {
	alice := newTestGroup(t, 1, "alice")[0]
	before := alice.group.Public()
	gi := must(alice.group.GroupInfo(WithTree, alice.env))(t)
	back := newTestClient(t, 1, "alice again")
	back.identity, back.env.Identity = alice.identity, &alice.identity
	leaf := alice.group.OwnLeaf()
	message := (&externalJoin{groupInfo: gi, removed: &leaf}).create(t, back)
	content := alice.open(t, message)
	if staged := alice.stage(t, content, nil); !staged.Removed || staged.Next != nil {
		t.Errorf("the old self: %+v", staged)
	}
	outside := must(before.StageCommit(content, nil, alice.env))(t)
	wantBytes(t, "the epoch an outsider sees", outside.Next.Marshal(), back.group.Public().Marshal())
	wantBytes(t, "the epoch by its delta", must(before.ApplyDelta(outside.Delta))(t).Marshal(), outside.Next.Marshal())
	if back.group.OwnLeaf() != 0 || len(outside.Next.Members()) != 1 {
		t.Errorf("leaf %d of %d members", back.group.OwnLeaf(), len(outside.Next.Members()))
	}
}
