package mlsengine

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// selfSigned makes a certificate for a key.
func selfSigned(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "bot"}, DNSNames: []string{"bot.example"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestAnX509CredentialHoldsTheLeafsKey(t *testing.T) {
	edwards := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	nist, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := nist.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	edwardsPublic := suite.SignaturePublicKey(edwards.Public().(ed25519.PublicKey))
	for _, c := range []struct {
		suite suite.ID
		der   []byte
		key   suite.SignaturePublicKey
	}{
		{suite.X25519_AES128GCM_SHA256_Ed25519, selfSigned(t, edwards), edwardsPublic},
		{suite.P384_AES256GCM_SHA384_P384, selfSigned(t, nist), point},
	} {
		s := must(suite.Get(c.suite))(t)
		credential := X509Credential([][]byte{c.der, []byte("an issuer that nobody parses here")})
		if err := credential.certifies(s, c.key); err != nil {
			t.Error(err)
		}
		other := append(suite.SignaturePublicKey{}, c.key...)
		other[len(other)-1] ^= 1
		wantRule(t, LeafCertificateKey, credential.certifies(s, other))
		wantRule(t, LeafCertificateKey, X509Credential([][]byte{append(c.der, 0)}).certifies(s, c.key))
		wantRule(t, LeafCertificateKey, X509Credential([][]byte{c.der[:50]}).certifies(s, c.key))
		for _, other := range []suite.ID{suite.P256_AES128GCM_SHA256_P256, suite.X448_AES256GCM_SHA512_Ed448} {
			wantRule(t, LeafCertificateKey, credential.certifies(must(suite.Get(other))(t), c.key))
		}
	}
	one := must(suite.Get(suite.X25519_AES128GCM_SHA256_Ed25519))(t)
	wantRule(t, LeafCertificateKey, X509Credential(nil).certifies(one, edwardsPublic))
	if err := BasicCredential([]byte("alice")).certifies(one, edwardsPublic); err != nil {
		t.Error(err)
	}
}

func TestCredentialsCompareAndKeepTheirOwnBytes(t *testing.T) {
	name := []byte("alice")
	basic := BasicCredential(name)
	name[0] = 'A'
	if string(basic.Identity()) != "alice" || basic.Type() != CredentialTypeBasic || basic.Certificates() != nil {
		t.Errorf("basic credential %q", basic.Identity())
	}
	der := []byte("der")
	chain := X509Credential([][]byte{der})
	der[0] = 'D'
	if string(chain.Certificates()[0]) != "der" || chain.Type() != CredentialTypeX509 || chain.Identity() != nil {
		t.Error("x509 credential shares its caller's memory")
	}
	if !basic.Equal(BasicCredential([]byte("alice"))) || basic.Equal(BasicCredential([]byte("bob"))) || basic.Equal(chain) || !chain.Equal(X509Credential([][]byte{[]byte("der")})) {
		t.Error("credentials compare wrongly")
	}
}

func TestUnknownSumArmsAreMalformed(t *testing.T) {
	for name, err := range map[string]error{
		"credential type":      second(parse[Credential]([]byte{0x0a, 0x0a, 0})),
		"type of key":          second(parse[PreSharedKeyID]([]byte{4, 0, 0})),
		"resumption usage":     second(parse[PreSharedKeyID]([]byte{2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})),
		"sender type":          second(parse[Sender]([]byte{5})),
		"content type":         second(parse[framedContent]([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0})),
		"private content type": second(parse[privateMessage]([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})),
		"wire format":          second(parse[authenticatedContent]([]byte{0, 3})),
		"message":              second(ParseMessage([]byte{0, 1})),
	} {
		wantRule(t, MalformedMessage, err)
		if err == nil {
			t.Error(name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestExtensionsAreFoundAndReplaced(t *testing.T) {
	senders := ExternalSenders{{SignatureKey: []byte("key"), Credential: BasicCredential([]byte("bot"))}}
	list := Extensions{{Type: 9, Data: []byte("nine")}, extension(ExtensionTypeExternalSenders, &senders)}
	changed := list.With(9, []byte("NINE")).With(ExtensionTypeApplicationID, syntax.Encode(&ApplicationID{ID: []byte("id")}))
	if data, ok := changed.Find(9); !ok || string(data) != "NINE" || !changed.Has(ExtensionTypeApplicationID) || list.Has(ExtensionTypeApplicationID) {
		t.Error("With changed the wrong list")
	}
	if data, _ := list.Find(9); string(data) != "nine" || list.Equal(changed) || !list.Equal(list.With(9, []byte("nine"))) {
		t.Error("lists compare wrongly")
	}
	if found, err := changed.ExternalSenders(); err != nil || len(found) != 1 || !found[0].Credential.Equal(senders[0].Credential) {
		t.Errorf("external senders %v, %v", found, err)
	}
	if id, err := changed.ApplicationID(); err != nil || string(id.ID) != "id" {
		t.Errorf("application id: %v", err)
	}
	for name, absent := range map[string]func() (bool, error){
		"required capabilities": func() (bool, error) { v, err := list.RequiredCapabilities(); return v == nil, err },
		"external senders":      func() (bool, error) { v, err := Extensions{}.ExternalSenders(); return v == nil, err },
		"external pub":          func() (bool, error) { v, err := list.externalPub(); return v == nil, err },
	} {
		if none, err := absent(); !none || err != nil {
			t.Errorf("absent %s: %v", name, err)
		}
	}
	if err := changed.validateUnique(); err != nil {
		t.Error(err)
	}
}
