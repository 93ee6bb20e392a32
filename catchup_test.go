package parley_test

import (
	"path/filepath"
	"testing"
	"time"

	"parley"
)

// TestOwnersCatchUpBeforeACommitIsDue: a node was away while the others of a group of a foreign service went on. A commit of its own is due,
// and it waits until the owner has handed in what came meanwhile; later it comes by itself as ever.
func TestOwnersCatchUpBeforeACommitIsDue(t *testing.T) {
	ctx, clock, transport := t.Context(), &warpedClock{Clock: parley.SystemClock()}, &carrier{}
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	o := parley.Options{Data: filepath.Join(t.TempDir(), "data"), Config: config, Isolated: true, Foreign: transport, Clock: clock}
	node := openNode(t, o)
	_, err := node.Client(ctx, "ada")
	ok(t, err)
	_, err = node.Client(ctx, "bob")
	ok(t, err)
	of := func(id parley.ClientID) *parley.Conversation { return node.Bare(id).Conversation("tea") }
	_, err = node.Bare("ada").Create(ctx, "tea")
	ok(t, err)
	packages, err := node.Bare("bob").GenerateKeyPackages(ctx, 1)
	ok(t, err)
	ok(t, of("ada").AddKeyPackages(ctx, packages...))
	_, err = node.Bare("bob").Join(ctx, parley.Invitation{Welcome: transport.last().Welcome})
	ok(t, err)
	propose := func() {
		t.Helper()
		p, err := of("bob").ProposeUpdate(ctx)
		ok(t, err)
		taken, err := of("ada").Decrypt(ctx, p.Message)
		ok(t, err)
		if taken.Delay == nil {
			t.Fatal("ada is to commit nothing")
		}
	}
	propose()
	ok(t, of("bob").CommitPending(ctx))
	missed := transport.last().Commit

	closeNode(t, node)
	clock.ahead.Store(int64(time.Minute))
	node = openNode(t, o)
	defer closeNode(t, node)
	status, err := of("ada").Status(ctx)
	ok(t, err)
	if status.Staged || status.Epoch != 1 || status.NextDue.IsZero() {
		t.Fatalf("ada has not waited: epoch %d, a commit is on its way: %t", status.Epoch, status.Staged)
	}
	taken, err := of("ada").Decrypt(ctx, missed)
	ok(t, err)
	if !taken.EpochChanged() {
		t.Fatalf("what she had missed: %+v", taken.Outcome)
	}
	agree(t, of("ada"), of("bob"))

	propose()
	clock.ahead.Store(int64(3 * time.Minute))
	_, err = of("ada").ExportSecret(ctx, "", nil, 16) // looks at the clock
	ok(t, err)
	awaitEpoch(t, of("ada"), 3)
}
