// Command cmd runs one NATS server with JetStream on loopback, from the nats-server module, syncing every write to disk.
// It is what `make nats` starts: a server outside the node, for trying a node with --nats.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"parley/internal/natsd"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o, err := options(args)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	s, err := natsd.Embedded(o)
	if err != nil {
		return err
	}
	fmt.Printf("listening at %s, files in %s/jetstream, every write synced\n", s.URL(), o.Dir)
	<-stop
	s.Shutdown()
	return nil
}

func options(args []string) (o natsd.Options, err error) {
	flags := flag.NewFlagSet("nats", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "data", "nats-data", "data directory; the server keeps its files in DIR/jetstream")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:4222", "loopback address to listen on")
	flags.Int64Var(&o.MaxStoreBytes, "max-store", 0, "storage limit in bytes; 0 for three quarters of the free disk")
	err = flags.Parse(args)
	return o, err
}
