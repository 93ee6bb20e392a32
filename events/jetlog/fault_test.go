package jetlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/events/logtest"
	"parley/internal/ids"
	"parley/internal/natsd"
)

// impatient is how long a session under fault waits: less than the fault lasts.
const impatient = 300 * time.Millisecond

func texts(t *testing.T, log events.Log, id events.LogID) []string {
	t.Helper()
	got, err := logtest.Collect(testContext(t), log.Scan, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, m := range got {
		out = append(out, string(m.Data))
	}
	return out
}

func appendText(ctx context.Context, log events.Log, id events.LogID, expect uint64, parts ...string) (uint64, error) {
	messages := make([][]byte, len(parts))
	for i, p := range parts {
		messages[i] = []byte(p)
	}
	return log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: messages})
}

func mustAppend(t *testing.T, log events.Log, id events.LogID, expect uint64, parts ...string) uint64 {
	t.Helper()
	seq, err := appendText(testContext(t), log, id, expect, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// servers runs a test against one separate server and against a cluster; link is where a proxy may stand.
func servers(t *testing.T, test func(t *testing.T, url, link string, config jetlog.Config)) {
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		p := shared.server(t)
		test(t, p.URL(), p.Addr(), jetlog.Config{Namespace: namespace(t)})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := shared.three(t)
		test(t, c.URL(), c.Servers[0].Addr(), jetlog.Config{Namespace: namespace(t), Replicas: 3})
	})
}

func TestAStalledPublishLandsLaterOrIsFencedOff(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, url, link string, config jetlog.Config) {
		sure := open(t, connect(t, url, jetlog.ConnectOptions{}), config)
		proxy := logtest.NewProxy(t, link)
		stalling := config
		stalling.Patience = impatient
		far := open(t, connect(t, proxy.URL(), jetlog.ConnectOptions{}), stalling)
		for _, parts := range [][]string{{"late"}, {"late chunk", "late"}} {
			t.Run(fmt.Sprintf("%d messages land", len(parts)), func(t *testing.T) {
				id := events.ConversationLog("lands", own(t))
				head := mustAppend(t, sure, id, 0, "first")
				proxy.Stall()
				if _, err := appendText(context.Background(), far, id, head, parts...); !errors.Is(err, events.ErrUnknownOutcome) {
					t.Fatalf("through a stalled link: %v, want ErrUnknownOutcome", err)
				}
				if last, err := sure.Last(testContext(t), id); err != nil || string(last.Data) != "first" {
					t.Fatalf("while it stalls the newest is %q, %v", last.Data, err)
				}
				proxy.Resume()
				until(t, "the late append arrives", func() bool {
					last, err := sure.Last(testContext(t), id)
					return err == nil && string(last.Data) == "late"
				})
				if got, want := texts(t, sure, id), append([]string{"first"}, parts...); !slices.Equal(got, want) {
					t.Errorf("the log holds %q, want %q", got, want)
				}
			})
			t.Run(fmt.Sprintf("%d messages are fenced off", len(parts)), func(t *testing.T) {
				id := events.ConversationLog("fenced", own(t))
				head := mustAppend(t, sure, id, 0, "first")
				proxy.Stall()
				if _, err := appendText(context.Background(), far, id, head, parts...); !errors.Is(err, events.ErrUnknownOutcome) {
					t.Fatalf("through a stalled link: %v, want ErrUnknownOutcome", err)
				}
				head = mustAppend(t, sure, id, head, "no-op")
				proxy.Resume()
				// What was sent after it on the same connection is answered after it.
				if _, err := appendText(testContext(t), far, id, head, "after"); err != nil {
					t.Fatal(err)
				}
				if got, want := texts(t, sure, id), []string{"first", "no-op", "after"}; !slices.Equal(got, want) {
					t.Errorf("the log holds %q, want %q", got, want)
				}
			})
		}
	})
}

// own is a conversation of its own for a subtest.
func own(t *testing.T) ids.ConversationID { return ids.ConversationID(t.Name()) }

func TestASlowServerLeavesTheOutcomeOpen(t *testing.T) {
	t.Parallel()
	p := process(t)
	sure := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
	proxy := logtest.NewProxy(t, p.Addr())
	slow := open(t, connect(t, proxy.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: impatient})
	id := events.ConversationLog("a", "room")
	proxy.Slow(2 * impatient)
	if _, err := appendText(context.Background(), slow, id, 0, "slow"); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("append: %v, want ErrUnknownOutcome", err)
	}
	if _, err := slow.Last(context.Background(), id); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("last: %v, want ErrUnavailable", err)
	}
	if _, err := logtest.Collect(context.Background(), slow.Read, id, 0); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("read: %v, want ErrUnavailable", err)
	}
	until(t, "the append arrives", func() bool {
		last, err := sure.Last(testContext(t), id)
		return err == nil && string(last.Data) == "slow"
	})
	proxy.Slow(0)
	last, err := slow.Last(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, slow, id, last.Sequence, "fast again")
}

func TestAServerThatIsAwayIsAClearErrorAndComesBack(t *testing.T) {
	t.Parallel()
	p := process(t)
	changes := make(chan bool, 8)
	nc := connect(t, p.URL(), jetlog.ConnectOptions{OnChange: func(connected bool) { changes <- connected }})
	log := open(t, nc, jetlog.Config{Patience: impatient})
	id := events.ConversationLog("a", "room")
	head := mustAppend(t, log, id, 0, "before")
	p.Kill()
	if <-changes {
		t.Error("connected while the server is dead")
	}
	ctx := context.Background()
	for range 3 { // for longer than anybody's patience
		if _, err := appendText(ctx, log, id, head, "while away"); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("append: %v, want ErrUnavailable", err)
		}
		if _, err := appendText(ctx, log, id, head, "while", "away"); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("batch: %v, want ErrUnavailable", err)
		}
		if _, err := log.Last(ctx, id); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("last: %v, want ErrUnavailable", err)
		}
		if err := log.Damage(ctx); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("damage: %v, want ErrUnavailable", err)
		}
		if _, _, err := log.Rings().Load(ctx, id); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("ring: %v, want ErrUnavailable", err)
		}
	}
	if err := p.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if !<-changes {
		t.Error("not told of the reconnect")
	}
	// Nothing that was refused arrives: the same store goes on where it was.
	mustAppend(t, log, id, head, "after")
	if got, want := texts(t, log, id), []string{"before", "after"}; !slices.Equal(got, want) {
		t.Errorf("the log holds %q, want %q", got, want)
	}
}

func TestAShortAbsenceIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := process(t)
	log := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: 20 * time.Second})
	id := events.ConversationLog("a", "room")
	head := mustAppend(t, log, id, 0, "before")
	p.Kill()
	until(t, "the loss is noticed", func() bool { return !log.Conn().IsConnected() })
	done := make(chan error, 1)
	go func() {
		_, err := appendText(context.Background(), log, id, head, "after")
		done <- err
	}()
	if err := p.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAFullStreamRefusesWholeAppendsAndResumes(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, url, _ string, config jetlog.Config) {
		config.MaxBytes = 1 << 20
		nc := connect(t, url, jetlog.ConnectOptions{})
		log := open(t, nc, config)
		ctx := testContext(t)
		a, b := events.ConversationLog("a", "room"), events.ConversationLog("a", "hall")
		block := string(bytes.Repeat([]byte("x"), 32<<10))
		var want []string
		var head uint64
		for {
			seq, err := appendText(ctx, log, a, head, block)
			if err != nil {
				if !errors.Is(err, events.ErrFull) {
					t.Fatalf("at the limit: %v, want ErrFull", err)
				}
				break
			}
			head, want = seq, append(want, block)
		}
		if len(want) == 0 {
			t.Fatal("nothing fitted at all")
		}
		// The first message of this batch fits, all of it does not.
		small := "small"
		if _, err := log.AppendBatch(ctx, []events.Append{
			{Log: b, Messages: [][]byte{[]byte(small)}}, {Log: a, Expect: head, Messages: [][]byte{[]byte(block)}},
		}); !errors.Is(err, events.ErrFull) {
			t.Errorf("a batch at the limit: %v, want ErrFull", err)
		}
		if got := texts(t, log, b); len(got) != 0 {
			t.Errorf("half of a batch is visible: %d messages", len(got))
		}
		if got := texts(t, log, a); !slices.Equal(got, want) {
			t.Errorf("%d messages stand, %d were acknowledged", len(got), len(want))
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(ctx, config.Namespace+"_LOG")
		if err != nil {
			t.Fatal(err)
		}
		larger := stream.CachedInfo().Config
		larger.MaxBytes *= 2
		if _, err := js.UpdateStream(ctx, larger); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, log, a, head, block)
		mustAppend(t, log, b, 0, small)
	})
}

func TestAFileSizeLimitHalvesNothing(t *testing.T) {
	t.Parallel()
	p := process(t)
	log := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: 2 * impatient})
	p.Stop()
	ctx := testContext(t)
	if err := p.RestartWith(ctx, 512<<10); err != nil {
		t.Fatal(err)
	}
	id := events.ConversationLog("a", "room")
	var acknowledged []string
	var head uint64
	for i := 0; ; i++ {
		text := fmt.Sprint(i, string(bytes.Repeat([]byte("x"), 32<<10)))
		seq, err := appendText(context.Background(), log, id, head, text)
		if err != nil {
			if !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrUnavailable) {
				t.Fatalf("at the limit: %v", err)
			}
			break
		}
		head, acknowledged = seq, append(acknowledged, text)
	}
	p.Kill()
	if err := p.RestartWith(ctx, 0); err != nil {
		t.Fatal(err)
	}
	got := texts(t, log, id)
	if len(got) < len(acknowledged) || !slices.Equal(got[:len(acknowledged)], acknowledged) {
		t.Fatalf("%d messages stand, %d were acknowledged", len(got), len(acknowledged))
	}
	last, err := log.Last(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, log, id, last.Sequence, "with room again")
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	rounds := 2
	if long() {
		rounds = 25
	}
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		p := process(t)
		log := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: 2 * time.Second})
		load := newLoad(log)
		for range rounds {
			load.run(t, p.Kill)
			if err := p.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
			load.check(t)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := cluster(t)
		log := open(t, connect(t, c.URL(), jetlog.ConnectOptions{}), jetlog.Config{Replicas: 3, Patience: 2 * time.Second})
		load := newLoad(log)
		for round := range rounds {
			if round%2 == 0 {
				load.run(t, func() { leader(t, log, c).Kill() })
				load.check(t) // on two servers
			} else {
				load.run(t, c.Kill)
			}
			if err := c.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
			load.check(t)
		}
	})
}

// leader is the server that leads the log stream.
func leader(t *testing.T, s *jetlog.Store, c *natsd.Cluster) *natsd.Process {
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Error(err)
		return c.Servers[0]
	}
	stream, err := js.Stream(testContext(t), s.Names().Stream(jetlog.StreamLog, 0))
	if err != nil {
		t.Error(err)
		return c.Servers[0]
	}
	for i, p := range c.Servers {
		if stream.CachedInfo().Cluster.Leader == fmt.Sprintf("s%d", i+1) {
			return p
		}
	}
	t.Error("the stream has no leader")
	return c.Servers[0]
}
