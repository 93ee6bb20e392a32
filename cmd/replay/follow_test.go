package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"parley/conversation"
	"parley/events"
	"parley/events/jetlog"
	"parley/internal/audit/audittest"
	"parley/internal/natsd"
)

// TestFollowShowsWhatIsAppended follows a log while it grows: what comes later is printed when it comes, in columns that never
// move back, and nothing twice.
func TestFollowShowsWhatIsAppended(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	drafts, err := audittest.Story(conversation.WirePlaintext)
	if err != nil {
		t.Fatal(err)
	}
	half := len(drafts) / 2
	srv, err := natsd.Embedded(natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	nc, err := jetlog.Connect("", jetlog.ConnectOptions{InProcess: srv})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	store, err := jetlog.Open(ctx, nc, jetlog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	vault, err := events.PrepareKeyDir(ctx, store.Stores(), filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := audittest.Write(ctx, store.Stores(), vault, drafts[:half]); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- dispatch(ctx, []string{"log", "--follow", "--nats", srv.URL()}, in)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	seen := map[string]bool{}
	column := 0
	read := func(n int) {
		for range n {
			if !lines.Scan() {
				t.Fatalf("it ends after %d records: %v", len(seen), <-ended)
			}
			line := lines.Text()
			if key := strings.Join(strings.Fields(line)[:4], " "); seen[key] {
				t.Errorf("%s is shown twice", key)
			} else {
				seen[key] = true
			}
			at := strings.LastIndex(line, " ") + 1
			if at < column {
				t.Errorf("the digest stands left of those above it: %q", line)
			}
			column = at
		}
	}
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "KIND ") {
		t.Fatalf("the first line is %q", lines.Text())
	}
	column = strings.Index(lines.Text(), "DIGEST")
	read(half)
	if err := audittest.Write(ctx, store.Stores(), vault, drafts[half:]); err != nil {
		t.Fatal(err)
	}
	read(len(drafts) - half)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("interrupted it ends with %v", err)
	}
}
