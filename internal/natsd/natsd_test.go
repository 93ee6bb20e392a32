package natsd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	ChildMain()
	goleak.VerifyTestMain(m)
}

func TestEmbeddedServerKeepsItsFilesInJetstream(t *testing.T) {
	dir := t.TempDir()
	s, err := Embedded(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if s.URL() != "" {
		t.Errorf("an embedded server without a listener says it listens at %s", s.URL())
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "jetstream", "$G", "streams", "S")); err != nil {
		t.Error(err)
	}
}

func TestASecondServerIsKeptOutOfADataDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := Embedded(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Embedded(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		if err == nil {
			second.Shutdown()
		}
		t.Errorf("second server: %v, want ErrInUse", err)
	}
	s.Shutdown()
	again, err := Embedded(Options{Dir: dir})
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	again.Shutdown()
}

func TestAServerWithoutSyncAlwaysIsRefused(t *testing.T) {
	for name, breakIt := range map[string]func(*server.Options){
		"default sync interval": func(o *server.Options) { o.SyncAlways = false },
		"no JetStream":          func(o *server.Options) { o.JetStream = false },
	} {
		t.Run(name, func(t *testing.T) {
			opts, err := Options{Dir: t.TempDir()}.server()
			if err != nil {
				t.Fatal(err)
			}
			breakIt(opts)
			s, err := start(opts)
			if !errors.Is(err, ErrNotSynced) {
				t.Errorf("got %v, want ErrNotSynced", err)
			}
			if s != nil {
				s.Shutdown()
			}
		})
	}
}

func TestAnEmbeddedServerListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "192.0.2.1:4222", "example.com:1"} {
		if s, err := Embedded(Options{Dir: t.TempDir(), Listen: listen}); !errors.Is(err, ErrNotLoopback) {
			if err == nil {
				s.Shutdown()
			}
			t.Errorf("listen on %q: %v, want ErrNotLoopback", listen, err)
		}
	}
	s, err := Embedded(Options{Dir: t.TempDir(), Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestProcessSurvivesKillOnTheSamePort(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := StartProcess(ctx, ProcessOptions{Options: Options{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	url := p.URL()
	p.Kill()
	if p.Running() {
		t.Error("running after kill")
	}
	if err := p.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if p.URL() != url {
		t.Errorf("moved from %s to %s", url, p.URL())
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestAServerWhosePortIsTakenSaysSo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := StartProcess(context.Background(), ProcessOptions{Options: Options{Dir: t.TempDir(), Listen: l.Addr().String()}})
	if !errors.Is(err, ErrNotReady) {
		t.Errorf("a server on a port that is taken: %v, want ErrNotReady", err)
	}
	if err == nil {
		p.Kill()
	}
}
