package main

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/internal/certtest"
	"parley/internal/scripttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"node": main})
}

// TestStories runs every file of testdata. The scripts have both programs: node is this test, replay is built for them.
func TestStories(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "parley/cmd/replay").CombinedOutput(); err != nil {
		t.Fatalf("build replay: %v\n%s", err, out)
	}
	authority := certtest.New(t)
	files := map[string][]byte{
		"anchor.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Anchor()}),
		"list.crl":   authority.Revoke(t, 1), "other.crl": certtest.New(t).Revoke(t),
		"required": {0, 0, 2, 0, 1}, // RequiredCapabilities: members understand basic credentials
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Values[nodesKey{}] = map[string]*running{}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: scripttest.Commands(map[string]func(*testscript.TestScript, bool, []string){"up": up, "down": down, "hangup": hangup, "modes": modes, "found": found, "until": until, "withdrawn": withdrawn}),
	})
}

type nodesKey struct{}

// running is a node in the background of a script.
type running struct {
	cmd    *exec.Cmd
	said   *bufio.Reader
	logged bytes.Buffer // its log; read it when the process has ended
}

// up NAME ARG ... starts node run with arguments and waits until it is ready.
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: up NAME ARG ...")
	}
	r := &running{cmd: exec.Command("node", append([]string{"run"}, args[1:]...)...)}
	r.cmd.Dir, r.cmd.Stderr = ts.MkAbs("."), &r.logged
	out, err := r.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	ts.Defer(func() { r.cmd.Process.Kill() })
	r.said = bufio.NewReader(out)
	line, err := r.said.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "node ready: ") {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		ts.Fatalf("the node says %q, %v; its log: %s", line, err, &r.logged)
	}
	fmt.Fprint(ts.Stdout(), line)
	ts.Value(nodesKey{}).(map[string]*running)[args[0]] = r
}

// down NAME sends SIGTERM; the node must drain and end well.
func down(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: down NAME")
	}
	r := ts.Value(nodesKey{}).(map[string]*running)[args[0]]
	ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(r.said)
	ts.Check(err)
	if err := r.cmd.Wait(); err != nil {
		ts.Fatalf("the node ends with %v; its log: %s", err, &r.logged)
	}
	if string(rest) != "node draining\nnode stopped\n" {
		ts.Fatalf("the node says %q", rest)
	}
}

// hangup NAME FILE sends SIGHUP and waits until the file is gone.
func hangup(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hangup NAME FILE")
	}
	r := ts.Value(nodesKey{}).(map[string]*running)[args[0]]
	ts.Check(r.cmd.Process.Signal(syscall.SIGHUP))
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-look.C {
		if _, err := os.Stat(ts.MkAbs(args[1])); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is still there", args[1])
		}
	}
}

// modes DIR MODE demands that every file in a directory has that mode, and that there is one.
func modes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: modes DIR MODE")
	}
	files := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
			return fmt.Errorf("%s has mode %s", path, got)
		}
		return nil
	}))
	if files == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
}
