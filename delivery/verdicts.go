package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/internal/ids"
	"parley/mlsengine"
)

// Verdicts are answers of an authentication service that were had before: the table in which a conversation's Step, which waits for
// nothing, looks up whom to believe. A step that met somebody the table does not know is repeated after Load. It belongs to one goroutine.
type Verdicts struct {
	auth    AuthenticationService
	clock   func() time.Time
	known   map[verdictKey]verdict
	missing []Identity
}

type verdictKey struct {
	client ids.ClientID
	key    string
	chain  ids.Digest // of an X.509 credential
}

func keyOf(c ids.ClientID, credential mlsengine.Credential, signatureKey []byte) verdictKey {
	key := verdictKey{client: c, key: string(signatureKey)}
	for _, certificate := range credential.Certificates() {
		link := ids.DigestOf(certificate)
		key.chain = ids.DigestOf(append(key.chain[:], link[:]...))
	}
	return key
}

type verdict struct {
	ok   bool
	from time.Time
}

const (
	verdictsKept    = 4096 // beside those that the last step asked for
	verdictsMax     = 4 * verdictsKept
	verdictAge      = time.Minute // so soon a revoked key is refused
	verdictsAtATime = 16
)

// NewVerdicts returns an empty table of a service's verdicts.
func NewVerdicts(auth AuthenticationService, clock func() time.Time) *Verdicts {
	return &Verdicts{auth: auth, clock: clock, known: map[verdictKey]verdict{}}
}

// Verdicts returns an empty table.
func (s *Service) Verdicts() *Verdicts { return NewVerdicts(s.auth, s.config.Clock) }

// Authenticate implements conversation.Authenticator.
func (v *Verdicts) Authenticate(c ids.ClientID, credential mlsengine.Credential, signatureKey []byte) bool {
	found, ok := v.known[keyOf(c, credential, signatureKey)]
	if !ok || v.stale(found) {
		v.missing = append(v.missing, Identity{
			Client: c, CredentialType: uint16(credential.Type()), Credential: credential, SignatureKey: signatureKey,
		})
		return false
	}
	return found.ok
}

func (v *Verdicts) stale(found verdict) bool {
	age := v.clock().Sub(found.from)
	return age > verdictAge || age < -verdictAge
}

// Doubtful reports whether the last step met somebody for the first time.
func (v *Verdicts) Doubtful() bool { return len(v.missing) > 0 }

// Load asks the authentication service about everybody the last step met for the first time. When it has learnt something that step is to
// be repeated; its outcome counts for nothing. An error says that a verdict could not be had, and that the outcome doubted who deserves none.
func (v *Verdicts) Load(ctx context.Context) (again bool, err error) {
	missing := v.missing
	v.missing = nil
	if len(missing) == 0 {
		return false, nil
	}
	if len(v.known) > verdictsKept+len(missing) {
		for key, found := range v.known {
			if v.stale(found) {
				delete(v.known, key)
			}
		}
		if len(v.known) > verdictsMax {
			clear(v.known)
		}
	}
	asked := map[verdictKey]bool{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verdictsAtATime)
	for _, id := range missing {
		key := keyOf(id.Client, id.Credential, id.SignatureKey)
		if asked[key] {
			continue
		}
		asked[key] = true
		g.Go(func() error {
			err := v.auth.Authenticate(ctx, id)
			if err != nil && !errors.Is(err, UnknownIdentity) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			v.known[key] = verdict{ok: err == nil, from: v.clock()}
			return nil
		})
	}
	return true, g.Wait()
}
