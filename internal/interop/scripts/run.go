package scripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
)

// Feature is something that a script can do without.
type Feature string

// The features that not every implementation has.
const (
	External Feature = "external" // joins and proposals from outside
	ReInit   Feature = "reinit"
	Branch   Feature = "branch"
	Late     Feature = "late"    // messages read in a later epoch
	Orphans  Feature = "orphans" // proposals that nobody commits
	Trees    Feature = "trees"   // ratchet trees beside the messages
	Resume   Feature = "resume"  // resumption keys by proposal
	Require  Feature = "require" // required capabilities that require something
	Extend   Feature = "extend"  // other extensions for a group
	Inside   Feature = "inside"  // ratchet trees that external signers find inside the GroupInfo
	Apart    Feature = "apart"   // clients of one server that cannot read with each other's keys
)

// Features lists them.
func Features() []Feature {
	return []Feature{External, ReInit, Branch, Late, Orphans, Trees, Resume, Require, Extend, Inside, Apart}
}

// Options says what is played.
type Options struct {
	Clients   []*Client // every actor is one of them, by chance
	Seed      uint64    // of the first script; the next ones have the next seeds
	Scripts   int
	Steps     int // epochs and groups of a script
	ActorsMax int // members at a time
	Suite     uint32
	Without   []Feature
	Log       io.Writer // gets a line for every script that passed; nil is none
}

var (
	// ErrNoSuite is returned where the clients have no cipher suite in common, or not the one asked for.
	ErrNoSuite = errors.New("scripts: the clients have no such cipher suite in common")
	// ErrOptions is returned for options that leave nothing to play.
	ErrOptions = errors.New("scripts: clients, scripts, steps and two actors are needed")
)

// Failure is a script that went wrong.
type Failure struct {
	Seed    uint64
	Suite   uint32
	Private bool
	Script  []string // one call a line
	Err     error
}

// Error prints the seed and the script.
func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d: suite %d, private handshakes %t\n%s\n%v", f.Seed, f.Suite, f.Private, strings.Join(f.Script, "\n"), f.Err)
}

// Unwrap gives what went wrong.
func (f *Failure) Unwrap() error { return f.Err }

// commonSuites lists the suites that all clients have and the options allow.
func commonSuites(o Options) []uint32 {
	var common []uint32
	for _, suite := range o.Clients[0].Suites {
		everywhere := !slices.ContainsFunc(o.Clients, func(c *Client) bool { return !slices.Contains(c.Suites, suite) })
		if everywhere && (o.Suite == 0 || o.Suite == suite) {
			common = append(common, suite)
		}
	}
	slices.Sort(common)
	return common
}

// Run plays scripts until one goes wrong, which is a *Failure.
func Run(ctx context.Context, o Options) error {
	if len(o.Clients) == 0 || o.Scripts < 1 || o.Steps < 1 || o.ActorsMax < 2 {
		return ErrOptions
	}
	if len(commonSuites(o)) == 0 {
		return ErrNoSuite
	}
	for i := range o.Scripts {
		if err := play(ctx, o, o.Seed+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// newWorld draws what the script of a seed begins with.
func newWorld(o Options, seed uint64) *world {
	w := &world{rand: rand.New(rand.NewPCG(seed, 0)), options: o, trace: newTrace()}
	w.suite, w.private = pick(w, commonSuites(o)), w.chance(50)
	return w
}

// play plays the script of one seed.
func play(ctx context.Context, o Options, seed uint64) error {
	w := newWorld(o, seed)
	suite := w.suite // before any ReInit
	if err := w.play(ctx); err != nil {
		return w.failure(seed, suite, err)
	}
	if o.Log != nil {
		_, err := fmt.Fprintf(o.Log, "seed %d: suite %d, private handshakes %t, %d calls, good\n", seed, suite, w.private, len(w.trace.lines))
		return err
	}
	return nil
}

func (w *world) failure(seed uint64, suite uint32, err error) *Failure {
	return &Failure{Seed: seed, Suite: suite, Private: w.private, Script: w.trace.lines, Err: err}
}

func (w *world) play(ctx context.Context) error {
	if err := w.create(ctx); err != nil {
		return err
	}
	for range w.options.Steps {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	if err := w.read(ctx, 100); err != nil {
		return err
	}
	for _, a := range slices.Concat(w.members, w.gone) {
		if err := a.free(ctx); err != nil {
			return err
		}
	}
	return nil
}
