package delivery

import (
	"context"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Identity is what a credential claims: this client, with this signature key.
type Identity struct {
	Client         ids.ClientID
	CredentialType uint16
	Credential     mlsengine.Credential // §5.3; what a registry of keys does not look at
	SignatureKey   []byte
}

// IdentityOf is who a key package claims to be.
func IdentityOf(kp *mlsengine.KeyPackage) Identity { return identityOf(&kp.LeafNode) }

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

// Registry is the built-in AuthenticationService: the signature keys registered for each client, kept in its directory.
type Registry struct{ service *Service }

// Registry returns the built-in registry; nil where another AuthenticationService is configured.
func (s *Service) Registry() *Registry { return s.registry }

// Register adds a signature key of a client; registering it again changes nothing.
func (r *Registry) Register(ctx context.Context, id Identity) error {
	if len(id.SignatureKey) == 0 || len(id.SignatureKey) > identityBytesMax {
		return refuse(Malformed, "a signature key of %d bytes", len(id.SignatureKey))
	}
	cause := events.Cause{Command: "register-key", Principal: id.Client.Text()}
	return r.service.directories.with(ctx, id.Client, cause, func(d *directoryState) ([]events.Event, error) {
		if d.registered(id.SignatureKey) {
			return nil, nil
		}
		if len(d.keys) >= d.limits.SignatureKeys {
			return nil, refuse(Busy, "%s has %d keys", id.Client, len(d.keys))
		}
		return []events.Event{{Body: keyRegistered(id)}}, nil
	})
}

// Revoke removes a signature key: it is accepted nowhere from then on, and its unclaimed key packages go with it. Members who use it stay
// until somebody removes them.
func (r *Registry) Revoke(ctx context.Context, c ids.ClientID, signatureKey []byte) error {
	cause := events.Cause{Command: "revoke-key", Principal: c.Text()}
	return r.service.directories.with(ctx, c, cause, func(d *directoryState) ([]events.Event, error) {
		if !d.registered(signatureKey) {
			return nil, nil
		}
		return []events.Event{{Body: &eventsv1.CredentialRemoved{Ref: refOfKey(signatureKey)}}}, nil
	})
}

// Keys lists the registered signature keys of a client.
func (r *Registry) Keys(ctx context.Context, c ids.ClientID) ([][]byte, error) {
	var keys [][]byte
	err := r.service.directories.with(ctx, c, events.Cause{}, func(d *directoryState) ([]events.Event, error) {
		keys = nil
		for _, k := range d.keys {
			keys = append(keys, k.key)
		}
		return nil, nil
	})
	return keys, err
}

// Authenticate implements AuthenticationService.
func (r *Registry) Authenticate(ctx context.Context, id Identity) error {
	if id.Client == "" {
		return refuse(UnknownIdentity, "a credential without an identity")
	}
	return r.service.directories.with(ctx, id.Client, events.Cause{}, func(d *directoryState) ([]events.Event, error) {
		if !d.registered(id.SignatureKey) {
			return nil, refuse(UnknownIdentity, "%s with this key", id.Client)
		}
		return nil, nil
	})
}

func keyRegistered(id Identity) *eventsv1.CredentialAdded {
	return &eventsv1.CredentialAdded{
		Ref: refOfKey(id.SignatureKey), Type: uint32(id.CredentialType), SignatureKey: id.SignatureKey,
	}
}
