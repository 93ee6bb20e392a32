package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"parley/internal/interop"
	"parley/internal/interop/scripts"
)

// play runs random scripts against the servers it is given, or against one of our own.
func play(ctx context.Context, args []string, stdout io.Writer) (err error) {
	f := flags("mls-interop run")
	o := scripts.Options{Log: stdout}
	addresses := f.String("clients", "", "")
	without := f.String("without", "", "")
	suite := f.Uint("suite", 0, "")
	f.Uint64Var(&o.Seed, "seed", 1, "")
	f.IntVar(&o.Scripts, "scripts", 100, "")
	f.IntVar(&o.Steps, "steps", 20, "")
	f.IntVar(&o.ActorsMax, "actors", 8, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	o.Suite = uint32(*suite)
	for _, name := range list(*without) {
		feature := scripts.Feature(name)
		if !slices.Contains(scripts.Features(), feature) {
			return fmt.Errorf("--without %s: the features are %v", name, scripts.Features())
		}
		o.Without = append(o.Without, feature)
	}
	if *addresses == "" {
		address, stop, err := own(ctx)
		if err != nil {
			return err
		}
		defer stop()
		*addresses = address
	}
	for _, address := range list(*addresses) {
		client, err := scripts.Dial(ctx, address)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		o.Clients = append(o.Clients, client)
	}
	return scripts.Run(ctx, o)
}

// list splits what commas separate.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// own starts a server of our own and says how to stop it.
func own(ctx context.Context) (address string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	serving, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = interop.NewServer(interop.Config{StatesMax: interop.DefaultStatesMax}).Serve(serving, listener) // a failed one answers no calls
	}()
	return listener.Addr().String(), func() { cancel(); <-ended }, nil
}
