// Package scripttest has the commands that the scripts of several programs' tests share.
package scripttest

import (
	"errors"
	"os"
	"os/exec"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/internal/natsd"
)

// Commands are the shared commands, and more of the program's own.
func Commands(own map[string]func(*testscript.TestScript, bool, []string)) map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "serve": serve}
	for name, command := range own {
		all[name] = command
	}
	return all
}

// exits runs a program and demands an exit code: exits 2 replay nonsense.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG ...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// serve DIR starts a server on a directory, made if need be, until the script ends, and sets $URL.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve DIR")
	}
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	srv, err := natsd.Embedded(natsd.Options{Dir: ts.MkAbs(args[0]), Listen: "127.0.0.1:0"})
	ts.Check(err)
	ts.Defer(srv.Shutdown)
	ts.Setenv("URL", srv.URL())
}
