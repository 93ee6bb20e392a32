package jetlog_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
	"parley/internal/natsd"
)

// filesWith counts the files below dir that contain text.
func filesWith(t *testing.T, dir string, text []byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a server at work takes files away
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(data, text) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAReplacedRingIsErasedFromDisk(t *testing.T) {
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: dir, MaxStoreBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	ctx := testContext(t)
	store := open(t, connect(t, "", jetlog.ConnectOptions{InProcess: server}), jetlog.Config{})
	rings := store.Rings()
	id, bystander := events.ClientLog("alice"), events.ClientLog("bob")
	kept := random(t, 2000)
	if _, err := rings.Store(ctx, bystander, kept, 0); err != nil {
		t.Fatal(err)
	}
	var revision uint64
	var before []byte
	for range 5 {
		ring := random(t, 2000)
		if revision, err = rings.Store(ctx, id, ring, revision); err != nil {
			t.Fatal(err)
		}
		if len(filesWith(t, dir, ring)) == 0 {
			t.Fatal("a ring that is stored is in no file: this test does not see")
		}
		if before != nil {
			until(t, "the replaced ring leaves the disk", func() bool { return len(filesWith(t, dir, before)) == 0 })
		}
		before = ring
	}
	if err := rings.Delete(ctx, id); err != nil {
		t.Fatal(err)
	}
	if found := filesWith(t, dir, before); len(found) > 0 {
		t.Errorf("a deleted ring is still in %v", found)
	}
	if len(filesWith(t, dir, kept)) == 0 {
		t.Error("another ring was erased with it")
	}
}

// interrupted leaves what a crash between the two steps of a ring's replacement leaves: the new one beside the old one.
func interrupted(t *testing.T, ctx context.Context, store *jetlog.Store, id events.LogID) (old []byte) {
	t.Helper()
	old = random(t, 2000)
	js, err := jetstream.New(store.Conn())
	if err != nil {
		t.Fatal(err)
	}
	_, subject, err := store.Names().RingSubject(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range [][]byte{old, []byte("new ring of " + id.String())} {
		if _, err := js.Publish(ctx, subject, ring); err != nil {
			t.Fatal(err)
		}
	}
	return old
}

func TestAnInterruptedReplacementIsFinished(t *testing.T) {
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: dir, MaxStoreBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	ctx := testContext(t)
	store := open(t, connect(t, "", jetlog.ConnectOptions{InProcess: server}), jetlog.Config{})
	rings := store.Rings()
	for name, finish := range map[string]func(events.LogID) error{
		"by the next load": func(id events.LogID) error { _, _, err := rings.Load(ctx, id); return err },
		"by a sweep": func(events.LogID) error {
			if n, err := rings.Sweep(ctx); n != 1 || err != nil {
				t.Errorf("%d swept, %v; want 1", n, err)
			}
			return nil
		},
		"by deletion": func(id events.LogID) error { return rings.Delete(ctx, id) },
	} {
		t.Run(name, func(t *testing.T) {
			id := events.ConversationLog("alice", own(t))
			old := interrupted(t, ctx, store, id)
			if len(filesWith(t, dir, old)) == 0 {
				t.Fatal("the old ring is not there to begin with")
			}
			if err := finish(id); err != nil {
				t.Fatal(err)
			}
			until(t, "the old ring leaves the disk", func() bool { return len(filesWith(t, dir, old)) == 0 })
		})
	}
}

// TestRingsReplacedFasterThanErasedDoNotPileUp replaces rings as fast as the store takes it.
func TestRingsReplacedFasterThanErasedDoNotPileUp(t *testing.T) {
	t.Parallel()
	p := process(t)
	store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
	ctx, rings := testContext(t), store.Rings()
	const writers, each = 4, 60
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			id := events.ConversationLog("alice", ids.ConversationID(fmt.Sprint(w)))
			var revision uint64
			var err error
			for i := 0; i < each && err == nil; i++ {
				revision, err = rings.Store(ctx, id, []byte(fmt.Sprint(w, " ", i)), revision)
			}
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(store.Conn())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "nothing but the newest rings is left", func() bool {
		stream, err := js.Stream(ctx, "parley_KEYS")
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Msgs == writers
	})
	for w := range writers {
		data, _, err := rings.Load(ctx, events.ConversationLog("alice", ids.ConversationID(fmt.Sprint(w))))
		if want := fmt.Sprint(w, " ", each-1); err != nil || string(data) != want {
			t.Errorf("ring %q, %v; want %q", data, err, want)
		}
	}
}
