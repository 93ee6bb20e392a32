package parley_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"parley"
	"parley/internal/certtest"
	"parley/mlsengine/pki"
	"parley/mlsengine/suite"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func awaitTrust(t *testing.T, node *parley.Node, what string, want func(parley.Trust) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		trust, err := node.Trust(t.Context())
		ok(t, err)
		if want(trust) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		default:
		}
	}
}

// TestTrustIsRegisteredForTheDeployment: what is registered at one node holds at the other one and outlives both; results are those of the page.
func TestTrustIsRegisteredForTheDeployment(t *testing.T) {
	ctx := t.Context()
	authority, d := certtest.New(t), deploy(t)
	first, second := d.node(t, parley.Options{Shares: []uint32{}}), d.node(t, parley.Options{Isolated: true})
	if trust, err := first.Trust(ctx); err != nil || trust.SetUp() || trust.Version != 0 {
		t.Errorf("at the beginning: %+v, %v", trust, err)
	}
	_, err := first.RegisterRevocationList(ctx, certtest.ListPoint, authority.Revoke(t))
	refusedAs(t, err, parley.PkiEnvironmentUnset, parley.GiveUp)
	refusedAs(t, first.RemoveTrustAnchor(ctx, authority.Anchor()), parley.TrustAnchorNotFound, parley.GiveUp)
	_, err = first.RegisterIntermediate(ctx, authority.Anchor())
	refusedAs(t, err, parley.TrustAnchorNotFound, parley.GiveUp)

	ok(t, first.RegisterTrustAnchor(ctx, pemOf("CERTIFICATE", authority.Anchor())))
	refusedAs(t, first.RegisterTrustAnchor(ctx, authority.Anchor()), parley.TrustAnchorAlreadyRegistered, parley.GiveUp)
	refusedAs(t, second.RegisterTrustAnchor(ctx, authority.Anchor()), parley.TrustAnchorAlreadyRegistered, parley.GiveUp)
	if points, err := second.RegisterIntermediate(ctx, authority.Anchor()); err != nil || len(points) != 0 {
		t.Errorf("the anchor as an intermediate: %v, %v", points, err)
	}
	for _, bad := range [][]byte{[]byte("garbage"), pemOf("PRIVATE KEY", authority.Anchor()), append(pemOf("CERTIFICATE", authority.Anchor()), "x"...)} {
		if err := first.RegisterTrustAnchor(ctx, bad); !errors.Is(err, pki.ErrCertificate) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}

	ada, after := listsAreRegistered(t, authority, first, second)

	// Both nodes go; a third one knows.
	ada.stop()
	closeNode(t, first)
	closeNode(t, second)
	third := d.node(t, parley.Options{})
	defer closeNode(t, third)
	wantStatuses(t, third.Bare("ada").Conversation("tea"), parley.DeviceValid, parley.DeviceRevoked)
	trust, err := third.Trust(ctx)
	if err != nil || !trust.Equal(after.TrustStore) || trust.Version != after.Version {
		t.Errorf("%+v, %v", trust, err)
	}
	ok(t, third.SetRevocationPolicy(ctx, parley.RevocationRequired))
	ok(t, third.RemoveTrustAnchor(ctx, authority.Anchor()))
	wantStatuses(t, third.Bare("ada").Conversation("tea"), parley.DeviceUntrusted, parley.DeviceUntrusted)
	refusedAs(t, third.Bare("ada").Conversation("tea").SetCredential(ctx, ""), parley.CredentialNotFound, parley.GiveUp)
}

// listsAreRegistered: whom nobody vouches for is not added; whom the authority has certified is, until it is revoked.
func listsAreRegistered(t *testing.T, authority *certtest.Authority, first, second *parley.Node) (*bot, parley.Trust) {
	t.Helper()
	ctx := t.Context()
	const one = suite.X25519_AES128GCM_SHA256_Ed25519
	ada := certifiedBot(t, first, one, "ada", certify(t, authority, one, "ada", certtest.Request{}))
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	wantState(t, conv, parley.Verified)
	packageOf := func(by *certtest.Authority, id parley.ClientID) []byte {
		client := second.Bare(id)
		_, err := client.AddX509Credential(ctx, one, certify(t, by, one, id, certtest.Request{}))
		ok(t, err)
		made, err := client.GenerateKeyPackages(ctx, 1)
		ok(t, err)
		return made[0]
	}
	refusedAs(t, conv.AddKeyPackages(ctx, packageOf(certtest.New(t), "zoe")), parley.CredentialRefused, parley.GiveUp)
	// Nor does anybody present what nobody vouches for: by a commit, as a proposal, in a new conversation.
	hostile, err := ada.AddX509Credential(ctx, one, certify(t, certtest.New(t), one, "ada", certtest.Request{}))
	ok(t, err)
	refusedAs(t, conv.SetCredential(ctx, hostile), parley.CredentialRefused, parley.GiveUp)
	_, err = conv.ProposeCredential(ctx, hostile)
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
	config := parley.DefaultConfig()
	config.Credential = hostile
	_, err = ada.Create(ctx, "coffee", config)
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
	ok(t, conv.AddKeyPackages(ctx, packageOf(authority, "bob")))
	if points, err := conv.DistributionPoints(ctx); err != nil || !slices.Equal(points, []string{certtest.ListPoint}) {
		t.Errorf("points %v, %v", points, err)
	}
	empty := authority.Revoke(t)
	list, err := second.RegisterRevocationList(ctx, certtest.ListPoint, pemOf("X509 CRL", empty))
	if err != nil || list.Dirty || !list.Expiration.After(time.Now()) {
		t.Errorf("an empty list: %+v, %v", list, err)
	}
	awaitTrust(t, first, "the list", func(x parley.Trust) bool { return len(x.Points()) == 1 })
	if points, err := conv.DistributionPoints(ctx); err != nil || points == nil || len(points) != 0 {
		t.Errorf("points of which a list is held: %v, %v", points, err)
	}
	before, err := first.Trust(ctx)
	ok(t, err)
	if list, err = first.RegisterRevocationList(ctx, certtest.ListPoint, empty); err != nil || list.Dirty {
		t.Errorf("the same list: %+v, %v", list, err)
	}
	full := authority.Revoke(t, authority.Newest())
	if list, err = first.RegisterRevocationList(ctx, certtest.ListPoint, full); err != nil || !list.Dirty {
		t.Errorf("a list that revokes: %+v, %v", list, err)
	}
	after, err := first.Trust(ctx)
	if err != nil || after.Version != before.Version+1 {
		t.Errorf("version %d after %d, %v", after.Version, before.Version, err)
	}
	if _, err = first.RegisterRevocationList(ctx, certtest.ListPoint, certtest.New(t).Revoke(t)); !errors.Is(err, pki.ErrIssuerUnknown) {
		t.Errorf("a stranger's list: %v", err)
	}
	wantStatuses(t, conv, parley.DeviceValid, parley.DeviceRevoked)
	return ada, after
}

// TestNoRegistrationIsLost: two nodes register at once, past checkpoints that let the beginning of the log go; all of it is there in the end.
func TestNoRegistrationIsLost(t *testing.T) {
	ctx := t.Context()
	d := deploy(t)
	nodes := []*parley.Node{d.node(t, parley.Options{Isolated: true}), d.node(t, parley.Options{Isolated: true})}
	const each = 24
	var g errgroup.Group
	for _, node := range nodes {
		for range each {
			anchor := certtest.New(t).Anchor()
			g.Go(func() error {
				return node.Insist(ctx, func(ctx context.Context) error { return node.RegisterTrustAnchor(ctx, anchor) })
			})
		}
	}
	ok(t, g.Wait())
	for _, node := range nodes {
		awaitTrust(t, node, "all anchors", func(x parley.Trust) bool { return len(x.Anchors()) == 2*each })
		closeNode(t, node)
	}
	node := d.node(t, parley.Options{Isolated: true})
	defer closeNode(t, node)
	if trust, err := node.Trust(ctx); err != nil || len(trust.Anchors()) != 2*each {
		t.Errorf("%d anchors, %v", len(trust.Anchors()), err)
	}
}

// TestTrustAfterACrash: a node dies at each step of a registration; asked again it is there, once, at every node.
func TestTrustAfterACrash(t *testing.T) {
	for _, step := range []parley.Step{"events.append", "events.anchor", "events.ring-create", "events.ring-keys", "events.key-death", "delivery.purge"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
				ctx := t.Context()
				d, crash := deploy(t), &crasher{step: step, before: before}
				node := d.node(t, parley.Options{Isolated: true, Hooks: crash.hooks()})
				crash.armed.Store(true)
				const count = 35 // past a checkpoint
				anchors := make([][]byte, count)
				for i := range anchors {
					anchors[i] = certtest.New(t).Anchor()
					err := node.Insist(ctx, func(ctx context.Context) error { return node.RegisterTrustAnchor(ctx, anchors[i]) })
					if err != nil && !errors.Is(err, parley.TrustAnchorAlreadyRegistered) {
						err = node.RegisterTrustAnchor(ctx, anchors[i]) // an outcome that nobody knew
					}
					if err != nil && !errors.Is(err, parley.TrustAnchorAlreadyRegistered) {
						t.Fatalf("anchor %d: %v", i, err)
					}
				}
				closeNode(t, node)
				node = d.node(t, parley.Options{Isolated: true})
				defer closeNode(t, node)
				trust, err := node.Trust(ctx)
				if err != nil || len(trust.Anchors()) != count || !slices.EqualFunc(trust.Anchors(), anchors, slices.Equal) {
					t.Errorf("%d anchors, %v", len(trust.Anchors()), err)
				}
			})
		}
	}
}

// TestTrustThatCannotBeRead: garbage of a stranger in the log, and a log that lost everything, are typed errors. They change nothing for a node
// that has read it before; one that has not believes no certificate.
func TestTrustThatCannotBeRead(t *testing.T) {
	const one = suite.X25519_AES128GCM_SHA256_Ed25519
	for name, damage := range map[string]func(*nats.Conn) error{
		"garbage": func(nc *nats.Conn) error {
			_, err := nc.Request("parley.kp._", []byte("garbage"), patience)
			return err
		},
		"gone": func(nc *nats.Conn) error {
			_, err := nc.Request("$JS.API.STREAM.PURGE.parley_KP", []byte(`{"filter":"parley.kp._"}`), patience)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			d, authority := deploy(t), certtest.New(t)
			node := d.node(t, parley.Options{})
			ok(t, node.RegisterTrustAnchor(ctx, authority.Anchor()))
			ada := certifiedBot(t, node, one, "ada", certify(t, authority, one, "ada", certtest.Request{}))
			conv, err := ada.Create(ctx, "tea")
			ok(t, err)
			nc, err := nats.Connect(d.url)
			ok(t, err)
			defer nc.Close()
			ok(t, damage(nc))

			if _, err := node.Trust(ctx); err == nil || parley.AdviceOf(err) != parley.GiveUp {
				t.Errorf("the trust is read: %v", err)
			}
			if err := node.RegisterTrustAnchor(ctx, certtest.New(t).Anchor()); err == nil || parley.AdviceOf(err) != parley.GiveUp {
				t.Errorf("registered: %v", err)
			}
			wantState(t, conv, parley.Verified)
			packages := func(of *parley.Node) [][]byte {
				client := of.Bare("bob")
				_, err := client.AddX509Credential(ctx, one, certify(t, authority, one, "bob", certtest.Request{}))
				ok(t, err)
				made, err := client.GenerateKeyPackages(ctx, 1)
				ok(t, err)
				return made
			}
			elsewhere := openNode(t, parley.Options{Isolated: true})
			defer closeNode(t, elsewhere)
			bobs := packages(elsewhere)
			ok(t, conv.AddKeyPackages(ctx, bobs...))

			ada.stop()
			closeNode(t, node)
			node = d.node(t, parley.Options{})
			defer closeNode(t, node)
			conv = node.Bare("ada").Conversation("tea")
			wantStatuses(t, conv, parley.DeviceUntrusted, parley.DeviceUntrusted)
			ok(t, conv.Remove(ctx, "bob"))
			if err := conv.AddKeyPackages(ctx, bobs...); err == nil || errors.Is(err, parley.CredentialRefused) || parley.AdviceOf(err) != parley.Retry {
				t.Errorf("added by a node that knows nobody: %v", err)
			}
		})
	}
}
