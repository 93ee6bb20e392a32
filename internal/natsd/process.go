package natsd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// childVariable carries a child's options; its presence is what makes a process a child.
const childVariable = "PARLEY_NATSD_CHILD"

// ProcessOptions describe a server that runs as a process of its own.
type ProcessOptions struct {
	Options
	// Cluster makes the server one of a cluster.
	Cluster *ClusterOptions `json:",omitempty"`
	// FileSizeMaxBytes bounds every file of the process, as `ulimit -f` does; 0 for no bound.
	FileSizeMaxBytes uint64
}

// ClusterOptions say how a server finds the others of its cluster.
type ClusterOptions struct {
	Name   string
	Listen string   // "host:port" for the other servers
	Routes []string // URLs of the other servers
}

// Process is a server in a process of its own, so that it can be killed.
type Process struct {
	options ProcessOptions
	cmd     *exec.Cmd
	stdin   io.Closer
	ready   chan struct{} // closed when the child has said that it serves
	exited  chan struct{}
}

// ChildMain turns the calling process into a server when it was started as one, and then never returns. A program or test binary
// that calls StartProcess calls it first thing in main or TestMain.
func ChildMain() {
	text, child := os.LookupEnv(childVariable)
	if !child {
		return
	}
	if err := runChild(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild serves until standard input ends, which it does when the parent stops it or is gone. It says so on standard output when it is ready.
func runChild(text string) error {
	var o ProcessOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("natsd: options of a child: %w", err)
	}
	if o.FileSizeMaxBytes > 0 {
		if err := limitFileSize(o.FileSizeMaxBytes); err != nil {
			return err
		}
	}
	opts, err := o.server()
	if err != nil {
		return err
	}
	if err := o.cluster(opts); err != nil {
		return err
	}
	if err := o.requirePorts(); err != nil {
		return err
	}
	s, err := start(opts)
	if err != nil {
		return err
	}
	if _, err := fmt.Println("ready"); err != nil {
		s.Shutdown()
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return err
}

func (o ProcessOptions) cluster(opts *server.Options) error {
	if o.Cluster == nil {
		return nil
	}
	host, port, err := loopback(o.Cluster.Listen)
	if err != nil {
		return err
	}
	opts.Cluster = server.ClusterOpts{Name: o.Cluster.Name, Host: host, Port: port, PoolSize: -1}
	for _, text := range o.Cluster.Routes {
		route, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("natsd: route %q: %w", text, err)
		}
		opts.Routes = append(opts.Routes, route)
	}
	return nil
}

// requirePorts returns an error where somebody else listens on a port that this server is to have: nats-server itself would go on without it.
func (o ProcessOptions) requirePorts() error {
	listens := []string{o.Listen}
	if o.Cluster != nil {
		listens = append(listens, o.Cluster.Listen)
	}
	for _, listen := range listens {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("natsd: %w", err)
		}
		l.Close()
	}
	return nil
}

// startAttempts is how often a server is started on other ports when somebody was quicker to take those chosen for it.
const startAttempts = 3

// StartProcess starts a server in a process of its own, from this very executable (see ChildMain), and returns when it is ready.
// Listen's port 0 is replaced by a free one, which a later Restart keeps. It returns ErrNotReady when the process ends instead, as it
// does where the port is taken.
func StartProcess(ctx context.Context, o ProcessOptions) (*Process, error) {
	for attempt := 1; ; attempt++ {
		listen, err := fixPort(o.Listen)
		if err != nil {
			return nil, err
		}
		p := &Process{options: o}
		p.options.Listen = listen
		err = p.start(ctx)
		if err == nil {
			return p, nil
		}
		if listen == o.Listen || o.Cluster != nil || !errors.Is(err, ErrNotReady) || ctx.Err() != nil || attempt == startAttempts {
			return nil, err
		}
	}
}

// Ports that are chosen here lie below those that systems give to outgoing connections (from 32768 or 49152 on): one of those could have
// the port of a server that is down for a moment.
const (
	portMin = 15_000
	portMax = 32_000
)

// fixPort replaces port 0 by one that is free now.
func fixPort(listen string) (string, error) {
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	host, port, err := loopback(listen)
	if err != nil {
		return "", err
	}
	if port != server.RANDOM_PORT {
		return listen, nil
	}
	for range portMax - portMin {
		listen := net.JoinHostPort(host, strconv.Itoa(portMin+rand.IntN(portMax-portMin)))
		if l, err := net.Listen("tcp", listen); err == nil {
			return listen, l.Close()
		}
	}
	return "", fmt.Errorf("natsd: no port between %d and %d is free on %s", portMin, portMax, host)
}

// start returns when the server is ready, or has been killed.
func (p *Process) start(ctx context.Context) error {
	if err := p.spawn(); err != nil {
		return err
	}
	if err := p.awaitReady(ctx); err != nil {
		p.Kill()
		return err
	}
	return nil
}

func (p *Process) spawn() error {
	text, err := json.Marshal(p.options)
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	ready, exited := make(chan struct{}), make(chan struct{})
	go func() {
		if n, _ := stdout.Read(make([]byte, 1)); n > 0 {
			close(ready)
		}
		io.Copy(io.Discard, stdout)
		cmd.Wait() // how it ended is the test's or the caller's to judge by what the store holds
		close(exited)
	}()
	p.cmd, p.stdin, p.ready, p.exited = cmd, stdin, ready, exited
	return nil
}

// awaitReady returns when the server accepts connections: it does so only after it has recovered its streams.
func (p *Process) awaitReady(ctx context.Context) error {
	// The child gives up by itself after readyTimeout.
	ctx, cancel := context.WithTimeout(ctx, readyTimeout+10*time.Second)
	defer cancel()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("natsd: %w: its process ended", ErrNotReady)
	case <-ctx.Done():
		return fmt.Errorf("natsd: %w at %s: %w", ErrNotReady, p.options.Listen, ctx.Err())
	}
}

// URL is where the server listens.
func (p *Process) URL() string { return "nats://" + p.options.Listen }

// Addr is the host and port of URL.
func (p *Process) Addr() string { return p.options.Listen }

// Dir is the server's data directory.
func (p *Process) Dir() string { return p.options.Dir }

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.exited
	p.stdin.Close()
}

// Stop shuts the server down in an orderly way.
func (p *Process) Stop() {
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(readyTimeout):
		p.Kill()
	}
}

// Restart starts the server again, on the same port and directory, after Kill or Stop.
func (p *Process) Restart(ctx context.Context) error {
	return p.RestartWith(ctx, p.options.FileSizeMaxBytes)
}

// RestartWith is Restart under another bound on the size of files (0 for none).
func (p *Process) RestartWith(ctx context.Context, fileSizeMaxBytes uint64) error {
	if p.Running() {
		return errors.New("natsd: the server is still running")
	}
	p.options.FileSizeMaxBytes = fileSizeMaxBytes
	return p.start(ctx)
}

// Running reports whether the process is there.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}
