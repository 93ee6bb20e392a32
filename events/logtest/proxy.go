package logtest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a link on loopback between clients and a server that can be stalled, slowed down and cut. A stalled link loses nothing:
// what was sent meanwhile arrives when it recovers.
type Proxy struct {
	target   string
	listener net.Listener
	closed   chan struct{}
	work     sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // guards and announces what follows
	stalled bool
	delay   time.Duration
	links   map[net.Conn]struct{}
}

// NewProxy starts a proxy for the server at target ("host:port"); it ends with the test.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener, closed: make(chan struct{}), links: map[net.Conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.work.Add(1)
	go p.accept()
	t.Cleanup(p.close)
	return p
}

// URL is where clients connect.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Stall stops all traffic in both directions until Resume.
func (p *Proxy) Stall() { p.set(func() { p.stalled = true }) }

// Resume lets everything through that waits.
func (p *Proxy) Resume() { p.set(func() { p.stalled = false }) }

// Slow makes every piece of traffic wait before it goes on; 0 makes the link fast again.
func (p *Proxy) Slow(delay time.Duration) { p.set(func() { p.delay = delay }) }

// Cut breaks every connection there is; new ones are accepted.
func (p *Proxy) Cut() {
	p.set(func() {
		for c := range p.links {
			c.Close()
		}
	})
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) close() {
	close(p.closed)
	p.listener.Close()
	p.Cut()
	p.work.Wait()
}

func (p *Proxy) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func (p *Proxy) accept() {
	defer p.work.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.set(func() { p.links[client], p.links[server] = struct{}{}, struct{}{} })
		if p.isClosed() {
			p.Cut()
		}
		p.work.Add(2)
		go p.forward(client, server)
		go p.forward(server, client)
	}
}

// forward copies one direction until either side ends, which ends both.
func (p *Proxy) forward(from, to net.Conn) {
	defer p.work.Done()
	defer p.set(func() {
		from.Close()
		to.Close()
		delete(p.links, from)
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && p.pass() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil || p.isClosed() {
			return
		}
	}
}

// pass returns when a piece of traffic may go on; false where the proxy has been closed.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	for p.stalled && !p.isClosed() {
		p.changed.Wait()
	}
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.closed:
		}
	}
	return !p.isClosed()
}
