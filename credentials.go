package parley

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"parley/conversation"
	"parley/internal/secret"
	"parley/mlsengine"
	"parley/mlsengine/pki"
)

// CredentialRef names one of a client's credentials, on every node alike. Where one may be chosen, the empty one stands for the client's first
// credential of the cipher suite.
type CredentialRef = conversation.CredentialRef

// CredentialType says what a credential is.
type CredentialType = mlsengine.CredentialType

// The types of credentials.
const (
	BasicCredential = mlsengine.CredentialTypeBasic // the bare client id
	X509Credential  = mlsengine.CredentialTypeX509  // a chain of certificates
)

// Credential is one of a client's credentials.
type Credential struct {
	Ref          CredentialRef
	CipherSuite  mlsengine.CipherSuite
	Type         CredentialType
	Client       ClientID // whom it names
	SignatureKey []byte   // public
	Thumbprint   string   // of the signature key, as WireIdentity has it
	Chain        [][]byte // of an X.509 one: DER, the client's own certificate first
	Added        time.Time
	// NotBefore and NotAfter bound its validity. That of a basic one begins when it was added and has no end, which is the zero time.
	NotBefore, NotAfter time.Time
	Usable              bool // its private key is here
}

// CredentialFilter narrows down a client's credentials. Fields that are zero take every value.
type CredentialFilter struct {
	Client      ClientID
	Thumbprint  string
	CipherSuite mlsengine.CipherSuite
	Type        CredentialType
	// EarliestValidity is the second in which the validity begins.
	EarliestValidity time.Time
}

// X509 is a chain of certificates made elsewhere with its private key: the seed of an Edwards key, the scalar of a NIST key. The first
// certificate must name the client by a URI, see ClientURI, and hold the key's public half.
type X509 struct {
	Chain [][]byte // DER, the client's own first
	Key   []byte
}

// ClientURI is the URI that names a client in the subjectAltName of its certificate.
func ClientURI(id ClientID) string { return conversation.ClientURI(id) }

// AddCredential gives the client a new basic credential, under its id, for a cipher suite.
func (c *Client) AddCredential(ctx context.Context, suite mlsengine.CipherSuite) (CredentialRef, error) {
	meta := c.meta(ctx, "add_credential", strconv.AppendUint(nil, uint64(suite), 10))
	return c.addCredential(ctx, "add credential", conversation.AddCredential{CommandMeta: meta, CipherSuite: suite})
}

// AddX509Credential gives the client an X.509 credential for a cipher suite. It takes over the key. A chain that is malformed, of another key
// or not valid yet is refused with CredentialRefused; one that has expired is not, since it can still be shown. Whether others accept it is
// for their trust stores to say. The key may be that of a credential that is here, under the same name: a certificate that was renewed.
func (c *Client) AddX509Credential(ctx context.Context, suite mlsengine.CipherSuite, x X509) (CredentialRef, error) {
	const op = "add x509 credential"
	if err := checkChain(suite, x, c.node.options.Clock.Now()); err != nil {
		return "", wrap(op, &conversation.CommandError{Code: CredentialRefused, Advice: GiveUp, Detail: err.Error()})
	}
	credential := mlsengine.X509Credential(x.Chain)
	parts := append([][]byte{strconv.AppendUint(nil, uint64(suite), 10)}, x.Chain...)
	return c.addCredential(ctx, op, conversation.AddCredential{
		CommandMeta: c.meta(ctx, "add_x509_credential", parts...), CipherSuite: suite, Credential: &credential, Key: secret.New(x.Key),
	})
}

// checkChain judges a chain by itself: nobody need vouch for it.
func checkChain(id mlsengine.CipherSuite, x X509, now time.Time) error {
	claim, err := pki.ClaimOf(x.Chain, id, x.Key)
	if err != nil {
		return err
	}
	verdict := (*TrustStore)(nil).Verify(claim, unixSeconds(now))
	switch {
	case errors.Is(verdict.Err(), pki.Malformed), errors.Is(verdict.Err(), pki.KeyMismatch):
		return verdict.Err()
	case verdict.Certificate.NotBefore > unixSeconds(now):
		return &pki.Error{Status: pki.NotYetValid}
	}
	return nil
}

func unixSeconds(t time.Time) uint64 { return uint64(max(0, t.Unix())) }

func (c *Client) addCredential(ctx context.Context, op string, in conversation.AddCredential) (CredentialRef, error) {
	reply, err := c.node.actors.Client(ctx, c.id, in)
	if err == nil && c.node.delivery != nil {
		err = c.register(ctx)
	}
	return reply.Credential, wrap(op, err)
}

// Credentials lists the client's credentials in the order they were added: those that every filter lets through.
func (c *Client) Credentials(ctx context.Context, filters ...CredentialFilter) ([]Credential, error) {
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return nil, wrap("credentials", err)
	}
	var out []Credential
	for _, held := range state.Credentials {
		credential := describeCredential(held)
		_, _, credential.Usable = state.Identity(held.Ref, held.CipherSuite)
		if !slices.ContainsFunc(filters, func(f CredentialFilter) bool { return !f.takes(&credential) }) {
			out = append(out, credential)
		}
	}
	return out, nil
}

func describeCredential(held conversation.ClientCredential) Credential {
	added := timeOf(held.AddedMs)
	out := Credential{
		Ref: held.Ref, CipherSuite: held.CipherSuite, Type: held.Credential.Type(), Client: conversation.ClientOf(held.Credential),
		SignatureKey: held.SignatureKey, Thumbprint: mlsengine.Thumbprint(held.CipherSuite, held.SignatureKey), Chain: held.Credential.Certificates(),
		Added: added, NotBefore: added,
	}
	if out.Type == X509Credential {
		certificate, _ := pki.Describe(out.Chain)
		out.NotBefore, out.NotAfter = time.Unix(int64(certificate.NotBefore), 0), time.Unix(int64(certificate.NotAfter), 0)
	}
	return out
}

func (f *CredentialFilter) takes(c *Credential) bool {
	return (f.Client == "" || f.Client == c.Client) && (f.Thumbprint == "" || f.Thumbprint == c.Thumbprint) &&
		(f.CipherSuite == 0 || f.CipherSuite == c.CipherSuite) && (f.Type == 0 || f.Type == c.Type) &&
		(f.EarliestValidity.IsZero() || f.EarliestValidity.Unix() == c.NotBefore.Unix())
}

// RemoveCredential forgets a credential and destroys its private key. It is refused with CredentialStillInUse while a conversation's leaf
// presents it, or would should a commit or proposal under way take effect, and while key packages of it are left: RemoveKeyPackagesOf drops
// those. Every conversation of the client is asked, so it takes as long as activating them all.
func (c *Client) RemoveCredential(ctx context.Context, ref CredentialRef) error {
	const op = "remove credential"
	in := conversation.RemoveCredential{CommandMeta: c.meta(ctx, "remove_credential", []byte(ref)), Ref: ref}
	if err := c.node.actors.RemoveCredential(ctx, c.id, in); err != nil {
		return wrap(op, err)
	}
	// A crash here leaves a key registered that nobody can sign with any more. Asked again the credential is gone, and its name tells the key.
	registry := c.node.Registry()
	if registry == nil {
		return nil
	}
	left, err := c.Credentials(ctx)
	if err != nil {
		return err
	}
	keys, err := registry.Keys(ctx, c.id)
	if err != nil {
		return wrap(op, err)
	}
	for _, key := range keys {
		shared := slices.ContainsFunc(left, func(other Credential) bool { return bytes.Equal(other.SignatureKey, key) })
		if shared || !conversation.NamesKey(ref, key) {
			continue
		}
		if err := registry.Revoke(ctx, c.id, key); err != nil {
			return wrap(op, err)
		}
	}
	return nil
}

// SetCredential commits new keys of our own together with another of the client's credentials, of the group's cipher suite: the others see the
// client under it from then on. Everything that is pending is committed with it. The client it names must stay the same. After a lost race it
// is tried again like every commit.
func (c *Conversation) SetCredential(ctx context.Context, ref CredentialRef) error {
	return c.change(ctx, "set credential", conversation.SetCredential{CommandMeta: c.client.meta(ctx, "set_credential", []byte(ref)), Credential: ref})
}

// ProposeCredential is ProposeUpdate with another of the client's credentials.
func (c *Conversation) ProposeCredential(ctx context.Context, ref CredentialRef) (Proposal, error) {
	return c.propose(ctx, conversation.ProposeUpdate{CommandMeta: c.client.meta(ctx, "propose_credential", []byte(ref)), Credential: ref})
}

// Credential is the reference of the credential that the own leaf presents.
func (c *Conversation) Credential(ctx context.Context) (CredentialRef, error) {
	s, err := c.joined(ctx)
	return s.Config.Credential, c.wrap("credential", err)
}
