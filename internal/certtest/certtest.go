// Package certtest is an authority that certifies clients in tests.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// ListPoint is where the certificates say that the authority publishes its revocation list.
const ListPoint = "http://crl.example/list"

// Authority certifies clients. It is safe for concurrent use.
type Authority struct {
	key         ed25519.PrivateKey
	certificate *x509.Certificate
	issued      atomic.Int64
}

// New makes an authority, valid from an hour ago for two hours.
func New(t testing.TB) *Authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &Authority{key: key, certificate: certificate}
}

// Anchor is the authority's own certificate, DER.
func (a *Authority) Anchor() []byte { return a.certificate.Raw }

// Newest is the serial number of the certificate issued last.
func (a *Authority) Newest() int64 { return a.issued.Load() }

// Request says what to certify. Every certificate has a serial number of its own.
type Request struct {
	URI                 string
	Curve               elliptic.Curve          // of the client's key; nil: Ed25519
	Key                 []byte                  // the client's key; nil: a new one
	NotBefore, NotAfter time.Time               // zero: an hour ago, in an hour
	Change              func(*x509.Certificate) // the last word on what it says; may be nil
}

// Certify makes a key and its certificate: DER, and the seed of an Edwards key or the scalar of a NIST key.
func (a *Authority) Certify(t testing.TB, r Request) (certificate, key []byte) {
	t.Helper()
	public, key := keyOf(t, r)
	name, err := url.Parse(r.URI)
	must(t, err)
	if r.NotBefore.IsZero() {
		r.NotBefore = time.Now().Add(-time.Hour)
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.issued.Add(1)), NotBefore: r.NotBefore, NotAfter: r.NotAfter, URIs: []*url.URL{name},
		KeyUsage: x509.KeyUsageDigitalSignature, CRLDistributionPoints: []string{ListPoint},
	}
	if r.Change != nil {
		r.Change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	must(t, err)
	return der, key
}

func keyOf(t testing.TB, r Request) (public crypto.PublicKey, key []byte) {
	t.Helper()
	if r.Curve == nil {
		if r.Key == nil {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			must(t, err)
			r.Key = private.Seed()
		}
		return ed25519.NewKeyFromSeed(r.Key).Public(), r.Key
	}
	private, err := ecdsa.GenerateKey(r.Curve, rand.Reader)
	if r.Key != nil {
		private, err = ecdsa.ParseRawPrivateKey(r.Curve, r.Key)
	}
	must(t, err)
	key, err = private.Bytes()
	must(t, err)
	return &private.PublicKey, key
}

// Revoke is the authority's revocation list, DER, as of a minute ago.
func (a *Authority) Revoke(t testing.TB, serials ...int64) []byte {
	t.Helper()
	return a.RevokeAt(t, time.Now().Add(-time.Minute), serials...)
}

// RevokeAt is the list as of a time.
func (a *Authority) RevokeAt(t testing.TB, at time.Time, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: at, NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(s), RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	must(t, err)
	return der
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
