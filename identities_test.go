package parley_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/conversation"
	"parley/internal/certtest"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// movedClock is the machine's clock, set forward at will; its timers run as ever.
type movedClock struct {
	parley.Clock
	ahead atomic.Int64
}

func (c *movedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

// The clients of these tests, named like those of deployed applications: one user with two devices, another one with one.
const (
	alicePhone  = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764c3887b32a6a7@example.com"
	aliceLaptop = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:1@example.com"
	bobPhone    = "deadbeef-0000-4000-8000-000000000000:2@example.com"
	alice       = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14"
)

// named is a certificate like those that deployed authorities give: a client, a handle, a name.
func named(t *testing.T, by *certtest.Authority, id mlsengine.CipherSuite, client parley.ClientID, r certtest.Request) parley.X509 {
	t.Helper()
	r.Change = func(c *x509.Certificate) {
		handle, err := url.Parse("wireapp://%40alice_wire@example.com")
		ok(t, err)
		c.URIs = append([]*url.URL{handle}, c.URIs...)
		c.Subject = pkix.Name{CommonName: "Alice Smith", Organization: []string{"example.com"}}
	}
	return certify(t, by, id, client, r)
}

// certifiedBot takes a bot whose only credential of the suite is a certificate.
func certifiedBot(t *testing.T, node *parley.Node, id mlsengine.CipherSuite, client parley.ClientID, x parley.X509) *bot {
	t.Helper()
	_, err := node.Bare(client).AddX509Credential(t.Context(), id, x)
	ok(t, err)
	return takeBot(t, node, client)
}

func wantState(t *testing.T, c *parley.Conversation, want parley.E2EIState) {
	t.Helper()
	if got, err := c.E2EIState(t.Context()); err != nil || got != want {
		t.Errorf("the conversation is %s, %v, want %s", got, err, want)
	}
}

// TestDevicesAndUsersAreIdentified is should_read_device_identities and should_read_users: by client and by user, all fields, in every suite.
func TestDevicesAndUsersAreIdentified(t *testing.T) {
	for _, id := range certifiable {
		t.Run(id.String(), func(t *testing.T) {
			ctx := t.Context()
			authority := certtest.New(t)
			config := parley.DefaultConfig()
			config.CipherSuite = id
			node := openNode(t, parley.Options{Certificates: trusting(t, authority).Load, Config: config})
			defer closeNode(t, node)
			x := named(t, authority, id, alicePhone, certtest.Request{})
			serial := authority.Newest()
			phone := certifiedBot(t, node, id, alicePhone, x)
			laptop := certifiedBot(t, node, id, aliceLaptop, named(t, authority, id, aliceLaptop, certtest.Request{}))
			takeBot(t, node, bobPhone)
			conv, err := phone.Create(ctx, "tea")
			ok(t, err)
			ok(t, conv.Add(ctx, aliceLaptop, bobPhone))
			laptop.await(t, "the welcome", inEpoch(1))

			devices, err := conv.DeviceIdentities(ctx, bobPhone, alicePhone, "nobody")
			ok(t, err)
			if len(devices) != 2 || devices[0].Client != alicePhone || devices[1].Client != bobPhone {
				t.Fatalf("devices %+v", devices)
			}
			checkPhone(t, devices[0], x, serial)
			credentials, err := phone.Credentials(ctx)
			ok(t, err)
			if devices[0].Thumbprint == "" || devices[0].Thumbprint != credentials[0].Thumbprint {
				t.Errorf("thumbprint %s, of the credential %s", devices[0].Thumbprint, credentials[0].Thumbprint)
			}
			// A basic credential does not fail: it says nothing that could be wrong.
			if bob := devices[1]; bob.X509 != nil || bob.CredentialType != parley.BasicCredential || bob.Status != parley.DeviceValid || bob.Thumbprint == "" {
				t.Errorf("bob %+v", bob)
			}
			users, err := laptop.Conversation("tea").UserIdentities(ctx, alice, "somebody")
			ok(t, err)
			if len(users) != 1 || len(users[alice]) != 2 || users[alice][0].Client != alicePhone || users[alice][1].Client != aliceLaptop {
				t.Errorf("users %+v", users)
			}
			_, err = conv.UserIdentities(ctx, alicePhone)
			refusedAs(t, err, parley.InvalidUserID, parley.GiveUp)
			_, err = conv.UserIdentities(ctx)
			refusedAs(t, err, parley.InvalidCommand, parley.GiveUp)
			_, err = conv.DeviceIdentities(ctx)
			refusedAs(t, err, parley.InvalidCommand, parley.GiveUp)
			_, err = phone.Conversation("coffee").DeviceIdentities(ctx, alicePhone)
			refusedAs(t, err, parley.ConversationNotFound, parley.GiveUp)
		})
	}
}

func checkPhone(t *testing.T, got parley.WireIdentity, x parley.X509, serial int64) {
	t.Helper()
	block, rest := pem.Decode([]byte(got.X509.Certificate))
	if block == nil || len(rest) > 0 || string(block.Bytes) != string(x.Chain[0]) {
		t.Errorf("certificate %s", got.X509.Certificate)
	}
	if got.Status != parley.DeviceValid || got.CredentialType != parley.X509Credential || got.X509.Handle != "alice_wire" ||
		got.X509.DisplayName != "Alice Smith" || got.X509.Domain != "example.com" || got.X509.Serial != "0"+string(rune('0'+serial)) ||
		!got.X509.NotBefore.Before(time.Now()) || !got.X509.NotAfter.After(time.Now()) {
		t.Errorf("alice's phone: %+v %+v", got, got.X509)
	}
}

// TestStatesOfConversations: nobody certified, everybody, some; then one is revoked, and one runs out, while messages go on.
func TestStatesOfConversations(t *testing.T) {
	ctx := t.Context()
	const one = suite.X25519_AES128GCM_SHA256_Ed25519
	authority, clock := certtest.New(t), &movedClock{Clock: parley.SystemClock()}
	trust := trusting(t, authority)
	node := openNode(t, parley.Options{Certificates: trust.Load, Clock: clock})
	defer closeNode(t, node)
	plain := takeBot(t, node, "plain")
	basic, err := plain.Create(ctx, "basic only")
	ok(t, err)
	wantState(t, basic, parley.NotEnabled)

	phone := certifiedBot(t, node, one, alicePhone, named(t, authority, one, alicePhone, certtest.Request{}))
	laptop := certifiedBot(t, node, one, aliceLaptop, named(t, authority, one, aliceLaptop, certtest.Request{NotAfter: time.Now().Add(30 * time.Minute)}))
	laptops := authority.Newest()
	conv, err := phone.Create(ctx, "certified")
	ok(t, err)
	ok(t, conv.Add(ctx, aliceLaptop))
	laptop.await(t, "the welcome", inEpoch(1))
	wantState(t, conv, parley.Verified)
	if lists, err := conv.DistributionPoints(ctx); err != nil || !slices.Equal(lists, []string{certtest.ListPoint}) {
		t.Errorf("missing lists %v, %v", lists, err)
	}

	// One certificate runs out: nothing stops, and the conversation is not verified any more. It is renewed, and all is well.
	clock.ahead.Store(int64(40 * time.Minute))
	wantState(t, conv, parley.NotVerified)
	wantStatuses(t, conv, parley.DeviceValid, parley.DeviceExpired)
	converse(t, node, laptop.Conversation("certified"), phone, "still here")
	renewed, err := laptop.AddX509Credential(ctx, one, named(t, authority, one, aliceLaptop, certtest.Request{}))
	ok(t, err)
	ok(t, laptop.Conversation("certified").SetCredential(ctx, renewed))
	phone.await(t, "epoch 2", inEpoch(2))
	wantState(t, conv, parley.Verified)

	// One is revoked: the list is quiet about the old certificate's successor.
	next, _, err := trust.Load().WithRevocationList(certtest.ListPoint, authority.Revoke(t, laptops), uint64(time.Now().Unix()))
	ok(t, err)
	trust.Store(next)
	wantState(t, conv, parley.Verified)
	if lists, err := conv.DistributionPoints(ctx); err != nil || len(lists) != 0 {
		t.Errorf("missing lists %v, %v", lists, err)
	}
	next, _, err = next.WithRevocationList(certtest.ListPoint, authority.Revoke(t, laptops, authority.Newest()), uint64(time.Now().Unix()))
	ok(t, err)
	trust.Store(next)
	wantState(t, conv, parley.NotVerified)
	wantStatuses(t, conv, parley.DeviceValid, parley.DeviceRevoked)
	converse(t, node, laptop.Conversation("certified"), phone, "revoked, and heard")

	// A bare name beside a certificate; and nobody to trust.
	ok(t, conv.Remove(ctx, aliceLaptop))
	wantState(t, conv, parley.Verified)
	ok(t, conv.Add(ctx, "plain"))
	wantState(t, conv, parley.NotVerified)
	wantStatuses(t, conv, parley.DeviceValid, parley.DeviceValid)
	trust.Store(nil)
	wantStatuses(t, conv, parley.DeviceUntrusted, parley.DeviceValid)
}

func wantStatuses(t *testing.T, c *parley.Conversation, want ...parley.DeviceStatus) {
	t.Helper()
	clients, err := c.ClientIDs(t.Context())
	ok(t, err)
	devices, err := c.DeviceIdentities(t.Context(), clients...)
	ok(t, err)
	var got []parley.DeviceStatus
	for _, d := range devices {
		got = append(got, d.Status)
	}
	if !slices.Equal(got, want) {
		t.Errorf("devices are %v, want %v", got, want)
	}
}

// TestIdentitiesIsEnabled is e2ei_is_enabled: with a certificate, with a bare name alone, without any credential of the suite.
func TestIdentitiesIsEnabled(t *testing.T) {
	ctx := t.Context()
	authority := certtest.New(t)
	node := openNode(t, parley.Options{Isolated: true})
	defer closeNode(t, node)
	ada := node.Bare("ada")
	for _, id := range certifiable {
		_, err := ada.E2EIEnabled(ctx, id)
		refusedAs(t, err, parley.CredentialNotFound, parley.GiveUp)
		_, err = ada.AddCredential(ctx, id)
		ok(t, err)
		if enabled, err := ada.E2EIEnabled(ctx, id); err != nil || enabled {
			t.Errorf("%s, a bare name: %v, %v", id, enabled, err)
		}
		_, err = ada.AddX509Credential(ctx, id, certify(t, authority, id, "ada", certtest.Request{}))
		ok(t, err)
		if enabled, err := ada.E2EIEnabled(ctx, id); err != nil || !enabled {
			t.Errorf("%s, certified: %v, %v", id, enabled, err)
		}
	}
}

// TestSendersAreIdentified: what Decrypt hands out says who sent it, with the same fields; a GroupInfo tells the state of its group before
// anybody joins.
func TestSendersAreIdentified(t *testing.T) {
	ctx := t.Context()
	const one = suite.X25519_AES128GCM_SHA256_Ed25519
	authority := certtest.New(t)
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	service := &racing{}
	node := openNode(t, parley.Options{Config: config, Isolated: true, Foreign: service, Certificates: trusting(t, authority).Load})
	defer closeNode(t, node)
	phone := certifiedBot(t, node, one, alicePhone, named(t, authority, one, alicePhone, certtest.Request{}))
	bob := takeBot(t, node, "bob")
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	conv, err := phone.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.AddKeyPackages(ctx, packages...))
	inBobs, err := bob.Join(ctx, parley.Invitation{Welcome: service.last().Welcome})
	ok(t, err)
	message, err := conv.Encrypt(ctx, []byte("hello"), nil)
	ok(t, err)
	got, err := inBobs.Decrypt(ctx, message)
	ok(t, err)
	if got.Identity == nil || got.Identity.Client != alicePhone || got.Identity.X509 == nil || got.Identity.X509.Handle != "alice_wire" || got.Identity.Status != parley.DeviceValid {
		t.Errorf("the sender is %+v", got.Identity)
	}
	info := service.last().GroupInfo
	if state, err := node.CredentialInUse(info); err != nil || state != parley.NotVerified {
		t.Errorf("%s, %v", state, err)
	}
	_, err = node.CredentialInUse(info[:len(info)-1])
	refusedAs(t, err, conversation.InvalidGroupInfo, parley.GiveUp)
	if state := node.VerifyGroupState([]byte("garbage")); state != parley.NotVerified {
		t.Errorf("garbage is %s", state)
	}
	ok(t, conv.Remove(ctx, "bob"))
	if state := node.VerifyGroupState(service.last().GroupInfo); state != parley.Verified {
		t.Errorf("alice alone is %s", state)
	}
	if !strings.Contains(parley.NotEnabled.String()+parley.DeviceRevoked.String(), "revoked") {
		t.Error("the states have no names")
	}
}
