package conversation

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"parley/events"
	"parley/internal/secret"
	"parley/mlsengine"
)

// hexBytes reads the vectors' byte strings.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil || text == nil {
		return err
	}
	raw, err := hex.DecodeString(*text)
	*h = raw
	return err
}

// passiveCase is a case of the official passive-client files.
type passiveCase struct {
	CipherSuite  mlsengine.CipherSuite `json:"cipher_suite"`
	ExternalPSKs []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage                hexBytes `json:"key_package"`
	SignaturePriv             hexBytes `json:"signature_priv"`
	EncryptionPriv            hexBytes `json:"encryption_priv"`
	InitPriv                  hexBytes `json:"init_priv"`
	Welcome                   hexBytes `json:"welcome"`
	RatchetTree               hexBytes `json:"ratchet_tree"`
	InitialEpochAuthenticator hexBytes `json:"initial_epoch_authenticator"`
	Epochs                    []struct {
		Proposals          []hexBytes `json:"proposals"`
		Commit             hexBytes   `json:"commit"`
		EpochAuthenticator hexBytes   `json:"epoch_authenticator"`
	} `json:"epochs"`
}

// TestPassiveClientVectors drives official cases through Step alone: the client
// imports its key package, joins, and receives. At every epoch the live state,
// the state folded from the records so far and the vector agree on the epoch
// authenticator.
func TestPassiveClientVectors(t *testing.T) {
	for _, kind := range []string{"passive-client-welcome", "passive-client-handling-commit", "passive-client-random"} {
		seen := map[mlsengine.CipherSuite]bool{}
		for i, c := range readPassive(t, kind) {
			if seen[c.CipherSuite] {
				continue // one case of each suite; all of them run through the whole system elsewhere
			}
			seen[c.CipherSuite] = true
			t.Run(fmt.Sprintf("%s/%d suite %d", kind, i, c.CipherSuite), func(t *testing.T) {
				t.Parallel()
				runPassive(t, c)
			})
		}
		if len(seen) > 0 && kind != "passive-client-random" && len(seen) != 7 {
			t.Errorf("%s: %d suites, want 7", kind, len(seen))
		}
	}
}

func readPassive(t *testing.T, kind string) []passiveCase {
	t.Helper()
	dir := os.Getenv("PARLEY_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "vectors")
	}
	f, err := os.Open(filepath.Join(dir, kind+".json.gz"))
	if err != nil {
		const where = "the official vectors are not here; set PARLEY_VECTORS to a copy of test-vectors/ of github.com/mlswg/mls-implementations"
		if os.Getenv("PARLEY_VECTORS_REQUIRED") == "1" {
			t.Fatalf("%s: %s", kind, where)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", kind, where)
		return nil
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var cases []passiveCase
	if err := json.NewDecoder(r).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no case", kind)
	}
	return cases
}

// passiveConfig is the documented profile of the vector run.
func passiveConfig() Config {
	c := DefaultConfig()
	c.WirePolicy, c.Transport = WireMixed, TransportForeign
	c.OutOfOrderTolerance, c.RetainEpochs = 1000, RetainAll
	return c
}

func runPassive(t *testing.T, c passiveCase) {
	kp, err := mlsengine.ParseKeyPackage(c.KeyPackage)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 1, passiveConfig())
	w.nowMs = (kp.LeafNode.Lifetime.NotBefore + 1) * 1000
	w.nowMs = max(w.nowMs, 1)
	client := passiveClient(t, w, c)
	held, secrets, refused := client.KeyPackageFor(c.Welcome)
	if refused != nil {
		t.Fatal(refused)
	}
	m := &member{name: "arnold", suite: c.CipherSuite, entropy: newSeeded(7)}
	m.identity, _, _ = client.Identity(held.Credential, c.CipherSuite)
	join := Join{Config: w.config, Welcome: c.Welcome, KeyPackage: held.KeyPackage, Secrets: secrets, Tree: c.RatchetTree}
	env := w.env(m)
	env.PSKs = client
	group, refused := WelcomeGroup(c.Welcome, join, env)
	if refused != nil {
		t.Fatal(refused)
	}
	w.group = group
	m.state = NewState("arnold", group)
	p := passiveRun{w: w, m: m, env: env}
	p.step(t, join)
	p.check(t, c.InitialEpochAuthenticator)
	for i, e := range c.Epochs {
		if i == epochsMost {
			break
		}
		for _, b := range e.Proposals {
			p.step(t, Received{Message: b})
		}
		p.step(t, Received{Message: e.Commit})
		p.check(t, e.EpochAuthenticator)
	}
}

// passiveClient imports the case's keys, and checks that the log alone gives
// them back.
func passiveClient(t *testing.T, w *world, c passiveCase) ClientState {
	t.Helper()
	s := NewClientState("arnold")
	inputs := []ClientInput{ImportKeyPackage{
		KeyPackage: c.KeyPackage, InitKey: secret.Clone(c.InitPriv), LeafKey: secret.Clone(c.EncryptionPriv), SignatureKey: secret.Clone(c.SignaturePriv),
	}}
	for _, p := range c.ExternalPSKs {
		inputs = append(inputs, AddPSK{ID: p.ID, Key: secret.Clone(p.PSK)})
	}
	for _, in := range inputs {
		s = stepClient(t, w, s, in).Next
	}
	return s
}

// stepClient steps a client and checks that its record folds to the same state.
func stepClient(t *testing.T, w *world, s ClientState, in ClientInput) ClientTransition {
	t.Helper()
	tr, err := StepClient(s, in, Env{NowMs: w.nowMs, Entropy: newSeeded(s.Version)})
	if err != nil || tr.Reply.Err != nil {
		t.Fatalf("%T: %v %v", in, err, tr.Reply.Err)
	}
	if len(tr.Events) == 0 {
		return tr
	}
	r := w.record(NewState(s.Client, ""), Transition{Next: State{Public: Public{TimeMs: tr.Next.TimeMs}}, Events: tr.Events}, true)
	r.Version = s.Version + 1
	folded, err := FoldClient(s, r)
	if err != nil {
		t.Fatalf("fold %T: %v", in, err)
	}
	tr.Next = tr.Next.At(r.Version)
	if folded.Digest() != tr.Next.Digest() || !sameSecrets(folded.secrets, tr.Next.secrets) {
		t.Fatalf("%T: the folded client is another", in)
	}
	return tr
}

func sameSecrets(a, b clientSecrets) bool {
	if !a.data.Equal(b.data) || len(a.keyPackages) != len(b.keyPackages) || len(a.psks) != len(b.psks) || len(a.signature) != len(b.signature) {
		return false
	}
	for ref, k := range a.keyPackages {
		if !k.InitKey.Equal(b.keyPackages[ref].InitKey) || !k.LeafKey.Equal(b.keyPackages[ref].LeafKey) {
			return false
		}
	}
	for id, k := range a.psks {
		if !k.Equal(b.psks[id]) {
			return false
		}
	}
	for ref, k := range a.signature {
		if !k.Equal(b.signature[ref]) {
			return false
		}
	}
	return true
}

// epochsMost of a case are enough here: the long one runs whole through the
// actors and their log.
const epochsMost = 40

// passiveRun is a member that only receives.
type passiveRun struct {
	w   *world
	m   *member
	env Env
}

func (p *passiveRun) step(t *testing.T, in Input) {
	t.Helper()
	tr, err := Step(p.m.state, in, p.env)
	if err != nil || tr.Reply.Err != nil {
		t.Fatalf("%T: %v %v", in, err, tr.Reply.Err)
	}
	for _, o := range tr.Reply.Outcomes {
		if o.Kind == OutcomeRejected {
			t.Fatalf("%T: %s %s %s", in, o.Code, o.Rule, o.Detail)
		}
	}
	p.w.store(p.m, in, tr)
}

// check compares the live member and the one in its records with the vector.
func (p *passiveRun) check(t *testing.T, want []byte) {
	t.Helper()
	if got := p.m.state.EpochAuthenticator(); !bytes.Equal(got, want) {
		t.Fatalf("epoch %d: authenticator %x, want %x", p.m.state.Epoch(), got, want)
	}
	if !bytes.Equal(p.m.state.Fingerprint, Fingerprint(want)) {
		t.Fatalf("epoch %d: the fingerprint is another", p.m.state.Epoch())
	}
	last := p.m.log[len(p.m.log)-1]
	for _, e := range last.Events {
		for _, part := range e.Secrets {
			if part.Class != events.ClassVerification {
				continue
			}
			authenticator, _, err := DecodeVerification(part.Plain.Expose())
			if err != nil || !bytes.Equal(authenticator, want) {
				t.Fatalf("the verification part is another: %v", err)
			}
		}
	}
	if n := len(p.m.log); n < 20 || n%100 == 0 {
		p.w.restart(p.m) // and go on with the rebuilt one
	}
}
