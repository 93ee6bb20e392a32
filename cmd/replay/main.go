// Command replay reads the history of conversations from a log: it lists, tells, rebuilds, verifies and exports it.
//
// It never writes to the log it reads. A stopped node's data directory is copied before it is opened; a server is only read from; keys,
// where they are given, are read and never made, and what they open is never printed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"parley/events"
	"parley/internal/audit"
)

// Exit codes. Anything a caller can branch on has its own.
const (
	exitGood        = 0
	exitBadHistory  = 1
	exitUsage       = 2
	exitUnreachable = 3
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole command: arguments in, exit code out.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, args, stdout)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return exitGood // a reader such as head that has seen enough is no failure
	}
	fmt.Fprintln(stderr, "replay:", err)
	if hint := nextCommand(err); hint != "" {
		fmt.Fprintln(stderr, "try:", hint)
	}
	return exitCode(err)
}

// verbs maps each verb to what it does.
func verbs() map[string]func(context.Context, *session) error {
	return map[string]func(context.Context, *session) error{
		"list": list, "log": showLog, "show": show, "state": state, "members": members, "proposals": proposals,
		"verify": verify, "export": export, keysVerb: exportKeys,
	}
}

func dispatch(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parseOptions(args, os.Getenv)
	if err != nil {
		return err
	}
	if o.help || o.verb == "" || o.verb == "help" {
		return printUsage(stdout, o)
	}
	verb, ok := verbs()[o.verb]
	if !ok {
		return usagef("replay help", "%q is not a verb", o.verb)
	}
	s, err := openSession(ctx, o, stdout)
	if err != nil {
		return err
	}
	defer s.close()
	return verb(ctx, s)
}

// usageError is a command line that cannot be carried out as it stands.
type usageError struct {
	message string
	try     string
}

func (e *usageError) Error() string { return e.message }

func usagef(try, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), try: try}
}

// badHistory says that verification found the history wrong. The findings themselves were printed before.
type badHistory struct{ summary string }

func (e *badHistory) Error() string { return e.summary }

func exitCode(err error) int {
	var usage *usageError
	var bad *badHistory
	var corrupt *events.ErrCorrupt
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &bad), errors.As(err, &corrupt), errors.Is(err, audit.ErrFlawed), errors.Is(err, audit.ErrBadExport), errors.Is(err, audit.ErrBadFold), errors.Is(err, events.ErrRingCorrupt), errors.Is(err, events.ErrDamaged):
		return exitBadHistory
	}
	return exitUnreachable
}

// nextCommand is what a person would type after this error.
func nextCommand(err error) string {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return usage.try
	case exitCode(err) == exitBadHistory:
		return "replay verify, which names the first bad record of every log"
	}
	return "replay list with another --nats URL, --data DIR or export file"
}
