package jetlog_test

import (
	"errors"
	"slices"
	"testing"

	"parley/events"
	"parley/events/jetlog"
)

func TestLeasesTellWhoLives(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	p := process(t)
	a := nodes(t, open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Namespace: namespace(t)}))
	b := nodes(t, open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Namespace: namespace(t)}))
	ok(t, a.Renew(ctx, "a1", jetlog.NodeLease{Node: "a", Version: "1"}))
	ok(t, b.Renew(ctx, "b1", jetlog.NodeLease{Node: "b", Version: "1"}))
	ok(t, a.Renew(ctx, "a1", jetlog.NodeLease{Node: "a", Version: "2"}))
	if _, err := b.Rotate(ctx, "b1"); err != nil {
		t.Fatal(err)
	}
	leases, err := b.List(ctx)
	if want := []jetlog.NodeLease{{Node: "a", Version: "2"}, {Node: "b", Version: "1"}}; err != nil || !slices.Equal(sortedLeases(leases), want) {
		t.Errorf("%v, %v", leases, err)
	}
	ok(t, a.Remove(ctx, "a1"))
	ok(t, a.Remove(ctx, "a1"))
	if leases, err := a.List(ctx); err != nil || len(leases) != 1 || leases[0].Node != "b" {
		t.Errorf("after one left: %v, %v", leases, err)
	}
}

func TestOneRotatesAtATime(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	n := nodes(t, open(t, connect(t, process(t).URL(), jetlog.ConnectOptions{}), jetlog.Config{Namespace: namespace(t)}))
	first, err := n.Rotate(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Rotate(ctx, "b"); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a second one: %v", err)
	}
	ok(t, first.Renew(ctx))
	ok(t, first.End(ctx))
	second, err := n.Rotate(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Renew(ctx); !errors.Is(err, events.ErrConflict) {
		t.Errorf("the first one again: %v", err)
	}
	ok(t, first.End(ctx)) // which is not its to end
	ok(t, second.Renew(ctx))
}

func nodes(t *testing.T, s *jetlog.Store) *jetlog.Nodes {
	t.Helper()
	n, err := s.Nodes(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func sortedLeases(l []jetlog.NodeLease) []jetlog.NodeLease {
	slices.SortFunc(l, func(a, b jetlog.NodeLease) int { return len(a.Node) - len(b.Node) + int(a.Node[0]) - int(b.Node[0]) })
	return l
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
