package mlsengine

import (
	"testing"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// passiveVector is a case of the three passive-client files.
type passiveVector struct {
	CipherSuite               CipherSuite    `json:"cipher_suite"`
	ExternalPSKs              []passivePSK   `json:"external_psks"`
	KeyPackage                hexBytes       `json:"key_package"`
	SignaturePriv             hexBytes       `json:"signature_priv"`
	EncryptionPriv            hexBytes       `json:"encryption_priv"`
	InitPriv                  hexBytes       `json:"init_priv"`
	Welcome                   hexBytes       `json:"welcome"`
	RatchetTree               hexBytes       `json:"ratchet_tree"`
	InitialEpochAuthenticator hexBytes       `json:"initial_epoch_authenticator"`
	App                       []passiveApp   `json:"app,omitempty"`
	Epochs                    []passiveEpoch `json:"epochs"`
}

type passivePSK struct {
	ID  hexBytes `json:"psk_id"`
	PSK hexBytes `json:"psk"`
}

type passiveEpoch struct {
	Proposals          []hexBytes   `json:"proposals"`
	Commit             hexBytes     `json:"commit"`
	EpochAuthenticator hexBytes     `json:"epoch_authenticator"`
	App                []passiveApp `json:"app,omitempty"`
}

// passiveApp is an application message; the official files have none.
type passiveApp struct {
	Ciphertext        hexBytes `json:"ciphertext"`
	AuthenticatedData hexBytes `json:"authenticated_data"`
	Plaintext         hexBytes `json:"plaintext"`
}

// PSK implements PSKStore.
func (v *passiveVector) PSK(id PreSharedKeyID) ([]byte, bool) {
	for _, p := range v.ExternalPSKs {
		if id.Type == PSKTypeExternal && string(id.ID) == string(p.ID) {
			return p.PSK, true
		}
	}
	return nil, false
}

func TestVectorsPassiveClientWelcome(t *testing.T) {
	eachVector(t, "passive-client-welcome", generatePassiveWelcome, checkPassive)
}

func TestVectorsPassiveClientHandlingCommit(t *testing.T) {
	eachVector(t, "passive-client-handling-commit", generatePassiveHandlingCommit, checkPassive)
}

func TestVectorsPassiveClientRandom(t *testing.T) {
	eachVector(t, "passive-client-random", generatePassiveRandom, checkPassive)
}

func checkPassive(t *testing.T, v *passiveVector) {
	t.Parallel()
	g := v.join(t)
	wantBytes(t, "initial epoch authenticator", g.EpochAuthenticator(), v.InitialEpochAuthenticator)
	g = readApp(t, g, v.App)
	for i := range v.Epochs {
		g = readApp(t, v.follow(t, g, &v.Epochs[i]), v.Epochs[i].App)
		wantBytes(t, "epoch authenticator", g.EpochAuthenticator(), v.Epochs[i].EpochAuthenticator)
		if t.Failed() {
			t.Fatalf("stopped in epoch %d", g.Epoch())
		}
	}
}

// join reads the private keys and the Welcome of a case.
func (v *passiveVector) join(t *testing.T) *Group {
	t.Helper()
	s := must(suite.Get(v.CipherSuite))(t)
	kp := must(ParseKeyPackage(v.KeyPackage))(t)
	w := must(ParseMessage(v.Welcome))(t).Welcome()
	if w == nil {
		t.Fatal("no Welcome")
	}
	in := JoinInput{KeyPackage: kp, PSKs: v, Secrets: KeyPackageSecrets{InitKey: secret.Clone(v.InitPriv), LeafKey: secret.Clone(v.EncryptionPriv)}}
	in.Identity = SigningIdentity{Credential: kp.LeafNode.Credential, Key: must(s.ParseSignaturePrivateKey(v.SignaturePriv))(t), Public: kp.LeafNode.SignatureKey}
	if v.RatchetTree != nil {
		in.Tree = must(ParseRatchetTree(v.CipherSuite, v.RatchetTree))(t)
	}
	if err := kp.Validate(Env{Now: kp.LeafNode.Lifetime.NotBefore}); err != nil {
		t.Fatal(err)
	}
	return must(JoinFromWelcome(w, in))(t)
}

// follow processes one epoch, as a member and as an outsider.
func (v *passiveVector) follow(t *testing.T, g *Group, e *passiveEpoch) *Group {
	t.Helper()
	var proposals []*Content
	for _, b := range e.Proposals {
		c, next, err := g.Open(must(ParseMessage(b))(t), passiveLimits)
		if err != nil {
			t.Fatal(err)
		}
		proposals, g = append(proposals, c), next
	}
	c, g, err := g.Open(must(ParseMessage(e.Commit))(t), passiveLimits)
	if err != nil {
		t.Fatal(err)
	}
	staged := must(g.StageCommit(CommitInput{Commit: c, Proposals: proposals, PSKs: v}, Env{}))(t)
	if staged.Removed {
		t.Fatal("removed")
	}
	checkStagedInPublic(t, g, c, proposals, staged)
	return staged.Next
}

// passiveLimits are those of the documented profile.
var passiveLimits = Limits{OutOfOrderTolerance: 1000, MaximumForwardDistance: 1000}

// readApp opens application messages in their order.
func readApp(t *testing.T, g *Group, app []passiveApp) *Group {
	t.Helper()
	for _, m := range app {
		c, next, err := g.Open(must(ParseMessage(m.Ciphertext))(t), passiveLimits)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "plaintext", c.Application(), m.Plaintext)
		wantBytes(t, "authenticated data", c.AAD(), m.AuthenticatedData)
		g = next
	}
	return g
}

// checkStagedInPublic checks that whoever has no secrets comes to the same
// epoch: by the commit, by the delta, and through bytes.
func checkStagedInPublic(t *testing.T, g *Group, c *Content, proposals []*Content, staged *Staged) {
	t.Helper()
	outsider := must(g.Public().StageCommit(c, proposals, Env{}))(t)
	wantBytes(t, "delta", outsider.Delta, staged.Delta)
	byDelta := must(g.Public().ApplyDelta(staged.Delta))(t)
	want := staged.Public.Marshal()
	wantBytes(t, "public state", outsider.Next.Marshal(), want)
	wantBytes(t, "public state after delta", byDelta.Marshal(), want)
	parsed := must(ParsePublicGroup(want))(t)
	wantBytes(t, "public state read back", parsed.Marshal(), want)
	if staged.Next == nil {
		return
	}
	private := staged.Next.MarshalPrivate()
	restored := must(RestoreGroup(parsed, private.Expose()))(t)
	wantBytes(t, "private state read back", restored.MarshalPrivate().Expose(), private.Expose())
}

// must fails the test on an error: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
