package scripts

import (
	"context"
	"net"
	"testing"

	"parley/internal/interop"
)

// server runs one of our own over loopback for the time of a test.
func server(t *testing.T) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- interop.NewServer(interop.DefaultStatesMax).Serve(ctx, listener) }()
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

func TestRandomScriptsAgainstOurselves(t *testing.T) {
	clients := []*Client{server(t), server(t)}
	for suite := uint32(1); suite <= 7; suite++ {
		o := Options{Clients: clients, Seed: uint64(suite) * 100, Scripts: 3, Steps: 8, ActorsMax: 6, Suite: suite}
		if err := Run(context.Background(), o); err != nil {
			t.Errorf("repeat with --seed N --scripts 1 --suite %d: %v", suite, err)
		}
	}
}
