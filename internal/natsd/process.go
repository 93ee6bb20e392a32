package natsd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
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

// runChild serves until standard input ends, which it does when the parent stops it or is gone.
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
	s, err := start(opts)
	if err != nil {
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

// StartProcess starts a server in a process of its own, from this very executable (see ChildMain), and returns when it answers.
// Listen's port 0 is replaced by a free one, which a later Restart keeps.
func StartProcess(ctx context.Context, o ProcessOptions) (*Process, error) {
	listen, err := fixPort(o.Listen)
	if err != nil {
		return nil, err
	}
	o.Listen = listen
	p := &Process{options: o}
	if err := p.spawn(); err != nil {
		return nil, err
	}
	if err := p.awaitListener(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

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
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("natsd: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
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
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended is the test's or the caller's to judge by what the store holds
		close(exited)
	}()
	p.cmd, p.stdin, p.exited = cmd, stdin, exited
	return nil
}

// awaitListener returns when the server accepts connections: it does so only after it has recovered its streams.
func (p *Process) awaitListener(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.options.Listen)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("natsd: %w: its process ended", ErrNotReady)
		case <-ctx.Done():
			return fmt.Errorf("natsd: %w at %s: %w", ErrNotReady, p.options.Listen, ctx.Err())
		case <-tick.C:
		}
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
	if err := p.spawn(); err != nil {
		return err
	}
	if err := p.awaitListener(ctx); err != nil {
		p.Kill()
		return err
	}
	return nil
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
