package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"parley/conversation"
	"parley/internal/audit/audittest"
	"parley/internal/secret"
)

// Whatever keys it is given, replay prints nothing that they open: every secret that comes up while it reads is looked for, raw, in
// hexadecimal and in base64, in everything it prints.
func TestNoSecretIsPrinted(t *testing.T) {
	drafts, err := audittest.Story(conversation.WireCiphertext)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := audittest.DataDir(t.Context(), dir, drafts); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var secrets [][]byte
	secret.SetRecorder(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		if len(b) >= 16 { // shorter ones are found anywhere
			secrets = append(secrets, bytes.Clone(b))
		}
	})
	defer secret.SetRecorder(nil)
	var out bytes.Buffer
	one := []string{"--client", "ann", "--conv", "team"}
	keys := filepath.Join(t.TempDir(), "keys")
	for _, args := range [][]string{
		{"list"}, {"log"}, {"show"}, {"verify"}, {"verify", "--json"}, {"log", "--ndjson"}, {"export"}, {"keys", "export", "--auditor-key", keys + ".auditor", "--out", keys},
		slices.Concat([]string{"state"}, one), slices.Concat([]string{"state", "--json"}, one), slices.Concat([]string{"state", "--at", "epoch:1", "--json"}, one),
		slices.Concat([]string{"members", "--json"}, one), slices.Concat([]string{"proposals", "--json"}, one),
	} {
		if code := run(append(args, "--data", dir), &out, &out); code != exitGood {
			t.Fatalf("%q ends with %d", args, code)
		}
	}
	if len(secrets) < 10 {
		t.Fatalf("only %d secrets came up: the keys were not used", len(secrets))
	}
	file, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	printed := append(out.Bytes(), file...)
	for _, s := range secrets {
		for name, form := range map[string][]byte{
			"raw": s, "hex": []byte(hex.EncodeToString(s)), "base64": []byte(base64.StdEncoding.EncodeToString(s)), "base64url": []byte(base64.RawURLEncoding.EncodeToString(s)),
		} {
			if bytes.Contains(printed, form) {
				t.Fatalf("a secret of %d bytes is printed, %s", len(s), name)
			}
		}
	}
}
