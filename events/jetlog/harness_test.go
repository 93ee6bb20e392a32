package jetlog_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"parley/events"
	"parley/events/jetlog"
	"parley/events/logtest"
	"parley/internal/natsd"
)

func TestMain(m *testing.M) {
	natsd.ChildMain()
	goleak.VerifyTestMain(m)
}

// long reports whether the long versions of the tests are asked for (make soak).
func long() bool { return os.Getenv("PARLEY_SOAK") != "" }

// connect opens a connection that lives as long as the test.
func connect(t *testing.T, url string, o jetlog.ConnectOptions) *nats.Conn {
	t.Helper()
	nc, err := jetlog.Connect(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// open opens a store with a patience that lets a test of an absent server end soon.
func open(t *testing.T, nc *nats.Conn, config jetlog.Config) *jetlog.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := jetlog.Open(ctx, nc, config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// embedded is a server in this process, and how to connect to it.
func embedded(t *testing.T) jetlog.ConnectOptions {
	t.Helper()
	server, err := natsd.Embedded(natsd.Options{Dir: t.TempDir(), MaxStoreBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	return jetlog.ConnectOptions{InProcess: server}
}

// process is a server in a process of its own.
func process(t *testing.T) *natsd.Process {
	t.Helper()
	p, err := natsd.StartProcess(context.Background(), natsd.ProcessOptions{Options: natsd.Options{Dir: t.TempDir(), MaxStoreBytes: 8 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// cluster is three servers.
func cluster(t *testing.T) *natsd.Cluster {
	t.Helper()
	c, err := natsd.StartCluster(context.Background(), natsd.Options{Dir: t.TempDir(), MaxStoreBytes: 8 << 30, LogFile: os.Getenv("PARLEY_NATSD_LOG")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

// reopen opens session after session of one deployment.
func reopen(url string, o jetlog.ConnectOptions, config jetlog.Config) logtest.Open {
	return func(t *testing.T) events.Stores {
		t.Helper()
		return open(t, connect(t, url, o), config).Stores()
	}
}

// until polls a condition that is going to hold.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 30 s", strings.TrimSpace(what))
		}
	}
}
