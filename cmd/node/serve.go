package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"parley"
)

// drainPatience bounds a stop: what is not saved by then is recovered from the log by whoever serves it next.
const drainPatience = 25 * time.Second

// options translates the configuration for package parley.
func (c config) options(logger *slog.Logger) parley.Options {
	return parley.Options{
		Data: c.data, URL: c.nats, CredsFile: c.creds, CAFile: c.ca, CertFile: c.cert, KeyFile: c.key,
		Namespace: c.namespace, Replicas: c.replicas, KeyDir: c.shredDirectory(), KEKFile: c.kekFile, KEK: c.kek, ShredInterval: c.interval, Retention: c.retention, Logger: logger,
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
	stopShredding := shredOnHangup(ctx, node, logger)
	fmt.Fprintln(stdout, "node ready: "+c.where())
	<-ctx.Done()
	stopShredding()
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

// shredOnHangup replaces the shred key on every SIGHUP, until the returned function is called. Signals that come while it does are one.
func shredOnHangup(ctx context.Context, node *parley.Node, logger *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-hangups:
			case <-ctx.Done():
				return
			}
			if err := node.Shred(ctx); err != nil {
				logger.Error("old shred keys not destroyed", "err", err)
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		<-done
	}
}

// shred replaces the shred key from outside of the nodes.
func shred(ctx context.Context, c config, stdout, stderr io.Writer) error {
	report, err := parley.Shred(ctx, c.options(slog.New(slog.NewTextHandler(stderr, nil))))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d key rings are under shred key %s; %d older keys are destroyed\n", report.Rings, report.Version, len(report.Destroyed))
	return err
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
