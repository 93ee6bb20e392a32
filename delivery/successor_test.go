package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"parley/internal/certtest"
	"parley/mlsengine"
	"parley/mlsengine/pki"
)

// as is a new signing identity under a name.
func as(t testing.TB, name string) *mlsengine.SigningIdentity {
	t.Helper()
	id := newBot(t, name).identity
	return &id
}

// register makes an identity's key known.
func register(t testing.TB, s *Service, b *bot, id *mlsengine.SigningIdentity) {
	t.Helper()
	err := s.Registry().Register(context.Background(), Identity{Client: b.id, CredentialType: 1, SignatureKey: id.Public})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNobodyGoesOnUnderAnothersName: a member's commit, its encrypted commit and its Update may change its credential, not its client, and only
// to a key that the authentication service knows.
func TestNobodyGoesOnUnderAnothersName(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 3)
	alice, bob := bots[0], bots[1]
	stolen, unknown, known := as(t, string(bob.id)), as(t, string(alice.id)), as(t, string(alice.id))
	register(t, s, bob, stolen) // the key is bob's, and alice has it
	register(t, s, alice, known)
	listed := Change{Kind: ChangeUpdated, Leaf: 0, Client: alice.id}
	for name, c := range map[string]struct {
		id     *mlsengine.SigningIdentity
		reason string
	}{"another's name": {stolen, "invalid"}, "a key nobody knows": {unknown, "unknown-identity"}} {
		open, _ := alice.commit(mlsengine.CommitIntent{NewIdentity: c.id})
		refused(t, s, open, c.reason)
		sealed, _ := alice.sealed(mlsengine.CommitIntent{NewIdentity: c.id}, listed)
		refused(t, s, sealed, c.reason)
		made := must(alice.group.ProposeUpdate(c.id, nil, mlsengine.Framing{}, alice.env()))(t)
		_, err := s.submitOne(ctx, &Proposal{Group: testGroup, Origin: alice.origin(), Message: made.Message})
		if err == nil || CodeOf(err) != map[string]Code{"invalid": Invalid, "unknown-identity": UnknownIdentity}[c.reason] {
			t.Errorf("%s, as a proposal: %v", name, err)
		}
	}
	open, out := alice.commit(mlsengine.CommitIntent{NewIdentity: known})
	e := alice.win(s, open, out)
	if len(e.Added)+len(e.Removed) != 0 {
		t.Errorf("entry %+v", e)
	}
	alice.identity = *known
	bob.process(e, nil)
	bots[2].process(e, nil)
	next := as(t, string(alice.id))
	register(t, s, alice, next)
	sealed, out := alice.sealed(mlsengine.CommitIntent{NewIdentity: next}, listed)
	e = alice.win(s, sealed, out)
	alice.identity = *next
	bob.process(e, nil)
	bundle, out := bob.update()
	bob.win(s, bundle, out)
}

// TestRevocationIsNotForgotten: a list older than the one held is refused, here and where it is folded, and so is the same number with an
// earlier date; a store that is read back remembers.
func TestRevocationIsNotForgotten(t *testing.T) {
	w, authority := newWorld(t), certtest.New(t)
	open := func() *Authorities {
		a, err := OpenAuthorities(t.Context(), AuthoritiesConfig{Store: w.store, Stores: w.store.Stores(), Vault: w.vault, Clock: w.clock.now, Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	old := authority.Revoke(t)
	if err := a.RegisterAnchor(t.Context(), causeOf(&Lookup{}), authority.Anchor()); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Second)
	newer := authority.RevokeAt(t, time.Now().Add(-30*time.Second), 7)
	if _, err := a.RegisterList(t.Context(), causeOf(&Lookup{}), certtest.ListPoint, newer); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := a.RegisterList(t.Context(), causeOf(&Lookup{}), certtest.ListPoint, old); !errors.Is(err, pki.ErrListOlder) {
			t.Errorf("an older list: %v", err)
		}
		a.Close()
		a = open()
	}
	a.Close()
}
