package suite

import (
	"encoding/asn1"
)

// subjectPublicKeyInfo is how a certificate holds a public key (RFC 5280
// section 4.1.2.7).
type subjectPublicKeyInfo struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.ObjectIdentifier `asn1:"optional"`
	}
	Key asn1.BitString
}

// CertifiedKey reads the DER of a certificate's SubjectPublicKeyInfo and gives
// the key as MLS encodes it. It must be a key of the suite's signature scheme
// (§5.1.1): on the Edwards curves RFC 8410 says how it stands there, on the NIST
// curves RFC 5480, and both hold the bytes that MLS has.
func (s *Suite) CertifiedKey(der []byte) (SignaturePublicKey, error) {
	var info subjectPublicKeyInfo
	rest, err := asn1.Unmarshal(der, &info)
	if err != nil || len(rest) > 0 || info.Key.BitLength%8 != 0 {
		return nil, ErrKey
	}
	algorithm, parameters := s.signature.identifiers()
	if !info.Algorithm.ID.Equal(algorithm) || !info.Algorithm.Parameters.Equal(parameters) {
		return nil, ErrKey
	}
	key := SignaturePublicKey(info.Key.Bytes)
	return key, s.ValidateSignaturePublicKey(key)
}

// identifiers are the algorithm and its parameters in a certificate.
func (a signatureAlgorithm) identifiers() (algorithm, parameters asn1.ObjectIdentifier) {
	ecPublicKey := asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	switch a {
	case ed25519Signature:
		return asn1.ObjectIdentifier{1, 3, 101, 112}, nil
	case ed448Signature:
		return asn1.ObjectIdentifier{1, 3, 101, 113}, nil
	case ecdsaP256:
		return ecPublicKey, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	case ecdsaP384:
		return ecPublicKey, asn1.ObjectIdentifier{1, 3, 132, 0, 34}
	case ecdsaP521:
		return ecPublicKey, asn1.ObjectIdentifier{1, 3, 132, 0, 35}
	}
	panic("suite: unknown signature algorithm")
}
