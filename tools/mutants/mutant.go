package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mutant is one rule broken on purpose.
type mutant struct {
	Set    string // which part of the house it is of
	Name   string
	Breaks string   // what no longer holds
	File   string   // from the module's root
	Old    string   // stands in the file once
	New    string   // what stands there instead
	Tests  []string // arguments of go test: the packages, and flags such as -run or -tags
	Env    []string // of the tests, as NAME=value
}

// verdict says whether a test noticed.
type verdict string

const (
	caught   verdict = "caught"
	survived verdict = "SURVIVED"
	stale    verdict = "STALE"
)

// testTimeout bounds the tests of one mutant: a mutant that hangs is caught.
const testTimeout = 5 * time.Minute

// apply is the file with the rule broken.
func (m mutant) apply(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(m.Old)); n != 1 {
		return nil, fmt.Errorf("its text stands %d times in %s", n, m.File)
	}
	return bytes.Replace(source, []byte(m.Old), []byte(m.New), 1), nil
}

// run tests the mutant.
func (m mutant) run(ctx context.Context) (verdict, string) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return stale, err.Error()
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return stale, err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	args := append([]string{"test", "-count=1", "-failfast", "-vet=off", "-overlay=" + overlay}, m.Tests...)
	test := exec.CommandContext(ctx, "go", args...)
	test.Env = append(os.Environ(), m.Env...)
	test.WaitDelay = 10 * time.Second
	output, err := test.CombinedOutput()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return caught, "its tests do not end"
	case err == nil:
		return survived, ""
	case bytes.Contains(output, []byte("[build failed]")) || bytes.Contains(output, []byte("[setup failed]")):
		return stale, "does not compile: " + compileError(string(output))
	}
	return caught, strings.TrimPrefix(firstLine(string(output), "--- FAIL: "), "--- FAIL: ")
}

// compileError is the compiler's first complaint.
func compileError(output string) string {
	for line := range strings.Lines(output) {
		if strings.Contains(line, ".go:") {
			return strings.TrimSpace(line)
		}
	}
	return output
}

// firstLine is the deepest line of the first run of lines with the prefix, trimmed: of nested tests the one that failed.
func firstLine(output, prefix string) string {
	found := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, prefix):
			found = line
		case found != "":
			return found
		}
	}
	if found == "" {
		found, _, _ = strings.Cut(strings.TrimSpace(output), "\n")
	}
	return found
}

// overlay writes the broken file and what tells the go command of it (go help build, -overlay).
func (m mutant) overlay(dir string) (string, error) {
	source, err := os.ReadFile(m.File)
	if err != nil {
		return "", err
	}
	broken, err := m.apply(source)
	if err != nil {
		return "", err
	}
	replaced := filepath.Join(dir, filepath.Base(m.File))
	if err := os.WriteFile(replaced, broken, 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.File)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: replaced}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
