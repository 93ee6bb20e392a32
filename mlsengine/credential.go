package mlsengine

import (
	"bytes"
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// CredentialType says how a credential presents identities (§5.3).
type CredentialType uint16

// The credential types that parse. Others have no length in their encoding,
// so a message that holds one is malformed to us.
const (
	CredentialTypeBasic CredentialType = 1
	CredentialTypeX509  CredentialType = 2
)

// Code walks the two bytes.
func (t *CredentialType) Code(c *syntax.Coder) { syntax.Uint16(c, t) }

// isDefault is false for all: every client lists the credential types it
// supports (§11.1).
func (t CredentialType) isDefault() bool { return false }

// Credential is what a member presents of its identity (§5.3). Whether to
// believe it is for the application's authentication service to say.
type Credential struct {
	credentialType CredentialType
	identity       []byte
	certificates   [][]byte
}

// BasicCredential is the bare assertion of an identity.
func BasicCredential(identity []byte) Credential {
	return Credential{credentialType: CredentialTypeBasic, identity: bytes.Clone(identity)}
}

// X509Credential is a chain of DER certificates, the end entity's first.
func X509Credential(chain [][]byte) Credential {
	certificates := make([][]byte, len(chain))
	for i, c := range chain {
		certificates[i] = bytes.Clone(c)
	}
	return Credential{credentialType: CredentialTypeX509, certificates: certificates}
}

// Type is the credential's type; zero for no credential.
func (k Credential) Type() CredentialType { return k.credentialType }

// Identity is the identity of a basic credential, and nil for others. The
// caller must not change it.
func (k Credential) Identity() []byte { return k.identity }

// Certificates is the chain of an X.509 credential, and nil for others. The
// caller must not change it.
func (k Credential) Certificates() [][]byte { return k.certificates }

// Equal reports whether two credentials have one encoding.
func (k Credential) Equal(other Credential) bool {
	return k.credentialType == other.credentialType && bytes.Equal(k.identity, other.identity) &&
		slices.EqualFunc(k.certificates, other.certificates, bytes.Equal)
}

// Code walks the Credential struct of §5.3.
func (k *Credential) Code(c *syntax.Coder) {
	k.credentialType.Code(c)
	switch k.credentialType {
	case CredentialTypeBasic:
		syntax.Opaque(c, &k.identity)
	case CredentialTypeX509:
		syntax.VectorFunc(c, &k.certificates, syntax.Opaque[[]byte])
	default:
		c.Fail("unknown credential type")
	}
}

// Signer signs under a label (§5.1.2). It may keep its key elsewhere, and must
// not keep the content.
type Signer interface {
	Sign(label string, content []byte) ([]byte, error)
}

// SigningIdentity is a credential with the key that it stands for.
type SigningIdentity struct {
	Credential Credential
	Key        suite.SignaturePrivateKey
	Public     suite.SignaturePublicKey
}

// Sign implements Signer.
func (id *SigningIdentity) Sign(label string, content []byte) ([]byte, error) {
	return id.Key.SignWithLabel(label, content)
}
