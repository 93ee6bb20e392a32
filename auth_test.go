package parley_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"parley"
)

// packagesOf makes a key package of somebody who uses the id on a deployment of his own.
func packagesOf(t *testing.T, id parley.ClientID) []byte {
	t.Helper()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	client, err := node.Client(t.Context(), id)
	ok(t, err)
	packages, err := client.GenerateKeyPackages(t.Context(), 1)
	ok(t, err)
	return packages[0]
}

func refusedAs(t *testing.T, err error, code parley.Code, advice parley.Advice) {
	t.Helper()
	if !errors.Is(err, code) || parley.AdviceOf(err) != advice {
		t.Errorf("%v (%s), not %s (%s)", err, parley.AdviceOf(err), code, advice)
	}
}

func TestNobodyIsAddedWhomTheRegistryDoesNotKnow(t *testing.T) {
	ctx := t.Context()
	impostor := packagesOf(t, "bob")
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada := takeBot(t, node, "ada")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	refusedAs(t, conv.AddKeyPackages(ctx, impostor), parley.CredentialRefused, parley.GiveUp)
	takeBot(t, node, "bob") // the real one
	refusedAs(t, conv.AddKeyPackages(ctx, impostor), parley.CredentialRefused, parley.GiveUp)
	_, err = conv.ProposeAddKeyPackage(ctx, impostor)
	refusedAs(t, err, parley.CredentialRefused, parley.GiveUp)
	ok(t, conv.Add(ctx, "bob"))
	if members, err := conv.ClientIDs(ctx); err != nil || !slices.Equal(members, []parley.ClientID{"ada", "bob"}) {
		t.Errorf("members %v, %v", members, err)
	}
}

func TestWhoWasRegisteredByHandIsAccepted(t *testing.T) {
	ctx := t.Context()
	stranger := packagesOf(t, "zoe")
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	conv, err := takeBot(t, node, "ada").Create(ctx, "tea")
	ok(t, err)
	key, err := parley.KeyPackageIdentity(stranger)
	ok(t, err)
	ok(t, node.Registry().Register(ctx, key))
	ok(t, conv.AddKeyPackages(ctx, stranger))
	ok(t, node.Registry().Revoke(ctx, "zoe", key.SignatureKey))
	ok(t, conv.Remove(ctx, "zoe"))
}

// doorkeeper is an authentication service of somebody else's.
type doorkeeper struct {
	away    atomic.Bool
	refuses atomic.Value // parley.ClientID
	forgets atomic.Value // parley.ClientID: known to the first who asks, and to nobody after
	asked   atomic.Bool
}

var errAway = errors.New("nobody is at the door")

func (d *doorkeeper) Authenticate(_ context.Context, id parley.Identity) error {
	if d.away.Load() {
		return errAway
	}
	if id.Client == d.refuses.Load().(parley.ClientID) || id.Client == d.forgets.Load().(parley.ClientID) && d.asked.Swap(true) {
		return parley.UnknownIdentity
	}
	return nil
}

func TestAnotherAuthenticationServiceDecides(t *testing.T) {
	ctx := t.Context()
	stranger := packagesOf(t, "zoe")
	door := &doorkeeper{}
	door.refuses.Store(parley.ClientID("zoe"))
	door.forgets.Store(parley.ClientID(""))
	node := openNode(t, parley.Options{Auth: door})
	defer closeNode(t, node)
	if node.Registry() != nil {
		t.Error("the registry is there, and nobody asks it")
	}
	ada, bob := takeBot(t, node, "ada"), takeBot(t, node, "bob")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob"))
	bob.await(t, "the welcome", inEpoch(1))
	refusedAs(t, conv.AddKeyPackages(ctx, stranger), parley.CredentialRefused, parley.GiveUp)

	door.refuses.Store(parley.ClientID(""))
	door.away.Store(true)
	next := packagesOf(t, "yan")
	if err := conv.AddKeyPackages(ctx, next); !errors.Is(err, errAway) || parley.AdviceOf(err) != parley.Retry {
		t.Errorf("with nobody to ask: %v", err)
	}
	door.away.Store(false)
	ok(t, conv.AddKeyPackages(ctx, next))
	if e := bob.await(t, "epoch 2", inEpoch(2)); len(e.Membership.Warnings) != 0 {
		t.Errorf("bob was warned: %v", e.Membership.Warnings)
	}

	// What the group has accepted is followed, whatever the own authentication service thinks of it, and reported.
	door.forgets.Store(parley.ClientID("xia"))
	ok(t, conv.AddKeyPackages(ctx, packagesOf(t, "xia")))
	if e := bob.await(t, "epoch 3", inEpoch(3)); !slices.Equal(e.Membership.Warnings, []string{"CredentialRefused:3"}) {
		t.Errorf("bob was warned: %v", e.Membership.Warnings)
	}
}
