package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/conversation"
	"parley/events"
	"parley/internal/audit/audittest"
)

// TestKeyFileOpensSignedBytesAndNothingElse reads a history with all keys and with an auditor's. With all of them parts of many kinds open;
// with the auditor's exactly the signed bytes do, and every MAC is checked.
func TestKeyFileOpensSignedBytesAndNothingElse(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	data, file, key, export := filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "auditor"), filepath.Join(dir, "export")
	if err := audittest.DataDir(ctx, data, story(t, conversation.WireCiphertext)); err != nil {
		t.Fatal(err)
	}
	all := opened(t, SourceConfig{Data: data})
	logs, err := all.Logs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	auditor, err := events.CreateStaticKEK(key)
	if err != nil {
		t.Fatal(err)
	}
	var keys, history strings.Builder
	if err := errors.Join(all.ExportKeys(ctx, &keys, logs, auditor), all.Export(ctx, &history, logs, Newest())); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(file, []byte(keys.String()), 0o600), os.WriteFile(export, []byte(history.String()), 0o600)); err != nil {
		t.Fatal(err)
	}
	operators, signed := openParts(t, all, logs)
	if len(operators) < 4 || signed == 0 {
		t.Fatalf("all keys open parts of classes %v, %d of them signed bytes: the story is no test", operators, signed)
	}
	for _, c := range []SourceConfig{{File: export, KeyFile: file, AuditorKey: key}, {Data: data, KeyFile: file, AuditorKey: key}} {
		classes, n := openParts(t, opened(t, c), logs)
		if len(classes) != 1 || n != signed {
			t.Errorf("%+v: parts of classes %v open, %d of %d signed bytes", c, classes, n, signed)
		}
	}
	// What wraps the file is bound to the log: the ring of one is not taken for another's.
	swapped := strings.NewReplacer(`"conversation":"team"`, `"conversation":"other"`).Replace(keys.String())
	if err := os.WriteFile(file, []byte(swapped), 0o600); err != nil {
		t.Fatal(err)
	}
	h := opened(t, SourceConfig{File: export, KeyFile: file, AuditorKey: key})
	if _, err := h.keys(ctx, events.ConversationLog("ann", "other")); !errors.Is(err, ErrBadKeys) {
		t.Errorf("another log's ring: %v", err)
	}
}

func opened(t *testing.T, c SourceConfig) *History {
	t.Helper()
	h, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// openParts counts the sealed parts that the keys of a history open, by class, and says how many of them are signed bytes.
func openParts(t *testing.T, h *History, logs []events.LogID) (classes map[events.Class]int, signed int) {
	t.Helper()
	classes = map[events.Class]int{}
	for _, id := range logs {
		err := h.Records(context.Background(), id, Newest(), func(r *events.Record) error {
			if !r.MACChecked {
				t.Errorf("the MAC of record %d of log %s was not checked", r.Version, id)
			}
			for _, e := range r.Events {
				for _, s := range e.Secrets {
					if !s.Plain.IsZero() {
						classes[s.Class]++
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return classes, classes[events.ClassAudit]
}
