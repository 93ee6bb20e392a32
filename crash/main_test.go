package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"parley"
	"parley/internal/natsd"
)

// TestMain turns the test binary into a server or a node where it was started as one, and sees to it that no goroutine outlives the tests.
func TestMain(m *testing.M) {
	natsd.ChildMain()
	doomedMain()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds what a test waits for.
const patience = 20 * time.Second

// errDead is what a node's hooks answer once it is over.
var errDead = errors.New("the node is dead")

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// warpedClock is the machine's clock, set forward at will; its timers run as ever.
type warpedClock struct {
	parley.Clock
	ahead atomic.Int64
}

func (c *warpedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

// streams is an operator's view of the server.
func streams(ctx context.Context, url string) (jetstream.JetStream, func(), error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return js, nc.Close, err
}
