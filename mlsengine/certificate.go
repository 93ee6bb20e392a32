package mlsengine

import (
	"bytes"
	"encoding/asn1"

	"parley/mlsengine/suite"
)

// certificate is as much of an X.509 certificate (RFC 5280 section 4.1) as it
// takes to find its public key. The rest is the authentication service's.
type certificate struct {
	TBS       tbsCertificate
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

type tbsCertificate struct {
	Raw        asn1.RawContent
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     asn1.RawValue
	Algorithm  asn1.RawValue
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	PublicKey  subjectPublicKeyInfo
	IssuerID   asn1.BitString  `asn1:"optional,tag:1"`
	SubjectID  asn1.BitString  `asn1:"optional,tag:2"`
	Extensions []asn1.RawValue `asn1:"optional,explicit,tag:3"`
}

type subjectPublicKeyInfo struct {
	Algorithm asn1.RawValue
	Key       asn1.BitString
}

// certifies checks that an X.509 credential's end entity has the leaf's
// signature key (§5.3). Every signature algorithm of the suites encodes its
// keys in certificates as MLS does. Other credentials hold no key.
func (k Credential) certifies(key suite.SignaturePublicKey) error {
	if k.credentialType != CredentialTypeX509 {
		return nil
	}
	if len(k.certificates) == 0 {
		return broken(LeafCertificateKey, "no certificate")
	}
	var c certificate
	rest, err := asn1.Unmarshal(k.certificates[0], &c)
	if err != nil || len(rest) > 0 {
		return broken(LeafCertificateKey, "the certificate does not parse")
	}
	if !bytes.Equal(c.TBS.PublicKey.Key.RightAlign(), key) {
		return broken(LeafCertificateKey, "the keys differ")
	}
	return nil
}
