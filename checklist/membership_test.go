package checklist_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"parley"
	"parley/conversation"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

func membershipCases() []acceptance {
	return []acceptance{
		{"create_self_conversation", createSelf},
		{"create_1_1_conversation", func(w *world) { createMany(w, 2) }},
		{"create_many_people_conversation", func(w *world) { createMany(w, 10) }},
		{"can_get_newly_created_conversation_epoch", func(w *world) {
			alice := w.client("alice")
			alice.create()
			alice.epoch(0)
		}},
		{"can_get_conversation_epoch", func(w *world) {
			alice, bob := w.pair()
			alice.epoch(1)
			bob.epoch(1)
		}},
		{"create_conversation_should_fail_when_already_exists", createTwice},
		{"conversation_not_found", notFound},
		{"can_add_members_to_conversation", addAfterAnAbort},
		{"should_fail_on_duplicate_signatures", duplicateSignatures},
		{"add::should_return_valid_welcome", func(w *world) {
			alice, bob := w.pair()
			w.agree(alice, bob)
		}},
		{"remove::should_return_valid_welcome", func(w *world) { welcomeFrom(w, (*member).remove) }},
		{"update::should_return_valid_welcome", func(w *world) { welcomeFrom(w, plain((*member).update)) }},
		{"commit_pending::should_return_valid_welcome", func(w *world) { welcomeFrom(w, plain((*member).commitPending)) }},
		{"add::should_return_valid_group_info", func(w *world) { infoFrom(w, addsGuest) }},
		{"remove::should_return_valid_group_info", func(w *world) { infoFrom(w, removesLast) }},
		{"update::should_return_valid_group_info", func(w *world) { infoFrom(w, updates) }},
		{"commit_pending::should_return_valid_group_info", func(w *world) { infoFrom(w, commitsUpdate) }},
		{"alice_can_remove_bob", aliceRemovesBob},
		{"update_keying_material::should_succeed", updateKeys},
		{"update_keying_material::should_create_welcome_for_pending_add_proposals", updateWithPendingAdd},
		{"commit_pending_proposals::own", commitOwn},
		{"commit_pending_proposals::others_by_reference", commitOthers},
		{"can_remove_two_and_add_one_member_in_commit", mixedCommit},
		{"can_get_client_ids", clientIDs},
		{"can_export_secret_key", exportSecret},
		{"cannot_export_secret_key_invalid_length", exportTooMuch},
		{"should_fetch_ext_sender", fetchExternalSender},
		{"config::required_capabilities", requiredCapabilities},
		{"config::creator_leaf_capabilities", creatorCapabilities},
		{"config::raw_external_sender", func(w *world) { externalSenderAs(w, func(key []byte) []byte { return key }) }},
		{"config::jwk_external_sender", func(w *world) { externalSenderAs(w, func(key []byte) []byte { return jwk(w, key) }) }},
	}
}

func createSelf(w *world) {
	alice := w.client("alice")
	alice.create()
	w.reload(alice)
	alice.epoch(0)
	alice.holds(parley.Holdings{})
	w.agree(alice)
}

func createMany(w *world, people int) {
	alice := w.client("alice")
	alice.create()
	all := []*member{alice}
	for i := range people - 1 {
		all = append(all, w.client(fmt.Sprint("guest", i)))
	}
	alice.invite(all[1:]...)
	w.reload(alice, all[people-1])
	for _, m := range all {
		m.epoch(1)
		m.holds(parley.Holdings{})
		if n := m.keyPackages(); n != 0 {
			w.Errorf("%s still has %d key packages", m.id, n)
		}
	}
	w.agree(all...)
}

func createTwice(w *world) {
	alice, bob := w.pair()
	before := alice.status()
	_, err := alice.bare().Create(w.ctx, w.group, w.config)
	if e := w.refused(err, parley.ConversationAlreadyExists); e.Conversation != w.group {
		w.Errorf("the error is about %q", e.Conversation)
	}
	if after := alice.status(); after.Version != before.Version || after.Digest != before.Digest {
		w.Error("a refused creation changed something")
	}
	w.agree(alice, bob)
}

func notFound(w *world) {
	alice := w.client("alice")
	_, err := alice.conversation().Encrypt(w.ctx, []byte("hello"), nil)
	if e := w.refused(err, parley.ConversationNotFound); e.Conversation != w.group {
		w.Errorf("the error is about %q", e.Conversation)
	}
	exists, err := alice.conversation().Exists(w.ctx)
	w.must(err)
	if exists {
		w.Error("it exists")
	}
}

func addAfterAnAbort(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	w.box.answer(abort)
	w.refused(alice.conversation().AddKeyPackages(w.ctx, bob.keyPackage()), conversation.TransportAborted)
	w.reload(alice)
	alice.epoch(0)
	alice.holds(parley.Holdings{})
	if s := alice.status(); len(s.Members) != 1 {
		w.Errorf("members %v", clientsOf(s))
	}
	alice.invite(bob)
	alice.epoch(1)
	w.agree(alice, bob)
}

func duplicateSignatures(w *world) {
	alice, bob, charlie := w.client("alice"), w.client("bob"), w.client("charlie")
	alice.create()
	err := alice.conversation().AddKeyPackages(w.ctx, bob.keyPackage(), bob.keyPackage())
	w.refused(err, conversation.DuplicateSignature)
	refusal, _ := errors.AsType[*conversation.CommandError](err)
	if want := []string{string(bob.id), string(bob.id)}; !slices.Equal(refusal.Clients, want) {
		w.Errorf("it names %v", refusal.Clients)
	}
	alice.epoch(0)
	alice.invite(bob)
	w.refused(alice.conversation().AddKeyPackages(w.ctx, charlie.keyPackage(), bob.keyPackage()), conversation.DuplicateSignature)
	alice.epoch(1)
	w.agree(alice, bob)
}

// committed is what a member does that commits.
type committed = func(m *member, others ...*member) bundle

// plain is such a command without members.
func plain(command func(*member) bundle) committed {
	return func(m *member, _ ...*member) bundle { return command(m) }
}

// welcomeFrom commits a pending Add by another command: who was proposed joins by its Welcome.
func welcomeFrom(w *world, command committed) {
	alice, bob, charlie := w.trio()
	dave := w.client("dave")
	w.take(alice.proposeAdd(dave).Message, bob, charlie)
	b := command(alice, charlie)
	if len(b.Welcome) == 0 {
		w.Fatal("no Welcome")
	}
	dave.join(b.Welcome)
	stay := []*member{alice, bob, dave}
	bob.take(b.Commit)
	if charlie.take(b.Commit).Active {
		stay = append(stay, charlie)
	}
	w.reload(dave)
	w.agree(stay...)
}

// infoFrom commits, and lets somebody join by the GroupInfo of that.
func infoFrom(w *world, command func(w *world, alice, bob, charlie *member) (bundle, []*member)) {
	alice, bob, charlie := w.trio()
	b, stay := command(w, alice, bob, charlie)
	eve := w.client("eve")
	join := eve.joinExternally(b.GroupInfo)
	w.take(join.Commit, stay...)
	w.reload(eve)
	w.agree(append(stay, eve)...)
}

func addsGuest(w *world, alice, bob, charlie *member) (bundle, []*member) {
	guest := w.client("guest")
	b := alice.invite(guest)
	w.take(b.Commit, bob, charlie)
	return b, []*member{alice, bob, charlie, guest}
}

func removesLast(w *world, alice, bob, charlie *member) (bundle, []*member) {
	b := alice.remove(charlie)
	w.take(b.Commit, bob, charlie)
	return b, []*member{alice, bob}
}

func updates(w *world, alice, bob, charlie *member) (bundle, []*member) {
	b := alice.update()
	w.take(b.Commit, bob, charlie)
	return b, []*member{alice, bob, charlie}
}

func commitsUpdate(w *world, alice, bob, charlie *member) (bundle, []*member) {
	p := bob.proposeUpdate()
	w.take(p.Message, alice, charlie)
	b := alice.commitPending()
	w.take(b.Commit, bob, charlie)
	return b, []*member{alice, bob, charlie}
}

func aliceRemovesBob(w *world) {
	alice, bob := w.pair()
	b := alice.remove(bob)
	if len(b.Welcome) > 0 {
		w.Error("a Welcome for nobody")
	}
	late := alice.says("not for bob")
	if got := bob.take(b.Commit); got.Active {
		w.Error("bob is active")
	}
	bob.gone()
	_, err := bob.conversation().Decrypt(w.ctx, late)
	w.refused(err, parley.ConversationNotFound)
	_, err = bob.conversation().Encrypt(w.ctx, []byte("still here"), nil)
	w.refused(err, parley.ConversationNotFound)
	w.reload(alice, bob)
	bob.gone()
	w.agree(alice)
}

// leafKeys are the encryption keys of a group's leaves, by client.
func leafKeys(w *world, info []byte) map[parley.ClientID]string {
	w.Helper()
	keys := map[parley.ClientID]string{}
	for _, m := range w.public(info).Members() {
		keys[conversation.ClientOf(m.Credential)] = string(m.Leaf.EncryptionKey)
	}
	return keys
}

func updateKeys(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	before := leafKeys(w, alice.invite(bob).GroupInfo)
	b := alice.update()
	bob.take(b.Commit)
	w.reload(alice, bob)
	after := leafKeys(w, b.GroupInfo)
	if after[alice.id] == before[alice.id] || after[bob.id] != before[bob.id] {
		w.Error("it is alice's key that changes, and no other")
	}
	w.agree(alice, bob)
	his := leafKeys(w, bob.update().GroupInfo)
	if his[alice.id] != after[alice.id] || his[bob.id] == before[bob.id] {
		w.Error("bob has other keys of alice than she has herself, or his own are the old ones")
	}
	alice.holds(parley.Holdings{})
	bob.holds(parley.Holdings{})
}

func updateWithPendingAdd(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	p := alice.proposeAdd(charlie)
	bob.take(p.Message)
	b := alice.update()
	charlie.join(b.Welcome)
	bob.take(b.Commit)
	w.agree(alice, bob, charlie)
	alice.holds(parley.Holdings{})
	bob.holds(parley.Holdings{})
}

func commitOwn(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	p := alice.proposeAdd(charlie)
	alice.holds(parley.Holdings{Proposals: 1})
	w.reload(alice)
	bob.take(p.Message)
	b := alice.commitPending()
	bob.take(b.Commit)
	charlie.join(b.Welcome)
	alice.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
	before := alice.status()
	alice.commitPending()
	if after := alice.status(); after.Epoch != before.Epoch || after.Holdings != before.Holdings {
		w.Error("nothing was pending, and something happened")
	}
}

func commitOthers(w *world) {
	alice, bob := w.pair()
	charlie := w.client("charlie")
	p := alice.proposeAdd(charlie)
	bob.take(p.Message)
	w.reload(bob)
	b := bob.commitPending()
	alice.take(b.Commit)
	charlie.join(b.Welcome)
	w.reload(alice, bob)
	alice.holds(parley.Holdings{})
	bob.holds(parley.Holdings{})
	w.agree(alice, bob, charlie)
}

func mixedCommit(w *world) {
	alice, bob, charlie, dave, eve := w.client("alice"), w.client("bob"), w.client("charlie"), w.client("dave"), w.client("eve")
	alice.create()
	alice.invite(bob, charlie, dave)
	p := alice.proposeAdd(eve)
	w.take(p.Message, bob, charlie, dave)
	b := alice.remove(bob, charlie)
	for _, m := range []*member{bob, charlie} {
		if m.take(b.Commit).Active {
			w.Errorf("%s is active", m.id)
		}
		m.gone()
	}
	dave.take(b.Commit)
	eve.join(b.Welcome)
	alice.epoch(2)
	w.reload(alice, dave, eve)
	w.agree(alice, dave, eve)
}

func clientIDs(w *world) {
	alice, bob, charlie := w.trio()
	for _, m := range []*member{alice, bob, charlie} {
		ids, err := m.conversation().ClientIDs(w.ctx)
		w.must(err)
		if want := idsOf([]*member{alice, bob, charlie}); !slices.Equal(ids, want) {
			w.Errorf("%s lists %v, want %v", m.id, ids, want)
		}
	}
}

func (m *member) export(length int) []byte {
	m.w.Helper()
	secret, err := m.conversation().ExportSecret(m.w.ctx, "", nil, length)
	m.w.must(err)
	if len(secret) != length {
		m.w.Fatalf("%d bytes, asked for %d", len(secret), length)
	}
	return secret
}

func exportSecret(w *world) {
	alice, bob := w.pair()
	first := alice.export(128)
	w.reload(bob)
	if !bytes.Equal(first, bob.export(128)) {
		w.Error("two secrets of one epoch")
	}
	bob.take(alice.proposeUpdate().Message)
	if !bytes.Equal(first, alice.export(128)) || !bytes.Equal(first, bob.export(128)) {
		w.Error("a pending proposal changes the secret")
	}
	bob.take(alice.update().Commit)
	second := alice.export(128)
	if bytes.Equal(first, second) || !bytes.Equal(second, bob.export(128)) {
		w.Error("the second epoch's secret is the first's, or not bob's")
	}
}

func exportTooMuch(w *world) {
	alice, _ := w.pair()
	hash := map[suite.ID]int{suite.P521_AES256GCM_SHA512_P521: 64, suite.P384_AES256GCM_SHA384_P384: 48}[w.config.CipherSuite]
	if hash == 0 {
		hash = 32
	}
	alice.export(255 * hash)
	for _, length := range []int{255*hash + 1, 1 << 16} {
		_, err := alice.conversation().ExportSecret(w.ctx, "", nil, length)
		w.refused(err, conversation.KeyLengthTooLong)
	}
}

func fetchExternalSender(w *world) {
	key, _ := w.signer()
	var err error
	w.config, err = w.config.WithRawExternalSenders(key)
	w.must(err)
	alice, bob := w.pair()
	for _, m := range []*member{alice, bob} {
		got, err := m.conversation().ExternalSender(w.ctx)
		w.must(err)
		if !bytes.Equal(got, key) {
			w.Errorf("%s knows another one", m.id)
		}
	}
	other := alice.bare().Conversation(w.house.group())
	_, err = alice.bare().Create(w.ctx, other.ID(), w.house.config())
	w.must(err)
	_, err = other.ExternalSender(w.ctx)
	w.refused(err, conversation.MissingExternalSender)
}

var bothKinds = []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509}

func requiredCapabilities(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	required := w.public(alice.invite(bob).GroupInfo).RequiredCapabilities()
	if required == nil || !slices.Equal(required.CredentialTypes, bothKinds) || len(required.ExtensionTypes)+len(required.ProposalTypes) > 0 {
		w.Errorf("the group requires %+v", required)
	}
	lacking := w.outsider("lacking", mlsengine.Capabilities{Credentials: bothKinds[:1]})
	err := alice.conversation().AddKeyPackages(w.ctx, lacking.keyPackage.Bytes())
	if e, _ := errors.AsType[*conversation.CommandError](err); e == nil || e.Rule == "" {
		w.Errorf("who knows no certificates: %v", err)
	}
	alice.epoch(1)
	w.agree(alice, bob)
}

func creatorCapabilities(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	for _, m := range w.public(alice.invite(bob).GroupInfo).Members() {
		c := m.Leaf.Capabilities
		if !slices.Equal(c.Credentials, bothKinds) || !slices.Equal(c.Versions, []mlsengine.ProtocolVersion{mlsengine.VersionMLS10}) {
			w.Errorf("leaf %d: %+v", m.Index, c)
		}
		if !slices.Contains(c.CipherSuites, w.config.CipherSuite) {
			w.Errorf("leaf %d knows suites %v", m.Index, c.CipherSuites)
		}
	}
}

// externalSenderAs configures an external sender in some form.
func externalSenderAs(w *world, form func(key []byte) []byte) {
	key, _ := w.signer()
	var err error
	w.config, err = w.config.WithRawExternalSenders(form(key))
	w.must(err)
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	senders := w.public(alice.invite(bob).GroupInfo).ExternalSenders()
	if len(senders) != 1 || !bytes.Equal(senders[0].SignatureKey, key) || string(senders[0].Credential.Identity()) != "wire-server" {
		w.Errorf("external senders %+v", senders)
	}
	if _, err := w.house.config().WithRawExternalSenders([]byte("no key")); !errors.Is(err, conversation.InvalidConfiguration) {
		w.Errorf("what is no key: %v", err)
	}
	w.agree(alice, bob)
}

// jwk is a raw public key as a JWK.
func jwk(w *world, key []byte) []byte {
	w.Helper()
	fields := map[string]string{"kty": "OKP", "crv": "Ed25519"}
	x := key
	if c := curve(w.config.CipherSuite); c != nil {
		size := (len(key) - 1) / 2
		x = key[1 : 1+size]
		fields = map[string]string{"kty": "EC", "crv": c.Params().Name, "y": base64.RawURLEncoding.EncodeToString(key[1+size:])}
	}
	fields["x"] = base64.RawURLEncoding.EncodeToString(x)
	out, err := json.Marshal(fields)
	w.must(err)
	return out
}
