package delivery

import (
	"context"
	"errors"
	"time"

	"parley/internal/ids"
	"parley/mlsengine"
)

// Verdicts are answers of the authentication service that were had before: the table in which a conversation's Step, which waits for
// nothing, looks up whom to believe. A step that met somebody the table does not know is repeated after Load. It belongs to one goroutine.
type Verdicts struct {
	service *Service
	known   map[verdictKey]verdict
	missing []Identity
}

type verdictKey struct {
	client ids.ClientID
	key    string
}

type verdict struct {
	ok   bool
	from time.Time
}

const (
	verdictsMax = 4096
	verdictAge  = time.Minute // so soon a revoked key is refused
)

// Verdicts returns an empty table.
func (s *Service) Verdicts() *Verdicts {
	return &Verdicts{service: s, known: map[verdictKey]verdict{}}
}

// Authenticate implements conversation.Authenticator.
func (v *Verdicts) Authenticate(c ids.ClientID, credential mlsengine.Credential, signatureKey []byte) bool {
	found, ok := v.known[verdictKey{c, string(signatureKey)}]
	if !ok || v.service.config.Clock().Sub(found.from) > verdictAge {
		v.missing = append(v.missing, Identity{
			Client: c, CredentialType: uint16(credential.Type()), Credential: credential, SignatureKey: signatureKey,
		})
		return false
	}
	return found.ok
}

// Load asks the authentication service about everybody the last step met for the first time. When it has learnt something that step is to
// be repeated; its outcome counts for nothing. An error says that a verdict could not be had.
func (v *Verdicts) Load(ctx context.Context) (again bool, err error) {
	missing := v.missing
	v.missing = nil
	if len(v.known)+len(missing) > verdictsMax {
		clear(v.known)
	}
	for _, id := range missing {
		key := verdictKey{id.Client, string(id.SignatureKey)}
		if _, ok := v.known[key]; ok && v.service.config.Clock().Sub(v.known[key].from) <= verdictAge {
			continue
		}
		err := v.service.auth.Authenticate(ctx, id)
		if err != nil && !errors.Is(err, UnknownIdentity) {
			return false, err
		}
		v.known[key] = verdict{ok: err == nil, from: v.service.config.Clock()}
	}
	return len(missing) > 0, nil
}
