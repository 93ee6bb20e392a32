package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parley/events"
	"parley/internal/natsd"
)

// demoPatience bounds the demo: what takes longer has failed.
const demoPatience = 55 * time.Second

// step is one thing that happened, as --json prints it.
type step struct {
	Step    string `json:"step"`
	Seconds string `json:"seconds"`
	Node    string `json:"node,omitempty"`
	Bot     string `json:"bot,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Text    string `json:"text"`
}

// play is the demo as it runs.
type play struct {
	config config
	out    io.Writer
	errors io.Writer
	begun  time.Time

	dir    string
	server *natsd.Server
	ears   *ears
	nodes  map[string]*process
	homes  map[string]string        // which node a bot is on
	first  map[string]string        // and which one it began on
	last   map[events.LogID]*status // as the bots were when they were stopped
	kills  int
}

// demo plays three bots on two nodes: this process hosts the log, two children are the nodes.
func demo(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("the demo takes too long"))
	defer cancel()
	p := &play{
		config: c, out: stdout, errors: stderr, begun: time.Now(), ears: newEars(), nodes: map[string]*process{},
		homes: map[string]string{}, first: map[string]string{}, last: map[events.LogID]*status{},
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{p.curtain, p.gathering, p.firstDeath, p.renewal, p.secondDeath, p.finale, p.bow} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return p.review(ctx)
}

// open makes the directory and starts the log's server in it, listening on loopback for the two nodes.
func (p *play) open() (err error) {
	if p.dir = p.config.data; p.dir == "" {
		temporary, err := os.MkdirTemp("", "parley-demo-")
		if err != nil {
			return fmt.Errorf("demo directory: %w", err)
		}
		p.dir = filepath.Join(temporary, "data")
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("demo directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "jetstream")); err == nil {
		return usagef("node demo --data DIR --keep with a new directory", "%s already has a log in it", p.dir)
	}
	p.server, err = natsd.Embedded(natsd.Options{Dir: p.dir, Listen: "127.0.0.1:0"})
	return err
}

// close ends what is still running, and removes a temporary directory.
func (p *play) close() error {
	for _, n := range p.nodes {
		n.kill()
	}
	if p.server != nil {
		p.server.Shutdown()
	}
	if p.config.data == "" && p.dir != "" {
		return os.RemoveAll(filepath.Dir(p.dir))
	}
	return nil
}

// tell prints a step as it happens.
func (p *play) tell(s step) error {
	s.Seconds = fmt.Sprintf("%.1f", time.Since(p.begun).Seconds())
	if p.config.json {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.out, "%s\n", line)
		return err
	}
	node := s.Node
	if node == "" {
		node = "-"
	}
	_, err := fmt.Fprintf(p.out, "%5ss  %s  %s\n", s.Seconds, node, s.Text)
	return err
}

// keyDir is where the demo's keys are: where a node with this data directory looks for them.
func (p *play) keyDir() string {
	c := p.config
	c.data = p.dir
	return c.shredDirectory()
}

// raise starts a node that serves some shares.
func (p *play) raise(ctx context.Context, name string, shares []uint32) error {
	n, err := spawn(name, p.errors, p.ears.hear)
	if err != nil {
		return err
	}
	n.shares = shares
	p.nodes[name] = n
	_, err = n.call(ctx, order{Op: "open", Shares: shares, Open: &opening{
		Name: name, URL: p.server.URL(), Namespace: p.config.namespace, KeyDir: p.keyDir(), KEKFile: p.config.kekFile, KEK: p.config.kek,
	}})
	return err
}

// enter brings a bot onto the first node that serves its share.
func (p *play) enter(ctx context.Context, name string, nodes ...string) error {
	var all error
	for _, node := range nodes {
		if _, err := p.nodes[node].call(ctx, order{Op: "bot", Bot: name}); err != nil {
			all = errors.Join(all, err)
			continue
		}
		p.homes[name] = node
		if p.first[name] == "" {
			p.first[name] = node
		}
		return nil
	}
	return all
}

// ask has a bot do something on whatever node it is.
func (p *play) ask(ctx context.Context, o order) (answer, error) {
	return p.nodes[p.homes[o.Bot]].call(ctx, o)
}

// say has a bot send a message and waits until the others have read it.
func (p *play) say(ctx context.Context, from, text string, readers ...string) error {
	if _, err := p.ask(ctx, order{Op: "send", Bot: from, Text: text}); err != nil {
		return err
	}
	for _, reader := range readers {
		err := p.ears.await(ctx, reader+" to read "+text, func(a answer) bool {
			return a.Event == "message" && a.Bot == reader && a.Sender == from && a.Text == text
		})
		if err != nil {
			return err
		}
	}
	return p.tell(step{Step: "message", Node: p.homes[from], Bot: from, Text: fmt.Sprintf("%s says %q; read by %s", from, text, strings.Join(readers, " and "))})
}

// agree waits until all members have one epoch, one roster and one authenticator, and gives that epoch.
func (p *play) agree(ctx context.Context, members ...string) (epoch uint64, err error) {
	err = poll(ctx, strings.Join(members, ", ")+" to agree", func() (bool, error) {
		var first *status
		for _, name := range members {
			a, err := p.ask(ctx, order{Op: "status", Bot: name})
			if err != nil {
				return false, err
			}
			s := a.Status
			if first == nil {
				first = s
			}
			if s.Lifecycle != "active" || s.Epoch != first.Epoch || s.Fingerprint != first.Fingerprint || len(s.Members) != len(members) ||
				!slices.Equal(s.Members, first.Members) {
				return false, fmt.Errorf("%s has epoch %d of %v, %s has epoch %d of %v", members[0], first.Epoch, first.Members, name, s.Epoch, s.Members)
			}
		}
		epoch = first.Epoch
		return true, nil
	})
	return epoch, err
}

// shareCount is how many shares a deployment has by default.
const shareCount = 16

// sharesOfA and sharesOfB are the halves that the two nodes serve: ann and cem are in the one, bob is in the other.
func sharesOfA() []uint32 { return sharesFrom(shareCount / 2) }

func sharesOfB() []uint32 { return sharesFrom(0) }

func sharesFrom(first uint32) []uint32 {
	shares := make([]uint32, shareCount/2)
	for i := range shares {
		shares[i] = first + uint32(i)
	}
	return shares
}

// conversationName is how commands name the demo's conversation.
func conversationName() string { return stageName.String() }
