package scripts

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop"
	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
)

// server runs one of our own over loopback for the time of a test.
func server(t *testing.T) *Client {
	t.Helper()
	return serverWith(t, interop.Config{StatesMax: interop.DefaultStatesMax})
}

func serverWith(t *testing.T, c interop.Config) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- interop.NewServer(c).Serve(ctx, listener) }()
	client, err := Dial(ctx, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return client
}

// TestRandomScriptsAgainstOurselves plays a few scripts with every cipher suite, and checks that they use the whole interface.
func TestRandomScriptsAgainstOurselves(t *testing.T) {
	greasy := serverWith(t, interop.Config{StatesMax: interop.DefaultStatesMax, GREASE: mlsengine.WithGREASE})
	o := Options{Clients: []*Client{server(t), greasy}, Scripts: 2, Steps: 8, ActorsMax: 6}
	if os.Getenv("PARLEY_SOAK") != "" {
		o.Scripts, o.Steps, o.ActorsMax = 5, 30, 16
	}
	used := make(map[string]struct{})
	for o.Suite = 1; o.Suite <= 7; o.Suite++ {
		for n := range o.Scripts {
			seed := uint64(o.Suite)*1000 + uint64(n)
			w := newWorld(o, seed)
			if err := w.play(context.Background()); err != nil {
				t.Fatalf("--suite %d --steps %d --actors %d --scripts 1: %v", o.Suite, o.Steps, o.ActorsMax, w.failure(seed, o.Suite, err))
			}
			for _, line := range w.trace.lines {
				if words := strings.Fields(line); len(words) > 1 {
					used[words[1]] = struct{}{}
				}
			}
		}
	}
	for _, m := range mlsclient.MLSClient_ServiceDesc.Methods {
		if _, ok := used[m.MethodName]; !ok && m.MethodName != "Name" && m.MethodName != "SupportedCiphersuites" {
			t.Errorf("no script used %s", m.MethodName)
		}
	}
}

// TestAFailureCanBeRead plays against a server without room.
func TestAFailureCanBeRead(t *testing.T) {
	o := Options{Clients: []*Client{serverWith(t, interop.Config{StatesMax: 6})}, Seed: 42, Scripts: 1, Steps: 10, ActorsMax: 6}
	err := Run(context.Background(), o)
	var failure *Failure
	if !errors.As(err, &failure) || failure.Seed != 42 || len(failure.Script) == 0 {
		t.Fatalf("it ended with %v", err)
	}
	last := failure.Script[len(failure.Script)-1]
	if status.Code(failure.Err) != codes.ResourceExhausted || !strings.Contains(last, "ResourceExhausted") {
		t.Errorf("it ended with %v after %s", failure.Err, last)
	}
	if !strings.Contains(err.Error(), "seed 42") || !strings.Contains(failure.Script[0], "actor1(Parley): CreateGroup group_id=group") {
		t.Errorf("it reads %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	client := server(t)
	for _, o := range []Options{
		{Scripts: 1, Steps: 1, ActorsMax: 2}, {Clients: []*Client{client}, Steps: 1, ActorsMax: 2}, {Clients: []*Client{client}, Scripts: 1, Steps: 1, ActorsMax: 1},
	} {
		if err := Run(context.Background(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := Run(context.Background(), Options{Clients: []*Client{client}, Scripts: 1, Steps: 1, ActorsMax: 2, Suite: 99}); !errors.Is(err, ErrNoSuite) {
		t.Errorf("suite 99: %v", err)
	}
}
