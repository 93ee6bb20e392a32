package delivery

import (
	"context"
	"time"

	"parley/conversation"
	"parley/mlsengine"
	"parley/mlsengine/pki"
)

// Trust gives the trust store that holds now. It must be safe for concurrent use; a nil store trusts nobody.
type Trust func() *pki.TrustStore

// certified is an AuthenticationService that judges X.509 credentials by their chains, and leaves all others to another service.
type certified struct {
	trust  Trust
	clock  func() time.Time
	others AuthenticationService // nil: others are believed
}

// WithCertificates is an AuthenticationService that judges X.509 credentials by their chains: a trusted authority must have given the key to
// the client, now and without having revoked it since. Other credentials are judged by the service it is given; where that is nil they are
// believed.
func WithCertificates(others AuthenticationService, trust Trust, clock func() time.Time) AuthenticationService {
	return &certified{trust: trust, clock: clock, others: others}
}

// Authenticate implements AuthenticationService.
func (c *certified) Authenticate(ctx context.Context, id Identity) error {
	if !isCertificate(id) {
		if c.others == nil {
			return nil
		}
		return c.others.Authenticate(ctx, id)
	}
	if named := conversation.ClientOf(id.Credential); named != id.Client {
		return refuse(UnknownIdentity, "the certificate is of %s, not of %s", named, id.Client)
	}
	verdict := c.trust().Verify(pki.Claim{Chain: id.Credential.Certificates(), Key: id.SignatureKey}, uint64(max(0, c.clock().Unix())))
	if err := verdict.Err(); err != nil {
		return refuse(UnknownIdentity, "%s: %v", id.Client, err)
	}
	return nil
}

func isCertificate(id Identity) bool { return id.Credential.Type() == mlsengine.CredentialTypeX509 }
