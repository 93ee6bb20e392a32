// Command mls-interop serves Parley's MLS engine to the interop runner of the MLS working group, and plays random scripts against any
// servers of that kind. docs/interop.md says how it is used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"parley/internal/interop"
)

const usage = `mls-interop lets MLS implementations play against each other.

usage: mls-interop --listen HOST:PORT [flags]          serve until SIGTERM
       mls-interop run [flags]                         random scripts, until one goes wrong

serving
  --states N          how many states, pending joins and signers are held: 131072
  --grease            values without a meaning in what is made, which others must ignore

run
  --clients LIST      host:port,host:port of the servers, any mix; default: a server of our own
  --seed N            of the first script; the following ones have the next seeds: 1
  --scripts N         how many: 100
  --steps N           epochs and groups of a script: 20
  --actors N          members at a time, at most: 8
  --suite N           only this cipher suite; default: one that all servers have, by the seed
  --without LIST      what the scripts do without, of external, reinit, branch, late, orphans, trees, resume, require (docs/interop.md)

exit codes: 0 good, 1 a script went wrong, or anything else did
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mls-interop:", err)
		os.Exit(1)
	}
}

// run is the whole command.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var err error
	if len(args) > 0 && args[0] == "run" {
		err = play(ctx, args[1:], stdout)
	} else {
		err = serve(ctx, args, stdout)
	}
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(stdout, usage)
	}
	return err
}

// flags makes a flag set that says nothing by itself.
func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// noArguments refuses what is left after the flags.
func noArguments(f *flag.FlagSet) error {
	if f.NArg() > 0 {
		return fmt.Errorf("%q is not a flag; try mls-interop --help", f.Arg(0))
	}
	return nil
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, args []string, stdout io.Writer) error {
	f := flags("mls-interop")
	address := f.String("listen", "127.0.0.1:0", "")
	c := interop.Config{}
	f.IntVar(&c.StatesMax, "states", interop.DefaultStatesMax, "")
	f.BoolVar((*bool)(&c.GREASE), "grease", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	if c.StatesMax < 1 {
		return fmt.Errorf("--states %d leaves no room for any", c.StatesMax)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, "mls-interop ready:", listener.Addr()); err != nil {
		return err
	}
	return interop.NewServer(c).Serve(ctx, listener)
}
