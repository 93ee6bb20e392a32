package delivery

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/mlsengine/pki"
)

func refuseTrust(code conversation.Code, detail string) error {
	return &conversation.CommandError{Code: code, Advice: conversation.GiveUp, Detail: detail}
}

// RegisterAnchor makes the deployment trust an authority (DER); TrustAnchorAlreadyRegistered where it does.
func (a *Authorities) RegisterAnchor(ctx context.Context, cause events.Cause, der []byte) error {
	return a.change(ctx, cause, func(store *pki.TrustStore, _ uint64) (events.Body, error) {
		next, err := store.WithAnchor(der)
		if err != nil {
			return nil, err
		}
		if len(next.Anchors()) == len(store.Anchors()) {
			return nil, refuseTrust(conversation.TrustAnchorAlreadyRegistered, "")
		}
		return &eventsv1.AuthorityRegistered{Certificate: der, Anchor: true}, nil
	})
}

// RemoveAnchor ends the trust in an authority (DER); TrustAnchorNotFound where there is none.
func (a *Authorities) RemoveAnchor(ctx context.Context, cause events.Cause, der []byte) error {
	return a.change(ctx, cause, func(store *pki.TrustStore, _ uint64) (events.Body, error) {
		if !slices.ContainsFunc(store.Anchors(), func(held []byte) bool { return bytes.Equal(held, der) }) {
			return nil, refuseTrust(conversation.TrustAnchorNotFound, "it is no trust anchor")
		}
		f := pki.FingerprintOf(der)
		return &eventsv1.AuthorityRemoved{Fingerprint: f[:]}, nil
	})
}

// RegisterIntermediate makes an intermediate certificate (DER) known that an anchor vouches for, else TrustAnchorNotFound. It returns the
// distribution points that it names and whose lists are not held.
func (a *Authorities) RegisterIntermediate(ctx context.Context, cause events.Cause, der []byte) (points []string, err error) {
	err = a.change(ctx, cause, func(store *pki.TrustStore, nowMs uint64) (events.Body, error) {
		next, err := store.WithIntermediate(der, nowMs/1000)
		switch {
		case errors.Is(err, pki.ErrIssuerUnknown):
			return nil, refuseTrust(conversation.TrustAnchorNotFound, err.Error())
		case err != nil:
			return nil, err
		}
		points = next.PointsOf(der)
		if len(next.Intermediates()) == len(store.Intermediates()) {
			return nil, nil
		}
		return &eventsv1.AuthorityRegistered{Certificate: der}, nil
	})
	return points, err
}

// RegisterList makes the revocation list (DER) of a distribution point known, in place of the one held; PkiEnvironmentUnset without any anchor.
func (a *Authorities) RegisterList(ctx context.Context, cause events.Cause, point string, der []byte) (update pki.ListUpdate, err error) {
	err = a.change(ctx, cause, func(store *pki.TrustStore, nowMs uint64) (events.Body, error) {
		if store.Empty() {
			return nil, refuseTrust(conversation.PkiEnvironmentUnset, "no trust anchor is registered")
		}
		next, found, err := store.WithRevocationList(point, der, nowMs/1000)
		if err != nil {
			return nil, err
		}
		if update = found; next.Equal(store) {
			return nil, nil
		}
		return &eventsv1.RevocationListRegistered{Point: point, List: der, Expires: update.Expires, Changed: update.Changed}, nil
	})
	return update, err
}

// SetPolicy says what to think of certificates whose revocation lists are not held, or not in force.
func (a *Authorities) SetPolicy(ctx context.Context, cause events.Cause, policy pki.RevocationPolicy) error {
	return a.change(ctx, cause, func(store *pki.TrustStore, _ uint64) (events.Body, error) {
		if policy > pki.RevocationRequired {
			return nil, refuseTrust(conversation.InvalidConfiguration, "there is no such revocation policy")
		}
		if store.WithPolicy(policy).Equal(store) {
			return nil, nil
		}
		return &eventsv1.RevocationPolicySet{Policy: uint32(policy)}, nil
	})
}
