package parley_test

import (
	"context"
	"crypto/elliptic"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"parley"
	"parley/internal/certtest"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// certifiable are the suites that certificates are made for here: those that deployed clients have.
var certifiable = []mlsengine.CipherSuite{
	suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519,
	suite.P521_AES256GCM_SHA512_P521, suite.P384_AES256GCM_SHA384_P384,
}

// certify is what an authority certifies of a client in a suite.
func certify(t *testing.T, by *certtest.Authority, id mlsengine.CipherSuite, client parley.ClientID, r certtest.Request) parley.X509 {
	t.Helper()
	r.URI = parley.ClientURI(client)
	r.Curve = map[mlsengine.CipherSuite]elliptic.Curve{
		suite.P256_AES128GCM_SHA256_P256: elliptic.P256(), suite.P521_AES256GCM_SHA512_P521: elliptic.P521(), suite.P384_AES256GCM_SHA384_P384: elliptic.P384(),
	}[id]
	certificate, key := by.Certify(t, r)
	return parley.X509{Chain: [][]byte{certificate}, Key: key}
}

// trusting is a trust store with the authority alone.
func trusting(t *testing.T, authority *certtest.Authority) *atomic.Pointer[parley.TrustStore] {
	t.Helper()
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.Anchor())
	ok(t, err)
	trust := &atomic.Pointer[parley.TrustStore]{}
	trust.Store(store)
	return trust
}

func TestCredentialsAreListedFoundAndRemoved(t *testing.T) {
	ctx := t.Context()
	authority := certtest.New(t)
	node := openNode(t, parley.Options{Certificates: trusting(t, authority).Load})
	defer closeNode(t, node)
	const one, two = suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256
	ada := takeBot(t, node, "ada")
	p256, err := ada.AddCredential(ctx, two)
	ok(t, err)
	certified, err := ada.AddX509Credential(ctx, one, certify(t, authority, one, "ada", certtest.Request{}))
	ok(t, err)
	all, err := ada.Credentials(ctx)
	ok(t, err)
	if len(all) != 3 || all[1].Ref != p256 || all[2].Ref != certified || all[0].Type != parley.BasicCredential || all[2].Type != parley.X509Credential {
		t.Fatalf("credentials %+v", all)
	}
	basic, third := all[0], all[2]
	if !basic.Usable || basic.Client != "ada" || basic.NotBefore.IsZero() || !basic.NotAfter.IsZero() || len(third.Chain) != 1 || third.NotAfter.Before(time.Now()) {
		t.Errorf("basic %+v, certified %+v", basic, third)
	}
	for want, filter := range map[parley.CredentialRef]parley.CredentialFilter{
		p256:      {CipherSuite: two},
		certified: {Type: parley.X509Credential, Client: "ada"},
		basic.Ref: {Thumbprint: basic.Thumbprint},
	} {
		if found, err := ada.Credentials(ctx, filter); err != nil || len(found) != 1 || found[0].Ref != want {
			t.Errorf("%+v finds %+v, %v", filter, found, err)
		}
	}
	if found, err := ada.Credentials(ctx, parley.CredentialFilter{EarliestValidity: third.NotBefore}); err != nil || len(found) != 1 || found[0].Ref != certified {
		t.Errorf("by validity: %+v, %v", found, err)
	}
	if found, err := ada.Credentials(ctx, parley.CredentialFilter{Client: "bob"}); err != nil || len(found) != 0 {
		t.Errorf("of bob: %+v, %v", found, err)
	}
	useAndRemove(t, ada, p256, certified)
}

// useAndRemove chooses credentials by reference, for a conversation and for key packages: what is in use stays, and all can go in the end.
func useAndRemove(t *testing.T, ada *bot, p256, certified parley.CredentialRef) {
	t.Helper()
	ctx := t.Context()
	config := parley.DefaultConfig()
	config.Credential = certified
	conv, err := ada.Create(ctx, "tea", config)
	ok(t, err)
	if presented, err := conv.Credential(ctx); err != nil || presented != certified {
		t.Errorf("tea presents %s, %v", presented, err)
	}
	config.Credential = p256
	_, err = ada.Create(ctx, "of another suite", config)
	refusedAs(t, err, parley.CredentialNotFound, parley.GiveUp)
	_, err = ada.GenerateKeyPackages(ctx, 1, parley.KeyPackageParams{Credential: p256, Lifetime: time.Hour})
	ok(t, err)

	// What is in use stays: by a leaf, by key packages.
	refusedAs(t, ada.RemoveCredential(ctx, certified), parley.CredentialStillInUse, parley.GiveUp)
	refusedAs(t, ada.RemoveCredential(ctx, p256), parley.CredentialStillInUse, parley.GiveUp)
	refusedAs(t, ada.RemoveCredential(ctx, "none"), parley.CredentialNotFound, parley.GiveUp)
	packages, err := ada.KeyPackages(ctx)
	ok(t, err)
	last := packages[len(packages)-1]
	if last.Credential != p256 || last.CipherSuite != suite.P256_AES128GCM_SHA256_P256 || time.Until(last.NotAfter) > time.Hour {
		t.Errorf("key package %+v", last)
	}
	ok(t, ada.RemoveKeyPackages(ctx, last.Ref, last.Ref))
	ok(t, ada.RemoveCredential(ctx, p256))
	refusedAs(t, ada.RemoveCredential(ctx, p256), parley.CredentialNotFound, parley.GiveUp)
	ok(t, conv.Wipe(ctx))
	ok(t, ada.RemoveCredential(ctx, certified))
	all, err := ada.Credentials(ctx)
	ok(t, err)
	ok(t, ada.RemoveKeyPackagesOf(ctx, all[0].Ref))
	ok(t, ada.RemoveCredential(ctx, all[0].Ref))
	if all, err = ada.Credentials(ctx); err != nil || len(all) != 0 {
		t.Errorf("left are %+v, %v", all, err)
	}
}

// TestX509CredentialsThatAreNone: an empty chain, a key that is not the certificate's, one that is not valid yet, and one that has expired,
// which can be shown all the same.
func TestX509CredentialsThatAreNone(t *testing.T) {
	ctx := t.Context()
	authority := certtest.New(t)
	node := openNode(t, parley.Options{Isolated: true})
	defer closeNode(t, node)
	ada := node.Bare("ada")
	for _, id := range certifiable {
		good, other := certify(t, authority, id, "ada", certtest.Request{}), certify(t, authority, id, "ada", certtest.Request{})
		early := certify(t, authority, id, "ada", certtest.Request{NotBefore: time.Now().Add(time.Minute)})
		late := certify(t, authority, id, "ada", certtest.Request{NotAfter: time.Now().Add(-time.Minute)})
		for what, x := range map[string]parley.X509{
			"empty": {Key: good.Key}, "another's key": {Chain: good.Chain, Key: other.Key}, "no key": {Chain: good.Chain}, "not valid yet": early,
			"garbage": {Chain: [][]byte{{0x30, 0}}, Key: good.Key},
		} {
			if _, err := ada.AddX509Credential(ctx, id, x); err == nil {
				t.Errorf("suite %d: %s was taken", id, what)
			} else {
				refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
			}
		}
		_, err := ada.AddX509Credential(ctx, id, late)
		ok(t, err)
	}
}

// TestABotGoesOnUnderACertificate: from a bare name to a certificate and to the one after it, in every suite, while everybody talks; another
// node goes on with what is presented then, and the credentials of before can go.
func TestABotGoesOnUnderACertificate(t *testing.T) {
	for _, id := range certifiable {
		t.Run(fmt.Sprint("suite ", id), func(t *testing.T) {
			ctx := t.Context()
			authority, d := certtest.New(t), deploy(t)
			config := parley.DefaultConfig()
			config.CipherSuite = id
			options := parley.Options{Certificates: trusting(t, authority).Load, Config: config}
			node := d.node(t, options)
			ada, bob := takeBot(t, node, "ada"), takeBot(t, node, "bob")
			conv, err := ada.Create(ctx, "tea")
			ok(t, err)
			ok(t, conv.Add(ctx, "bob"))
			inBobs := bob.await(t, "the welcome", inEpoch(1)).Conversation
			before, err := conv.Credential(ctx)
			ok(t, err)
			first, err := ada.AddX509Credential(ctx, id, certify(t, authority, id, "ada", certtest.Request{}))
			ok(t, err)
			ok(t, conv.SetCredential(ctx, first))
			if e := bob.await(t, "epoch 2", inEpoch(2)); len(e.Membership.Warnings) > 0 {
				t.Errorf("bob was warned: %v", e.Membership.Warnings)
			}
			converse(t, node, conv, bob, "certified")
			ok(t, inBobs.UpdateKeys(ctx))
			ada.await(t, "epoch 3", inEpoch(3))
			second, err := ada.AddX509Credential(ctx, id, certify(t, authority, id, "ada", certtest.Request{}))
			ok(t, err)
			ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error { return tx.Conversation("tea").SetCredential(ctx, second) }))
			ok(t, ada.RemoveCredential(ctx, first))

			ada.stop()
			bob.stop()
			closeNode(t, node)
			node = d.node(t, options)
			defer closeNode(t, node)
			ada, bob = takeBot(t, node, "ada"), takeBot(t, node, "bob")
			conv = ada.Conversation("tea")
			converse(t, node, conv, bob, "renewed")
			if presented, err := conv.Credential(ctx); err != nil || presented != second {
				t.Errorf("tea presents %s, %v", presented, err)
			}
			for _, b := range []*bot{ada, bob} {
				s, err := b.Conversation("tea").Status(ctx)
				if err != nil || s.Members[0].CredentialType != parley.X509Credential || s.Members[1].CredentialType != parley.BasicCredential {
					t.Errorf("%s sees %+v, %v", b.ID(), s.Members, err)
				}
			}
			refusedAs(t, ada.RemoveCredential(ctx, second), parley.CredentialStillInUse, parley.GiveUp)
			ok(t, ada.RemoveKeyPackagesOf(ctx, before))
			ok(t, ada.RemoveCredential(ctx, before))
			converse(t, node, conv, bob, "without the old one")
		})
	}
}

func converse(t *testing.T, node *parley.Node, from *parley.Conversation, to *bot, words string) {
	t.Helper()
	ok(t, node.Insist(t.Context(), func(ctx context.Context) error {
		_, err := from.Send(ctx, []byte(words))
		return err
	}))
	m := to.await(t, words, text(words))
	if m.Message.Sender != from.Client().ID() {
		t.Errorf("%s heard %q of %s", to.ID(), words, m.Message.Sender)
	}
	ok(t, m.Ack(t.Context()))
}

// TestChangeOfCredentialUnderARaceAndACrash: while two others commit as fast as they can, a bot changes its credential and dies once, at each
// of the steps on the way. Asked again under its id it changed once, and everybody sees it.
func TestChangeOfCredentialUnderARaceAndACrash(t *testing.T) {
	for _, step := range []parley.Step{"events.append", "actors.send-bundle", "actors.swap", "events.anchor", "events.key-death"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				authority, crash := certtest.New(t), &crasher{step: step, before: before}
				node := openNode(t, parley.Options{Certificates: trusting(t, authority).Load, Hooks: crash.hooks()})
				defer closeNode(t, node)
				ada, bob, cem := takeBot(t, node, "ada"), takeBot(t, node, "bob"), takeBot(t, node, "cem")
				conv, err := ada.Create(ctx, "tea")
				ok(t, err)
				ok(t, conv.Add(ctx, "bob", "cem"))
				bob.await(t, "the welcome", inEpoch(1))
				cem.await(t, "the welcome", inEpoch(1))
				for round := range 2 { // to a certificate, and to the next one
					ref, err := ada.AddX509Credential(ctx, suite.X25519_AES128GCM_SHA256_Ed25519, certify(t, authority, suite.X25519_AES128GCM_SHA256_Ed25519, "ada", certtest.Request{}))
					ok(t, err)
					var g errgroup.Group
					for _, rival := range []*bot{bob, cem} {
						g.Go(func() error { return node.Insist(ctx, rival.Conversation("tea").UpdateKeys) })
					}
					crash.armed.Store(true)
					ok(t, node.Insist(ctx, func(ctx context.Context) error { return conv.SetCredential(ctx, ref) }))
					ok(t, g.Wait())
					if presented, err := conv.Credential(ctx); err != nil || presented != ref {
						t.Fatalf("round %d: tea presents %s, %v", round, presented, err)
					}
					converse(t, node, conv, bob, fmt.Sprint("round ", round))
				}
				if !crash.hit.Load() {
					t.Log("the story did not pass the step")
				}
			})
		}
	}
}

// TestCredentialIsNotRemovedUnderAChange: removal and use race; whoever comes first, what a conversation presents is there. An open transaction
// counts as use until it is over.
func TestCredentialIsNotRemovedUnderAChange(t *testing.T) {
	ctx := t.Context()
	const one = suite.X25519_AES128GCM_SHA256_Ed25519
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada := takeBot(t, node, "ada")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	removed, kept := 0, 0
	for range 25 {
		ref, err := ada.AddCredential(ctx, one)
		ok(t, err)
		var g errgroup.Group
		var gone, used error
		g.Go(func() error { gone = ada.RemoveCredential(ctx, ref); return nil })
		g.Go(func() error {
			used = node.Insist(ctx, func(ctx context.Context) error { return conv.SetCredential(ctx, ref) })
			return nil
		})
		ok(t, g.Wait())
		presented, err := conv.Credential(ctx)
		ok(t, err)
		switch {
		case gone == nil && used != nil && presented != ref:
			removed++
			refusedAs(t, used, parley.CredentialNotFound, parley.GiveUp)
		case gone != nil && used == nil && presented == ref:
			kept++
			refusedAs(t, gone, parley.CredentialStillInUse, parley.GiveUp)
		default:
			t.Fatalf("removed: %v, used: %v, presented %v", gone, used, presented == ref)
		}
		_, err = conv.Send(ctx, []byte("still able to speak"))
		ok(t, err)
	}
	t.Logf("%d were removed, %d kept", removed, kept)

	ref, err := ada.AddCredential(ctx, one)
	ok(t, err)
	tx, err := ada.Begin(ctx)
	ok(t, err)
	_, err = tx.Conversation("tea").ProposeCredential(ctx, ref)
	ok(t, err)
	refusedAs(t, ada.RemoveCredential(ctx, ref), parley.CredentialStillInUse, parley.GiveUp)
	ok(t, tx.Abort(ctx))
	ok(t, ada.RemoveCredential(ctx, ref))
}
