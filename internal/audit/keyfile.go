package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"parley/events"
)

// A key file is what an auditor gets of the keys of chosen logs, as lines of text:
//
//	parley audit keys 0
//	{"namespace"}
//	{"kind", "client", "conversation", "ring"}     one line a log, ids as in an export
//
// ring is a key ring of that log, in base64, with its MAC key, its audit key and no other one, wrapped under the auditor's own key.
const keyFileMagic = "parley audit keys 0"

const (
	keyFileLineMax = 64 << 10
	keyFileLogsMax = 1 << 20
)

type keyFileLog struct {
	exportLog
	Ring []byte `json:"ring"`
}

// ExportKeys writes the key file of chosen logs. The auditor's key wraps it, and opens it again.
func (h *History) ExportKeys(ctx context.Context, w io.Writer, logs []events.LogID, auditor events.KeyVault) error {
	if h.vault == nil || h.rings == nil {
		return fmt.Errorf("%w: there are none here", ErrBadKeys)
	}
	out := bufio.NewWriter(w)
	line := func(v any) error {
		text, err := json.Marshal(v)
		if err == nil {
			_, err = out.Write(append(text, '\n'))
		}
		return err
	}
	if _, err := out.WriteString(keyFileMagic + "\n"); err != nil {
		return err
	}
	if err := line(exportHeader{Namespace: h.config.Namespace}); err != nil {
		return err
	}
	for _, id := range logs {
		keys, err := events.LoadKeys(ctx, h.rings, h.vault, id)
		if errors.Is(err, events.ErrKeyMissing) {
			return fmt.Errorf("%w: %w", ErrBadKeys, err)
		}
		if err != nil {
			return fmt.Errorf("log %s: %w", id, err)
		}
		ring, err := keys.SealAudit(ctx, auditor)
		if err != nil {
			return fmt.Errorf("log %s: %w", id, err)
		}
		if err := line(keyFileLog{exportLogOf(id), ring}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// keyFile is a key file that was read: a ring store of which nothing can be changed.
type keyFile struct {
	namespace string
	rings     map[events.LogID][]byte
}

func readKeyFile(path string) (*keyFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, keyFileLineMax)
	if !lines.Scan() || lines.Text() != keyFileMagic {
		return nil, fmt.Errorf("%s does not begin with %q", path, keyFileMagic)
	}
	var header exportHeader
	if !lines.Scan() || strictJSON(lines.Bytes(), &header) != nil {
		return nil, fmt.Errorf("%s names no namespace", path)
	}
	k := &keyFile{namespace: header.Namespace, rings: map[events.LogID][]byte{}}
	for lines.Scan() {
		var l keyFileLog
		if err := strictJSON(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		id, err := l.id()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if k.rings[id] = l.Ring; len(k.rings) > keyFileLogsMax {
			return nil, fmt.Errorf("%s has keys of more than %d logs", path, keyFileLogsMax)
		}
	}
	return k, lines.Err()
}

// Load implements events.RingStore.
func (k *keyFile) Load(_ context.Context, id events.LogID) (data []byte, revision uint64, err error) {
	ring, ok := k.rings[id]
	if !ok {
		return nil, 0, events.ErrNotFound
	}
	return bytes.Clone(ring), 1, nil
}

// LoadAnchor implements events.RingStore: the anchor is in the ring.
func (k *keyFile) LoadAnchor(context.Context, events.LogID) ([]byte, uint64, error) {
	return nil, 0, events.ErrNotFound
}

// List implements events.RingStore.
func (k *keyFile) List(context.Context) (logs []events.LogID, err error) {
	for id := range k.rings {
		logs = append(logs, id)
	}
	return logs, nil
}

// Store implements events.RingStore: it does not.
func (k *keyFile) Store(context.Context, events.LogID, []byte, uint64) (uint64, error) {
	return 0, events.ErrReadOnly
}

// StoreAnchors implements events.RingStore: it does not.
func (k *keyFile) StoreAnchors(context.Context, []events.AnchorWrite) ([]uint64, error) {
	return nil, events.ErrReadOnly
}

// Delete implements events.RingStore: it does not.
func (k *keyFile) Delete(context.Context, events.LogID) error { return events.ErrReadOnly }
