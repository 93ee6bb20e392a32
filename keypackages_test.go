package parley

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"parley/delivery"
)

// aheadClock is the machine's clock, set forward at will; its timers run as ever.
type aheadClock struct {
	Clock
	ahead atomic.Int64
}

func (c *aheadClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

// TestKeyPackagesOfAnIdleClientAreRenewed leaves a client alone: its key packages run out, by age and by use, on a node where nobody has
// taken it, and there are new ones.
func TestKeyPackagesOfAnIdleClientAreRenewed(t *testing.T) {
	clock := &aheadClock{Clock: SystemClock()}
	first, ctx, o := sequencing(t, func(o *Options) { o.Clock, o.TendInterval = clock, 30*time.Millisecond })
	if _, err := first.Client(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	suite := uint16(first.options.Config.CipherSuite)
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	node := openSequencing(t, o)
	lasting := func() int {
		n, err := node.delivery.CountKeyPackagesFor(ctx, "ada", suite, keyPackageMargin)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	if n := lasting(); n != keyPackagesKept {
		t.Fatalf("%d key packages", n)
	}
	held := func() int {
		status, err := node.Bare("ada").Status(ctx)
		if err != nil {
			t.Error(err)
		}
		return status.KeyPackages
	}
	before := held()
	clock.ahead.Store(int64(80 * 24 * time.Hour)) // they are good for four days more
	await(ctx, t, "new ones are published before the old ones are over", func() bool { return lasting() == keyPackagesKept })
	clock.ahead.Store(int64(90 * 24 * time.Hour))
	await(ctx, t, "the private keys of those that are over are dropped", func() bool { return held() == before })
	for i := range keyPackagesKept - keyPackagesLow {
		if _, err := claimAs(ctx, node, "bob", i); err != nil {
			t.Fatal(err)
		}
	}
	await(ctx, t, "new ones take the place of those that were claimed", func() bool { return lasting() > keyPackagesLow })
}

func claimAs(ctx context.Context, n *Node, claimer ClientID, i int) (delivery.Claimed, error) {
	return n.delivery.ClaimKeyPackage(ctx, delivery.Claim{
		Client: "ada", Suite: uint16(n.options.Config.CipherSuite), Claimer: claimer, CommandID: CommandID(rune('a' + i)),
	})
}
