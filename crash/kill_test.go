package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"parley"
	"parley/internal/natsd"
)

// doomedVariable makes the test binary a node that kills itself.
const doomedVariable = "PARLEY_CRASH_DOOMED"

// doom is what a node in a process of its own is told.
type doom struct {
	URL, Dir, Namespace, Operation string
	Step                           parley.Step
	Before                         bool
	Nth                            int
}

// missedCode is how the process ends when it has passed the place and lived; it leaves nothing in order then either.
const missedCode = 3

// luggageFile is what the process leaves beside the store.
func (d setting) luggageFile() string { return filepath.Join(d.dir, d.namespace+".luggage") }

// doomedMain is the life of a node that is to die. It never returns when the process was started as one.
func doomedMain() {
	text, child := os.LookupEnv(doomedVariable)
	if !child {
		return
	}
	if err := meet(text); err != nil {
		fmt.Fprintln(os.Stderr, "doomed:", err)
		os.Exit(1)
	}
	os.Exit(missedCode)
}

// meet lives until the place is passed, and ends there as kill -9 does.
func meet(text string) error {
	var d doom
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	c := &testCase{op: operationNamed(d.Operation), place: place{step: d.Step, before: d.Before, nth: d.Nth}, want: &outcome{}}
	setting := setting{url: d.URL, dir: d.Dir, namespace: d.Namespace}
	c.scene, c.fate = newScene("0", setting.mail()), newFate(c.place, c.op)
	c.fate.kill = func() {
		if syscall.Kill(os.Getpid(), syscall.SIGKILL) == nil {
			select {} // nothing happens any more
		}
	}
	c.packed = func() error {
		packed, err := json.Marshal(c.scene.luggage)
		if err == nil {
			err = os.WriteFile(setting.luggageFile(), packed, 0o600)
		}
		return err
	}
	ctx := context.Background()
	node, err := c.raise(ctx, setting, fates{"0": c.fate})
	if err != nil {
		return err
	}
	return c.live(ctx, node)
}

func operationNamed(name string) *operation {
	all := operations()
	return all[slices.IndexFunc(all, func(op *operation) bool { return op.name == name })]
}

// killsDrawn is how many processes die where not all do.
const killsDrawn = 30

// kills lets processes die at places drawn from all of them.
func (m *matrix) kills(t *testing.T) {
	var cases []*testCase
	for _, op := range operations() {
		for _, p := range m.places[op.name] {
			want := m.reference[op.name]
			cases = append(cases, &testCase{op: op, place: p, want: &want})
		}
	}
	m.chance.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	if !m.soak {
		cases = cases[:min(killsDrawn, len(cases))]
	}
	dir := t.TempDir()
	server, err := natsd.StartProcess(t.Context(), natsd.ProcessOptions{
		Options: natsd.Options{Dir: filepath.Join(dir, "data"), MaxStoreBytes: 64 << 30},
	})
	ok(t, err)
	defer server.Kill()
	next, missed, work := make(chan int), make(chan *testCase, len(cases)), sync.WaitGroup{}
	for range killsAtOnce {
		work.Go(func() {
			for i := range next {
				setting := setting{url: server.URL(), dir: dir, namespace: fmt.Sprint("kill", i)}
				died, err := cases[i].kill(t.Context(), setting)
				if cases[i].err = err; err == nil && !died {
					missed <- cases[i]
				}
				if err := forgetStreams(t.Context(), server.URL(), setting.namespace); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	work.Wait()
	for _, c := range cases {
		c.judge(t)
	}
	if len(missed)*5 > len(cases) {
		t.Errorf("%d of %d places were not passed", len(missed), len(cases))
	}
	t.Logf("%d processes, of which %d were not killed", len(cases), len(missed))
}

const killsAtOnce = 3

// kill runs the case on a node in a process of its own until that is dead, and recovers it here.
func (c *testCase) kill(ctx context.Context, setting setting) (died bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*patience)
	defer cancel()
	c.scene, c.fate = newScene("0", setting.mail()), newFate(c.place, c.op)
	text, err := json.Marshal(doom{
		URL: setting.url, Dir: setting.dir, Namespace: setting.namespace, Operation: c.op.name,
		Step: c.place.step, Before: c.place.before, Nth: c.place.nth,
	})
	if err != nil {
		return false, err
	}
	var said bytes.Buffer
	process := exec.CommandContext(ctx, os.Args[0])
	process.Env = append(os.Environ(), doomedVariable+"="+string(text))
	process.Stderr = &said
	err = process.Run()
	ended, is := errors.AsType[*exec.ExitError](err)
	if !is {
		return false, fmt.Errorf("the process: %w", err)
	}
	died = ended.Sys().(syscall.WaitStatus).Signaled() && ctx.Err() == nil
	if !died && ended.ExitCode() != missedCode {
		return false, fmt.Errorf("the process ended by itself: %w: %s", err, said.Bytes())
	}
	packed, err := os.ReadFile(setting.luggageFile())
	if err != nil {
		return died, err
	}
	if err := json.Unmarshal(packed, &c.scene.luggage); err != nil {
		return died, err
	}
	c.scene.clock.ahead.Store(int64(c.scene.luggage.Ahead))
	return died, c.inherit(ctx, setting)
}

// inherit is what follows on a node of this process.
func (c *testCase) inherit(ctx context.Context, setting setting) error {
	heir, err := setting.open(ctx, c.scene, c.op, "heir", parley.Hooks{}, []uint32{nobodysShare})
	if err != nil {
		return err
	}
	heir.TakeShares(parley.Shares(shareCount)...)
	c.scene.node, c.scene.recovering = heir, true
	c.end, err = c.scene.recover(ctx, c.op, c.want)
	if err := errors.Join(err, closeNow(ctx, heir)); err != nil {
		return err
	}
	keys, err := setting.keys(ctx)
	c.end.Keys = keys.of(c.scene)
	return err
}

// raise opens the node that dies, after the one before it where there is one.
func (c *testCase) raise(ctx context.Context, setting setting, fates fates) (*parley.Node, error) {
	if c.op.before != nil {
		if err := setting.precede(ctx, c.scene, c.op); err != nil {
			return nil, err
		}
		if err := c.pack(); err != nil {
			return nil, err
		}
		c.fate.arm() // what the node that died has left is taken up at once
	}
	return setting.open(ctx, c.scene, c.op, "doomed", fates.hooks(c.op.alone || c.packed != nil), nil)
}

// pack says what has to reach the other node, where that is in another process.
func (c *testCase) pack() error {
	if c.packed == nil {
		return nil
	}
	return c.packed()
}
