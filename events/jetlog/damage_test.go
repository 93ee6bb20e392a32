package jetlog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/natsd"
)

// records are the places where messages begin in a block file of a stream, and its end. Each begins with its length, little endian;
// the highest bit says that it has headers.
func records(t *testing.T, block string) (data []byte, starts []int) {
	t.Helper()
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+4 <= len(data); {
		starts = append(starts, at)
		length := int(binary.LittleEndian.Uint32(data[at:]) &^ (1 << 31))
		if length < 22 || at+length > len(data) {
			t.Fatalf("%s: a message of %d bytes at %d", block, length, at)
		}
		at += length
	}
	return data, starts
}

// cutTail takes the last messages out of a stream of a server that is stopped, as a torn write or a lost page does.
func cutTail(t *testing.T, dir, stream string, messages int) {
	t.Helper()
	block := filepath.Join(dir, "jetstream", "$G", "streams", stream, "msgs", "1.blk")
	data, starts := records(t, block)
	if len(starts) <= messages {
		t.Fatalf("%s has %d messages", block, len(starts))
	}
	if err := os.WriteFile(block, data[:starts[len(starts)-messages]], 0o600); err != nil {
		t.Fatal(err)
	}
}

// history is a store at rest, and what it holds.
type history struct {
	dir   string
	vault *events.KeyDir
	logs  map[events.LogID]content
}

type content struct {
	head events.Head
	said []string
}

// makeHistory fills a store with logs of every kind and stops its server, in an orderly way or by kill -9. Every log is anchored
// where it ends, as after a clean passivation.
func makeHistory(t *testing.T, kill bool) history {
	t.Helper()
	p := process(t)
	h := fillHistory(t, open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{}).Stores())
	h.dir = p.Dir()
	if kill {
		p.Kill()
	} else {
		p.Stop()
	}
	return h
}

func fillHistory(t *testing.T, stores events.Stores) history {
	t.Helper()
	h := history{vault: newVault(t), logs: map[events.LogID]content{}}
	ctx := testContext(t)
	all := []events.LogID{
		events.ClientLog("alice"), events.ConversationLog("alice", "room"), events.ConversationLog("alice", "hall"),
		events.OrderLog("room"), events.DirectoryLog("alice"),
	}
	journals := map[events.LogID]*activated{}
	for _, id := range all {
		journals[id] = mustActivate(t, stores, h.vault, id)
	}
	for round := range 4 { // interleaved, so that the last record of a log is not the last of the stream
		for _, id := range all {
			mustSay(t, journals[id], fmt.Sprint(id, " ", round))
		}
	}
	for _, id := range all {
		j := journals[id]
		if err := j.SaveSnapshot(ctx, []byte("state of "+id.String())); err != nil {
			t.Fatal(err)
		}
		if err := j.Sweep(ctx, 1000); err != nil {
			t.Fatal(err)
		}
		h.logs[id] = content{j.Head(), mustActivate(t, stores, h.vault, id).said}
	}
	return h
}

// damage is one change to one file.
type damage struct {
	name   string
	change func(data []byte) []byte
}

// damages are the changes that a file is tried with: bits flipped in places all over it, pieces cut off its end, and all of it.
func damages(size int) []damage {
	var all []damage
	flips := 2
	if long() {
		flips = 64
	}
	places := map[int]bool{0: true, size - 1: true}
	for i := range flips {
		places[(2*i+1)*size/(2*flips)] = true
	}
	for at := range places {
		if at >= 0 && at < size {
			all = append(all, damage{fmt.Sprintf("bit flipped at %d of %d", at, size), func(data []byte) []byte {
				data[at] ^= 0x10
				return data
			}})
		}
	}
	cuts := []int{1, size / 2, size}
	if long() {
		cuts = append(cuts, 2, 8, 9, 30, size/4, size-1)
	}
	for _, n := range cuts {
		if n > 0 && n <= size {
			all = append(all, damage{fmt.Sprintf("%d of %d bytes cut off", n, size), func(data []byte) []byte { return data[:len(data)-n] }})
		}
	}
	return all
}

// blockDamages flips a bit in every message of a block file, and cuts it in the middle of the last one.
func blockDamages(t *testing.T, block string) []damage {
	_, starts := records(t, block)
	var all []damage
	for i, at := range starts {
		if !long() && i != 0 && i != len(starts)/2 && i < len(starts)-3 {
			continue
		}
		all = append(all, damage{fmt.Sprintf("bit flipped in message %d of %d", i+1, len(starts)), func(data []byte) []byte {
			data[at+24] ^= 1 // in the subject, or in what is behind the place of one
			return data
		}})
	}
	last := starts[len(starts)-1]
	return append(all,
		damage{"cut inside the last message", func(data []byte) []byte { return data[:last+25] }},
		damage{"last message cut off", func(data []byte) []byte { return data[:last] }})
}

// TestDamageIsNeverAShorterLog changes one place in one file after another. What a node then sees is what was stored, or an error:
// from the server, when the store is opened, from Damage, or when a log is activated; and an auditor with the keys sees the same.
func TestDamageIsNeverAShorterLog(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]bool{"after a clean stop": false, "after kill -9": true} {
		t.Run(name, func(t *testing.T) {
			h := makeHistory(t, kill)
			if found := h.look(t, h.copy(t)); found != "" {
				t.Fatalf("without any damage: %s", found)
			}
			outcomes := map[string]int{}
			err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || d.Name() == "jetstream.lock" {
					return err
				}
				info, err := d.Info()
				if err != nil {
					return err
				}
				all := damages(int(info.Size()))
				if filepath.Ext(path) == ".blk" && info.Size() > 0 {
					all = append(all, blockDamages(t, path)...)
				}
				name, err := filepath.Rel(h.dir, path)
				if err != nil {
					return err
				}
				for _, damage := range all {
					found := h.try(t, name, damage)
					if found == "" {
						found = "harmless"
					}
					outcomes[found]++
					t.Logf("%s: %s: %s", name, damage.name, found)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if outcomes["harmless"] == 0 || len(outcomes) < 3 {
				t.Errorf("this test does not see much: %v", outcomes)
			}
		})
	}
}

func (h history) copy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (h history) try(t *testing.T, name string, d damage) (found string) {
	t.Helper()
	dir := h.copy(t)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, d.change(data), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s: %s", name, d.name)
		}
	}()
	return h.look(t, dir)
}

// look starts a node on a store and says where it found damage, or "" where it found everything as it was.
func (h history) look(t *testing.T, dir string) (found string) {
	t.Helper()
	ctx := testContext(t)
	server, err := natsd.Embedded(natsd.Options{Dir: dir, MaxStoreBytes: 8 << 30})
	if err != nil {
		return "by the server"
	}
	defer server.Shutdown()
	nc, err := jetlog.Connect("", jetlog.ConnectOptions{InProcess: server})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	store, err := jetlog.Open(ctx, nc, jetlog.Config{})
	if err != nil {
		return "when the store is opened"
	}
	return h.inspect(ctx, t, store)
}

// inspect says where a store that is open shows damage, or "" where it holds everything as it was.
func (h history) inspect(ctx context.Context, t *testing.T, store *jetlog.Store) (found string) {
	t.Helper()
	if err := store.Damage(ctx); err != nil {
		found = "by Damage"
	}
	for id, want := range h.logs {
		a, err := activate(ctx, store.Stores(), h.vault, id)
		for errors.Is(err, events.ErrFenced) && ctx.Err() == nil { // a replica that lags answered: a node opens the log again
			a, err = activate(ctx, store.Stores(), h.vault, id)
		}
		if audited := h.audit(ctx, t, store, id); audited != "" && found == "" {
			found = audited
		}
		if err != nil {
			if found == "" {
				found = "by activation"
			}
			continue
		}
		if a.Head() != want.head || !slices.Equal(a.said, want.said) {
			t.Errorf("%v: silently %d records up to %v; %d up to %v were stored", id, len(a.said), a.Head(), len(want.said), want.head)
		}
		snapshot, err := a.Snapshot(ctx)
		if err == nil && snapshot != nil && string(snapshot.State) != "state of "+id.String() {
			t.Errorf("%v: snapshot %q is believed", id, snapshot.State)
		}
	}
	return found
}

// audit verifies a log as replay does with keys: every record that is given was stored, and where the ring is there the head is its
// anchor.
func (h history) audit(ctx context.Context, t *testing.T, store *jetlog.Store, id events.LogID) (found string) {
	t.Helper()
	want := h.logs[id]
	keys, err := events.LoadKeys(ctx, store.Rings(), h.vault, id)
	if err != nil {
		return "by verify"
	}
	audit := events.OpenAudit(store, id, keys, events.AuditOptions{})
	n := 0
	err = audit.Replay(ctx, events.Head{}, func(r *events.Record) error {
		if n >= len(want.said) || r.Cause.Command != want.said[n] {
			t.Errorf("%v: record %d says %q", id, n+1, r.Cause.Command)
		}
		n++
		return nil
	})
	anchor, anchored := keys.Anchor()
	switch {
	case err != nil, !anchored, anchor.Digest != audit.Head().Digest:
		return "by verify"
	case audit.Head() != want.head || n != len(want.said):
		t.Errorf("%v: verify calls %d records up to %v complete; %d up to %v were stored", id, n, audit.Head(), len(want.said), want.head)
	}
	return ""
}
