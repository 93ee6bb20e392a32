package mlsengine

import (
	"bytes"
	"encoding/asn1"

	"parley/mlsengine/suite"
)

// certificate is as much of an X.509 certificate (RFC 5280 section 4.1) as it
// takes to find its public key and its names. The rest is for package pki.
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
	PublicKey  asn1.RawValue
	IssuerID   asn1.BitString         `asn1:"optional,tag:1"`
	SubjectID  asn1.BitString         `asn1:"optional,tag:2"`
	Extensions []certificateExtension `asn1:"optional,explicit,tag:3"`
}

type certificateExtension struct {
	ID       asn1.ObjectIdentifier
	Critical bool `asn1:"optional"`
	Value    []byte
}

// endEntity parses the first certificate of an X.509 credential.
func (k Credential) endEntity() (*certificate, bool) {
	if len(k.certificates) == 0 {
		return nil, false
	}
	var c certificate
	rest, err := asn1.Unmarshal(k.certificates[0], &c)
	return &c, err == nil && len(rest) == 0
}

// certifies checks that an X.509 credential's end entity has the leaf's
// signature key, as a key of the suite's signature scheme (§5.3). Other
// credentials hold no key.
func (k Credential) certifies(s *suite.Suite, key suite.SignaturePublicKey) error {
	if k.credentialType != CredentialTypeX509 {
		return nil
	}
	c, ok := k.endEntity()
	if !ok {
		return broken(LeafCertificateKey, "the certificate is absent or does not parse")
	}
	certified, err := s.CertifiedKey(c.TBS.PublicKey.FullBytes)
	if err != nil {
		return broken(LeafCertificateKey, "the certificate's key is not one of the cipher suite")
	}
	if !bytes.Equal(certified, key) {
		return broken(LeafCertificateKey, "the keys differ")
	}
	return nil
}

// uriTag is the tag of a uniformResourceIdentifier among the names of a
// subjectAltName extension (RFC 5280 section 4.2.1.6).
const uriTag = 6

// URIs lists the URIs among the end entity's alternative names, by which
// applications name clients (§5.3.1). It is nil for a certificate that does not
// parse and for other credentials. Nobody has vouched for them yet.
func (k Credential) URIs() []string {
	c, ok := k.endEntity()
	if !ok {
		return nil
	}
	subjectAltName := asn1.ObjectIdentifier{2, 5, 29, 17}
	var uris []string
	for _, e := range c.TBS.Extensions {
		if !e.ID.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == uriTag && !n.IsCompound {
				uris = append(uris, string(n.Bytes))
			}
		}
	}
	return uris
}
