package parley_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"parley"
)

// hexBytes is a byte string as the vector files write it.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// passiveCase is one case of a passive-client vector file.
type passiveCase struct {
	CipherSuite uint16 `json:"cipher_suite"`
	PSKs        []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage           hexBytes `json:"key_package"`
	SignaturePriv        hexBytes `json:"signature_priv"`
	EncryptionPriv       hexBytes `json:"encryption_priv"`
	InitPriv             hexBytes `json:"init_priv"`
	Welcome              hexBytes `json:"welcome"`
	RatchetTree          hexBytes `json:"ratchet_tree"`
	InitialAuthenticator hexBytes `json:"initial_epoch_authenticator"`
	Epochs               []struct {
		Proposals     []hexBytes `json:"proposals"`
		Commit        hexBytes   `json:"commit"`
		Authenticator hexBytes   `json:"epoch_authenticator"`
	} `json:"epochs"`
}

// vectorFile reads a file of cases: an official one where there is one, else ours.
func vectorFile(t *testing.T, name string) []passiveCase {
	t.Helper()
	dir := os.Getenv("PARLEY_VECTORS")
	if dir == "" {
		dir = "../shared/vectors"
	}
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Logf("official vectors not found in %s (github.com/mlswg/mls-implementations, test-vectors): our own are run", dir)
		if raw, err = os.ReadFile(filepath.Join("mlsengine", "testdata", "vectors", name)); err != nil {
			t.Fatal(err)
		}
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	var cases []passiveCase
	if err := json.Unmarshal(plain, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// fixedClock stands inside a key package's lifetime.
type fixedClock struct {
	parley.Clock
	at time.Time
}

func (c fixedClock) Now() time.Time { return c.at }

// TestVectorCaseSurvivesARestart is the thin line through everything: a key package made elsewhere goes into the client's log, a
// Welcome and commits into a conversation's, and after a restart replay has the same epoch.
func TestVectorCaseSurvivesARestart(t *testing.T) {
	cases := vectorFile(t, "passive-client-handling-commit.json.gz")
	ran := 0
	for i, v := range cases {
		if v.CipherSuite != 1 || ran == 3 {
			continue
		}
		ran++
		t.Run(fmt.Sprintf("case %d", i), func(t *testing.T) { runCase(t, v) })
	}
	if ran == 0 {
		t.Fatal("no case of suite 1")
	}
}

func openIsolated(t *testing.T, dir string, keyPackage []byte) *parley.Node {
	t.Helper()
	from, to, err := parley.KeyPackageLifetime(keyPackage)
	if err != nil {
		t.Fatal(err)
	}
	clock := fixedClock{parley.SystemClock(), time.Unix(int64(from+(to-from)/2), 0)}
	config := parley.DefaultConfig()
	config.Transport, config.WirePolicy, config.OutOfOrderTolerance = parley.ForeignTransport, parley.WireMixed, 1000
	node, err := parley.Open(t.Context(), parley.Options{Data: dir, Isolated: true, Limits: parley.Limits{KeyPackages: -1}, Config: config, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func closeNode(t *testing.T, node *parley.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	if err := node.Close(ctx); err != nil {
		t.Error(err)
	}
}

func runCase(t *testing.T, v passiveCase) {
	dir := filepath.Join(t.TempDir(), "data")
	node := openIsolated(t, dir, v.KeyPackage)
	client := node.Bare("case")
	ctx := t.Context()
	err := client.ImportKeyPackage(ctx, parley.KeyPackageImport{
		KeyPackage: v.KeyPackage, InitKey: v.InitPriv, LeafKey: v.EncryptionPriv, SignatureKey: v.SignaturePriv,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, psk := range v.PSKs {
		if err := client.AddPSK(ctx, psk.ID, psk.PSK); err != nil {
			t.Fatal(err)
		}
	}
	conv, err := client.Join(ctx, parley.Invitation{Welcome: v.Welcome, Tree: v.RatchetTree})
	if err != nil {
		t.Fatal(err)
	}
	status := checkEpoch(t, conv, v.InitialAuthenticator)
	for _, e := range v.Epochs {
		for _, p := range append(e.Proposals, e.Commit) {
			got, err := conv.Decrypt(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			if got.Code != "" {
				t.Fatalf("message refused: %s %s %s", got.Code, got.Rule, got.Detail)
			}
		}
		status = checkEpoch(t, conv, e.Authenticator)
	}
	id := conv.ID()
	closeNode(t, node)

	node = openIsolated(t, dir, v.KeyPackage)
	defer closeNode(t, node)
	again := checkEpoch(t, node.Bare("case").Conversation(id), status.Authenticator)
	if again.Digest != status.Digest {
		t.Errorf("the state after the restart is %s at version %d, before it was %s at version %d", again.Digest, again.Version, status.Digest, status.Version)
	}
}

func checkEpoch(t *testing.T, conv *parley.Conversation, authenticator []byte) parley.Status {
	t.Helper()
	status, err := conv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(status.Authenticator, authenticator) {
		t.Fatalf("epoch %d: the authenticator is %x, want %x", status.Epoch, status.Authenticator, authenticator)
	}
	return status
}
