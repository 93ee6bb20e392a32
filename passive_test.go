package parley_test

import (
	"sync/atomic"
	"testing"
	"time"

	"parley"
)

// warpedClock is the machine's clock, set forward at will; its timers run as ever.
type warpedClock struct {
	parley.Clock
	ahead atomic.Int64
}

func (c *warpedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

// awaitVersion reads the log, which wakes nobody, until it is longer than version.
func awaitVersion(t *testing.T, conv *parley.Conversation, version uint64) uint64 {
	t.Helper()
	deadline := time.After(patience)
	for {
		history, err := conv.History(t.Context())
		ok(t, err)
		if history.Version > version {
			return history.Version
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("the log stays at version %d", version)
		}
	}
}

// TestMessagesExpireInAPassiveConversation leaves a message with a bot that never takes it: the bound of its age is kept, though nobody
// asks the conversation for anything any more.
func TestMessagesExpireInAPassiveConversation(t *testing.T) {
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	config := parley.DefaultConfig()
	config.SpoolAgeMs = uint64(time.Hour.Milliseconds())
	node := openNode(t, parley.Options{
		Clock: clock, Config: config, Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond},
	})
	defer closeNode(t, node)
	conv, bob := teaForTwo(t, node)
	sent, err := conv.Send(ctx, []byte("are you there?"))
	ok(t, err)
	his := bob.Conversation("tea")
	var version uint64
	for position := uint64(0); position < sent; {
		status, err := his.Status(ctx)
		ok(t, err)
		position, version = status.Position, status.Version
	}
	version = awaitVersion(t, his, version) // what was consumed is sealed anew when it becomes passive
	clock.ahead.Store(int64(2 * time.Hour))
	awaitVersion(t, his, version)
	_, err = conv.Send(ctx, []byte("never mind"))
	ok(t, err)
	for e, err := range bob.Events(ctx) {
		ok(t, err)
		if e.Message != nil {
			if text := string(e.Message.Text); text != "never mind" {
				t.Errorf("%q is handed over after its time", text)
			}
			return
		}
	}
}
