package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"parley/events"
)

// exported is a small export of two logs.
func exported(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []events.LogID{events.ConversationLog("ann", "\x00\x01"), events.OrderLog("team")} {
		if err := w.Log(id); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			m := events.Message{Sequence: uint64(10 + i), Time: time.Unix(5, int64(i)), Data: bytes.Repeat([]byte{byte(i)}, i*100)}
			if err := w.Message(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, content []byte) (*exportFile, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := openExport(path)
	if err == nil {
		t.Cleanup(func() { x.close() })
	}
	return x, err
}

func TestExportReadsBackWhatWasWritten(t *testing.T) {
	x, err := open(t, exported(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []events.LogID{events.ConversationLog("ann", "\x00\x01"), events.OrderLog("team")}
	if !reflect.DeepEqual(x.logs, want) || x.namespace != "test" {
		t.Errorf("logs %v of %q", x.logs, x.namespace)
	}
	var sequences []uint64
	err = x.Read(context.Background(), want[0], 11, func(m events.Message) error {
		sequences = append(sequences, m.Sequence)
		if len(m.Data) != int(m.Sequence-10)*100 || m.Time.UnixNano() != 5_000_000_000+int64(m.Sequence-10) {
			t.Errorf("message %d: %d bytes, %v", m.Sequence, len(m.Data), m.Time)
		}
		return nil
	})
	if err != nil || !reflect.DeepEqual(sequences, []uint64{11, 12}) {
		t.Errorf("sequences %v, %v", sequences, err)
	}
}

func TestExportOfTheSameLogsIsTheSameFile(t *testing.T) {
	if !bytes.Equal(exported(t), exported(t)) {
		t.Error("two exports differ")
	}
}

// Any cut and any flipped bit is found when the file is opened.
func TestDamagedExportIsRefused(t *testing.T) {
	whole := exported(t)
	for n := range whole {
		if _, err := open(t, whole[:n]); !errors.Is(err, ErrBadExport) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		flipped := bytes.Clone(whole)
		flipped[n] ^= 1
		if _, err := open(t, flipped); !errors.Is(err, ErrBadExport) {
			t.Fatalf("bit flipped in byte %d: %v", n, err)
		}
	}
	if _, err := open(t, append(bytes.Clone(whole), 0)); !errors.Is(err, ErrBadExport) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestExportClaimingHugeFramesAllocatesNothing(t *testing.T) {
	content := append([]byte(exportMagic), frameMessage, 0xff, 0xff, 0xff, 0xff)
	if _, err := open(t, content); !errors.Is(err, ErrBadExport) {
		t.Error(err)
	}
}

func FuzzExportFile(f *testing.F) {
	f.Add([]byte(exportMagic))
	f.Add([]byte("parley export 0\nH\x00\x00\x00\x02{}E\x00\x00\x00\x28"))
	f.Fuzz(func(t *testing.T, content []byte) {
		x, err := open(t, content)
		if err != nil {
			return
		}
		for _, id := range x.logs {
			if err := x.Read(context.Background(), id, 0, func(events.Message) error { return nil }); err != nil {
				t.Errorf("an accepted file cannot be read: %v", err)
			}
		}
	})
}
