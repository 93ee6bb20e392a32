package parley_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/internal/certtest"
	"parley/mlsengine/suite"
)

// certified is a certificate, and its key, that an authority gives out under a serial number of its own.
func certified(t *testing.T, by *certtest.Authority, uri string, notAfter time.Time) parley.X509 {
	t.Helper()
	certificate, key := by.Certify(t, certtest.Request{URI: uri, NotAfter: notAfter})
	return parley.X509{Chain: [][]byte{certificate}, Key: key}
}

// takeCertified takes a bot whose only credential is a certificate.
func takeCertified(t *testing.T, node *parley.Node, id parley.ClientID, x parley.X509) *bot {
	t.Helper()
	_, err := node.Bare(id).AddX509Credential(t.Context(), suite.X25519_AES128GCM_SHA256_Ed25519, x)
	ok(t, err)
	return takeBot(t, node, id)
}

func TestCertifiedAndPlainClientsTalk(t *testing.T) {
	ctx := t.Context()
	authority, soon := certtest.New(t), time.Now().Add(time.Hour)
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.Anchor())
	ok(t, err)
	var trust atomic.Pointer[parley.TrustStore]
	trust.Store(store)
	d := deploy(t)
	options := parley.Options{Certificates: trust.Load}
	node := d.node(t, options)
	const bobby = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764c3887b32a6a7@example.com" // as deployed clients name themselves
	ada := takeCertified(t, node, "ada", certified(t, authority, parley.ClientURI("ada"), soon))
	bob := takeCertified(t, node, bobby, certified(t, authority, "wireapp://x6t4-KFBSuyvubW0QQ4LFA!b764c3887b32a6a7@example.com", soon))
	cem := takeBot(t, node, "cem")

	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, bobby, "cem"))
	members, err := conv.ClientIDs(ctx)
	if err != nil || !slices.Equal(members, []parley.ClientID{"ada", bobby, "cem"}) {
		t.Errorf("members %v, %v", members, err)
	}
	inBobs := bob.await(t, "the welcome", inEpoch(1)).Conversation
	cem.await(t, "the welcome", inEpoch(1))
	_, err = inBobs.Send(ctx, []byte("certified"))
	ok(t, err)
	for _, b := range []*bot{ada, cem} {
		m := b.await(t, "bob's words", text("certified"))
		if m.Message.Sender != bobby {
			t.Errorf("%s heard them of %s", b.ID(), m.Message.Sender)
		}
		ok(t, m.Ack(ctx))
	}
	ok(t, cem.Conversation("tea").UpdateKeys(ctx))
	if e := ada.await(t, "epoch 2", inEpoch(2)); len(e.Membership.Warnings) != 0 {
		t.Errorf("ada was warned: %v", e.Membership.Warnings)
	}

	// Another node goes on with all of them, and removes one by the name in its certificate.
	for _, b := range []*bot{ada, bob, cem} {
		b.stop()
	}
	closeNode(t, node)
	node = d.node(t, options)
	defer closeNode(t, node)
	ada, cem = takeBot(t, node, "ada"), takeBot(t, node, "cem")
	ok(t, ada.Conversation("tea").Remove(ctx, bobby))
	_, err = ada.Conversation("tea").Send(ctx, []byte("just us"))
	ok(t, err)
	ok(t, cem.await(t, "ada's words", text("just us")).Ack(ctx))
}

func TestWhomNoAuthorityVouchesForIsNotAdded(t *testing.T) {
	ctx := t.Context()
	authority, stranger := certtest.New(t), certtest.New(t)
	soon := time.Now().Add(time.Hour)
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.Anchor())
	ok(t, err)
	var trust atomic.Pointer[parley.TrustStore]
	trust.Store(store)
	node := openNode(t, parley.Options{Certificates: trust.Load})
	defer closeNode(t, node)
	ada := takeBot(t, node, "ada")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	elsewhere := openNode(t, parley.Options{Isolated: true})
	defer closeNode(t, elsewhere)
	packageOf := func(id parley.ClientID, x parley.X509) []byte {
		client := elsewhere.Bare(id)
		_, err := client.AddX509Credential(ctx, suite.X25519_AES128GCM_SHA256_Ed25519, x)
		ok(t, err)
		made, err := client.GenerateKeyPackages(ctx, 1)
		ok(t, err)
		return made[0]
	}
	zoe := packageOf("zoe", certified(t, stranger, parley.ClientURI("zoe"), soon))
	refusedAs(t, conv.AddKeyPackages(ctx, zoe), parley.CredentialRefused, parley.GiveUp)
	late := packageOf("late", certified(t, authority, parley.ClientURI("late"), time.Now().Add(-time.Minute)))
	refusedAs(t, conv.AddKeyPackages(ctx, late), parley.CredentialRefused, parley.GiveUp)

	bob := certified(t, authority, parley.ClientURI("bob"), soon)
	bobs := packageOf("bob", bob)
	if points := store.DistributionPoints(bob.Chain); !slices.Equal(points, []string{certtest.ListPoint}) {
		t.Errorf("distribution points %v", points)
	}
	next, update, err := store.WithRevocationList(certtest.ListPoint, authority.Revoke(t, authority.Newest()), uint64(time.Now().Unix()))
	if err != nil || !update.Changed {
		t.Fatalf("%+v, %v", update, err)
	}
	trust.Store(next)
	refusedAs(t, conv.AddKeyPackages(ctx, bobs), parley.CredentialRefused, parley.GiveUp)
	ok(t, conv.AddKeyPackages(ctx, packageOf("yan", certified(t, authority, parley.ClientURI("yan"), soon))))

	// A certificate that names somebody else is no credential of the client.
	_, err = elsewhere.Bare("mallory").AddX509Credential(ctx, suite.X25519_AES128GCM_SHA256_Ed25519, certified(t, authority, parley.ClientURI("ada"), soon))
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
}
