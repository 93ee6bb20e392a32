package jetlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley/events"
	"parley/events/jetlog"
)

// tapped keeps every ring that was ever stored.
type tapped struct {
	events.RingStore
	rings [][]byte
}

func (k *tapped) Store(ctx context.Context, id events.LogID, data []byte, expect uint64) (uint64, error) {
	k.rings = append(k.rings, bytes.Clone(data))
	return k.RingStore.Store(ctx, id, data, expect)
}

// found is a ring store that has the one ring that somebody has dug up.
type found struct {
	events.RingStore
	ring []byte
}

func (f found) Load(context.Context, events.LogID) ([]byte, uint64, error) { return f.ring, 1, nil }

// TestAfterAShredTheCurrentKeyOpensNothingOlderThanTheWindow copies every byte of all servers' directories before and after a shred.
// Who has both copies, every ring that was ever stored, and the shred key that is current afterwards, opens what the newest ring
// opens: the last private state. Before the shred, with the key of that time, he would have opened all of it.
func TestAfterAShredTheCurrentKeyOpensNothingOlderThanTheWindow(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		p := process(t)
		store := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{})
		shred(t, store, p.Dir(), false)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := cluster(t)
		store := open(t, connect(t, c.URL(), jetlog.ConnectOptions{}), jetlog.Config{Replicas: 3})
		shred(t, store, filepath.Dir(c.Servers[0].Dir()), true)
	})
}

func shred(t *testing.T, store *jetlog.Store, dir string, copiesStay bool) {
	ctx := testContext(t)
	keys := t.TempDir()
	vault, err := events.CreateKeyDir(keys)
	if err != nil {
		t.Fatal(err)
	}
	tap := &tapped{RingStore: store.Rings()}
	stores := events.Stores{Log: store, Rings: tap, Snapshots: store.Snapshots()}
	id := events.ConversationLog("alice", own(t))
	j := mustActivate(t, stores, vault, id)
	var states []string
	for i := range 6 {
		mustSay(t, j, fmt.Sprint(i))
		states = append(states, fmt.Sprint("private state after ", i))
	}
	before, oldKeys := copyOf(t, dir), copyOf(t, keys)
	report, err := events.Shred{Rings: tap, Vault: vault}.Run(ctx)
	if err != nil || report.Rings != 1 || len(report.Destroyed) != 1 {
		t.Fatalf("shred: %+v, %v", report, err)
	}
	after := copyOf(t, dir)

	oldVault, err := events.ReadKeyDir(oldKeys)
	if err != nil {
		t.Fatal(err)
	}
	dug := lying(t, tap.rings, before, after)
	if copiesStay && len(dug) < len(tap.rings) {
		t.Logf("%d of %d rings lie in the copies", len(dug), len(tap.rings))
	}
	if had := opened(t, store, oldVault, id, dug); copiesStay && len(had) < len(states) || len(had) == 0 {
		t.Errorf("with the old key and both copies %d of %d states open: this test shows nothing", len(had), len(states))
	}
	newVault, err := events.ReadKeyDir(keys)
	if err != nil {
		t.Fatal(err)
	}
	window := states[len(states)-1:]
	if got := opened(t, store, newVault, id, tap.rings); !slices.Equal(got, window) {
		t.Errorf("with the current key %q open, want %q", got, window)
	}
	for _, state := range states {
		for _, copied := range []string{before, after} {
			if in := filesWith(t, copied, []byte(state)); len(in) > 0 {
				t.Errorf("%q is in clear in %v", state, in)
			}
		}
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) { // a server at work
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// lying are the rings of which a copy is found in one of the directories.
func lying(t *testing.T, rings [][]byte, dirs ...string) (found [][]byte) {
	t.Helper()
	for _, ring := range rings {
		piece := ring[len(ring)/2 : min(len(ring), len(ring)/2+64)]
		for _, dir := range dirs {
			if len(filesWith(t, dir, piece)) > 0 {
				found = append(found, ring)
				break
			}
		}
	}
	return found
}

// opened are the private states that a holder of these rings and shred keys reads in the log.
func opened(t *testing.T, store *jetlog.Store, vault events.KeyVault, id events.LogID, rings [][]byte) (states []string) {
	t.Helper()
	ctx := testContext(t)
	for _, ring := range rings {
		keys, err := events.LoadKeys(ctx, found{store.Rings(), ring}, vault, id)
		if errors.Is(err, events.ErrKeyMissing) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		err = events.OpenAudit(store, id, keys, events.AuditOptions{}).Replay(ctx, events.Head{}, func(r *events.Record) error {
			for _, e := range r.Events {
				if plain, ok := e.Secret(events.ClassPrivateState); ok {
					states = append(states, string(plain.Expose()))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(states)
	return slices.Compact(states)
}
