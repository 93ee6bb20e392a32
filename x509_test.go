package parley_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/internal/certtest"
	"parley/mlsengine"
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

// TestACertificateIsRenewedForItsKey: bob gets other certificates for the key that he has always had, and goes on under them: by a commit of his
// own, and by a proposal that ada commits. Everybody sees it, another node goes on with it, and the key stays when the credential that was the
// same key's before is removed.
func TestACertificateIsRenewedForItsKey(t *testing.T) {
	for _, id := range certifiable {
		t.Run(fmt.Sprint("suite ", id), func(t *testing.T) { renewForItsKey(t, id) })
	}
}

func renewForItsKey(t *testing.T, id mlsengine.CipherSuite) {
	ctx := t.Context()
	authority, d := certtest.New(t), deploy(t)
	config := parley.DefaultConfig()
	config.CipherSuite = id
	options := parley.Options{Certificates: trusting(t, authority).Load, Config: config}
	node := d.node(t, options)
	x := certify(t, authority, id, "bob", certtest.Request{})
	key := slices.Clone(x.Key)
	_, err := node.Bare("bob").AddX509Credential(ctx, id, x)
	ok(t, err)
	ada, bob := takeBot(t, node, "ada"), takeBot(t, node, "bob")
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, tea.Add(ctx, "bob"))
	his := bob.await(t, "the welcome", inEpoch(1)).Conversation
	refs := []parley.CredentialRef{}
	first, err := his.Credential(ctx)
	ok(t, err)
	refs = append(refs, first)
	renew := func() parley.CredentialRef {
		x := certify(t, authority, id, "bob", certtest.Request{Key: slices.Clone(key)})
		chain := x.Chain
		ref, err := bob.AddX509Credential(ctx, id, x)
		ok(t, err)
		again, err := bob.AddX509Credential(ctx, id, parley.X509{Chain: chain, Key: slices.Clone(key)})
		if err != nil || again != ref || slices.Contains(refs, ref) {
			t.Errorf("it is %s, and again %s, %v, beside %v", ref, again, err, refs)
		}
		refs = append(refs, ref)
		return ref
	}
	ok(t, his.SetCredential(ctx, renew()))
	ada.await(t, "epoch 2", inEpoch(2))
	presents(t, tea, his, refs[1])
	_, err = his.ProposeCredential(ctx, renew())
	ok(t, err)
	awaitProposals(t, tea, 1)
	ok(t, tea.CommitPending(ctx))
	awaitEpoch(t, his, 3)
	presents(t, tea, his, refs[2])
	ok(t, bob.RemoveCredential(ctx, refs[1]))
	refusedAs(t, bob.RemoveCredential(ctx, refs[2]), parley.CredentialStillInUse, parley.GiveUp)
	converse(t, node, his, ada, "under the third")
	stranger := certify(t, authority, id, "eve", certtest.Request{Key: slices.Clone(key)})
	_, err = bob.AddX509Credential(ctx, id, stranger)
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)

	ada.stop()
	bob.stop()
	closeNode(t, node)
	node = d.node(t, options)
	defer closeNode(t, node)
	ada, bob = takeBot(t, node, "ada"), takeBot(t, node, "bob")
	tea, his = ada.Conversation("tea"), bob.Conversation("tea")
	presents(t, tea, his, refs[2])
	ok(t, his.UpdateKeys(ctx))
	ada.await(t, "epoch 4", inEpoch(4))
	presents(t, tea, his, refs[2])
	agree(t, tea, his)
	converse(t, node, his, ada, "on another node")
}

// presents sees to it that bob presents a credential, and that ada sees the certificate of it.
func presents(t *testing.T, tea, his *parley.Conversation, want parley.CredentialRef) {
	t.Helper()
	ctx := t.Context()
	got, err := his.Credential(ctx)
	ok(t, err)
	all, err := his.Client().Credentials(ctx)
	ok(t, err)
	seen, err := tea.DeviceIdentities(ctx, "bob")
	ok(t, err)
	for _, c := range all {
		if c.Ref == want && got == want && len(seen) == 1 && seen[0].X509 != nil && c.Usable {
			block, _ := pem.Decode([]byte(seen[0].X509.Certificate))
			if block != nil && bytes.Equal(block.Bytes, c.Chain[0]) {
				return
			}
		}
	}
	t.Errorf("he presents %s, not %s; ada sees %+v", got, want, seen)
}
