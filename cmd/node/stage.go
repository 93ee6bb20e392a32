package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is a child of the demo: one node.
type process struct {
	name   string
	shares []uint32
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	heard  func(answer)

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	gone    chan struct{} // closed when the process has ended
	err     error         // why; read it after gone
}

// errGone is a call to a child that has ended.
var errGone = errors.New("the node is gone")

// spawn starts a child of this very program. Everything it reports beside replies goes to heard.
func spawn(name string, stderr io.Writer, heard func(answer)) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	p := &process{name: name, heard: heard, waiting: map[int]chan answer{}, gone: make(chan struct{})}
	p.cmd = exec.Command(program, childVerb)
	p.cmd.Stderr = stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start node %s: %w", name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start node %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start node %s: %w", name, err)
	}
	go p.listen(out)
	return p, nil
}

// listen hands on what the child says until it ends, and then buries it.
func (p *process) listen(out io.Reader) {
	said := bufio.NewScanner(out)
	said.Buffer(make([]byte, 0, 64<<10), lineBytesMax)
	for said.Scan() {
		var a answer
		if err := json.Unmarshal(said.Bytes(), &a); err != nil {
			p.err = fmt.Errorf("node %s says %q: %w", p.name, said.Bytes(), err)
			break
		}
		if a.Event != "" {
			p.heard(a)
			continue
		}
		p.mu.Lock()
		reply := p.waiting[a.ID]
		delete(p.waiting, a.ID)
		p.mu.Unlock()
		if reply != nil {
			reply <- a
		}
	}
	p.err = errors.Join(p.err, p.cmd.Wait())
	close(p.gone)
}

// send gives an order and returns where its reply will come.
func (p *process) send(o order) (<-chan answer, error) {
	reply := make(chan answer, 1)
	p.mu.Lock()
	p.next++
	o.ID = p.next
	p.waiting[o.ID] = reply
	p.mu.Unlock()
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode an order: %w", err)
	}
	if _, err := p.stdin.Write(append(b, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", p.name, errGone, err)
	}
	return reply, nil
}

// call gives an order and waits for its reply.
func (p *process) call(ctx context.Context, o order) (answer, error) {
	reply, err := p.send(o)
	if err != nil {
		return answer{}, err
	}
	select {
	case a := <-reply:
		if a.Error != "" {
			return a, fmt.Errorf("node %s: %s %s: %s", p.name, o.Bot, o.Op, a.Error)
		}
		return a, nil
	case <-p.gone:
		return answer{}, fmt.Errorf("node %s: %s: %w", p.name, o.Op, errGone)
	case <-ctx.Done():
		return answer{}, fmt.Errorf("node %s: %s %s: %w", p.name, o.Bot, o.Op, context.Cause(ctx))
	}
}

// kill ends the child as a power cut would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.gone
}

// stop drains the child and waits for its end.
func (p *process) stop(ctx context.Context) error {
	if _, err := p.call(ctx, order{Op: "stop"}); err != nil {
		return err
	}
	p.stdin.Close()
	select {
	case <-p.gone:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ears collect what children report, for whoever waits for something.
type ears struct {
	mu      sync.Mutex
	heard   []answer
	changed chan struct{}
}

func newEars() *ears { return &ears{changed: make(chan struct{})} }

func (e *ears) hear(a answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, a)
	close(e.changed)
	e.changed = make(chan struct{})
}

// await waits until something was heard that is wanted; what was heard before counts.
func (e *ears) await(ctx context.Context, what string, wanted func(answer) bool) error {
	for {
		e.mu.Lock()
		heard, changed := e.heard, e.changed
		e.mu.Unlock()
		for _, a := range heard {
			if wanted(a) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// poll asks until the answer is yes. What it waits for happens in other processes, which report events but not every state.
func poll(ctx context.Context, what string, ask func() (bool, error)) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		last = err
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(context.Cause(ctx), last))
		}
	}
}
