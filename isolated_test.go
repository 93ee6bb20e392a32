package parley_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"parley"
	"parley/delivery"
)

// deafCarrier is a delivery service that nobody ever hears from.
type deafCarrier struct {
	carrier
	asked chan struct{}
}

func (c *deafCarrier) SendCommitBundle(context.Context, delivery.Bundle) (delivery.Answer, error) {
	select {
	case c.asked <- struct{}{}:
	default:
	}
	return nil, errors.New("no answer")
}

// TestIsolatedNodeTakesUpWhatItLeft stops a node without a delivery service of its own while a commit waits for the foreign one, and a
// message for its owner. When it is started again both are taken up, though nobody asks for anything.
func TestIsolatedNodeTakesUpWhatItLeft(t *testing.T) {
	ctx := t.Context()
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	config.SpoolAgeMs = uint64(time.Hour.Milliseconds())
	deaf, clock := &deafCarrier{asked: make(chan struct{}, 1)}, &warpedClock{Clock: parley.SystemClock()}
	o := parley.Options{Data: filepath.Join(t.TempDir(), "data"), Config: config, Isolated: true, Foreign: &carrier{}, Clock: clock}
	node := openNode(t, o)
	conv := func(n *parley.Node, client parley.ClientID) *parley.Conversation {
		return n.Bare(client).Conversation("tea")
	}
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	_, err = ada.Create(ctx, "tea")
	ok(t, err)
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	ok(t, conv(node, "ada").AddKeyPackages(ctx, packages...))
	_, err = bob.Join(ctx, parley.Invitation{Welcome: o.Foreign.(*carrier).last().Welcome})
	ok(t, err)
	sealed, err := conv(node, "ada").Encrypt(ctx, []byte("for nobody"), nil)
	ok(t, err)
	_, err = conv(node, "bob").Decrypt(ctx, sealed)
	ok(t, err)
	closeNode(t, node)

	o.Foreign = deaf
	node = openNode(t, o)
	hasty, cancel := context.WithCancel(ctx)
	go func() { // who asked leaves when the commit was offered, long before it is given up
		<-deaf.asked
		cancel()
	}()
	if err := conv(node, "ada").UpdateKeys(hasty); parley.AdviceOf(err) != parley.Retry {
		t.Fatalf("a commit that nobody answers: %v", err)
	}
	before, err := conv(node, "bob").History(ctx)
	ok(t, err)
	closeNode(t, node)

	clock.ahead.Store(int64(2 * time.Hour)) // bob's message is over
	heard := &carrier{}
	o.Foreign = heard
	node = openNode(t, o)
	defer closeNode(t, node)
	// The commit has come, and the expiry of the message stands in bob's log, which reading does not wake.
	tick, timeout := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		history, err := conv(node, "bob").History(ctx)
		ok(t, err)
		if len(heard.last().Commit) > 0 && history.Version > before.Version {
			break
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("offered a commit: %v; bob's log is at %d", len(heard.last().Commit) > 0, history.Version)
		}
	}
	status, err := conv(node, "ada").Status(ctx)
	for ; err == nil && status.Epoch < 2; status, err = conv(node, "ada").Status(ctx) {
	}
	ok(t, err)
}
