package mlsengine

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Test vectors come from two places: the official files, which are not part
// of this repository, and files of the same kinds under testdata/vectors which
// our own generators made (go test ./mlsengine -run Vectors -update).

var update = flag.Bool("update", false, "regenerate committed test data")

const (
	ownVectors = "testdata/vectors"
	whereToGet = "official test vectors are absent: take the folder test-vectors of github.com/mlswg/mls-implementations and set PARLEY_VECTORS to it"
)

// hexBytes is a binary value of a vector file; JSON null is nil.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*h = nil
	if s == nil {
		return nil
	}
	decoded, err := hex.DecodeString(*s)
	*h = append(hexBytes{}, decoded...)
	return err
}

func (h hexBytes) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("null"), nil
	}
	return []byte(`"` + hex.EncodeToString(h) + `"`), nil
}

// eachVector runs check on every case of a kind, official and own. A kind with
// a generator has a committed file, which -update writes anew. No case at all
// is a failure.
func eachVector[T any](t *testing.T, kind string, generate func(*testing.T) []T, check func(*testing.T, *T)) {
	t.Helper()
	if generate != nil && *update {
		writeOwnVectors(t, kind, generate(t))
	}
	official := readVectors[T](t, officialVectors(), kind)
	if official == nil {
		if os.Getenv("PARLEY_VECTORS_REQUIRED") == "1" {
			t.Fatalf("%s: %s", kind, whereToGet)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", kind, whereToGet)
	}
	var own []T
	if generate != nil {
		if own = readVectors[T](t, ownVectors, kind); len(own) == 0 {
			t.Fatalf("%s: no committed cases; run go test ./mlsengine -run Vectors -update", kind)
		}
	}
	runVectors(t, "official", official, check)
	runVectors(t, "own", own, check)
	if len(official)+len(own) == 0 {
		t.Fatalf("%s: no case was run", kind)
	}
}

func runVectors[T any](t *testing.T, source string, cases []T, check func(*testing.T, *T)) {
	for i := range cases {
		t.Run(fmt.Sprintf("%s/%d", source, i), func(t *testing.T) { check(t, &cases[i]) })
	}
}

// officialVectors is PARLEY_VECTORS, or the folder beside the repository.
func officialVectors() string {
	if dir := os.Getenv("PARLEY_VECTORS"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "shared", "vectors")
}

// readVectors reads kind.json or kind.json.gz; nil means that neither exists.
func readVectors[T any](t *testing.T, dir, kind string) []T {
	t.Helper()
	for _, name := range []string{kind + ".json", kind + ".json.gz"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			b = gunzip(t, b)
		}
		var cases []T
		if err := json.Unmarshal(b, &cases); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return cases
	}
	return nil
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeOwnVectors[T any](t *testing.T, kind string, cases []T) {
	t.Helper()
	b, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(ownVectors, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ownVectors, kind+".json.gz"), packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wantBytes fails the test when two values differ.
func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}
