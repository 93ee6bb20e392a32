package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"parley"
)

// drainPatience bounds a stop: what is not saved by then is recovered from the log by whoever serves it next.
const drainPatience = 25 * time.Second

// options translates the configuration for package parley.
func (c config) options(logger *slog.Logger) parley.Options {
	return parley.Options{
		Data: c.data, URL: c.nats, CredsFile: c.creds, CAFile: c.ca, CertFile: c.cert, KeyFile: c.key,
		Namespace: c.namespace, Replicas: c.replicas, KeyDir: c.shredDirectory(), KEKFile: c.kekFile, KEK: c.kek, ShredInterval: c.interval, Logger: logger,
	}
}

// serve runs a node until ctx ends, which SIGTERM does, and drains it.
func serve(ctx context.Context, c config, stdout, stderr io.Writer) error {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	if c.nats != "" && c.replicas <= 1 {
		logger.Warn("streams are not replicated: make sure that the server runs with sync_interval always, or it may forget what it acknowledged")
	}
	node, err := parley.Open(ctx, c.options(logger))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "node ready: "+c.where())
	<-ctx.Done()
	fmt.Fprintln(stdout, "node draining")
	// A second signal, or the end of this patience, kills: the log has everything that was acknowledged.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	if err := node.Close(stop); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "node stopped")
	return nil
}

// where names the store and the keys, for the first line of a log.
func (c config) where() string {
	store := "log in " + c.data
	if c.nats != "" {
		store = "log at " + c.nats
	}
	switch {
	case c.kekFile != "":
		return store + ", static key in " + c.kekFile
	case c.kek != "":
		return store + ", static key from the environment"
	}
	return store + ", keys in " + c.shredDirectory()
}
