package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"parley"
	"parley/events"
)

// stageName is the conversation of the demo.
const stageName parley.ConversationID = "demo"

// child is a node that plays its part in the demo.
type child struct {
	ctx  context.Context // ends with the process
	out  *lines
	node *parley.Node
	work sync.WaitGroup

	mu   sync.Mutex
	trap *trap
	bots map[string]*bot
}

// bot is a client of this node whose events are being read.
type bot struct {
	client *parley.Client
	stop   context.CancelFunc
}

// serveDemo is the child's whole life: orders from standard input, until that ends or one says stop.
func serveDemo(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) > 0 {
		return usagef("node demo", "%s takes no arguments", childVerb)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &child{ctx: ctx, out: &lines{w: stdout}, bots: map[string]*bot{}}
	orders := bufio.NewScanner(stdin)
	orders.Buffer(make([]byte, 0, 64<<10), lineBytesMax)
	for orders.Scan() {
		var o order
		if err := json.Unmarshal(orders.Bytes(), &o); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		if o.Op == "stop" {
			return c.stop(o)
		}
		// An order may stay in a trap; the others must not wait behind it.
		c.work.Go(func() { c.reply(o) })
	}
	// The parent is gone: so is the stage.
	return orders.Err()
}

func (c *child) reply(o order) {
	a, err := c.obey(o)
	a.ID = o.ID
	if err != nil {
		a.Error = err.Error()
	}
	if err := c.out.write(a); err != nil {
		os.Exit(exitFailed) // nobody listens any more
	}
}

func (c *child) stop(o order) error {
	c.mu.Lock()
	for _, b := range c.bots {
		b.stop()
	}
	c.mu.Unlock()
	stop, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), drainPatience)
	defer cancel()
	var err error
	if c.node != nil {
		err = c.node.Close(stop)
	}
	a := answer{ID: o.ID}
	if err != nil {
		a.Error = err.Error()
	}
	return errors.Join(err, c.out.write(a))
}

// obey carries out one order.
func (c *child) obey(o order) (answer, error) {
	switch o.Op {
	case "open":
		return answer{}, c.open(o)
	case "trap":
		c.mu.Lock()
		c.trap = o.Trap
		c.mu.Unlock()
		return answer{}, nil
	case "take":
		c.node.TakeShares(o.Shares...)
		return answer{}, nil
	case "release":
		return answer{}, c.release(o)
	case "bot":
		return answer{}, c.enter(o.Bot)
	}
	b, err := c.bot(o.Bot)
	if err != nil {
		return answer{}, err
	}
	ctx := parley.WithPrincipal(c.ctx, "demo")
	if o.Command != "" {
		ctx = parley.WithCommandID(ctx, parley.CommandID(o.Command))
	}
	return c.command(ctx, b.client, o)
}

func (c *child) open(o order) (err error) {
	if o.Open == nil {
		return errors.New("what to open?")
	}
	hooks := parley.Hooks{
		Before: func(_ context.Context, step parley.Step, id events.LogID) error { return c.pass(step, id, false) },
		After:  func(_ context.Context, step parley.Step, id events.LogID) error { return c.pass(step, id, true) },
	}
	c.node, err = parley.Open(c.ctx, parley.Options{
		Name: o.Open.Name, URL: o.Open.URL, Namespace: o.Open.Namespace, KeyDir: o.Open.KeyDir, KEKFile: o.Open.KEKFile, KEK: o.Open.KEK,
		Shares: o.Shares, Hooks: hooks, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	return err
}

// pass lets a step go by, or stops there until the process is killed.
func (c *child) pass(step parley.Step, id events.LogID, after bool) error {
	c.mu.Lock()
	t := c.trap
	caught := t != nil && t.Step == string(step) && t.After == after && t.Bot == string(id.Client)
	if caught {
		c.trap = nil
	}
	c.mu.Unlock()
	if !caught {
		return nil
	}
	if err := c.out.write(answer{Event: "trapped", Bot: t.Bot, Text: t.Name}); err != nil {
		return err
	}
	<-c.ctx.Done()
	return c.ctx.Err()
}

// enter opens a client and reads what it receives.
func (c *child) enter(name string) error {
	client, err := c.node.Client(c.ctx, parley.ClientID(name))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.ctx)
	c.mu.Lock()
	c.bots[name] = &bot{client, stop}
	c.mu.Unlock()
	c.work.Go(func() { c.listen(ctx, name, client) })
	return nil
}

func (c *child) bot(name string) (*bot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.bots[name]
	if !ok {
		return nil, fmt.Errorf("no bot %q here", name)
	}
	return b, nil
}

// release hands shares over: the bots leave with them.
func (c *child) release(o order) error {
	c.mu.Lock()
	for _, name := range o.Clients {
		if b, ok := c.bots[name]; ok {
			b.stop()
			delete(c.bots, name)
		}
	}
	c.mu.Unlock()
	c.node.ReleaseShares(o.Shares...)
	return nil
}

// listen reports and acknowledges what a bot receives.
func (c *child) listen(ctx context.Context, name string, client *parley.Client) {
	for event, err := range client.Events(ctx) {
		if err != nil {
			return // the bot has left, or the process ends
		}
		a := answer{Bot: name, Epoch: event.Epoch}
		switch {
		case event.Message != nil:
			a.Event, a.Sender, a.Text = "message", string(event.Message.Sender), string(event.Message.Text)
		case event.Membership != nil:
			a.Event = "membership"
		}
		if c.out.write(a) != nil || event.Ack(ctx) != nil {
			return
		}
	}
}

// command runs one command of a bot in the conversation.
func (c *child) command(ctx context.Context, client *parley.Client, o order) (answer, error) {
	conv := client.Conversation(stageName)
	clients := make([]parley.ClientID, len(o.Clients))
	for i, name := range o.Clients {
		clients[i] = parley.ClientID(name)
	}
	var err error
	switch o.Op {
	case "create":
		_, err = client.Create(ctx, stageName)
	case "add":
		err = conv.Add(ctx, clients...)
	case "remove":
		err = conv.Remove(ctx, clients...)
	case "update":
		err = conv.UpdateKeys(ctx)
	case "propose-update":
		_, err = conv.ProposeUpdate(ctx)
	case "commit":
		err = conv.CommitPending(ctx)
	case "send":
		_, err = conv.Send(ctx, []byte(o.Text))
	case "status":
		return look(ctx, conv)
	default:
		err = fmt.Errorf("unknown order %q", o.Op)
	}
	return answer{}, err
}

func look(ctx context.Context, conv *parley.Conversation) (answer, error) {
	s, err := conv.Status(ctx)
	if err != nil {
		return answer{}, err
	}
	out := &status{Lifecycle: s.Lifecycle, Epoch: s.Epoch, Version: s.Version, Position: s.Position, Digest: s.Digest, Pending: s.Pending, Members: []string{}}
	if len(s.Authenticator) > 0 {
		sum := sha256.Sum256(s.Authenticator)
		out.Fingerprint = hex.EncodeToString(sum[:8])
	}
	for _, m := range s.Members {
		out.Members = append(out.Members, m.Client.String())
	}
	return answer{Status: out}, nil
}
