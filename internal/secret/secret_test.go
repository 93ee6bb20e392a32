package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

type particularSecret struct{ Bytes }

func TestSecretNeverPrintsItself(t *testing.T) {
	const material = "correct horse battery"
	s := particularSecret{New([]byte(material))}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "secret", s, "inner", s.Bytes)
	encoded, err := json.Marshal(struct {
		Key particularSecret
		Ptr *Bytes
	}{s, &s.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %x %X %q %d", s, s, s, s, s, s, s, s),
		fmt.Sprintf("%v", struct{ K particularSecret }{s}), fmt.Sprintf("%+v", &s),
		log.String(), string(encoded), string(text), s.String(), s.GoString(),
	}
	hex := fmt.Sprintf("%x", material)
	for _, out := range printed {
		if strings.Contains(out, material) || strings.Contains(strings.ToLower(out), hex) {
			t.Errorf("printed the secret: %q", out)
		}
		if !strings.Contains(out, redacted) {
			t.Errorf("no redaction in %q", out)
		}
	}
	if _, err := s.MarshalBinary(); !errors.Is(err, ErrRedacted) {
		t.Errorf("MarshalBinary: %v", err)
	}
}

// hidden has the secret where fmt finds no methods.
type hidden struct {
	inner  particularSecret
	nested struct{ list []Bytes }
}

func TestSecretInUnexportedFieldsDoesNotPrint(t *testing.T) {
	const material = "correct horse battery"
	h := hidden{inner: particularSecret{New([]byte(material))}}
	h.nested.list = []Bytes{h.inner.Bytes}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q", "%d"} {
		for _, v := range []any{h, &h, []hidden{h}, map[string]hidden{"k": h}} {
			out := fmt.Sprintf(verb, v)
			decimal := strings.Trim(fmt.Sprint([]byte(material)), "[]")
			if strings.Contains(out, material) || strings.Contains(out, fmt.Sprintf("%x", material)) || strings.Contains(out, decimal) || strings.Contains(out, "0x63, 0x6f") {
				t.Errorf("%s printed the secret: %s", verb, out)
			}
		}
	}
}

func TestWipeReachesCopies(t *testing.T) {
	s := New([]byte{1, 2, 3})
	other := s
	if !s.Equal(other) || s.Len() != 3 || s.IsZero() {
		t.Fatal("copy differs")
	}
	s.Wipe()
	if !bytes.Equal(other.Expose(), make([]byte, 3)) {
		t.Error("a copy kept the material")
	}
	if !(Bytes{}).IsZero() || s.Equal(New([]byte{0})) {
		t.Error("zero value or lengths confused")
	}
}

func TestRecorderSeesEverySecret(t *testing.T) {
	var seen []string
	SetRecorder(func(b []byte) { seen = append(seen, string(b)) })
	t.Cleanup(func() { SetRecorder(nil) })
	source := []byte("b")
	New([]byte("a"))
	New(nil)
	New([]byte{})
	New(make([]byte, 32))
	c := Clone(source)
	source[0] = 'x'
	if strings.Join(seen, "") != "ab" || string(c.Expose()) != "b" {
		t.Errorf("recorded %q, clone holds %q", seen, c.Expose())
	}
	SetRecorder(nil)
	New([]byte("c"))
	if len(seen) != 2 {
		t.Error("recorded after removal")
	}
}
