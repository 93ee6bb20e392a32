package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// packages makes n key packages of a bot.
func (b *bot) packages(n int, lastResort bool) []Publication {
	b.t.Helper()
	var out []Publication
	for range n {
		kp, _, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
			Suite: testSuite, Identity: b.identity, Lifetime: lifetime(), LastResort: lastResort,
		}, b.env())
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, Publication{KeyPackage: kp.Bytes(), LastResort: lastResort})
	}
	return out
}

func (b *bot) claims(of ids.ClientID) Claim {
	return Claim{Client: of, Suite: uint16(testSuite), Claimer: b.id, CommandID: b.origin().CommandID}
}

func trusting(c *Config) { c.Trust = TrustOnFirstRegistration }

func TestEachKeyPackageIsClaimedOnce(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	nodes := []*Service{w.node("a", trusting), w.node("b", trusting), w.node("c", trusting)}
	bob := newBot(t, "bob")
	for range 2 { // publishing again changes nothing
		if err := nodes[0].PublishKeyPackages(ctx, "bob", append(bob.packages(6, false), bob.packages(1, true)...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := must(nodes[1].CountKeyPackages(ctx, "bob", uint16(testSuite)))(t); n != 12 {
		t.Fatalf("%d key packages", n)
	}
	var mu sync.Mutex
	got := map[string]int{}
	var work sync.WaitGroup
	for i := range 12 {
		claimer := newBot(t, fmt.Sprintf("claimer-%d", i))
		claim := claimer.claims("bob")
		work.Add(1)
		go func() {
			defer work.Done()
			first, err := nodes[i%3].ClaimKeyPackage(ctx, claim)
			if err != nil {
				t.Error(err)
				return
			}
			again, err := nodes[(i+1)%3].ClaimKeyPackage(ctx, claim)
			if err != nil || !bytes.Equal(again.Ref, first.Ref) || !bytes.Equal(again.KeyPackage, first.KeyPackage) {
				t.Errorf("a retried claim: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[string(first.Ref)]++
			if first.LastResort {
				t.Error("one of last resort while there were others")
			}
		}()
	}
	work.Wait()
	if len(got) != 12 {
		t.Fatalf("%d different key packages for 12 claims", len(got))
	}
	eve := newBot(t, "eve")
	last := must(nodes[0].ClaimKeyPackage(ctx, eve.claims("bob")))(t)
	for range 3 {
		again := must(nodes[2].ClaimKeyPackage(ctx, eve.claims("bob")))(t)
		if !again.LastResort || len(again.KeyPackage) == 0 || !last.LastResort {
			t.Fatalf("after all others: %+v", again)
		}
	}
	_, err := nodes[0].ClaimKeyPackage(ctx, eve.claims("nobody"))
	wants(t, err, NoKeyPackage)
	wrong := eve.claims("bob")
	wrong.Suite = 7
	_, err = nodes[0].ClaimKeyPackage(ctx, wrong)
	wants(t, err, NoKeyPackage)
}

func TestAskingForNobodyStoresNothing(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	wants(t, s.Registry().Authenticate(ctx, Identity{Client: "ghost", SignatureKey: []byte("key")}), UnknownIdentity)
	_, err := s.Follow(ctx, "ghost", 1, 10)
	wants(t, err, UnknownGroup)
	_, err = s.Lookup(ctx, "ghost", "bob")
	wants(t, err, UnknownGroup)
	for _, id := range must(w.store.Rings().List(ctx))(t) {
		t.Errorf("a ring of %s", id)
	}
}

func TestDirectoryKeepsOnlyWhatIsOnOffer(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	few := func(c *Config) { c.Trust, c.Limits.DirectoryRecords = TrustOnFirstRegistration, 8 }
	s := w.node("a", few)
	bob, eve := newBot(t, "bob"), newBot(t, "eve")
	var last Claim
	var want Claimed
	for range 30 {
		if err := s.PublishKeyPackages(ctx, "bob", bob.packages(2, false)); err != nil {
			t.Fatal(err)
		}
		last = eve.claims("bob")
		want = must(s.ClaimKeyPackage(ctx, last))(t)
	}
	messages := 0
	err := w.store.Read(ctx, events.DirectoryLog("bob"), 0, func(events.Message) error { messages++; return nil })
	if err != nil || messages > 10 {
		t.Fatalf("%d messages are kept, %v", messages, err)
	}
	other := w.node("b", few)
	if n := must(other.CountKeyPackages(ctx, "bob", uint16(testSuite)))(t); n != 30 {
		t.Fatalf("%d key packages", n)
	}
	if got := must(other.ClaimKeyPackage(ctx, last))(t); !bytes.Equal(got.Ref, want.Ref) {
		t.Fatal("a retried claim got another key package")
	}
}

func TestDirectoryRefusesStrangersAndExpired(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.node("a", nil) // keys must be registered first
	bob, eve := newBot(t, "bob"), newBot(t, "eve")
	id := Identity{Client: "bob", SignatureKey: bob.identity.Public}
	wants(t, s.PublishKeyPackages(ctx, "bob", bob.packages(1, false)), UnknownIdentity)
	for range 2 {
		if err := s.Registry().Register(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PublishKeyPackages(ctx, "bob", bob.packages(3, false)); err != nil {
		t.Fatal(err)
	}
	wants(t, s.PublishKeyPackages(ctx, "bob", eve.packages(1, false)), UnknownIdentity)
	impostor := newBot(t, "bob")
	wants(t, s.PublishKeyPackages(ctx, "bob", impostor.packages(1, false)), UnknownIdentity)
	forged := bob.packages(1, false)
	forged[0].KeyPackage = flipped(forged[0].KeyPackage, -1)
	wants(t, s.PublishKeyPackages(ctx, "bob", forged), Invalid)
	wants(t, s.PublishKeyPackages(ctx, "bob", []Publication{{KeyPackage: []byte("garbage")}}), Malformed)

	if err := s.Registry().Revoke(ctx, "bob", bob.identity.Public); err != nil {
		t.Fatal(err)
	}
	wants(t, s.Registry().Authenticate(ctx, id), UnknownIdentity)
	_, err := s.ClaimKeyPackage(ctx, eve.claims("bob"))
	wants(t, err, NoKeyPackage)

	if err := s.Registry().Register(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := s.PublishKeyPackages(ctx, "bob", bob.packages(3, false)); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(100 * 24 * time.Hour)
	_, err = s.ClaimKeyPackage(ctx, eve.claims("bob"))
	wants(t, err, NoKeyPackage)
}

func TestFirstKeyIsTrustedOnceOnly(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.node("a", trusting)
	bob, impostor := newBot(t, "bob"), newBot(t, "bob")
	if err := s.PublishKeyPackages(ctx, "bob", bob.packages(1, false)); err != nil {
		t.Fatal(err)
	}
	wants(t, s.PublishKeyPackages(ctx, "bob", impostor.packages(1, false)), UnknownIdentity)
	if err := s.Registry().Authenticate(ctx, Identity{Client: "bob", SignatureKey: bob.identity.Public}); err != nil {
		t.Fatal(err)
	}
}

func TestCrashWhileClaiming(t *testing.T) {
	for _, after := range []bool{false, true} {
		w, ctx := newWorld(t), context.Background()
		k := &killer{step: events.StepAppend, after: after}
		dying := w.node("dying", func(c *Config) { trusting(c); c.Hooks = k.hooks() })
		bob, eve := newBot(t, "bob"), newBot(t, "eve")
		if err := dying.PublishKeyPackages(ctx, "bob", bob.packages(2, false)); err != nil {
			t.Fatal(err)
		}
		k.armed.Store(true)
		claim := eve.claims("bob")
		if _, err := dying.ClaimKeyPackage(ctx, claim); !errors.Is(err, errKilled) {
			t.Fatalf("after=%v: %v", after, err)
		}
		heir := w.node("heir", trusting)
		must(heir.ClaimKeyPackage(ctx, claim))(t)
		must(heir.ClaimKeyPackage(ctx, claim))(t)
		if n := must(heir.CountKeyPackages(ctx, "bob", uint16(testSuite)))(t); n != 1 {
			t.Fatalf("after=%v: %d key packages are left", after, n)
		}
	}
}

func TestNoticesAreAcknowledged(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bob := newBot(t, "bob")
	for i := range 5 {
		alice := registered(t, s, GroupID(fmt.Sprintf("group-%d", i)), fmt.Sprintf("alice-%d", i))
		bundle, out := alice.add(bob)
		alice.win(s, bundle, out)
	}
	notices := must(s.Notices(ctx, "bob", 0, 100))(t)
	if len(notices) != 5 {
		t.Fatalf("%d notices", len(notices))
	}
	if page := must(s.Notices(ctx, "bob", notices[1].Sequence, 2))(t); len(page) != 2 || page[0] != notices[1] {
		t.Fatalf("page %+v", page)
	}
	if err := s.Acknowledge(ctx, "bob", notices[3].Sequence); err != nil {
		t.Fatal(err)
	}
	if left := must(s.Notices(ctx, "bob", 0, 100))(t); len(left) != 1 || left[0] != notices[4] {
		t.Fatalf("left %+v", left)
	}
	if err := s.Acknowledge(ctx, "bob", notices[4].Sequence); err != nil {
		t.Fatal(err)
	}
	if left := must(s.Notices(ctx, "bob", notices[4].Sequence+1, 100))(t); len(left) != 0 {
		t.Fatalf("left %+v", left)
	}
	if _, err := w.store.Notify(ctx, "bob", "", []byte("a stranger's")); err != nil {
		t.Fatal(err)
	}
	must(s.Notices(ctx, "bob", 0, 100))(t)
}

func TestVerdictsAreLoadedForTheStepThatNeedsThem(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.node("a", nil)
	bob := newBot(t, "bob")
	if err := s.Registry().Register(ctx, Identity{Client: "bob", SignatureKey: bob.identity.Public}); err != nil {
		t.Fatal(err)
	}
	var v conversation.Authenticator = s.Verdicts()
	step := func(c ids.ClientID) (ok bool) {
		t.Helper()
		for again := true; again; again = must(v.(*Verdicts).Load(ctx))(t) {
			ok = v.Authenticate(c, bob.identity.Credential, bob.identity.Public)
		}
		return ok
	}
	if !step("bob") || step("eve") {
		t.Fatal("bob is not believed, or eve is")
	}
	if err := s.Registry().Revoke(ctx, "bob", bob.identity.Public); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(2 * time.Minute)
	if step("bob") {
		t.Fatal("a revoked key is believed")
	}
}

// TestNobodyTakesTheNameOfTheService: a client of that id would write into the log of the service's keys.
func TestNobodyTakesTheNameOfTheService(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	node := w.node("a", trusting)
	before := must(node.Sender(ctx, testSuite, NewestKey))(t)
	thief := newBot(t, string(serviceLog))
	if err := node.PublishKeyPackages(ctx, serviceLog, thief.packages(1, false)); !errors.Is(err, Forbidden) {
		t.Errorf("published: %v", err)
	}
	if err := node.Registry().Register(ctx, Identity{Client: serviceLog, SignatureKey: thief.identity.Public}); !errors.Is(err, Forbidden) {
		t.Errorf("registered: %v", err)
	}
	if after := must(w.node("b", trusting).Sender(ctx, testSuite, NewestKey))(t); !bytes.Equal(after.SignatureKey, before.SignatureKey) {
		t.Error("the service's key is another one")
	}
}
