package jetlog_test

import (
	"errors"
	"slices"
	"testing"

	"parley/events"
	"parley/events/jetlog"
)

// onEach runs a test of leases on one server and on a cluster, with two views of the leases.
func onEach(t *testing.T, test func(t *testing.T, a, b *jetlog.Nodes)) {
	t.Parallel()
	for name, server := range map[string]func(*testing.T) (url string, replicas int){
		"one server": func(t *testing.T) (string, int) { return process(t).URL(), 1 },
		"cluster":    func(t *testing.T) (string, int) { return cluster(t).URL(), 3 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, replicas := server(t)
			config := jetlog.Config{Namespace: namespace(t), Replicas: replicas}
			a := nodes(t, open(t, connect(t, url, jetlog.ConnectOptions{}), config))
			test(t, a, nodes(t, open(t, connect(t, url, jetlog.ConnectOptions{}), config)))
		})
	}
}

func TestLeasesTellWhoLives(t *testing.T) { onEach(t, leasesTell) }

func leasesTell(t *testing.T, a, b *jetlog.Nodes) {
	ctx := testContext(t)
	ok(t, a.Renew(ctx, "a1", jetlog.NodeLease{Node: "a", Version: "1"}))
	ok(t, b.Renew(ctx, "b1", jetlog.NodeLease{Node: "b", Version: "1"}))
	ok(t, a.Renew(ctx, "a1", jetlog.NodeLease{Node: "a", Version: "2"}))
	if _, err := b.Rotate(ctx, "b1"); err != nil {
		t.Fatal(err)
	}
	leases, err := b.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var lives []string
	for _, l := range leases {
		lives = append(lives, l.Node+" "+l.Version)
	}
	if slices.Sort(lives); !slices.Equal(lives, []string{"a 2", "b 1"}) {
		t.Errorf("%v", lives)
	}
	ok(t, a.Remove(ctx, "a1"))
	ok(t, a.Remove(ctx, "a1"))
	if leases, err := a.List(ctx); err != nil || len(leases) != 1 || leases[0].Node != "b" {
		t.Errorf("after one left: %v, %v", leases, err)
	}
}

func TestOneRotatesAtATime(t *testing.T) { onEach(t, oneRotates) }

func oneRotates(t *testing.T, a, b *jetlog.Nodes) {
	ctx := testContext(t)
	first, err := a.Rotate(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Rotate(ctx, "b"); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a second one: %v", err)
	}
	ok(t, first.Renew(ctx))
	ok(t, first.End(ctx))
	second, err := b.Rotate(ctx, "b")
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

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
