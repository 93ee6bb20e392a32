package crash_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"time"

	"parley"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// holdingRows are what a client keeps, or keeps no longer.
func holdingRows() []*operation {
	addCredential := func(of mlsengine.CipherSuite) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			ref, err := s.client("ada").AddCredential(ctx, of)
			s.luggage.Kept["credential"] = []byte(ref)
			return err
		}
	}
	ref := func(s *scene) parley.CredentialRef { return parley.CredentialRef(s.luggage.Kept["credential"]) }
	return []*operation{
		{
			name: "remove a credential", covers: "Client.RemoveCredential",
			prepare: then(asCouple, addCredential(suite.P256_AES128GCM_SHA256_P256)),
			act:     func(ctx context.Context, s *scene) error { return s.client("ada").RemoveCredential(ctx, ref(s)) },
		},
		{
			name: "take another credential", covers: "Conversation.SetCredential", prepare: then(asCouple, addCredential(crashSuite)),
			act: func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").SetCredential(ctx, ref(s)) },
		},
		{
			name: "propose another credential", covers: "Conversation.ProposeCredential", prepare: then(asCouple, addCredential(crashSuite)),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.conv("ada", "tea").ProposeCredential(ctx, ref(s))
				return err
			},
		},
		{
			name: "remove key packages", covers: "Client.RemoveKeyPackages",
			prepare: then(withEve, func(ctx context.Context, s *scene) error {
				all, err := s.client("eve").KeyPackages(ctx)
				if err == nil {
					s.luggage.Kept["package"] = all[0].Ref
				}
				return err
			}),
			act: func(ctx context.Context, s *scene) error {
				return s.client("eve").RemoveKeyPackages(ctx, s.luggage.Kept["package"])
			},
		},
		{
			name: "remove key packages of a credential", covers: "Client.RemoveKeyPackagesOf",
			prepare: then(withEve, func(ctx context.Context, s *scene) error {
				all, err := s.client("eve").Credentials(ctx)
				if err == nil {
					s.luggage.Kept["credential"] = []byte(all[0].Ref)
				}
				return err
			}),
			act: func(ctx context.Context, s *scene) error { return s.client("eve").RemoveKeyPackagesOf(ctx, ref(s)) },
		},
		{name: "keep data", covers: "Client.SetData", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.client("ada").SetData(ctx, []byte("data"))
		}},
		{
			name: "ask to join", covers: "Client.AskToJoin",
			prepare: func(ctx context.Context, s *scene) error { return s.couple(ctx, "guest") },
			act: func(ctx context.Context, s *scene) error {
				_, err := s.client("guest").AskToJoin(ctx, s.convID("tea"), parley.Asking{})
				return err
			},
		},
	}
}

// sharingRows let a reader of history in and out.
func sharingRows() []*operation {
	enable := func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").EnableHistorySharing(ctx) }
	return []*operation{
		{name: "enable history sharing", covers: "Conversation.EnableHistorySharing", prepare: asCouple, act: enable},
		{
			name: "disable history sharing", covers: "Conversation.DisableHistorySharing", prepare: then(asCouple, enable),
			act: func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").DisableHistorySharing(ctx) },
		},
		{
			name: "remove a member while history is shared", prepare: then(trio, enable),
			act: func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").Remove(ctx, s.id("eve")) },
		},
	}
}

// trustRows change whom a deployment trusts: one log for all of its nodes.
func trustRows() []*operation {
	register := func(ctx context.Context, s *scene) error {
		err := s.node.RegisterTrustAnchor(ctx, s.luggage.Kept["anchor"])
		if errors.Is(err, parley.TrustAnchorAlreadyRegistered) {
			return nil // that is what it says when it is asked again
		}
		return err
	}
	registered := func(anchors int) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			trust, err := s.node.Trust(ctx)
			if err == nil && trust.SetUp() != (anchors > 0) {
				err = errors.New("the deployment trusts somebody else")
			}
			return err
		}
	}
	return []*operation{
		{name: "register a trust anchor", covers: "Authorities.RegisterTrustAnchor", alone: true, prepare: establish, act: register, check: registered(1)},
		{
			name: "remove a trust anchor", covers: "Authorities.RemoveTrustAnchor", alone: true, prepare: then(establish, register), check: registered(0),
			act: func(ctx context.Context, s *scene) error {
				err := s.node.RemoveTrustAnchor(ctx, s.luggage.Kept["anchor"])
				if errors.Is(err, parley.TrustAnchorNotFound) {
					return nil
				}
				return err
			},
		},
		{
			name: "register an intermediate", covers: "Authorities.RegisterIntermediate", alone: true, prepare: then(establish, register),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.node.RegisterIntermediate(ctx, s.luggage.Kept["intermediate"])
				return err
			},
		},
		{
			name: "register a revocation list", covers: "Authorities.RegisterRevocationList", alone: true, prepare: then(establish, register),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.node.RegisterRevocationList(ctx, "http://crl.example/list", s.luggage.Kept["list"])
				return err
			},
		},
		{name: "set the revocation policy", covers: "Authorities.SetRevocationPolicy", alone: true, prepare: establish, act: func(ctx context.Context, s *scene) error {
			return s.node.SetRevocationPolicy(ctx, parley.RevocationRequired)
		}},
	}
}

// establish makes an authority, one below it, and a list of what it has revoked.
func establish(_ context.Context, s *scene) error {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
	}
	anchor, err := x509.CreateCertificate(rand.Reader, template(1, "anchor"), template(1, "anchor"), public, key)
	if err != nil {
		return err
	}
	parent, err := x509.ParseCertificate(anchor)
	if err != nil {
		return err
	}
	below, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	intermediate, err := x509.CreateCertificate(rand.Reader, template(2, "intermediate"), parent, below, key)
	if err != nil {
		return err
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}, parent, key)
	kept := s.luggage.Kept
	kept["anchor"], kept["intermediate"], kept["list"] = anchor, intermediate, list
	return err
}
