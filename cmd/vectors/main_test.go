package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// drawn is entropy for cases that are made once and thrown away.
type drawn struct{ n byte }

func (d *drawn) Draw(_ string, n int) []byte {
	d.n++
	return bytes.Repeat([]byte{d.n}, n)
}

// maker makes cases: a group that somebody is added to, and whose messages he then reads.
type maker struct {
	t     *testing.T
	suite *suite.Suite
	env   mlsengine.Env
	group *mlsengine.Group
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (m *maker) identity(name string) mlsengine.SigningIdentity {
	m.t.Helper()
	key, public, err := m.suite.GenerateSignatureKeyPair(m.env.Entropy.Draw("signature", m.suite.SignatureSeedSize()))
	if err != nil {
		m.t.Fatal(err)
	}
	return mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(name)), Key: key, Public: public}
}

// commit makes an encrypted commit, or a public one, and follows it.
func (m *maker) commit(in mlsengine.CommitIntent, encrypt bool) *mlsengine.CommitOut {
	m.t.Helper()
	if encrypt {
		_, next, block, err := m.group.Reserve(mlsengine.ContentTypeCommit, 1)
		if err != nil {
			m.t.Fatal(err)
		}
		m.group, in.Framing = next, mlsengine.Framing{Encrypt: true, Block: block}
	}
	out := must[*mlsengine.CommitOut](m.t)(m.group.Commit(in, m.env))
	m.group = out.Staged.Next
	return out
}

// say makes application messages of the epoch.
func (m *maker) say(texts ...string) (app []map[string]string) {
	m.t.Helper()
	_, next, block, err := m.group.Reserve(mlsengine.ContentTypeApplication, uint32(len(texts)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.group = next
	for _, text := range texts {
		sealed, _, err := m.group.SealApplication(block, mlsengine.Plaintext{Data: []byte(text), AAD: []byte("aad of " + text)}, m.env)
		if err != nil {
			m.t.Fatal(err)
		}
		app = append(app, map[string]string{
			"ciphertext": hex.EncodeToString(sealed), "authenticated_data": hex.EncodeToString([]byte("aad of " + text)),
			"plaintext": hex.EncodeToString([]byte(text)),
		})
	}
	return app
}

// generated is a case with encrypted handshakes and application messages that come out of order.
func generated(t *testing.T) map[string]any {
	t.Helper()
	m := &maker{t: t, suite: must[*suite.Suite](t)(suite.Get(suite.X25519_AES128GCM_SHA256_Ed25519))}
	m.env = mlsengine.Env{Now: 1_700_000_000, Entropy: &drawn{}}
	life := mlsengine.Lifetime{NotBefore: 1_690_000_000, NotAfter: 1_710_000_000}
	ann, bob := m.identity("ann"), m.identity("bob")
	m.env.Identity = &ann
	m.group = must[*mlsengine.Group](t)(mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID("generated"), Suite: m.suite.ID(), Identity: ann, Lifetime: life,
	}, m.env))
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{Suite: m.suite.ID(), Identity: bob, Lifetime: life}, m.env)
	if err != nil {
		t.Fatal(err)
	}
	add := m.commit(mlsengine.CommitIntent{Inline: []mlsengine.Proposal{&mlsengine.Add{KeyPackage: *kp}}, TreeInWelcome: mlsengine.WithTree}, false)
	v := map[string]any{
		"cipher_suite": 1, "external_psks": []any{}, "key_package": hex.EncodeToString(kp.Bytes()), "ratchet_tree": nil,
		"signature_priv": hex.EncodeToString(bob.Key.Raw().Expose()), "init_priv": hex.EncodeToString(secrets.InitKey.Expose()),
		"encryption_priv": hex.EncodeToString(secrets.LeafKey.Expose()), "welcome": hex.EncodeToString(add.Welcome),
		"initial_epoch_authenticator": hex.EncodeToString(m.group.EpochAuthenticator()), "app": m.say("first", "second"), "unknown": true,
	}
	var epochs []any
	for i := range 6 {
		out := m.commit(mlsengine.CommitIntent{ForcePath: true}, i%2 == 0)
		app := m.say("one", "two", "three")
		slices.Reverse(app)
		epochs = append(epochs, map[string]any{
			"proposals": []any{}, "commit": hex.EncodeToString(out.Message), "app": app,
			"epoch_authenticator": hex.EncodeToString(m.group.EpochAuthenticator()),
		})
	}
	v["epochs"] = epochs
	return v
}

func write(t *testing.T, path string, v any) {
	t.Helper()
	raw := must[[]byte](t)(json.Marshal(v))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

func last(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func TestCasesOfOurOwnPass(t *testing.T) {
	dir := t.TempDir()
	v := generated(t)
	write(t, filepath.Join(dir, "one", "cases.dat"), []any{v})
	write(t, filepath.Join(dir, "two", "cases.dat"), []any{v}) // the same name and the same key package
	write(t, filepath.Join(dir, "other.json"), []any{map[string]any{"tree": ""}})
	var out strings.Builder
	if err := run(t.Context(), []string{dir, "../../mlsengine/testdata/vectors/passive-client-handling-commit.json.gz"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if got := last(out.String()); got != "10 passed, 0 failed" {
		t.Errorf("the last line is %q", got)
	}
	if strings.Contains(out.String(), ", 0 application messages") || strings.Contains(out.String(), "profile retain-all: 0 epochs") {
		t.Errorf("nothing was read or recomputed:\n%s", out.String())
	}
}

func TestBadCasesFail(t *testing.T) {
	for name, spoil := range map[string]func(map[string]any){
		"authenticator": func(v map[string]any) { v["initial_epoch_authenticator"] = strings.Repeat("00", 32) },
		"plaintext":     func(v map[string]any) { v["app"].([]map[string]string)[0]["plaintext"] = "00" },
		"welcome":       func(v map[string]any) { v["welcome"] = "0001" },
		"hexadecimal":   func(v map[string]any) { v["key_package"] = "not hexadecimal" },
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := generated(t), generated(t)
			spoil(bad)
			path := filepath.Join(t.TempDir(), "cases")
			write(t, path, []any{good, bad})
			var out strings.Builder
			if err := run(t.Context(), []string{path}, &out); err == nil {
				t.Error("a bad case is no error")
			}
			if got := last(out.String()); got != "1 passed, 1 failed" {
				t.Errorf("the last line is %q\n%s", got, out.String())
			}
		})
	}
}

func TestNoCasesIsAFailure(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{t.TempDir()}, &out); err == nil || last(out.String()) != "0 passed, 0 failed" {
		t.Errorf("%v, %q", err, out.String())
	}
	if err := run(t.Context(), []string{filepath.Join(t.TempDir(), "absent")}, &out); err == nil || !strings.Contains(err.Error(), "mls-implementations") {
		t.Errorf("an absent directory: %v", err)
	}
}
