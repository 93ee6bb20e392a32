package parley_test

import (
	"fmt"
	"testing"
	"time"

	"parley"
)

// TestOwnersHearThatTheirKeyPackagesRunOut: a client that publishes by hand is told once few are left, when the one of last resort was given
// away, and before it ends. It is told again until it says that it knows, and then not before it has published.
func TestOwnersHearThatTheirKeyPackagesRunOut(t *testing.T) {
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	node := openNode(t, parley.Options{Clock: clock, ManualKeyPackages: true, KeyPackagesLow: 1, TendInterval: 50 * time.Millisecond})
	defer closeNode(t, node)
	ada := takeBot(t, node, "ada")
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	ok(t, ada.PublishKeyPackages(ctx, 3))
	rooms := 0
	claim := func() {
		t.Helper()
		room, err := bob.Create(ctx, parley.ConversationID(fmt.Sprint("room ", rooms)))
		ok(t, err)
		rooms++
		ok(t, room.Add(ctx, "ada"))
	}
	of := func(kind any) func(parley.Event) bool {
		return func(e parley.Event) bool {
			if e.KeyPackages == nil {
				return false
			}
			if e.KeyPackages.Kind != kind {
				t.Errorf("told of %s", e.KeyPackages.Kind)
			}
			return true
		}
	}
	claim()
	claim()
	low := ada.await(t, "word that few are left", of(parley.KeyPackagesLow))
	if n := low.KeyPackages; n.Left != 1 || n.Client != "ada" || n.Expires.Before(clock.Now()) {
		t.Errorf("it says %+v", n)
	}
	ada.stop()
	ada = takeBot(t, node, "ada")
	again := ada.await(t, "the same once more", of(parley.KeyPackagesLow))
	if again.ID != low.ID {
		t.Errorf("%s, first %s", again.ID, low.ID)
	}
	ok(t, again.Ack(ctx))
	ada.stop()
	ada = takeBot(t, node, "ada")
	claim() // the last one: known already
	claim() // the one of last resort
	used := ada.await(t, "word of the last resort", of(parley.LastResortUsed))
	ok(t, used.Ack(ctx))
	ok(t, ada.PublishKeyPackages(ctx, 3))
	clock.ahead.Add(int64((12*7 - 6) * 24 * time.Hour))
	ok(t, ada.await(t, "word of the end", of(parley.LastResortExpires)).Ack(ctx))
	clock.ahead.Add(int64(7 * 24 * time.Hour))
	if out := ada.await(t, "word that none is left", of(parley.KeyPackagesOut)); out.KeyPackages.Left != 0 {
		t.Errorf("it says %+v", out.KeyPackages)
	}
}
