package jetlog_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	// These tests wait for elections and timeouts more than they compute: more of them at once than there are processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	shared.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is one separate server and one cluster for all tests that neither kill nor look into them; each test has a namespace of its
// own there. They start when first asked for.
var shared sharedServers

type sharedServers struct {
	mu      sync.Mutex
	dir     string
	process *natsd.Process
	cluster *natsd.Cluster
}

func (s *sharedServers) options(t *testing.T, name string) natsd.Options {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "jetlog")
		if err != nil {
			t.Fatal(err)
		}
		s.dir = dir
	}
	return natsd.Options{Dir: filepath.Join(s.dir, name), MaxStoreBytes: 1 << 40, LogFile: os.Getenv("PARLEY_NATSD_LOG")}
}

func (s *sharedServers) server(t *testing.T) *natsd.Process {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		p, err := natsd.StartProcess(context.Background(), natsd.ProcessOptions{Options: s.options(t, "one")})
		if err != nil {
			t.Fatal(err)
		}
		s.process = p
	}
	return s.process
}

func (s *sharedServers) three(t *testing.T) *natsd.Cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == nil {
		c, err := natsd.StartCluster(context.Background(), s.options(t, "three"))
		if err != nil {
			t.Fatal(err)
		}
		s.cluster = c
	}
	return s.cluster
}

func (s *sharedServers) stop() {
	if s.process != nil {
		s.process.Kill()
	}
	if s.cluster != nil {
		s.cluster.Kill()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// namespace is one that no other test has.
func namespace(t *testing.T) string {
	sum := sha256.Sum256([]byte(t.Name()))
	return "t" + hex.EncodeToString(sum[:8])
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
