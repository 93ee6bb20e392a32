package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/conversation"
	"parley/internal/audit/audittest"
	"parley/internal/scripttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"replay": main})
}

// TestStories runs every file of testdata: commands, and what they print.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: scripttest.Commands(map[string]func(*testscript.TestScript, bool, []string){
			"history": history, "fingerprint": fingerprint, "damage": damage, "spoil": spoil, "mode": mode, "follow": follow,
		}),
	})
}

// history DIR [encrypted] lays out the directory of a stopped node with a conversation of ann, bob and cem in it.
func history(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: history DIR [encrypted]")
	}
	wire := conversation.WirePlaintext
	if len(args) == 2 {
		wire = conversation.WireCiphertext
	}
	drafts, err := audittest.Story(wire)
	ts.Check(err)
	ts.Check(audittest.DataDir(context.Background(), ts.MkAbs(args[0]), drafts))
}

// fingerprint DIR FILE writes the digest of every byte, name, size, mode and time in a directory.
func fingerprint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fingerprint DIR FILE")
	}
	sum := sha256.New()
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Size(), info.Mode(), info.ModTime())
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		sum.Write(content)
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), fmt.Appendf(nil, "%x\n", sum.Sum(nil)), 0o600))
}

// damage FILE OFFSET flips a bit; a negative offset counts from the end.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage FILE OFFSET")
	}
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	content[(offset+len(content))%len(content)] ^= 1
	ts.Check(os.WriteFile(path, content, 0o600))
}

// spoil DIR COPY STREAM FILE OFFSET copies a stopped node's directory, with its keys, and flips a bit in a file of one of its streams there.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: spoil DIR COPY STREAM FILE OFFSET")
	}
	for _, suffix := range []string{"", ".keys"} {
		to := ts.MkAbs(args[1] + suffix)
		ts.Check(os.RemoveAll(to))
		ts.Check(os.CopyFS(to, os.DirFS(ts.MkAbs(args[0]+suffix))))
	}
	keys, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]+".keys"), "*"))
	ts.Check(err)
	for _, key := range keys {
		ts.Check(os.Chmod(key, 0o600))
	}
	damage(ts, false, []string{filepath.Join(args[1], "jetstream", "$G", "streams", args[2], args[3]), args[4]})
}

// mode FILE MODE demands the mode of a file.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s", args[0], got)
	}
}

// follow LINES ARG ... runs replay until it has printed so many lines, and then interrupts it; it must end well. What it printed is in
// the file "followed".
func follow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: follow LINES ARG ...")
	}
	lines, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := exec.Command("replay", args[1:]...)
	cmd.Stderr = ts.Stderr()
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var printed []byte
	for scanner := bufio.NewScanner(out); lines > 0 && scanner.Scan(); lines-- {
		printed = append(append(printed, scanner.Bytes()...), '\n')
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, out)
	ts.Check(err)
	ts.Check(cmd.Wait())
	ts.Check(os.WriteFile(ts.MkAbs("followed"), printed, 0o600))
}
