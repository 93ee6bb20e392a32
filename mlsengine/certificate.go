package mlsengine

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"parley/mlsengine/suite"
)

// subjectPublicKeyInfo is the part of a certificate that holds the key.
type subjectPublicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

// certifies checks that an X.509 credential's end-entity certificate holds the
// leaf's signature key (§5.3). Who issued it is for the application's
// authentication service to judge.
func (k Credential) certifies(key suite.SignaturePublicKey) error {
	if k.credentialType != CredentialTypeX509 {
		return nil
	}
	if len(k.certificates) == 0 {
		return broken(LeafCertificateKey, "the chain is empty")
	}
	certificate, err := x509.ParseCertificate(k.certificates[0])
	if err != nil {
		return broken(LeafCertificateKey, "%v", err)
	}
	var info subjectPublicKeyInfo
	if _, err := asn1.Unmarshal(certificate.RawSubjectPublicKeyInfo, &info); err != nil {
		return broken(LeafCertificateKey, "%v", err)
	}
	if !bytes.Equal(info.PublicKey.RightAlign(), key) {
		return broken(LeafCertificateKey, "%d bytes, the leaf has %d", len(info.PublicKey.Bytes), len(key))
	}
	return nil
}
