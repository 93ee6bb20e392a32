package events_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

var addGolden = flag.Bool("add-golden", false, "write golden records for events that have none; never changes one that is there")

const goldenDir = "testdata/v1"

// filled is a body with every field set to something that depends only on the
// field's place.
func filled(body events.Body) events.Body {
	body = body.New()
	fill(body.ProtoReflect(), 1, 3)
	return body
}

func fill(m protoreflect.Message, seed uint64, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil {
			continue
		}
		n := seed*31 + uint64(f.Number())
		if !f.IsList() {
			if v, ok := value(m.NewField(f), f, n, depth); ok {
				m.Set(f, v)
			}
			continue
		}
		list := m.Mutable(f).List()
		for k := range uint64(2) {
			if v, ok := value(newElement(list, f), f, n+k, depth); ok {
				list.Append(v)
			}
		}
	}
}

func newElement(list protoreflect.List, f protoreflect.FieldDescriptor) protoreflect.Value {
	if f.Kind() == protoreflect.MessageKind {
		return list.NewElement()
	}
	return protoreflect.Value{}
}

func value(empty protoreflect.Value, f protoreflect.FieldDescriptor, n uint64, depth int) (protoreflect.Value, bool) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true), true
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n)), true
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(n << 20), true
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s-%d", f.Name(), n)), true
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(fmt.Appendf(nil, "\x00%s\xff%d", f.Name(), n)), true
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number()), true
	case protoreflect.MessageKind:
		if depth > 0 {
			fill(empty.Message(), n, depth-1)
			return empty, true
		}
	}
	return protoreflect.Value{}, false
}

// counter is randomness that is none: golden records must not change.
type counter byte

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		*c++
		p[i] = byte(*c)
	}
	return len(p), nil
}

// goldenMAC is the MAC key that counter gives to a new ring: its second draw
// of 32 bytes, after incarnation and key id.
func goldenMAC() secret.Bytes {
	var c counter
	skipped := make([]byte, 32)
	_, _ = c.Read(skipped)
	key := make([]byte, 32)
	_, _ = c.Read(key)
	return secret.New(key)
}

// TestGoldenRecordsStayReadable: every event has a stored record that was once
// committed; it is still read, and says what it said.
func TestGoldenRecordsStayReadable(t *testing.T) {
	for _, body := range v1.Bodies() {
		t.Run(body.EventKind(), func(t *testing.T) {
			paths, err := filepath.Glob(filepath.Join(goldenDir, body.EventKind()+".*hex"))
			if err != nil {
				t.Fatal(err)
			}
			if len(paths) == 0 && *addGolden {
				paths = append(paths, writeGolden(t, body))
			}
			if len(paths) == 0 {
				t.Fatalf("no golden record of %s: run the test once with -add-golden", body.EventKind())
			}
			for _, path := range paths {
				readGolden(t, path, body)
			}
		})
	}
}

func writeGolden(t *testing.T, body events.Body) string {
	t.Helper()
	w := newWorld(t)
	j := w.open(conversation, events.JournalOptions{Random: new(counter)})
	if err := j.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	r, err := j.Append(t.Context(), events.Draft{
		TimeMS: 1_700_000_000_000,
		Cause:  events.Cause{Transaction: "tx", Command: "command", CommandID: "id", Principal: "principal", Trace: "trace", IssuedMS: 1_699_999_999_000, RequestDigest: [32]byte{1}},
		Events: []events.Event{{
			Body:    filled(body),
			Secrets: []events.Secret{{Class: events.ClassAudit, Plain: plain("for auditors")}},
			Forget:  []string{events.Forget(events.ClassPSK, "psk")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(goldenDir, body.EventKind()+".hex")
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // add-only
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(wrapped(hex.EncodeToString(r.Raw))); err != nil {
		t.Fatal(err)
	}
	return path
}

func wrapped(text string) string {
	var b strings.Builder
	for len(text) > 100 {
		b.WriteString(text[:100] + "\n")
		text = text[100:]
	}
	return b.String() + text + "\n"
}

func readGolden(t *testing.T, path string, body events.Body) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.store.Put(conversation, raw)
	var records []*events.Record
	keys := events.MACKeys(goldenMAC())
	if err := events.OpenAudit(w.store, conversation, keys, events.AuditOptions{}).Replay(t.Context(), events.Head{}, collect(&records)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(records) != 1 || len(records[0].Events) != 1 || records[0].Cause.Principal != "principal" || records[0].TimeMS != 1_700_000_000_000 {
		t.Fatalf("%s reads as %+v", path, records)
	}
	event := records[0].Events[0]
	if event.Kind() != body.EventKind() || len(event.Secrets) != 1 || event.Secrets[0].Class != events.ClassAudit || len(event.Forget) != 1 {
		t.Fatalf("%s reads as %+v", path, event)
	}
	// What the event said when it was stored is all there: stored fields of a later schema may only be more.
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(event.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, again) {
		t.Errorf("%s: the body reads and encodes differently", path)
	}
}

func TestEveryBodyKnowsItsEvent(t *testing.T) {
	seen := map[string]bool{}
	for _, body := range v1.Bodies() {
		if seen[body.EventKind()] {
			t.Errorf("two bodies are called %s", body.EventKind())
		}
		seen[body.EventKind()] = true
		event := &v1.Event{}
		event.SetBodyValue(filled(body))
		encoded, err := proto.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		back := &v1.Event{}
		if err := proto.Unmarshal(encoded, back); err != nil {
			t.Fatal(err)
		}
		if got := back.BodyValue(); got == nil || got.EventKind() != body.EventKind() || !proto.Equal(got, filled(body)) {
			t.Errorf("%s comes back as %v", body.EventKind(), got)
		}
		event.SetBodyValue(nil)
		if event.BodyValue() != nil {
			t.Errorf("%s: a cleared event has a body", body.EventKind())
		}
	}
	fields := (&v1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	if len(seen) != fields.Len() {
		t.Errorf("%d bodies for %d arms", len(seen), fields.Len())
	}
}
