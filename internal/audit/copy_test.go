package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"parley/events"
	"parley/internal/natsd"
)

func TestARunningNodesDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	srv, err := natsd.Embedded(natsd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copyData(context.Background(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("while the server runs: %v", err)
	}
	srv.Shutdown()
	scratch, err := copyData(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	again, err := natsd.Embedded(natsd.Options{Dir: scratch})
	if err != nil {
		t.Fatal(err)
	}
	again.Shutdown()
}

func TestWhatIsNoStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := copyData(context.Background(), dir); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "jetstream"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "jetstream", "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, err := copyData(context.Background(), dir); err == nil {
		t.Error("a link was followed")
	}
}
