package parley_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"parley"
	"parley/events"
	"parley/internal/natsd"
)

// dying is a node's life: once it is over no step of the node happens any more.
type dying struct {
	at     parley.Step
	before bool
	armed  atomic.Bool
	dead   atomic.Bool
	died   chan struct{}
}

var errDead = errors.New("the node is dead")

func (d *dying) hooks() parley.Hooks {
	hook := func(before bool) func(context.Context, parley.Step, events.LogID) error {
		return func(_ context.Context, step parley.Step, _ events.LogID) error {
			if before == d.before && step == d.at && d.armed.CompareAndSwap(true, false) {
				d.dead.Store(true)
				close(d.died)
			}
			if d.dead.Load() {
				return errDead
			}
			return nil
		}
	}
	return parley.Hooks{Before: hook(true), After: hook(false)}
}

// TestAnotherNodeTakesOver lets a node die between a staged commit and the answer of the delivery service, once with the commit
// accepted and once not. The other node takes its shares; no data moves, and the commit takes effect once.
func TestAnotherNodeTakesOver(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		t.Run(fmt.Sprintf("accepted=%v", accepted), func(t *testing.T) { takeOver(t, accepted) })
	}
}

func takeOver(t *testing.T, accepted bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0"})
	ok(t, err)
	defer server.Shutdown()
	shares := parley.Shares(16)
	options := func(name string, owned []uint32) parley.Options {
		return parley.Options{URL: server.URL(), KeyDir: filepath.Join(dir, "keys"), Name: name, Shares: owned}
	}
	fate := &dying{at: "actors.send-bundle", before: !accepted, died: make(chan struct{})}
	home := parley.ShareOf("client/ada", 16)
	var mine, theirs []uint32
	for _, s := range shares {
		if s == home {
			mine = append(mine, s)
		} else {
			theirs = append(theirs, s)
		}
	}
	first := options("first", mine)
	first.Hooks = fate.hooks()
	a := openNode(t, first)
	defer a.Close(ctx)
	b := openNode(t, options("second", theirs))
	defer closeNode(t, b)
	bob := takeBot(t, b, "bob")
	ada, err := a.Client(ctx, "ada")
	ok(t, err)
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, a.Insist(ctx, func(ctx context.Context) error { return conv.Add(ctx, "bob") }))
	bob.await(t, "the welcome", inEpoch(1))

	fate.armed.Store(true)
	ctx2 := parley.WithCommandID(ctx, "the update")
	answer := make(chan error, 1)
	go func() { answer <- conv.UpdateKeys(ctx2) }()
	<-fate.died
	if err := <-answer; err == nil || parley.AdviceOf(err) != parley.Retry {
		t.Errorf("a dead node answered %v", err)
	}
	b.TakeShares(home)
	adaThere, err := b.Client(ctx, "ada")
	ok(t, err)
	there := adaThere.Conversation("tea")
	// The same command again, on the other node: its first outcome, and one more epoch in all.
	ok(t, b.Insist(ctx2, func(ctx context.Context) error { return there.UpdateKeys(ctx) }))
	bob.await(t, "epoch 2", inEpoch(2))
	_, err = there.Send(ctx, []byte("still here"))
	ok(t, err)
	m := bob.await(t, "a message", text("still here"))
	if m.Epoch != 2 {
		t.Errorf("the message is of epoch %d", m.Epoch)
	}
}

// TestTwoNodesThatBothBelieve lets two nodes serve the same client. One of them loses every race; the log stays one line, and every
// command that was acknowledged is in it once.
func TestTwoNodesThatBothBelieve(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0"})
	ok(t, err)
	defer server.Shutdown()
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	var nodes []*parley.Node
	for i := range 2 {
		node := openNode(t, parley.Options{
			URL: server.URL(), KeyDir: filepath.Join(dir, "keys"), Name: fmt.Sprintf("node-%d", i), Isolated: true, Config: config,
		})
		defer closeNode(t, node)
		nodes = append(nodes, node)
	}
	ada, err := nodes[0].Client(ctx, "ada")
	ok(t, err)
	_, err = ada.Create(ctx, "tea")
	ok(t, err)
	const each = 10
	errs := make(chan error, 2)
	for _, node := range nodes {
		conv := node.Bare("ada").Conversation("tea")
		go func() {
			var err error
			for range each {
				err = errors.Join(err, node.Insist(ctx, func(ctx context.Context) error {
					_, err := conv.ProposeUpdate(ctx)
					return err
				}))
			}
			errs <- err
		}()
	}
	for range nodes {
		ok(t, <-errs)
	}
	history, err := nodes[0].Bare("ada").Conversation("tea").History(ctx)
	ok(t, err)
	for _, node := range nodes {
		conv := node.Bare("ada").Conversation("tea")
		ok(t, node.Insist(ctx, func(ctx context.Context) error {
			_, err := conv.ExportSecret(ctx, "", nil, 16) // stores something: a node that is behind learns it
			return err
		}))
		status, err := conv.Status(ctx)
		ok(t, err)
		if status.Pending != 2*each {
			t.Errorf("%d proposals are pending, %d were acknowledged (history of %d records)", status.Pending, 2*each, history.Version)
		}
	}
}
