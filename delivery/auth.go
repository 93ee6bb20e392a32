package delivery

import (
	"context"

	"parley/internal/ids"
)

// Identity is what a credential claims: this client, with this signature key.
type Identity struct {
	Client         ids.ClientID
	CredentialType uint16
	Credential     []byte // Credential struct (§5.3)
	SignatureKey   []byte
}

// AuthenticationService decides whether a signature key speaks for a client (RFC 9750, the AS). No credential is accepted without it.
//
// Its verdict binds where a credential is first accepted: when key packages are published, when a member is about to be added, when somebody
// joins externally. It never decides who won an epoch.
type AuthenticationService interface {
	// Authenticate returns nil, an error matching UnknownIdentity, or one that says the verdict could not be had.
	Authenticate(ctx context.Context, id Identity) error
}

// TrustPolicy says how the built-in registry meets a key it has not seen.
type TrustPolicy uint8

// The policies.
const (
	// TrustRegistered accepts only keys an operator or the client's own node has registered before.
	TrustRegistered TrustPolicy = iota + 1
	// TrustOnFirstRegistration also lets a client without any key register its first one by itself, by publishing key packages; later keys
	// need a registration.
	TrustOnFirstRegistration
)
