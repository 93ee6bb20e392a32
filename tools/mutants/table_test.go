package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// TestMutantsFitTheSource finds the stale ones without running them: each text stands in its file once, and what replaces it parses.
func TestMutantsFitTheSource(t *testing.T) {
	names := map[string]bool{}
	for _, m := range table() {
		m.File = filepath.Join("..", "..", m.File)
		source, err := os.ReadFile(m.File)
		if err != nil {
			t.Error(err)
			continue
		}
		broken, err := m.apply(source)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, broken, 0); err != nil || bytes.Equal(broken, source) {
			t.Errorf("%s: %v", m.Name, err)
		}
		if m.Set == "" || m.Breaks == "" || len(m.Tests) == 0 || names[m.Name] {
			t.Errorf("%s is not described, or twice there", m.Name)
		}
		names[m.Name] = true
	}
	if len(names) < 10 {
		t.Errorf("%d mutants", len(names))
	}
}

func TestTheFailedTestIsNamed(t *testing.T) {
	output := "noise\n--- FAIL: TestOuter (0.1s)\n    --- FAIL: TestOuter/inner (0.0s)\n        file.go:1: why\n--- FAIL: TestNext (0s)\n"
	if got := firstLine(output, "--- FAIL: "); got != "--- FAIL: TestOuter/inner (0.0s)" {
		t.Errorf("%q", got)
	}
	if got := firstLine("panic: out of range\nmore", "--- FAIL: "); got != "panic: out of range" {
		t.Errorf("%q", got)
	}
}
