package events_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
)

func TestKeyFilesAreTheirOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	vault, err := events.CreateKeyDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	path := filepath.Join(dir, files[0].Name())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	version, err := vault.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Wrap(t.Context(), version, nil, []byte("key")); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a key that others can read is used: %v", err)
	}
}

func TestWrapIsBoundToVersionAndPlace(t *testing.T) {
	vault, err := events.CreateKeyDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first, _ := vault.Current(t.Context())
	blob, err := vault.Wrap(t.Context(), first, []byte("place"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := vault.NewVersion(t.Context())
	if err != nil || second == first {
		t.Fatal(second, err)
	}
	if current, _ := vault.Current(t.Context()); current != second {
		t.Errorf("current is %s after %s was made", current, second)
	}
	if key, err := vault.Unwrap(t.Context(), first, []byte("place"), blob); err != nil || string(key) != "key" {
		t.Errorf("%q, %v", key, err)
	}
	for what, unwrap := range map[string]func() ([]byte, error){
		"another version": func() ([]byte, error) { return vault.Unwrap(t.Context(), second, []byte("place"), blob) },
		"another place":   func() ([]byte, error) { return vault.Unwrap(t.Context(), first, []byte("other"), blob) },
		"nothing":         func() ([]byte, error) { return vault.Unwrap(t.Context(), first, []byte("place"), nil) },
	} {
		if _, err := unwrap(); !errors.Is(err, events.ErrUnopened) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := vault.Destroy(t.Context(), second); err == nil {
		t.Error("the current version was destroyed")
	}
	if err := vault.Destroy(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := vault.Destroy(t.Context(), first); err != nil {
		t.Errorf("destroyed twice: %v", err)
	}
	if _, err := vault.Unwrap(t.Context(), first, []byte("place"), blob); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("under a destroyed version: %v", err)
	}
	if versions, _ := vault.Versions(t.Context()); !slices.Equal(versions, []string{second}) {
		t.Errorf("versions %v", versions)
	}
}

// Another process has the same directory open: what one destroys neither can
// use, though it had read it before.
func TestDestroyedKeyIsGoneForEveryProcess(t *testing.T) {
	dir := t.TempDir()
	a, err := events.CreateKeyDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.OpenKeyDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := a.Current(t.Context())
	blob, err := b.Wrap(t.Context(), old, nil, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.NewVersion(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Destroy(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Unwrap(t.Context(), old, nil, blob); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("the other process: %v", err)
	}
	va, _ := a.Current(t.Context())
	if vb, _ := b.Current(t.Context()); va != vb {
		t.Errorf("current is %s here and %s there", va, vb)
	}
}

func TestLogWithoutItsKeyIsRefusedAndNeverKeyedAnew(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	elsewhere := filepath.Join(t.TempDir(), "keys")
	if _, err := events.PrepareKeyDir(t.Context(), w.stores, elsewhere); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("prepare: %v", err)
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
	if _, err := events.OpenKeyDir(elsewhere); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("open: %v", err)
	}
	strange, err := events.CreateKeyDir(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := w.stores.Rings.Load(t.Context(), conversation)
	// The strange directory has a version of the same name and another key in it.
	if _, err := events.OpenJournal(t.Context(), w.stores, strange, conversation, events.JournalOptions{AcceptLoss: true}); !errors.Is(err, events.ErrRingCorrupt) {
		t.Errorf("open with a strange key: %v", err)
	}
	kek, err := events.NewStaticKEK(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.OpenJournal(t.Context(), w.stores, kek, conversation, events.JournalOptions{AcceptLoss: true}); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("open with a static key: %v", err)
	}
	if after, _, _ := w.stores.Rings.Load(t.Context(), conversation); !bytes.Equal(before, after) {
		t.Error("the ring was changed")
	}
	empty := newWorld(t)
	if _, err := events.PrepareKeyDir(t.Context(), empty.stores, filepath.Join(t.TempDir(), "new")); err != nil {
		t.Errorf("prepare for an empty store: %v", err)
	}
}

func TestReadOnlyKeyDirOnlyReads(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	dir := t.TempDir()
	if _, err := events.ReadKeyDir(dir); !errors.Is(err, events.ErrKeyMissing) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := events.CreateKeyDir(dir); err != nil {
		t.Fatal(err)
	}
	vault, err := events.ReadKeyDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	version, _ := vault.Current(t.Context())
	_, wrapErr := vault.Wrap(t.Context(), version, nil, nil)
	_, newErr := vault.NewVersion(t.Context())
	for what, err := range map[string]error{"wrap": wrapErr, "new version": newErr, "destroy": vault.Destroy(t.Context(), version)} {
		if !errors.Is(err, events.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestStaticKeyGivesNoErasureAndSaysSo(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 32)
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(raw)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kek, err := events.ReadStaticKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	if kek.Erases() {
		t.Error("a static key claims to erase")
	}
	w := newWorld(t)
	j, err := events.OpenJournal(t.Context(), w.stores, kek, conversation, events.JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	w.append(j, advanced(0, "p"))
	if _, err := (events.Shred{Rings: w.stores.Rings, Vault: kek}).Run(t.Context()); !errors.Is(err, events.ErrNoErasure) {
		t.Errorf("rotation: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := events.ReadStaticKEK(path); err == nil {
		t.Error("a key file that others can read is used")
	}
	for _, text := range []string{"", "short", strings.Repeat("zz", 32), strings.Repeat("ab", 31)} {
		if _, err := events.NewStaticKEK(text); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}

// fleet is a few logs with secrets in them.
func (w *world) fleet(n int) []events.LogID {
	var logs []events.LogID
	for i := range n {
		id := events.ConversationLog("alice", idOf(i))
		j, _ := w.replay(id)
		w.append(j, advanced(0, fmt.Sprint("p0 of ", i)))
		w.append(j, advanced(1, fmt.Sprint("p1 of ", i)))
		logs = append(logs, id)
	}
	return logs
}

func TestShredRewrapsEverythingAndDestroysTheOld(t *testing.T) {
	w := newWorld(t)
	logs := w.fleet(5)
	// What a thief copied before: all rings, by Raft logs and disk snapshots for example.
	copied := map[events.LogID][]byte{}
	for _, id := range logs {
		copied[id], _, _ = w.stores.Rings.Load(t.Context(), id)
	}
	old, _ := w.vault.Current(t.Context())
	waited := ""
	report, err := events.Shred{Rings: w.stores.Rings, Vault: w.vault, Await: func(_ context.Context, version string) error {
		waited = version
		return nil
	}}.Run(t.Context())
	if err != nil || report.Rings != 5 || !slices.Equal(report.Destroyed, []string{old}) || report.Version == old || waited != report.Version {
		t.Fatalf("%+v, waited for %s, %v", report, waited, err)
	}
	for _, id := range logs {
		j, records := w.replay(id)
		if _, ok := records[1].Events[0].Secret(events.ClassPrivateState); !ok || j.ShredVersion() != report.Version {
			t.Errorf("%s does not open under %s", id, j.ShredVersion())
		}
		w.append(j, consumed("c"))
	}
	// The copies, with everything that still exists.
	thief := newWorld(t)
	for _, id := range logs {
		if _, err := thief.stores.Rings.Store(t.Context(), id, copied[id], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := events.LoadKeys(t.Context(), thief.stores.Rings, w.vault, id); !errors.Is(err, events.ErrKeyMissing) {
			t.Errorf("a copied ring of %s: %v", id, err)
		}
	}
}

func TestNothingIsDestroyedWhileAnOldWriterLives(t *testing.T) {
	w := newWorld(t)
	logs := w.fleet(2)
	// A node with an outdated view makes a ring under the old version just before it agrees. Another one keeps to the version of the
	// ring that it finds.
	stale := staleVault{KeyDir: w.vault}
	stale.version, _ = w.vault.Current(t.Context())
	j, err := events.OpenJournal(t.Context(), w.stores, stale, logs[0], events.JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	late := events.ConversationLog("alice", "late")
	report, err := events.Shred{Rings: w.stores.Rings, Vault: w.vault, Await: func(ctx context.Context, version string) error {
		if _, err := j.Append(ctx, events.Draft{Events: []events.Event{advanced(9, "p9")}}); err != nil { // an old key dies, so the ring is written
			return err
		}
		if j.ShredVersion() != version {
			t.Errorf("the ring went back to %s", j.ShredVersion())
		}
		_, err := events.OpenJournal(ctx, w.stores, stale, late, events.JournalOptions{})
		return err
	}}.Run(t.Context())
	if err != nil || report.Rings != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	logs = append(logs, late)
	for _, id := range logs {
		if j, _ := w.replay(id); j.ShredVersion() != report.Version {
			t.Errorf("%s is under %s", id, j.ShredVersion())
		}
	}
	refused := errors.New("a lease names the old version")
	report, err = events.Shred{Rings: w.stores.Rings, Vault: w.vault, Await: func(context.Context, string) error { return refused }}.Run(t.Context())
	if !errors.Is(err, refused) || len(report.Destroyed) != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if versions, _ := w.vault.Versions(t.Context()); len(versions) != 2 {
		t.Errorf("versions %v", versions)
	}
}

// staleVault wraps under the version it once saw.
type staleVault struct {
	*events.KeyDir
	version string
}

func (s staleVault) Current(context.Context) (string, error) { return s.version, nil }

func TestShredSurvivesACrashAtEveryStep(t *testing.T) {
	steps := []events.Step{events.StepShredVersion, events.StepRewrap, events.StepShredDestroy}
	for _, step := range steps {
		for _, when := range []string{"before", "after"} {
			w := newWorld(t)
			logs := w.fleet(3)
			count, crash := 0, errors.New("crash")
			kill := func(_ ctx, s events.Step, _ events.LogID) error {
				if s == step {
					if count++; count == 1 || step == events.StepRewrap && count == 2 {
						return crash
					}
				}
				return nil
			}
			hooks := events.Hooks{Before: kill}
			if when == "after" {
				hooks = events.Hooks{After: kill}
			}
			shred := events.Shred{Rings: w.stores.Rings, Vault: w.vault, Hooks: hooks}
			for {
				if _, err := shred.Run(t.Context()); err == nil {
					break
				} else if !errors.Is(err, crash) {
					t.Fatalf("%s %s: %v", when, step, err)
				}
				for _, id := range logs { // whatever was left, every log opens
					w.replay(id)
				}
			}
			if versions, _ := w.vault.Versions(t.Context()); len(versions) != 1 {
				t.Errorf("%s %s: versions %v", when, step, versions)
			}
			for _, id := range logs {
				if _, records := w.replay(id); records[1].Events[0].Secrets[0].Plain.IsZero() {
					t.Errorf("%s %s: %s lost its secrets", when, step, id)
				}
			}
		}
	}
}

// After a key died nothing opens what it sealed: not the ring that replaced
// it, and once the shred key is gone no copy of the old one either.
func TestDeadKeysOpenNothing(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"), events.Event{Body: &v1.PreSharedKeyAdded{}, Secrets: []events.Secret{{Class: events.ClassPSK, Label: "a", Plain: plain("psk")}}})
	ring := func() []byte {
		data, _, err := w.stores.Rings.Load(t.Context(), conversation)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	opens := func(data []byte) int {
		store := newWorld(t).stores.Rings
		if _, err := store.Store(t.Context(), conversation, data, 0); err != nil {
			t.Fatal(err)
		}
		keys, err := events.LoadKeys(t.Context(), store, w.vault, conversation)
		if err != nil {
			return 0
		}
		n := 0
		err = events.OpenAudit(w.store, conversation, keys, events.AuditOptions{}).Replay(t.Context(), events.Head{}, func(r *events.Record) error {
			for _, e := range r.Events {
				for _, s := range e.Secrets {
					if !s.Plain.IsZero() {
						n++
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := j.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	before := ring()
	w.append(j, advanced(1, "p1"))
	w.append(j, events.Event{Body: &v1.PreSharedKeyRemoved{}, Forget: []string{events.Forget(events.ClassPSK, "a")}})
	if got := opens(ring()); got != 1 {
		t.Errorf("the ring opens %d parts, want the current private state alone", got)
	}
	// The copy has both keys that died since, and as a key made ahead the one that was used next.
	if got := opens(before); got != 3 {
		t.Errorf("a copy of the old ring opens %d parts before the shred key dies", got)
	}
	if _, err := (events.Shred{Rings: w.stores.Rings, Vault: w.vault}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := opens(before); got != 0 {
		t.Errorf("a copy of the old ring opens %d parts after the shred key died", got)
	}
	if got := opens(ring()); got != 1 {
		t.Errorf("after the rotation %d parts open", got)
	}
}
