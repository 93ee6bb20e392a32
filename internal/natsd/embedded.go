package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

var (
	// ErrNotSynced says that a server acknowledges records that are not on disk.
	ErrNotSynced = errors.New("the server does not sync every write to disk (sync_interval: always)")
	// ErrNotLoopback says that a listener was asked for on an address other machines can reach; there is no authentication here.
	ErrNotLoopback = errors.New("an embedded server listens on loopback only")
	// ErrInUse says that another server has the data directory.
	ErrInUse = errors.New("another server uses this data directory")
	// ErrNotReady says that a server did not come up in time.
	ErrNotReady = errors.New("the server did not become ready")
)

// MaxPayloadBytes is the largest message a server started here takes: records are chunked below it.
const MaxPayloadBytes = 1 << 20

// readyTimeout bounds how long a server may take to recover its streams and accept connections.
const readyTimeout = 60 * time.Second

// Options describe one server.
type Options struct {
	// Dir is the data directory; the server keeps its files in Dir/jetstream.
	Dir string
	// Listen is "host:port" on loopback, port 0 for any free one. Empty means no listener: in-process connections only.
	Listen string
	// Name is the server's name; empty for a default.
	Name string
	// MaxStoreBytes is the server's storage limit; 0 leaves it to the free space of the disk.
	MaxStoreBytes int64
	// LogFile receives the server's own log; empty for none.
	LogFile string
}

// Server is a running embedded server.
type Server struct {
	srv  *server.Server
	lock *os.File
}

// Embedded starts a server in this process and returns when it has recovered its streams. The caller owns it and calls Shutdown.
func Embedded(o Options) (*Server, error) {
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	return start(opts)
}

func start(opts *server.Options) (*Server, error) {
	lock, err := lockDir(opts.StoreDir)
	if err != nil {
		return nil, err
	}
	if err := forgetIndexes(opts.StoreDir); err != nil {
		unlockDir(lock)
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		unlockDir(lock)
		return nil, fmt.Errorf("natsd: %w", err)
	}
	if opts.LogFile != "" {
		srv.ConfigureLogger()
	}
	srv.Start()
	s := &Server{srv: srv, lock: lock}
	if !srv.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("natsd: %w in %s", ErrNotReady, readyTimeout)
	}
	if err := RequireSyncAlways(srv); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

// forgetIndexes makes the server read, and check, every message that it has: it takes away the index that a clean stop leaves in each
// stream. A server that finds one trusts it and reads messages only when they are asked for, unchecked; one flipped bit in a sequence
// number then costs it all of its memory. Without the index it starts as after a crash: what is damaged is found, and reported.
func forgetIndexes(dir string) error {
	indexes, err := fs.Glob(os.DirFS(dir), "jetstream/*/streams/*/msgs/index.db")
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	for _, index := range indexes {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(index))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("natsd: %w", err)
		}
	}
	return nil
}

// server translates o for nats-server; it sets everything that durability rests on.
func (o Options) server() (*server.Options, error) {
	if o.Dir == "" {
		return nil, errors.New("natsd: a data directory is needed")
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "jetstream"), 0o700); err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	opts := &server.Options{
		ServerName:        o.Name,
		JetStream:         true,
		StoreDir:          o.Dir,
		JetStreamMaxStore: o.MaxStoreBytes,
		SyncAlways:        true,
		SyncInterval:      30 * time.Second, // with sync always that is how often blocks with deleted messages are rewritten without them
		MaxPayload:        MaxPayloadBytes,
		DontListen:        o.Listen == "",
		NoSigs:            true,
		LogFile:           o.LogFile,
		NoLog:             o.LogFile == "",
		Logtime:           true,
	}
	if o.Name == "" {
		opts.ServerName = "parley"
	}
	if o.Listen != "" {
		host, port, err := loopback(o.Listen)
		if err != nil {
			return nil, err
		}
		opts.Host, opts.Port = host, port
	}
	return opts, nil
}

// loopback splits a listen address and refuses what other machines could reach.
func loopback(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("natsd: listen address %q: %w", listen, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip := net.ParseIP(host)
	if ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("natsd: %w, not on %q", ErrNotLoopback, listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("natsd: port of %q is not a number up to 65535", listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// RequireSyncAlways returns ErrNotSynced unless JetStream of srv runs with sync always in effect.
func RequireSyncAlways(srv *server.Server) error {
	config := srv.JetStreamConfig()
	if config == nil {
		return fmt.Errorf("natsd: JetStream is off: %w", ErrNotSynced)
	}
	if !config.SyncAlways {
		return fmt.Errorf("natsd: %w", ErrNotSynced)
	}
	return nil
}

// InProcessConn lets nats.InProcessServer connect without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// URL is where the server listens, or empty without a listener.
func (s *Server) URL() string {
	addr := s.srv.Addr()
	if addr == nil {
		return ""
	}
	return "nats://" + addr.String()
}

// Shutdown stops the server; every acknowledged record is on disk already.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	unlockDir(s.lock)
}
