// Command vectors drives passive-client test vectors, messages that other implementations of MLS have made, through clients,
// conversations and the log, stops everything, and checks that recovery and replay reach the same state and epoch authenticator at
// every epoch.
//
//	vectors [--data DIR] FILE|DIR...
//
// A file is taken by its content: a JSON array of objects with "welcome" and "epochs", gzipped or not. Every case runs twice. The first
// profile takes handshakes in both forms, keeps every epoch verifiable, tolerates 1,000 generations out of order, and has its clock
// inside the key package's lifetime. The second one differs in retention, which is the default: epochs outside of its window are
// checked by their recorded fingerprint, and counted apart. A case passes when it passes both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"parley"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("not every case has passed")

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("vectors", flag.ContinueOnError)
	data := flags.String("data", "", "directory for the logs of both profiles; empty: a temporary one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name vector files or directories of them")
	}
	cases, err := load(flags.Args())
	if err != nil {
		return err
	}
	dir := *data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "parley-vectors-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	failed := map[int]bool{}
	for _, p := range profiles() {
		r := &runner{profile: p, dir: filepath.Join(dir, p.name), out: out, failed: failed}
		if err := r.run(ctx, cases); err != nil {
			return fmt.Errorf("profile %s: %w", p.name, err)
		}
		fmt.Fprintf(out, "profile %s: %d epochs recomputed, %d checked by fingerprint, %d application messages\n", p.name, r.recomputed, r.fingerprinted, r.messages)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", len(cases)-len(failed), len(failed))
	if len(cases) == 0 || len(failed) > 0 {
		return errFailed
	}
	return nil
}

// profile is how a run's conversations are configured.
type profile struct {
	name   string
	config parley.Config
}

func profiles() []profile {
	all := parley.DefaultConfig()
	all.Transport = parley.ForeignTransport
	all.WirePolicy = parley.WireMixed
	all.OutOfOrderTolerance = 1000
	window := all
	all.RetainEpochs = parley.RetainAll
	return []profile{{"retain-all", all}, {"default-retention", window}}
}
