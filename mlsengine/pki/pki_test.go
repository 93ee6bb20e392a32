package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"parley/mlsengine/suite"
)

// The time of the tests, and a day of it.
const (
	now = 1_700_000_000
	day = 24 * 3600
)

const one = suite.X25519_AES128GCM_SHA256_Ed25519

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// authority is a certificate with its key.
type authority struct {
	key         crypto.Signer
	certificate *x509.Certificate
	serial      int64
}

func newKey(t testing.TB) crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)(t)
}

// issue makes a certificate; a nil authority signs with the key itself.
func (a *authority) issue(t testing.TB, key crypto.Signer, name string, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"example.com"}},
		NotBefore: time.Unix(now-day, 0), NotAfter: time.Unix(now+day, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if a != nil {
		a.serial++
		template.SerialNumber = big.NewInt(a.serial)
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.certificate, a.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))(t)
	return &authority{key: key, certificate: must(x509.ParseCertificate(der))(t)}
}

func asAuthority(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	c.NotBefore, c.NotAfter = time.Unix(now-100*day, 0), time.Unix(now+100*day, 0)
}

func newAuthority(t testing.TB, name string) *authority {
	return (*authority)(nil).issue(t, newKey(t), name, asAuthority)
}

// list makes a revocation list.
func (a *authority) list(t testing.TB, number int64, change func(*x509.RevocationList), serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Unix(now-10*day+number, 0), NextUpdate: time.Unix(now+10*day, 0),
	}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(s), RevocationTime: time.Unix(now-5*day, 0),
		})
	}
	if change != nil {
		change(template)
	}
	return must(x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key))(t)
}

func chainOf(as ...*authority) [][]byte {
	var out [][]byte
	for _, a := range as {
		out = append(out, a.certificate.Raw)
	}
	return out
}

// claim is what a leaf of suite 1 with this chain claims.
func claim(as ...*authority) Claim {
	key, _ := as[0].key.Public().(ed25519.PublicKey)
	return Claim{Chain: chainOf(as...), Key: suite.SignaturePublicKey(key), Suite: one}
}

func trusting(t testing.TB, anchors ...*authority) *TrustStore {
	t.Helper()
	var store *TrustStore
	for _, a := range anchors {
		store = must(store.WithAnchor(a.certificate.Raw))(t)
	}
	return store
}

func wantStatus(t *testing.T, v Verdict, want Status) {
	t.Helper()
	if v.Status != want {
		t.Errorf("%v (%s), want %v", v.Status, v.Detail, want)
	}
	if err := v.Err(); (err == nil) != (want == Valid) || err != nil && !errors.Is(err, want) {
		t.Errorf("error %v for %v", err, want)
	}
}

func TestChainsAreJudged(t *testing.T) {
	root, other := newAuthority(t, "root"), newAuthority(t, "other")
	middle := root.issue(t, newKey(t), "middle", asAuthority)
	leaf := middle.issue(t, newKey(t), "bot", nil)
	store := trusting(t, root)
	dated := func(a *authority, name string, from, to int64, as func(*x509.Certificate)) *authority {
		return a.issue(t, newKey(t), name, func(c *x509.Certificate) {
			if as != nil {
				as(c)
			}
			c.NotBefore, c.NotAfter = time.Unix(now+from, 0), time.Unix(now+to, 0)
		})
	}
	expired, early := dated(root, "expired", -2*day, -day, nil), dated(root, "early", day, 2*day, nil)
	oldMiddle := dated(root, "old", -50*day, -day/2, asAuthority)
	underOld := dated(oldMiddle, "bot", -day, day, nil)
	notCA := root.issue(t, newKey(t), "no authority", nil)
	underNotCA := notCA.issue(t, newKey(t), "bot", nil)
	short := root.issue(t, newKey(t), "short", func(c *x509.Certificate) { asAuthority(c); c.MaxPathLenZero = true })
	deep := short.issue(t, newKey(t), "deep", asAuthority)
	critical := root.issue(t, newKey(t), "critical", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	})
	wrongSuite := claim(leaf, middle)
	wrongSuite.Suite = suite.P256_AES128GCM_SHA256_P256
	unknownSuite := claim(leaf, middle)
	unknownSuite.Suite = 99
	anySuite := claim(leaf, middle)
	anySuite.Suite = 0
	wrongKey := claim(leaf, middle)
	wrongKey.Key = bytes.Repeat([]byte{1}, 32)
	garbage := claim(leaf)
	garbage.Chain = [][]byte{append(bytes.Clone(leaf.certificate.Raw), 0)}
	cases := map[string]struct {
		store *TrustStore
		claim Claim
		want  Status
	}{
		"valid":                     {store, claim(leaf, middle), Valid},
		"under any suite":           {store, anySuite, Valid},
		"with its anchor":           {store, claim(leaf, middle, root), Valid},
		"under a middle anchor":     {trusting(t, middle), claim(leaf), Valid},
		"under a known middle":      {must(store.WithIntermediate(middle.certificate.Raw, now))(t), claim(leaf), Valid},
		"expired":                   {store, claim(expired), Expired},
		"not yet valid":             {store, claim(early), NotYetValid},
		"an issuer expired":         {store, claim(underOld, oldMiddle), Expired},
		"expired and nobody's":      {trusting(t, other), claim(expired), Untrusted},
		"nobody's":                  {trusting(t, other), claim(leaf, middle), Untrusted},
		"no store":                  {nil, claim(leaf, middle), Untrusted},
		"the middle is missing":     {store, claim(leaf), Untrusted},
		"issued by no authority":    {store, claim(underNotCA, notCA), Untrusted},
		"path longer than allowed":  {store, claim(deep.issue(t, newKey(t), "bot", nil), deep, short), Untrusted},
		"an unknown critical thing": {store, claim(critical), Untrusted},
		"another key":               {store, wrongKey, KeyMismatch},
		"another suite":             {store, wrongSuite, KeyMismatch},
		"an unknown suite":          {store, unknownSuite, KeyMismatch},
		"an authority as member":    {store, claim(middle), Malformed},
		"key not for signing":       {store, claim(root.issue(t, newKey(t), "bot", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })), Malformed},
		"empty":                     {store, Claim{Suite: one}, Malformed},
		"not a certificate":         {store, garbage, Malformed},
		"out of order":              {store, claim(leaf, root, middle), Malformed},
		"too long":                  {store, claim(slices.Repeat([]*authority{leaf}, ChainMax+1)...), Malformed},
		"too large":                 {store, Claim{Chain: [][]byte{make([]byte, CertificateMax+1)}, Suite: one}, Malformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { wantStatus(t, c.store.Verify(c.claim, now), c.want) })
	}
}

func TestVerdictsDescribeTheEndEntity(t *testing.T) {
	root := newAuthority(t, "root")
	leaf := root.issue(t, newKey(t), "bot", func(c *x509.Certificate) {
		c.URIs = []*url.URL{must(url.Parse("mls-client:bot"))(t)}
	})
	got := trusting(t, root).Verify(claim(leaf), now).Certificate
	if got.CommonName != "bot" || got.Organization != "example.com" || !slices.Equal(got.URIs, []string{"mls-client:bot"}) ||
		got.NotBefore != now-day || got.NotAfter != now+day || got.Serial != leaf.certificate.SerialNumber.String() {
		t.Errorf("certificate %+v", got)
	}
}

func TestKeysOfEverySuiteAreCertified(t *testing.T) {
	curves := map[suite.ID]elliptic.Curve{
		suite.P256_AES128GCM_SHA256_P256: elliptic.P256(), suite.P384_AES256GCM_SHA384_P384: elliptic.P384(), suite.P521_AES256GCM_SHA512_P521: elliptic.P521(),
	}
	for id, curve := range curves {
		root := (*authority)(nil).issue(t, must(ecdsa.GenerateKey(curve, rand.Reader))(t), "root", asAuthority)
		key := must(ecdsa.GenerateKey(curve, rand.Reader))(t)
		leaf := root.issue(t, key, "bot", nil)
		for other := range curves {
			want := KeyMismatch
			if other == id {
				want = Valid
			}
			point := must(key.PublicKey.Bytes())(t)
			wantStatus(t, trusting(t, root).Verify(Claim{Chain: chainOf(leaf), Key: point, Suite: other}, now), want)
		}
	}
	root := newAuthority(t, "root")
	s448 := must(suite.Get(suite.X448_AES256GCM_SHA512_Ed448))(t)
	_, key, err := s448.GenerateSignatureKeyPair(make([]byte, s448.SignatureSeedSize()))
	must(key, err)(t)
	chain := [][]byte{root.issue448(t, key)}
	wantStatus(t, trusting(t, root).Verify(Claim{Chain: chain, Key: key, Suite: s448.ID()}, now), Valid)
	wantStatus(t, trusting(t, root).Verify(Claim{Chain: chain, Key: key, Suite: one}, now), KeyMismatch)
}

// issue448 makes a certificate for an Ed448 key, which the standard library cannot: it takes one of another key apart.
func (a *authority) issue448(t *testing.T, key suite.SignaturePublicKey) []byte {
	t.Helper()
	var tbs struct {
		Version                                           int `asn1:"explicit,tag:0"`
		Serial, Algorithm, Issuer, Validity, Subject, Key asn1.RawValue
		Extensions                                        asn1.RawValue
	}
	must(asn1.Unmarshal(a.issue(t, newKey(t), "bot", nil).certificate.RawTBSCertificate, &tbs))(t)
	info := must(asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 113}}, asn1.BitString{Bytes: key, BitLength: 8 * len(key)}}))(t)
	tbs.Key = asn1.RawValue{FullBytes: info}
	signed := must(asn1.Marshal(tbs))(t)
	signature := must(a.key.Sign(rand.Reader, signed, crypto.Hash(0)))(t)
	return must(asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: signed}, tbs.Algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}))(t)
}

func TestRevokedCertificatesAreNotBelieved(t *testing.T) {
	const rootList, middleList = "http://crl.example/root", "http://crl.example/middle"
	root := newAuthority(t, "root")
	at := func(point string, as func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			if as != nil {
				as(c)
			}
			c.CRLDistributionPoints = []string{point}
		}
	}
	middle := root.issue(t, newKey(t), "middle", at(rootList, asAuthority))
	leaf := middle.issue(t, newKey(t), "bot", at(middleList, nil))
	both := claim(leaf, middle)
	store := trusting(t, root)
	if got := store.DistributionPoints(both.Chain); !slices.Equal(got, []string{middleList, rootList}) {
		t.Errorf("distribution points %v", got)
	}
	wantStatus(t, store.Verify(both, now), Valid)
	strict := store.WithPolicy(RevocationRequired)
	wantStatus(t, strict.Verify(both, now), RevocationUnknown)

	_, _, err := strict.WithRevocationList(middleList, middle.list(t, 1, nil), now)
	if !errors.Is(err, ErrIssuerUnknown) {
		t.Errorf("a list of an intermediate that is not registered: %v", err)
	}
	strict = must(strict.WithIntermediate(middle.certificate.Raw, now))(t)
	strict, update, err := strict.WithRevocationList(middleList, middle.list(t, 1, nil), now)
	if err != nil || update.Changed || update.Expires != now+10*day {
		t.Fatalf("%+v, %v", update, err)
	}
	if got := strict.DistributionPoints(both.Chain); !slices.Equal(got, []string{rootList}) {
		t.Errorf("distribution points %v", got)
	}
	wantStatus(t, strict.Verify(both, now), RevocationUnknown)
	strict, _, err = strict.WithRevocationList(rootList, root.list(t, 1, nil), now)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, strict.Verify(both, now), Valid)
	if v := strict.Verify(both, now); v.Missing == nil || len(v.Missing) != 0 {
		t.Errorf("missing %v", v.Missing)
	}
	// Past the next update of the lists, which does not make the certificates younger.
	wantStatus(t, strict.Verify(both, now+11*day), RevocationUnknown)

	revoked, update, err := strict.WithRevocationList(middleList, middle.list(t, 2, nil, leaf.certificate.SerialNumber.Int64()), now)
	if err != nil || !update.Changed {
		t.Fatalf("%+v, %v", update, err)
	}
	wantStatus(t, revoked.Verify(both, now), Revoked)
	wantStatus(t, revoked.Verify(both, now+11*day), Revoked) // an old list revokes as well
	wantStatus(t, strict.Verify(both, now), Valid)           // the store of before is as it was
	revokedMiddle, _, err := strict.WithRevocationList(rootList, root.list(t, 2, nil, middle.certificate.SerialNumber.Int64()), now)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, revokedMiddle.Verify(both, now), Revoked)
	// The serial number of one authority is nobody else's.
	elsewhere, _, err := strict.WithRevocationList(rootList, root.list(t, 2, nil, 77, leaf.certificate.SerialNumber.Int64()+100), now)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, elsewhere.Verify(both, now), Valid)
}

func TestRevocationListsAreChecked(t *testing.T) {
	const point = "http://crl.example/root"
	root, other := newAuthority(t, "root"), newAuthority(t, "root")
	silent := (*authority)(nil).issue(t, newKey(t), "silent", func(c *x509.Certificate) { asAuthority(c); c.KeyUsage = x509.KeyUsageCertSign })
	store := trusting(t, root, silent)
	extended := func(critical bool, id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	scope := asn1.ObjectIdentifier{2, 5, 29, 28}
	silentList := func() []byte {
		signing := *silent.certificate
		signing.KeyUsage |= x509.KeyUsageCRLSign
		return (&authority{key: silent.key, certificate: &signing}).list(t, 1, nil)
	}
	cases := map[string]struct {
		point string
		der   []byte
		want  error
	}{
		"garbage":               {point, []byte{0x30, 0}, ErrList},
		"no point":              {"", root.list(t, 1, nil), ErrList},
		"too large":             {point, make([]byte, ListBytesMax+1), ErrList},
		"of another key":        {point, other.list(t, 1, nil), ErrIssuerUnknown},
		"issuer may not":        {point, silentList(), ErrIssuerUnknown},
		"past":                  {point, root.list(t, 1, func(l *x509.RevocationList) { l.NextUpdate = time.Unix(now-1, 0) }), ErrListExpired},
		"of the future":         {point, root.list(t, 1, func(l *x509.RevocationList) { l.ThisUpdate = time.Unix(now+1, 0) }), ErrListExpired},
		"a delta":               {point, root.list(t, 1, extended(true, asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1})), ErrList},
		"unknown and critical":  {point, root.list(t, 1, extended(true, asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0})), ErrList},
		"unknown, not critical": {point, root.list(t, 1, extended(false, asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0})), nil},
		"indirect":              {point, root.list(t, 1, extended(true, scope, []byte{0x30, 3, 0x84, 1, 0xff})), ErrList},
		"some reasons only":     {point, root.list(t, 1, extended(true, scope, []byte{0x30, 4, 0x83, 2, 1, 2})), ErrList},
		"end entities only":     {point, root.list(t, 1, extended(true, scope, []byte{0x30, 3, 0x81, 1, 0xff})), nil},
		"somebody else's entry": {point, root.list(t, 1, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(5), RevocationTime: time.Unix(now, 0),
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}},
			}}
		}), ErrList},
		"good": {point, root.list(t, 1, nil), nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			next, _, err := store.WithRevocationList(c.point, c.der, now)
			if !errors.Is(err, c.want) || (err == nil) != (next != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	newer, _, err := store.WithRevocationList(point, root.list(t, 5, nil, 9), now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := newer.WithRevocationList(point, root.list(t, 4, nil), now); !errors.Is(err, ErrListOlder) {
		t.Errorf("an older list: %v", err)
	}
	if _, update, err := newer.WithRevocationList(point, root.list(t, 6, nil, 9), now); err != nil || update.Changed {
		t.Errorf("the same serials again: %+v, %v", update, err)
	}
	if _, update, err := newer.WithRevocationList(point, root.list(t, 6, nil, 9, 10), now); err != nil || !update.Changed {
		t.Errorf("one more: %+v, %v", update, err)
	}
	if got := newer.Points(); !slices.Equal(got, []string{point}) {
		t.Errorf("points %v", got)
	}
}

func TestListsOfEndEntitiesCoverNoAuthorities(t *testing.T) {
	const point = "http://crl.example/root"
	root := newAuthority(t, "root")
	at := func(c *x509.Certificate) { c.CRLDistributionPoints = []string{point} }
	middle := root.issue(t, newKey(t), "middle", func(c *x509.Certificate) { asAuthority(c); at(c) })
	member, under := root.issue(t, newKey(t), "bot", at), middle.issue(t, newKey(t), "bot", nil)
	scoped := func(flag byte) *TrustStore {
		list := root.list(t, 1, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, flag, 1, 0xff}}}
		})
		store, _, err := trusting(t, root).WithPolicy(RevocationRequired).WithRevocationList(point, list, now)
		return must(store, err)(t)
	}
	wantStatus(t, scoped(0x81).Verify(claim(member), now), Valid)
	wantStatus(t, scoped(0x81).Verify(claim(under, middle), now), RevocationUnknown)
	wantStatus(t, scoped(0x82).Verify(claim(member), now), RevocationUnknown)
	wantStatus(t, scoped(0x82).Verify(claim(under, middle), now), Valid)
}

func TestStoresAreValuesAndOutliveEncoding(t *testing.T) {
	root, other := newAuthority(t, "root"), newAuthority(t, "other")
	middle := root.issue(t, newKey(t), "middle", asAuthority)
	leaf := middle.issue(t, newKey(t), "bot", nil)
	empty := (*TrustStore)(nil)
	if !empty.Empty() || !must(ParseTrustStore(empty.Bytes()))(t).Empty() {
		t.Error("a store that trusts nobody is not empty")
	}
	store := trusting(t, root, other, root)
	if len(store.Anchors()) != 2 {
		t.Errorf("%d anchors", len(store.Anchors()))
	}
	if _, err := store.WithAnchor(leaf.certificate.Raw); !errors.Is(err, ErrCertificate) {
		t.Errorf("an end entity as anchor: %v", err)
	}
	stranger := newAuthority(t, "stranger")
	if _, err := store.WithIntermediate(stranger.certificate.Raw, now); !errors.Is(err, ErrIssuerUnknown) {
		t.Errorf("an intermediate nobody vouches for: %v", err)
	}
	if next := must(store.WithIntermediate(root.certificate.Raw, now))(t); len(next.Intermediates()) != 0 {
		t.Error("an anchor became an intermediate")
	}
	store = must(store.WithIntermediate(middle.certificate.Raw, now))(t)
	store, _, err := store.WithRevocationList("http://crl.example/b", middle.list(t, 1, nil, 5), now)
	if err != nil {
		t.Fatal(err)
	}
	if store, _, err = store.WithRevocationList("http://crl.example/a", root.list(t, 1, nil, 5), now); err != nil {
		t.Fatal(err)
	}
	store = store.WithPolicy(RevocationRequired)
	again := must(ParseTrustStore(store.Bytes()))(t)
	if !again.Equal(store) {
		t.Error("a store changed on its way through bytes")
	}
	wantStatus(t, again.Verify(claim(leaf), now), Valid)
	revoked, _, err := again.WithRevocationList("http://crl.example/b", middle.list(t, 2, nil, leaf.certificate.SerialNumber.Int64()), now)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, must(ParseTrustStore(revoked.Bytes()))(t).Verify(claim(leaf), now), Revoked)
	without := store.WithoutAnchor(fingerprint(root.certificate))
	wantStatus(t, without.Verify(claim(leaf, middle), now), Untrusted)
	wantStatus(t, store.Verify(claim(leaf, middle), now), Valid)
	for i := range store.Bytes()[:64] {
		b := store.Bytes()
		b[i] ^= 0x40
		if broken, err := ParseTrustStore(b); err == nil && bytes.Equal(broken.Bytes(), store.Bytes()) {
			t.Errorf("byte %d does not matter", i)
		}
	}
}

func FuzzVerify(f *testing.F) {
	root := newAuthority(f, "root")
	leaf := root.issue(f, newKey(f), "bot", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://crl.example"} })
	f.Add(leaf.certificate.Raw, root.certificate.Raw, root.list(f, 1, nil, 1))
	store := trusting(f, root)
	f.Fuzz(func(t *testing.T, first, second, list []byte) {
		c := claim(leaf)
		c.Chain = [][]byte{first, second}
		v := store.Verify(c, now)
		if v.Status == Valid && !bytes.Equal(first, leaf.certificate.Raw) {
			t.Errorf("%x is valid", first)
		}
		store.DistributionPoints(c.Chain)
		if next, _, err := store.WithRevocationList("http://crl.example", list, now); err == nil {
			if !must(ParseTrustStore(next.Bytes()))(t).Equal(next) {
				t.Error("not canonical")
			}
		}
		if s, err := ParseTrustStore(first); err == nil && !bytes.Equal(s.Bytes(), first) {
			t.Error("malleable")
		}
	})
}
