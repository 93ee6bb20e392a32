package parley_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley"
	"parley/events/logtest"
	"parley/internal/natsd"
)

// couple is two clients in one conversation.
type couple struct {
	node     *parley.Node
	ada, bob *bot
	tea      *parley.Conversation // ada's
	said     []string             // by ada, in order
}

func newCouple(t *testing.T, node *parley.Node) *couple {
	t.Helper()
	c := &couple{node: node, ada: takeBot(t, node, "ada"), bob: takeBot(t, node, "bob")}
	tea, err := c.ada.Create(t.Context(), "tea")
	ok(t, err)
	c.tea = tea
	ok(t, tea.Add(t.Context(), "bob"))
	c.bob.await(t, "the welcome", inEpoch(1))
	return c
}

// retriable runs a command once, in a bounded time: whatever it says under a fault has to be that it may be asked again.
func (c *couple) retriable(t *testing.T, id string, command func(context.Context) error) (failed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := command(parley.WithCommandID(ctx, parley.CommandID(id)))
	if err != nil && parley.AdviceOf(err) != parley.Retry {
		t.Errorf("%s under a fault advises %q: %v", id, parley.AdviceOf(err), err)
	}
	return err != nil
}

// insist runs a command under its id until it is done.
func (c *couple) insist(t *testing.T, id string, command func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.node.Insist(parley.WithCommandID(ctx, parley.CommandID(id)), command); err != nil {
		t.Errorf("%s after the fault: %v", id, err)
	}
}

func (c *couple) say(text string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.tea.Send(ctx, []byte(text))
		return err
	}
}

// heard sees to it that bob has had what ada said, each text once and in order.
func (c *couple) heard(t *testing.T) {
	t.Helper()
	var got []string
	timeout := time.After(time.Minute)
	for len(got) < len(c.said) {
		select {
		case e := <-c.bob.events:
			if e.Message != nil {
				got = append(got, string(e.Message.Text))
			}
			ok(t, c.node.Insist(t.Context(), e.Ack))
		case <-timeout:
			t.Fatalf("bob heard %q, ada said %q", got, c.said)
		}
	}
	if !slices.Equal(got, c.said) {
		t.Errorf("bob heard %q, ada said %q", got, c.said)
	}
	c.said = nil
}

// agree sees to it that members stand in the same epoch, and that replay of each log leads to where its conversation is.
func agree(t *testing.T, conversations ...*parley.Conversation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var first parley.Status
	for i, c := range conversations {
		var status parley.Status
		for {
			var err error
			if status, err = c.Status(ctx); err != nil {
				t.Fatalf("%s: %v", c.Client().ID(), err)
			}
			if i == 0 || status.Epoch >= first.Epoch {
				break
			}
			pause(ctx)
		}
		if i == 0 {
			first = status
		}
		if status.Epoch != first.Epoch || string(status.Authenticator) != string(first.Authenticator) || !status.Exists {
			t.Errorf("%s is in epoch %d (%s), %s in %d, or they do not agree", c.Client().ID(), status.Epoch, status.Lifecycle,
				conversations[0].Client().ID(), first.Epoch)
		}
		history, err := c.History(ctx)
		ok(t, err)
		if status, err = c.Status(ctx); err != nil || history.Digest != status.Digest && history.Version == status.Version {
			t.Errorf("%s: replay leads to %s, live is %s, %v", c.Client().ID(), history.Digest, status.Digest, err)
		}
	}
}

// pause waits a moment.
func pause(ctx context.Context) {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// streams is an operator's view of the server.
func streams(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// limit sets a stream's limit in bytes and returns the one before.
func limit(t *testing.T, js jetstream.JetStream, name string, bytes func(jetstream.StreamState) int64) int64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	ok(t, err)
	info, err := stream.Info(t.Context())
	ok(t, err)
	config, before := info.Config, info.Config.MaxBytes
	config.MaxBytes = bytes(info.State)
	_, err = js.UpdateStream(t.Context(), config)
	ok(t, err)
	return before
}

// TestFullStreamsAreOvercome fills each of the store's streams under a running node: whatever is asked then is done or says retry,
// and everything is done once when there is space again, without a restart.
func TestFullStreamsAreOvercome(t *testing.T) {
	for _, name := range []string{"LOG", "DS", "KP", "IN", "KEYS", "SNAP"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			node := d.node(t, parley.Options{Limits: parley.Limits{SnapshotEvery: 1}})
			defer closeNode(t, node)
			c := newCouple(t, node)
			eve := takeBot(t, node, "eve")
			js := streams(t, d.url)
			before := limit(t, js, "parley_"+name, func(s jetstream.StreamState) int64 { return int64(s.Bytes) })
			commands := c.underFault(t)
			limit(t, js, "parley_"+name, func(jetstream.StreamState) int64 { return before })
			c.afterFault(t, commands)
			agree(t, c.tea, c.bob.Conversation("tea"), eve.Conversation("tea"))
		})
	}
}

// faulted is a command that was asked for under a fault.
type faulted struct {
	id  string
	run func(context.Context) error
}

// underFault asks for some of everything once.
func (c *couple) underFault(t *testing.T) []faulted {
	t.Helper()
	var commands []faulted
	failures := 0
	try := func(id string, run func(context.Context) error) {
		commands = append(commands, faulted{id, run})
		if c.retriable(t, id, run) {
			failures++
		}
	}
	for i := range 3 {
		text := fmt.Sprintf("said %d", i)
		c.said = append(c.said, text)
		try(text, c.say(text))
	}
	try("create", func(ctx context.Context) error {
		_, err := c.ada.Create(ctx, "cake")
		return err
	})
	try("update", c.tea.UpdateKeys)
	try("add", func(ctx context.Context) error { return c.tea.Add(ctx, "eve") })
	t.Logf("%d of %d commands failed", failures, len(commands))
	return commands
}

// afterFault asks for the same once more: all of it is done, once.
func (c *couple) afterFault(t *testing.T, commands []faulted) {
	t.Helper()
	for _, command := range commands {
		c.insist(t, command.id, command.run)
	}
	c.insist(t, "propose", func(ctx context.Context) error {
		_, err := c.tea.ProposeUpdate(ctx)
		return err
	})
	c.insist(t, "commit", c.tea.CommitPending)
	c.said = append(c.said, "after all")
	c.insist(t, "after all", c.say("after all"))
	c.heard(t)
	status, err := c.tea.Status(t.Context())
	ok(t, err)
	// Epoch 1 is where the couple began; update, add and commit made one each.
	if status.Epoch != 4 || status.Pending != 0 || len(status.Members) != 3 {
		t.Errorf("epoch %d with %d members and %d proposals: something was done twice or not at all", status.Epoch, len(status.Members), status.Pending)
	}
	if status, err = c.ada.Conversation("cake").Status(t.Context()); err != nil || !status.Exists || status.Epoch != 0 {
		t.Errorf("cake: %+v, %v", status, err)
	}
}

// process starts a server in a process of its own and a node on it.
func process(t *testing.T, fileSize uint64) (*natsd.Process, parley.Options) {
	t.Helper()
	dir := t.TempDir()
	p, err := natsd.StartProcess(t.Context(), natsd.ProcessOptions{
		Options: natsd.Options{Dir: filepath.Join(dir, "data"), MaxStoreBytes: 8 << 30}, FileSizeMaxBytes: fileSize,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, parley.Options{URL: p.URL(), KeyDir: filepath.Join(dir, "keys")}
}

// TestServerAwayForLong kills the server and leaves it away for longer than anybody waits: what was asked meanwhile said retry, and is
// done when it is back. The node is not restarted.
func TestServerAwayForLong(t *testing.T) {
	t.Parallel()
	server, o := process(t, 0)
	o.Limits = parley.Limits{Store: time.Second, Recover: 2 * time.Second, Transport: time.Second}
	node := openNode(t, o)
	defer closeNode(t, node)
	c := newCouple(t, node)
	eve := takeBot(t, node, "eve")
	server.Kill()
	commands := c.underFault(t)
	ok(t, server.Restart(t.Context()))
	c.afterFault(t, commands)
	agree(t, c.tea, c.bob.Conversation("tea"), eve.Conversation("tea"))
}

// TestServerWithoutDisk runs a server whose files may not grow beyond a bound: what fails says retry, and goes on where the bound is
// lifted.
func TestServerWithoutDisk(t *testing.T) {
	t.Parallel()
	server, o := process(t, 96<<10)
	o.Limits = parley.Limits{Store: time.Second, Recover: 2 * time.Second, Transport: time.Second}
	node := openNode(t, o)
	defer closeNode(t, node)
	c := newCouple(t, node)
	eve := takeBot(t, node, "eve")
	full := false
	for i := 0; i < 400 && !full; i++ {
		text := fmt.Sprintf("%d: %01000d", i, i)
		c.said = append(c.said, text)
		full = c.retriable(t, text[:8], c.say(text))
	}
	if !full {
		t.Fatal("the server's files never reached their bound")
	}
	last := c.said[len(c.said)-1]
	commands := append([]faulted{{last[:8], c.say(last)}}, c.underFault(t)...)
	server.Kill()
	ok(t, server.RestartWith(t.Context(), 0))
	c.afterFault(t, commands)
	agree(t, c.tea, c.bob.Conversation("tea"), eve.Conversation("tea"))
}

// TestStalledLink stops everything between the node and its server for a while, in both directions: what was sent arrives late, and
// nothing happens twice.
func TestStalledLink(t *testing.T) {
	t.Parallel()
	server, o := process(t, 0)
	proxy := logtest.NewProxy(t, server.Addr())
	o.URL = proxy.URL()
	o.Limits = parley.Limits{Store: time.Second, Recover: 2 * time.Second, Transport: time.Second}
	node := openNode(t, o)
	defer closeNode(t, node)
	c := newCouple(t, node)
	eve := takeBot(t, node, "eve")
	proxy.Stall()
	commands := c.underFault(t)
	proxy.Resume()
	c.afterFault(t, commands)
	agree(t, c.tea, c.bob.Conversation("tea"), eve.Conversation("tea"))
}
