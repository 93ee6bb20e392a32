package conversation

import (
	"errors"
	"slices"
	"testing"

	"parley/events"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

const suiteOne = suite.X25519_AES128GCM_SHA256_Ed25519

func newClient(t *testing.T, w *world) (ClientState, CredentialRef) {
	t.Helper()
	tr := stepClient(t, w, NewClientState("ada"), AddCredential{CipherSuite: suiteOne})
	return tr.Next, tr.Reply.Credential
}

// refusedClient steps an input that must be refused with a code.
func refusedClient(t *testing.T, w *world, s ClientState, in ClientInput, want Code) {
	t.Helper()
	tr, err := StepClient(s, in, Env{NowMs: w.nowMs, Entropy: newSeeded(99)})
	if err != nil || !errors.Is(tr.Reply.Err, want) || len(tr.Events) != 0 {
		t.Errorf("%T: %v %v with %d events, want %s", in, err, tr.Reply.Err, len(tr.Events), want)
	}
}

func TestClientJoinsWithAKeyPackageThatDiesThen(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	tr := stepClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: 2})
	s = tr.Next
	last := stepClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: 1, LastResort: true})
	s = last.Next
	if len(s.KeyPackages) != 3 || !s.KeyPackages[2].LastResort {
		t.Fatalf("key packages %+v", s.KeyPackages)
	}
	bob := w.newMember("bob")
	w.step(bob, Create{Config: w.config})
	r := w.step(bob, AddMembers{KeyPackages: [][]byte{tr.Reply.KeyPackages[1].KeyPackage}})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	held, secrets, refused := s.KeyPackageFor(bob.state.Staged.Welcome)
	if refused != nil {
		t.Fatal(refused)
	}
	identity, _, ok := s.Identity("", suiteOne)
	if !ok {
		t.Fatal("no identity")
	}
	join := Join{Config: w.config, Welcome: bob.state.Staged.Welcome, KeyPackage: held.KeyPackage, Secrets: secrets}
	ada := &member{name: "ada", identity: identity, entropy: newSeeded(5), state: NewState("ada", w.group)}
	w.auth = map[mlsengine.Epoch][]byte{}
	if r := w.step(ada, join); r.Err != nil || ada.state.Epoch() != 1 {
		t.Fatalf("join: %v", r.Err)
	}
	used := stepClient(t, w, s, ConsumeKeyPackage{Ref: held.Ref, Conversation: w.group})
	if got := used.Events[0].Forget; !slices.Equal(got, []string{events.Forget(events.ClassKeyPackage, hexOf(held.Ref))}) {
		t.Errorf("forget %v", got)
	}
	s = used.Next
	if _, _, refused := s.KeyPackageFor(join.Welcome); !errors.Is(refused, OrphanWelcome) {
		t.Errorf("the Welcome again: %v", refused)
	}
	refusedClient(t, w, s, ConsumeKeyPackage{Ref: held.Ref}, OrphanWelcome)
	again := stepClient(t, w, s, ConsumeKeyPackage{Ref: s.KeyPackages[1].Ref})
	if len(again.Events[0].Forget) != 0 || len(again.Next.KeyPackages) != 2 {
		t.Error("the key package of last resort was used up")
	}
}

func hexOf(b []byte) string { return ids.ClientID("\x00" + string(b)).String()[4:] }

func TestClientCredentials(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	stranger := mlsengine.BasicCredential([]byte("somebody else"))
	refusedClient(t, w, s, AddCredential{CipherSuite: suiteOne, Credential: &stranger}, CredentialRefused)
	refusedClient(t, w, s, AddCredential{CipherSuite: 99}, InvalidConfiguration)
	refusedClient(t, w, s, AddCredential{CipherSuite: suiteOne, Key: secret.New([]byte{1})}, CredentialRefused)
	refusedClient(t, w, s, RemoveCredential{Ref: "none"}, CredentialNotFound)
	refusedClient(t, w, s, RemoveCredential{Ref: credential, InUse: []ids.ConversationID{"tea"}}, CredentialStillInUse)
	refusedClient(t, w, s, GenerateKeyPackages{Credential: "none", Count: 1}, CredentialNotFound)
	refusedClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: KeyPackagesHeldMax + 1}, Busy)
	refusedClient(t, w, s, GenerateKeyPackages{Credential: credential}, NothingToCommit)
	x509 := mlsengine.X509Credential([][]byte{{0x30, 0}})
	refusedClient(t, w, s, AddCredential{CipherSuite: suiteOne, Credential: &x509}, CredentialRefused) // it names nobody
	s = stepClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: 3}).Next
	refusedClient(t, w, s, RemoveCredential{Ref: credential}, CredentialStillInUse)
	refusedClient(t, w, s, RemoveKeyPackages{Credential: "none"}, CredentialNotFound)
	fewer := stepClient(t, w, s, RemoveKeyPackages{Refs: []mlsengine.KeyPackageRef{s.KeyPackages[1].Ref, []byte("unknown")}}).Next
	if len(fewer.KeyPackages) != 2 || len(fewer.secrets.keyPackages) != 2 {
		t.Errorf("%d key packages are left", len(fewer.KeyPackages))
	}
	none := stepClient(t, w, fewer, RemoveKeyPackages{Credential: credential})
	if len(none.Next.KeyPackages) != 0 || len(none.Events[0].Forget) != 2 {
		t.Errorf("%d key packages are left, %v forgotten", len(none.Next.KeyPackages), none.Events[0].Forget)
	}
	gone := stepClient(t, w, none.Next, RemoveCredential{Ref: credential})
	if len(gone.Next.Credentials) != 0 || !slices.Equal(gone.Events[0].Forget, []string{events.Forget(events.ClassSignatureKey, string(credential))}) {
		t.Errorf("credentials %v, forgotten %v", gone.Next.Credentials, gone.Events[0].Forget)
	}
	if _, _, ok := gone.Next.Identity(credential, suiteOne); ok {
		t.Error("the signature key is still there")
	}
	if _, _, ok := s.Identity(credential, suiteOne); !ok {
		t.Error("the state before has changed")
	}
}

func TestClientKeyPackagesExpire(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	s = stepClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: 1, LifetimeSeconds: 60}).Next
	s = stepClient(t, w, s, GenerateKeyPackages{Credential: credential, Count: 1}).Next
	if tr := stepClient(t, w, s, ExpireKeyPackages{}); len(tr.Events) != 0 {
		t.Error("a fresh key package expired")
	}
	w.nowMs += 62_000
	s = stepClient(t, w, s, ExpireKeyPackages{}).Next
	if len(s.KeyPackages) != 1 || len(s.secrets.keyPackages) != 1 {
		t.Errorf("%d key packages are left", len(s.KeyPackages))
	}
}

func TestClientImports(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	other := w.newMember("arnold")
	kp, secrets := w.keyPackage(other)
	in := ImportKeyPackage{KeyPackage: kp.Bytes(), InitKey: secrets.InitKey, LeafKey: secrets.LeafKey, SignatureKey: other.identity.Key.Raw()}
	s := NewClientState("case 12")
	wrong := in
	wrong.InitKey, wrong.LeafKey = in.LeafKey, in.InitKey
	refusedClient(t, w, s, wrong, InvalidKeyPackage)
	wrong = in
	wrong.SignatureKey = w.newMember("eve").identity.Key.Raw()
	refusedClient(t, w, s, wrong, CredentialRefused)
	wrong = in
	wrong.KeyPackage = kp.Bytes()[1:]
	refusedClient(t, w, s, wrong, InvalidKeyPackage)
	tr := stepClient(t, w, s, in)
	if len(tr.Next.KeyPackages) != 1 || tr.Reply.KeyPackages[0].Credential != tr.Reply.Credential || !tr.Next.Created {
		t.Errorf("imported %+v", tr.Reply)
	}
	refusedClient(t, w, tr.Next, in, InvalidKeyPackage)
}

func TestClientPSKsAndConversations(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s := NewClientState("ada")
	id := mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: []byte("shared")}
	refusedClient(t, w, s, AddPSK{ID: nil, Key: secret.New([]byte("k"))}, InvalidConfiguration)
	s = stepClient(t, w, s, AddPSK{ID: id.ID, Key: secret.New([]byte("k"))}).Next
	if key, ok := s.PSK(id); !ok || string(key) != "k" {
		t.Error("the key is not found")
	}
	refusedClient(t, w, s, AddPSK{ID: id.ID, Key: secret.New([]byte("another"))}, InvalidConfiguration)
	s = stepClient(t, w, s, RemovePSK{ID: id.ID}).Next
	if _, ok := s.PSK(id); ok || len(s.PSKs) != 0 {
		t.Error("the key is still there")
	}
	for _, c := range []ids.ConversationID{"a", "b"} {
		s = stepClient(t, w, s, ListConversation{Conversation: c}).Next
	}
	s = stepClient(t, w, s, ListConversation{Conversation: "a", Gone: true}).Next
	if !slices.Equal(s.Conversations, []ids.ConversationID{"b"}) {
		t.Errorf("conversations %v", s.Conversations)
	}
}

func TestClientKeepsDataAndAsksToJoin(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	refusedClient(t, w, s, SetData{Data: secret.New(make([]byte, DataMax+1))}, MessageTooLarge)
	for _, text := range []string{"one", "two", ""} {
		s = stepClient(t, w, s, SetData{Data: secret.New([]byte(text))}).Next
		if kept, refused := s.Data(); refused != nil || string(kept.Expose()) != text || s.DataLength != uint32(len(text)) {
			t.Errorf("%q is kept, want %q", kept.Expose(), text)
		}
	}
	refusedClient(t, w, s, AskToJoin{CipherSuite: suiteOne}, InvalidConfiguration)
	refusedClient(t, w, s, AskToJoin{Group: "g", CipherSuite: suite.P256_AES128GCM_SHA256_P256}, CredentialNotFound)
	in := AskToJoin{CommandMeta: CommandMeta{ID: "ask", Principal: "ada", IssuedMs: w.nowMs}, Group: "g", Epoch: 7, CipherSuite: suiteOne}
	asked := stepClient(t, w, s, in)
	again := stepClient(t, w, asked.Next, in)
	if asked.Reply.Credential != credential || len(asked.Reply.KeyPackages) != 1 || !again.Reply.Repeated || len(again.Events) != 0 ||
		string(again.Reply.Proposal.Message) != string(asked.Reply.Proposal.Message) {
		t.Errorf("asked: %+v, again: %+v", asked.Reply, again.Reply)
	}
	m, err := mlsengine.ParseMessage(asked.Reply.Proposal.Message)
	if err != nil || m.Epoch() != 7 || string(m.GroupID()) != "g" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestClientCommandsRunOnce(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	meta := CommandMeta{ID: "make-some", Principal: "ada", IssuedMs: w.nowMs}
	first := stepClient(t, w, s, GenerateKeyPackages{CommandMeta: meta, Credential: credential, Count: 2})
	again := stepClient(t, w, first.Next, GenerateKeyPackages{CommandMeta: meta, Credential: credential, Count: 2})
	if !again.Reply.Repeated || len(again.Events) != 0 || len(again.Reply.KeyPackages) != 2 {
		t.Errorf("repeated: %+v", again.Reply)
	}
	refusedClient(t, w, first.Next, RemovePSK{CommandMeta: meta}, CommandMismatch)
	w.nowMs += Window + 1
	refusedClient(t, w, first.Next, GenerateKeyPackages{CommandMeta: meta, Credential: credential, Count: 2}, CommandExpired)
}

func TestClientWithoutKeysFoldsItsPublicPart(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, credential := newClient(t, w)
	tr, err := StepClient(s, GenerateKeyPackages{Credential: credential, Count: 1}, Env{NowMs: w.nowMs, Entropy: newSeeded(8)})
	if err != nil {
		t.Fatal(err)
	}
	blind := w.record(NewState("ada", ""), Transition{Next: State{Public: Public{TimeMs: tr.Next.TimeMs}}, Events: tr.Events}, false)
	blind.Version = s.Version + 1
	folded, err := FoldClient(s, blind)
	if err != nil || folded.Digest() != tr.Next.At(blind.Version).Digest() || len(folded.secrets.keyPackages) != 0 {
		t.Errorf("without keys: %v", err)
	}
}
