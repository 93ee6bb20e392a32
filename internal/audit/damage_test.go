package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/conversation"
	"parley/events"
	"parley/internal/audit/audittest"
)

// soak makes the tests of damage try everything.
func soak() bool { return os.Getenv("PARLEY_SOAK") != "" }

// everything is copied.
func everything(string) bool { return false }

// harm is one change to one file of a store.
type harm struct {
	name   string
	change func([]byte) []byte
}

func harms(size int) []harm {
	places := []int{size / 2, size - 9}
	cuts := []int{1}
	if soak() {
		for i := range 32 {
			places = append(places, i*size/32)
		}
		cuts = append(cuts, 2, 8, 40, size/2, size)
	}
	var all []harm
	for _, at := range places {
		if at >= 0 && at < size {
			all = append(all, harm{fmt.Sprintf("bit flipped at %d of %d", at, size), func(b []byte) []byte { b[at] ^= 0x10; return b }})
		}
	}
	for _, n := range cuts {
		if n > 0 && n <= size {
			all = append(all, harm{fmt.Sprintf("%d of %d bytes cut off", n, size), func(b []byte) []byte { return b[:len(b)-n] }})
		}
	}
	return all
}

// A byte flipped in or cut from any file of a store is harmless, or found: never is a shorter or another history taken for a good one.
func TestDamagedFilesAreHarmlessOrFound(t *testing.T) {
	ctx := context.Background()
	whole := filepath.Join(t.TempDir(), "data")
	if err := audittest.DataDir(ctx, whole, story(t, conversation.WirePlaintext)); err != nil {
		t.Fatal(err)
	}
	want, err := judge(ctx, whole, whole+".keys")
	if err != nil || want.Result != Complete {
		t.Fatalf("%v, %s", err, want.Summary())
	}
	tried := 0
	err = filepath.WalkDir(whole, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Base(path) == lockName {
			return err
		}
		relative, err := filepath.Rel(whole, path)
		if err != nil {
			return err
		}
		if !soak() && !strings.HasSuffix(path, ".blk") && !strings.Contains(path, "_LOG") {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		for _, h := range harms(int(info.Size())) {
			tried++
			t.Run(relative+" "+h.name, func(t *testing.T) { tryHarm(t, want, whole, relative, h) })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tried < 10 {
		t.Errorf("only %d files were tried", tried)
	}
}

func tryHarm(t *testing.T, want Report, whole, file string, h harm) {
	ctx := context.Background()
	hurt := filepath.Join(t.TempDir(), "data")
	if err := copyTree(ctx, whole, hurt, everything); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(hurt, file)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, h.change(content), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := judge(ctx, hurt, whole+".keys")
	switch {
	case errors.Is(err, events.ErrDamaged):
		return // the store as a whole is refused
	case err != nil:
		t.Errorf("neither good nor found bad: %v", err)
	case report.Result == Bad:
	case report.Result != want.Result || report.Tally != want.Tally || report.Logs != want.Logs:
		t.Errorf("taken for good: %s", report.Summary())
	}
}

// judge verifies everything in a directory.
func judge(ctx context.Context, dir, keys string) (Report, error) {
	h, err := Open(ctx, SourceConfig{Data: dir, ShredDir: keys})
	if err != nil {
		return Report{}, err
	}
	defer h.Close()
	logs, err := h.Expected(ctx)
	if err != nil {
		return Report{}, err
	}
	return h.Verify(ctx, logs, nil, func(LogReport) error { return nil })
}
