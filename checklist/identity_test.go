package checklist_test

import (
	certificates "crypto/x509"
	"slices"
	"strings"
	"time"

	"parley"
	"parley/conversation"
	"parley/internal/certtest"
	"parley/mlsengine"
)

func identityCases() []acceptance {
	return []acceptance{
		{"enable_disable_history_sharing", shareHistory},
		{"should_update_history_client_on_member_remove", shareHistoryAnew},
		{"should_read_device_identities", readDevices},
		{"should_read_users", readUsers},
		{"should_not_fail_when_basic", readBasic},
		{"should_read_revoked_device_cross_signed", readRevoked},
		{"e2ei_conversation_state::uniform", stateUniform},
		{"e2ei_conversation_state::mixed", stateMixed},
		{"e2ei_conversation_state::expired", stateExpired},
		{"e2ei_is_enabled", isEnabled},
		{"credentials::clients_of_one_kind_can_talk", func(w *world) {
			alice, bob := w.pair()
			w.agree(alice, bob)
		}},
		{"credentials::mixed_clients_can_talk", mixedTalk},
		{"credentials::should_fail_on_empty_certificate_chain", emptyChain},
		{"credentials::should_fail_on_certificate_key_mismatch", keyMismatch},
		{"credentials::should_fail_when_certificate_not_yet_valid", notYetValid},
		{"credentials::expired_certificate", expiredCertificate},
		{"key_package::expiry", keyPackageExpires},
		{"key_package::capabilities", keyPackageCapabilities},
		{"key_package::store_and_load", keyPackageKept},
	}
}

// readers are the members that are readers of history.
func (m *member) readers() (ids []parley.ClientID) {
	m.w.Helper()
	for _, one := range m.status().Members {
		if strings.HasPrefix(string(one.Client), "history-client") {
			ids = append(ids, one.Client)
		}
	}
	return ids
}

func shareHistory(w *world) {
	alice, bob := w.pair()
	b := alice.commit((*parley.Conversation).EnableHistorySharing)
	bob.take(b.Commit)
	for _, m := range []*member{alice, bob} {
		if s := m.status(); !s.History || len(s.Members) != 3 || len(m.readers()) != 1 {
			w.Errorf("%s: shared %v, members %v", m.id, s.History, clientsOf(s))
		}
	}
	secret := bob.take(b.EncryptedMessage).History
	if secret == nil || secret.Sender != alice.id || secret.Client != bob.readers()[0] {
		w.Fatalf("bob's secret: %+v", secret)
	}
	w.reload(alice, bob)
	before := len(w.box.all())
	if alice.commit((*parley.Conversation).EnableHistorySharing); len(w.box.all()) != before {
		w.Error("asked for twice it is done twice")
	}
	b = bob.commit((*parley.Conversation).DisableHistorySharing)
	alice.take(b.Commit)
	w.agree(alice, bob)
}

func shareHistoryAnew(w *world) {
	alice, bob, charlie := w.trio()
	b := alice.commit((*parley.Conversation).EnableHistorySharing)
	w.take(b.Commit, bob, charlie)
	first := bob.take(b.EncryptedMessage).History
	b = alice.remove(charlie)
	w.take(b.Commit, bob, charlie)
	charlie.gone()
	second := bob.take(b.EncryptedMessage).History
	if second == nil || second.Client == first.Client || !slices.Equal(bob.readers(), []parley.ClientID{second.Client}) {
		w.Errorf("first %+v, then %+v, readers %v", first, second, bob.readers())
	}
	w.reload(alice)
	b = alice.commit((*parley.Conversation).DisableHistorySharing)
	bob.take(b.Commit)
	w.agree(alice, bob)
}

func (w *world) device(user parley.ClientID) *member {
	w.Helper()
	m := &member{w: w, id: w.house.device(user)}
	m.certify(w.kind, certtest.Request{})
	return m
}

// household are two devices of one user and one of another, in a conversation.
func (w *world) household() (alice, bob parley.ClientID, phone, laptop, his *member) {
	w.Helper()
	alice, bob = w.house.name("alice"), w.house.name("bob")
	phone, laptop, his = w.device(alice), w.device(alice), w.device(bob)
	phone.create()
	phone.invite(laptop, his)
	return alice, bob, phone, laptop, his
}

func (w *world) identity(got parley.WireIdentity, m *member) {
	w.Helper()
	held, err := m.bare().Credentials(w.ctx)
	w.must(err)
	if got.Client != m.id || got.Status != parley.DeviceValid || got.Thumbprint == "" || got.Thumbprint != held[0].Thumbprint ||
		(got.X509 != nil) != (w.kind == x509) || (got.CredentialType == mlsengine.CredentialTypeX509) != (w.kind == x509) {
		w.Errorf("%s is %+v", m.id, got)
	}
}

func readDevices(w *world) {
	_, _, phone, laptop, his := w.household()
	devices, err := his.conversation().DeviceIdentities(w.ctx, his.id, phone.id, "nobody")
	w.must(err)
	if len(devices) != 2 {
		w.Fatalf("devices %+v", devices)
	}
	w.identity(devices[0], phone)
	w.identity(devices[1], his)
	w.agree(phone, laptop, his)
}

func readUsers(w *world) {
	alice, bob, phone, laptop, his := w.household()
	users, err := phone.conversation().UserIdentities(w.ctx, string(alice), string(bob), "somebody")
	w.must(err)
	if len(users) != 2 || len(users[string(alice)]) != 2 || len(users[string(bob)]) != 1 {
		w.Fatalf("users %+v", users)
	}
	w.identity(users[string(alice)][1], laptop)
	w.identity(users[string(bob)][0], his)
}

func readBasic(w *world) {
	w.kind = basic
	alice, _, phone, _, his := w.household()
	devices, err := phone.conversation().DeviceIdentities(w.ctx, his.id)
	w.must(err)
	w.identity(devices[0], his)
	users, err := phone.conversation().UserIdentities(w.ctx, string(alice))
	w.must(err)
	w.identity(users[string(alice)][0], phone)
}

// readRevoked: somebody whose certificate is taken back is seen as that, and what he does is followed with a warning.
func readRevoked(w *world) {
	w.kind = x509
	alice := w.client("alice")
	bob := &member{w: w, id: w.house.name("bob")}
	var serial int64
	bob.certify(x509, certtest.Request{Change: func(c *certificates.Certificate) { serial = c.SerialNumber.Int64() }})
	alice.create()
	alice.invite(bob)
	alice.state(parley.Verified)
	w.house.town.revoke(w, serial)
	devices, err := alice.conversation().DeviceIdentities(w.ctx, alice.id, bob.id)
	w.must(err)
	if devices[0].Status != parley.DeviceValid || devices[1].Status != parley.DeviceRevoked {
		w.Errorf("devices %+v", devices)
	}
	alice.state(parley.NotVerified)
	w.agree(alice, bob)
}

func (m *member) state(want parley.E2EIState) {
	m.w.Helper()
	if got, err := m.conversation().E2EIState(m.w.ctx); err != nil || got != want {
		m.w.Errorf("%s: the conversation is %s, %v, want %s", m.id, got, err, want)
	}
}

func stateUniform(w *world) {
	alice, bob := w.pair()
	want := parley.NotEnabled
	if w.kind == x509 {
		want = parley.Verified
	}
	alice.state(want)
	w.reload(bob)
	bob.state(want)
	info := alice.update().GroupInfo
	bob.take(w.box.last().Commit)
	if got, err := alice.node().CredentialInUse(info); err != nil || got != want {
		w.Errorf("by its GroupInfo it is %s, %v", got, err)
	}
	w.agree(alice, bob)
}

// other is a client of the other kind.
func (w *world) other(whose string) *member {
	w.Helper()
	k := basic
	if w.kind == basic {
		k = x509
	}
	m := &member{w: w, id: w.house.name(whose)}
	m.certify(k, certtest.Request{})
	return m
}

func stateMixed(w *world) {
	alice, bob := w.client("alice"), w.other("bob")
	alice.create()
	alice.invite(bob)
	alice.state(parley.NotVerified)
	bob.state(parley.NotVerified)
	w.agree(alice, bob)
}

// stateExpired: the certificate runs out while its member stays. Messages go on.
func stateExpired(w *world) {
	w.kind = x509
	alice := w.client("alice")
	bob := &member{w: w, id: w.house.name("bob")}
	bob.certify(x509, certtest.Request{NotAfter: time.Now().Add(20 * time.Minute)})
	alice.create()
	alice.invite(bob)
	alice.state(parley.Verified)
	w.agree(alice, bob)
	later := w.later(alice, 30*time.Minute)
	there := alice.there(later)
	if got, err := there.E2EIState(w.ctx); err != nil || got != parley.NotVerified {
		w.Errorf("half an hour later it is %s, %v", got, err)
	}
	devices, err := there.DeviceIdentities(w.ctx, alice.id, bob.id)
	w.must(err)
	if devices[0].Status != parley.DeviceValid || devices[1].Status != parley.DeviceExpired {
		w.Errorf("devices %+v", devices)
	}
}

// ahead is a clock that is ahead of the machine's.
type ahead struct {
	parley.Clock
	by time.Duration
}

func (c ahead) Now() time.Time { return c.Clock.Now().Add(c.by) }

// later is another node for a member, on which time is further on.
func (w *world) later(m *member, by time.Duration) *parley.Node {
	w.Helper()
	o := w.house.options
	o.Name, o.Clock, o.Shares = "later", ahead{parley.SystemClock(), by}, []uint32{parley.ShareOf("client/"+string(m.id), shareCount)}
	return openNode(w.T, o)
}

func isEnabled(w *world) {
	alice := w.client("alice")
	got, err := alice.bare().E2EIEnabled(w.ctx, w.config.CipherSuite)
	if err != nil || got != (w.kind == x509) {
		w.Errorf("enabled: %v, %v", got, err)
	}
	_, err = alice.node().Bare(w.house.name("nobody")).E2EIEnabled(w.ctx, w.config.CipherSuite)
	w.refused(err, parley.CredentialNotFound)
}

func mixedTalk(w *world) {
	alice, bob, charlie := w.client("alice"), w.other("bob"), w.client("charlie")
	alice.create()
	alice.invite(bob, charlie)
	b := bob.update()
	w.take(b.Commit, alice, charlie)
	w.reload(bob)
	w.agree(alice, bob, charlie)
}

// chain gives a client a certificate that something is wrong with.
func (w *world) chain(change func(*parley.X509), r certtest.Request) error {
	w.Helper()
	id := w.house.name("alice")
	r.URI, r.Curve = parley.ClientURI(id), curve(w.config.CipherSuite)
	der, key := w.house.town.authority.Certify(w.T, r)
	x := parley.X509{Chain: [][]byte{der}, Key: key}
	if change != nil {
		change(&x)
	}
	_, err := w.house.nodes[0].Bare(id).AddX509Credential(w.ctx, w.config.CipherSuite, x)
	return err
}

func emptyChain(w *world) {
	w.refused(w.chain(func(x *parley.X509) { x.Chain = nil }, certtest.Request{}), parley.CredentialRefused)
}

func keyMismatch(w *world) {
	err := w.chain(func(x *parley.X509) {
		_, x.Key = w.house.town.authority.Certify(w.T, certtest.Request{URI: "test:another", Curve: curve(w.config.CipherSuite)})
	}, certtest.Request{})
	w.refused(err, parley.CredentialRefused)
}

func notYetValid(w *world) {
	err := w.chain(nil, certtest.Request{NotBefore: time.Now().Add(10 * time.Minute)})
	w.refused(err, parley.CredentialRefused)
}

// expiredCertificate: it can be shown, and nobody is added with it; what was added while it was valid goes on.
func expiredCertificate(w *world) {
	alice := w.client("alice")
	bob := &member{w: w, id: w.house.name("bob")}
	bob.certify(x509, certtest.Request{NotAfter: time.Now().Add(-time.Minute)})
	alice.create()
	w.refused(alice.conversation().AddKeyPackages(w.ctx, bob.keyPackage()), parley.CredentialRefused)
	alice.epoch(0)
	w.agree(alice)
}

func keyPackageExpires(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	made, err := bob.bare().GenerateKeyPackages(w.ctx, 1, parley.KeyPackageParams{Lifetime: 20 * time.Minute})
	w.must(err)
	before, after, err := parley.KeyPackageLifetime(made[0])
	w.must(err)
	if now := uint64(time.Now().Unix()); before > now || after < now+19*60 || after > now+20*60 {
		w.Errorf("it is valid from %d to %d, now is %d", before, after, now)
	}
	later := w.later(alice, 30*time.Minute)
	err = alice.there(later).AddKeyPackages(w.ctx, made[0])
	w.refused(err, conversation.InvalidKeyPackage)
	w.must(alice.conversation().AddKeyPackages(w.ctx, made[0]))
	bob.join(w.box.last().Welcome)
	w.agree(alice, bob)
}

func keyPackageCapabilities(w *world) {
	kp, err := mlsengine.ParseKeyPackage(w.client("alice").keyPackage())
	w.must(err)
	c := kp.LeafNode.Capabilities
	if !slices.Equal(c.Credentials, bothKinds) || !slices.Contains(c.CipherSuites, w.config.CipherSuite) || len(kp.Extensions) > 0 {
		w.Errorf("capabilities %+v, extensions %v", c, kp.Extensions)
	}
	if err := kp.Validate(mlsengine.Env{Now: uint64(time.Now().Unix())}); err != nil {
		w.Error(err)
	}
}

func keyPackageKept(w *world) {
	alice, bob := w.client("alice"), w.client("bob")
	alice.create()
	made := [][]byte{bob.keyPackage(), bob.keyPackage()}
	bob.move()
	var held []parley.KeyPackage
	w.await("the other node has bob", func() (found bool) {
		var err error
		held, err = bob.bare().KeyPackages(w.ctx)
		return err == nil
	})
	if len(held) != 2 || string(held[0].KeyPackage) != string(made[0]) || string(held[1].KeyPackage) != string(made[1]) {
		w.Errorf("%d key packages", len(held))
	}
	w.must(bob.bare().RemoveKeyPackages(w.ctx, held[1].Ref))
	if n := bob.keyPackages(); n != 1 {
		w.Errorf("%d key packages are left", n)
	}
	w.must(alice.conversation().AddKeyPackages(w.ctx, made[0]))
	bob.join(w.box.last().Welcome)
	w.agree(alice, bob)
}
