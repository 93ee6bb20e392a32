package parley

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"parley/delivery"
	"parley/events"
	"parley/events/jetlog"
	"parley/mlsengine/pki"
)

// RevocationPolicy says what to think of a certificate whose revocation list is not here, or past its next update.
type RevocationPolicy = pki.RevocationPolicy

// The policies.
const (
	RevocationWhereListed = pki.RevocationWhereListed // it is believed
	RevocationRequired    = pki.RevocationRequired    // it is not, if it names a distribution point
)

// Authorities is whom a deployment trusts to certify clients. Every Node has them; OpenAuthorities is for operators.
type Authorities struct {
	authority *delivery.Authorities
	end       func(context.Context) error // nil for a node's
}

// OpenAuthorities opens the authorities of a deployment from outside of its nodes: nothing but Data or URL with its credentials, Name,
// Namespace, Partitions and the keys is used of the options. Data is the directory of a node that does not run. Close them.
func OpenAuthorities(ctx context.Context, o Options) (a *Authorities, err error) {
	n := &Node{options: o.withDefaults()}
	defer func() {
		if err != nil {
			err = wrap("open authorities", errors.Join(err, n.closeAll(context.WithoutCancel(ctx))))
		}
	}()
	if err := n.connect(); err != nil {
		return nil, err
	}
	if n.store, err = jetlog.OpenReadOnly(ctx, n.conn, jetlog.Config{Namespace: o.Namespace, Partitions: o.Partitions}); err != nil {
		return nil, err
	}
	if n.vault, err = n.openVault(ctx); err != nil {
		return nil, err
	}
	if err := n.openNodes(ctx); err != nil {
		return nil, err
	}
	// A lease like a node's: no shred key is destroyed under which a ring is just being written.
	if n.presence, err = n.startPresence(ctx); err != nil {
		return nil, err
	}
	n.gather()
	if err := n.openAuthorities(ctx); err != nil {
		return nil, err
	}
	return &Authorities{authority: n.authority, end: n.closeAll}, nil
}

// Close ends what OpenAuthorities has opened; a node's authorities end with the node.
func (a *Authorities) Close(ctx context.Context) error {
	if a.end == nil {
		return nil
	}
	return wrap("close", a.end(ctx))
}

// openAuthorities opens what the deployment has registered of authorities.
func (n *Node) openAuthorities(ctx context.Context) error {
	log, err := delivery.OpenAuthorities(ctx, delivery.AuthoritiesConfig{
		Store: n.store, Stores: n.gathered.Stores(), Vault: n.vault, Hooks: n.options.Hooks, Clock: n.options.Clock.Now, Node: n.options.Name,
		Report: func(what string, err error) { n.options.Logger.Error(what, "err", err) },
	})
	if err == nil {
		n.Authorities = &Authorities{authority: log}
	}
	return err
}

// trust is the trust store that holds now: the application's, or the deployment's. One that cannot be read trusts nobody.
func (n *Node) trust() *TrustStore {
	if n.options.Certificates != nil {
		return n.options.Certificates()
	}
	store, _, err := n.authority.Trusted()
	if err != nil {
		return nil
	}
	return store
}

// trustCause says who changes what the deployment trusts.
func trustCause(ctx context.Context, op string) events.Cause {
	s := settingsOf(ctx)
	return events.Cause{Command: op, Principal: s.principal, CommandID: s.command}
}

// certificateOf takes a certificate as PEM or as DER.
func certificateOf(text []byte) ([]byte, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return text, nil
	case block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%w: the PEM holds something else than one certificate", pki.ErrCertificate)
	}
	return block.Bytes, nil
}

// RegisterTrustAnchor makes every node of the deployment trust an authority, PEM or DER, to certify clients: from then on X.509 credentials are
// judged by their chains. It is durable when it returns; other nodes hear of it within a moment. One that is registered already is refused with
// TrustAnchorAlreadyRegistered, which changes nothing.
func (a *Authorities) RegisterTrustAnchor(ctx context.Context, certificate []byte) error {
	const op = "register trust anchor"
	der, err := certificateOf(certificate)
	if err == nil {
		err = a.authority.RegisterAnchor(ctx, trustCause(ctx, op), der)
	}
	return wrap(op, err)
}

// RemoveTrustAnchor ends the trust in an authority, PEM or DER. What only it vouched for is believed no more; with the last one gone, nobody's
// certificates are.
func (a *Authorities) RemoveTrustAnchor(ctx context.Context, certificate []byte) error {
	const op = "remove trust anchor"
	der, err := certificateOf(certificate)
	if err == nil {
		err = a.authority.RemoveAnchor(ctx, trustCause(ctx, op), der)
	}
	return wrap(op, err)
}

// RegisterIntermediate makes an intermediate certificate, PEM or DER, known to every node: chains need not carry it then. An anchor must vouch
// for it, else it is refused with TrustAnchorNotFound. It returns the distribution points that it names and whose lists are not registered. One
// that is registered already, as an anchor too, changes nothing.
func (a *Authorities) RegisterIntermediate(ctx context.Context, certificate []byte) (points []string, err error) {
	const op = "register intermediate"
	der, err := certificateOf(certificate)
	if err == nil {
		points, err = a.authority.RegisterIntermediate(ctx, trustCause(ctx, op), der)
	}
	return points, wrap(op, err)
}

// RevocationList tells what became of a registered revocation list.
type RevocationList struct {
	Expiration time.Time // its next update
	Dirty      bool      // it revokes other certificates than the list held before
}

// RegisterRevocationList makes the revocation list of a distribution point, DER or PEM, known to every node, in place of the one held. It must
// be in force, be signed by a registered authority that may sign lists, and not be older than the one held. Without any trust anchor it is
// refused with PkiEnvironmentUnset. The same list again changes nothing.
func (a *Authorities) RegisterRevocationList(ctx context.Context, point string, list []byte) (RevocationList, error) {
	const op = "register revocation list"
	if block, _ := pem.Decode(list); block != nil && block.Type == "X509 CRL" {
		list = block.Bytes
	}
	update, err := a.authority.RegisterList(ctx, trustCause(ctx, op), point, list)
	if err != nil {
		return RevocationList{}, wrap(op, err)
	}
	return RevocationList{Expiration: time.Unix(int64(update.Expires), 0), Dirty: update.Changed}, nil
}

// SetRevocationPolicy says for every node what to think of certificates whose revocation lists are not held, or not in force.
func (a *Authorities) SetRevocationPolicy(ctx context.Context, policy RevocationPolicy) error {
	const op = "set revocation policy"
	return wrap(op, a.authority.SetPolicy(ctx, trustCause(ctx, op), policy))
}

// Trust is whom the deployment trusts to certify clients, as it is registered now.
type Trust struct {
	*TrustStore
	Version uint64 // of the log of authorities; 0: nothing was ever registered
}

// SetUp reports whether there is a trust anchor.
func (t Trust) SetUp() bool { return !t.Empty() }

// Trust reads what is registered now. What was registered is not used where Options.Certificates is set.
func (a *Authorities) Trust(ctx context.Context) (Trust, error) {
	if err := a.authority.Refresh(ctx); err != nil {
		return Trust{}, wrap("trust", err)
	}
	store, version, err := a.authority.Trusted()
	return Trust{store, version}, wrap("trust", err)
}
