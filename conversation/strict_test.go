package conversation

import (
	"errors"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// offer makes a key package of a member, spoiled before it is signed.
func (w *world) offer(m *member, change func(*mlsengine.KeyPackageParams), spoil func(*mlsengine.KeyPackage)) []byte {
	w.t.Helper()
	p := mlsengine.KeyPackageParams{
		Suite: m.suite, Identity: *m.identity, Lifetime: lifetimeFrom(w.nowMs, lifetimeSeconds), Capabilities: capabilities(),
	}
	if change != nil {
		change(&p)
	}
	kp, _, err := mlsengine.NewKeyPackage(p, mlsengine.Env{Now: w.nowMs / 1000, Entropy: m.entropy})
	if err != nil {
		w.t.Fatal(err)
	}
	if spoil == nil {
		return kp.Bytes()
	}
	spoil(kp)
	kp.Signature = nil
	unsigned := syntax.Encode(kp)
	if kp.Signature, err = m.identity.Sign("KeyPackageTBS", unsigned[:len(unsigned)-1]); err != nil { // without the signature's length
		w.t.Fatal(err)
	}
	return kp.Bytes()
}

func unlisted(t mlsengine.ExtensionType) func(*mlsengine.KeyPackage) {
	return func(kp *mlsengine.KeyPackage) { kp.Extensions = mlsengine.Extensions{{Type: t, Data: []byte("x")}} }
}

// TestWhomOthersWouldRefuseIsNotAdded: what members of other implementations demand of who is added (and cannot follow the commit without) is
// asked of everybody whom we add or propose to add, before anything is made.
func TestWhomOthersWouldRefuseIsNotAdded(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve, reader := w.newMember("eve"), w.newMember("history-client:3f2504e0-4f89-41d3-9a0c-0305e82c3301")
	const privateExtension, grease = 0xff07, 0x1a1a
	for name, c := range map[string]struct {
		offer []byte
		code  Code
		rule  mlsengine.Rule
	}{
		"an extension that its leaf does not list": {w.offer(eve, nil, unlisted(privateExtension)), InvalidKeyPackage, mlsengine.KeyPackageExtension},
		"GREASE that its leaf does not list":       {w.offer(eve, nil, unlisted(grease)), InvalidKeyPackage, mlsengine.KeyPackageExtension},
		"a lifetime that is over": {w.offer(eve, func(p *mlsengine.KeyPackageParams) {
			p.Lifetime = mlsengine.Lifetime{NotBefore: 1, NotAfter: 2}
		}, nil), InvalidKeyPackage, mlsengine.LeafLifetime},
		"a lifetime that has not begun": {w.offer(eve, func(p *mlsengine.KeyPackageParams) {
			p.Lifetime = mlsengine.Lifetime{NotBefore: w.nowMs/1000 + 3600, NotAfter: w.nowMs/1000 + 7200}
		}, nil), InvalidKeyPackage, mlsengine.LeafLifetime},
		"another suite": {w.offer(eve, func(p *mlsengine.KeyPackageParams) {
			p.Suite = suite.X25519_CHACHA20POLY1305_SHA256_Ed25519
		}, nil), InvalidKeyPackage, 0},
		"a leaf that does not understand certificates": {w.offer(eve, func(p *mlsengine.KeyPackageParams) {
			p.Capabilities = mlsengine.Capabilities{Credentials: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic}}
		}, nil), CommitInvalid, mlsengine.LeafRequiredCapabilities},
		"the name of a reader":            {w.offer(reader, nil, nil), HistoryClientCannotWrite, 0},
		"a signature key that is in here": {w.invite(bob), DuplicateSignature, 0},
	} {
		for _, in := range []Input{AddMembers{KeyPackages: [][]byte{c.offer}}, ProposeAdd{KeyPackage: c.offer}} {
			r := w.step(ada, in)
			if !errors.Is(r.Err, c.code) || c.rule != 0 && r.Err.Rule != c.rule.Code() {
				t.Errorf("%s, %T: %v (%s)", name, in, r.Err, c.rule.Code())
			}
		}
	}
	if r := w.step(ada, ProposeAdd{KeyPackage: w.offer(eve, func(p *mlsengine.KeyPackageParams) {
		p.Outside = mlsengine.Extensions{{Type: privateExtension}}
	}, nil)}); r.Err != nil {
		t.Errorf("an extension that its leaf lists: %v", r.Err)
	}
}

// TestAddsThatOthersWouldRefuseStayPending: we take them, as everybody's, and leave them out of what we commit.
func TestAddsThatOthersWouldRefuseStayPending(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	eve, cara := w.newMember("eve"), w.newMember("cara")
	for _, offer := range [][]byte{w.offer(eve, nil, unlisted(0xff07)), w.invite(cara)} {
		kp, err := mlsengine.ParseKeyPackage(offer)
		if err != nil {
			t.Fatal(err)
		}
		made, err := bob.state.Private.Group.Propose(&mlsengine.Add{KeyPackage: *kp}, mlsengine.Framing{}, w.env(bob).engine())
		if err != nil {
			t.Fatal(err)
		}
		if o := w.step(ada, Received{Message: made.Message}).Outcomes[0]; o.Kind != OutcomeProposal {
			t.Fatalf("%+v", o)
		}
	}
	w.step(ada, CommitPending{CommandMeta: w.meta(ada)})
	w.answer(ada)
	if names := ada.state.ClientIDs(); len(names) != 3 || names[2] != "cara" {
		t.Errorf("members %v", names)
	}
}

// TestNamesThatOthersCannotReadAreRefused: under a configuration that says so.
func TestNamesThatOthersCannotReadAreRefused(t *testing.T) {
	const user = "c7ab78f8-a141-4aec-afb9-b5b4410e0b14"
	config := DefaultConfig()
	config.ClientNames = DeployedNames
	for name, good := range map[string]bool{
		user + ":b764c3887b32a6a7@example.com": true, user + ":1@example.com": true,
		"eve": false, user + ":0b764@example.com": false, user + ":@example.com": false, user + ":b764@": false, user + ":xyz@example.com": false,
		user + ":b764c3887b32a6a71@example.com": false, user[1:] + ":b764@example.com": false, user + ":b764@\xff": false, user + "b764@example.com": false,
	} {
		w := newWorld(t, 7, config)
		ada, other := w.newMember(user+":a1@example.com"), w.newMember(name)
		w.step(ada, Create{Config: config})
		r := w.step(ada, ProposeAdd{KeyPackage: w.invite(other)})
		if good != (r.Err == nil) || !good && (!errors.Is(r.Err, ClientNameRefused) || r.Err.Clients[0] != name) {
			t.Errorf("%q: %v", name, r.Err)
		}
		if !good {
			w.refused(other, Create{Config: config}, ClientNameRefused)
		}
	}
	config.ClientNames = DeployedNames + 1
	w := newWorld(t, 7, config)
	w.refused(w.newMember("ada"), Create{Config: config}, InvalidConfiguration)
}
