package parley_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/mlsengine/suite"
)

// certifier is an authority that certifies clients.
type certifier struct {
	key         ed25519.PrivateKey
	certificate *x509.Certificate
	issued      int64
}

const listPoint = "http://crl.example/list"

func newCertifier(t *testing.T) *certifier {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ok(t, err)
	certificate, err := x509.ParseCertificate(der)
	ok(t, err)
	return &certifier{key: key, certificate: certificate}
}

// certify makes a key and its certificate, under a serial number of its own.
func (c *certifier) certify(t *testing.T, uri string, notAfter time.Time) parley.X509 {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	name, err := url.Parse(uri)
	ok(t, err)
	c.issued++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(c.issued), NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, URIs: []*url.URL{name},
		KeyUsage: x509.KeyUsageDigitalSignature, CRLDistributionPoints: []string{listPoint},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, public, c.key)
	ok(t, err)
	return parley.X509{Chain: [][]byte{der}, Key: key.Seed()}
}

func (c *certifier) revoke(t *testing.T, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(s), RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, c.certificate, c.key)
	ok(t, err)
	return der
}

// takeCertified takes a bot whose only credential is a certificate.
func takeCertified(t *testing.T, node *parley.Node, id parley.ClientID, x parley.X509) *bot {
	t.Helper()
	ok(t, node.Bare(id).AddX509Credential(t.Context(), suite.X25519_AES128GCM_SHA256_Ed25519, x))
	return takeBot(t, node, id)
}

func TestCertifiedAndPlainClientsTalk(t *testing.T) {
	ctx := t.Context()
	authority, soon := newCertifier(t), time.Now().Add(time.Hour)
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.certificate.Raw)
	ok(t, err)
	var trust atomic.Pointer[parley.TrustStore]
	trust.Store(store)
	d := deploy(t)
	options := parley.Options{Certificates: trust.Load}
	node := d.node(t, options)
	const bobby = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764c3887b32a6a7@example.com" // as deployed clients name themselves
	ada := takeCertified(t, node, "ada", authority.certify(t, parley.ClientURI("ada"), soon))
	bob := takeCertified(t, node, bobby, authority.certify(t, "wireapp://x6t4-KFBSuyvubW0QQ4LFA!b764c3887b32a6a7@example.com", soon))
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
	authority, stranger := newCertifier(t), newCertifier(t)
	soon := time.Now().Add(time.Hour)
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.certificate.Raw)
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
		ok(t, client.AddX509Credential(ctx, suite.X25519_AES128GCM_SHA256_Ed25519, x))
		made, err := client.GenerateKeyPackages(ctx, 1)
		ok(t, err)
		return made[0]
	}
	zoe := packageOf("zoe", stranger.certify(t, parley.ClientURI("zoe"), soon))
	refusedAs(t, conv.AddKeyPackages(ctx, zoe), parley.CredentialRefused, parley.GiveUp)
	late := packageOf("late", authority.certify(t, parley.ClientURI("late"), time.Now().Add(-time.Minute)))
	refusedAs(t, conv.AddKeyPackages(ctx, late), parley.CredentialRefused, parley.GiveUp)

	bob := authority.certify(t, parley.ClientURI("bob"), soon)
	bobs := packageOf("bob", bob)
	if points := store.DistributionPoints(bob.Chain); !slices.Equal(points, []string{listPoint}) {
		t.Errorf("distribution points %v", points)
	}
	next, update, err := store.WithRevocationList(listPoint, authority.revoke(t, authority.issued), uint64(time.Now().Unix()))
	if err != nil || !update.Changed {
		t.Fatalf("%+v, %v", update, err)
	}
	trust.Store(next)
	refusedAs(t, conv.AddKeyPackages(ctx, bobs), parley.CredentialRefused, parley.GiveUp)
	ok(t, conv.AddKeyPackages(ctx, packageOf("yan", authority.certify(t, parley.ClientURI("yan"), soon))))

	// A certificate that names somebody else is no credential of the client.
	err = elsewhere.Bare("mallory").AddX509Credential(ctx, suite.X25519_AES128GCM_SHA256_Ed25519, authority.certify(t, parley.ClientURI("ada"), soon))
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
}
