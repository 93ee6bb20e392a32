package conversation

import (
	"parley/internal/secret"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// NewSignatureKey makes a raw signature key for a cipher suite.
func NewSignatureKey(id mlsengine.CipherSuite, entropy mlsengine.Entropy) (secret.Bytes, error) {
	primitives, err := suite.Get(id)
	if err != nil {
		return secret.Bytes{}, refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", id)
	}
	key, _, err := primitives.GenerateSignatureKeyPair(entropy.Draw("signature_key", primitives.SignatureSeedSize()))
	if err != nil {
		return secret.Bytes{}, refuse(InvalidConfiguration, GiveUp, "signature key: %v", err)
	}
	return key.Raw(), nil
}

// Signer is the identity that signs with a raw signature key.
func Signer(id mlsengine.CipherSuite, credential mlsengine.Credential, key secret.Bytes) (*mlsengine.SigningIdentity, error) {
	primitives, err := suite.Get(id)
	if err != nil {
		return nil, refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", id)
	}
	private, err := primitives.ParseSignaturePrivateKey(key.Expose())
	if err != nil {
		return nil, refuse(CredentialRefused, GiveUp, "the signature key does not parse")
	}
	public, err := primitives.PublicSignatureKey(private)
	if err != nil {
		return nil, refuse(CredentialRefused, GiveUp, "the signature key does not parse")
	}
	return &mlsengine.SigningIdentity{Credential: credential, Key: private, Public: public}, nil
}
