package mlsengine

import (
	"bytes"
	"fmt"
	"testing"

	"parley/mlsengine/suite"
)

// testNow lies in the lifetime of every key package that tests make.
const testNow = 1_000_000

func testEnv(parts ...any) Env {
	return Env{Now: testNow, Entropy: newSeededEntropy(fmt.Sprint(parts...))}
}

// testClient is a client with its keys and, once it has joined, its group.
type testClient struct {
	name     string
	suite    *suite.Suite
	identity SigningIdentity
	next     *SigningIdentity // once our Update is committed
	env      Env
	kp       *KeyPackage
	secrets  KeyPackageSecrets
	group    *Group
	updates  OwnUpdates
	psks     testPSKs
}

// testPSKs is a store of external keys by id, and of resumption keys by group
// and epoch.
type testPSKs map[string][]byte

func (p testPSKs) PSK(id PreSharedKeyID) ([]byte, bool) {
	key, known := p[pskName(id)]
	return key, known
}

func pskName(id PreSharedKeyID) string {
	if id.Type == PSKTypeExternal {
		return string(id.ID)
	}
	return fmt.Sprintf("%s@%d", id.Group, id.Epoch)
}

func newTestClient(t testing.TB, id CipherSuite, name string) *testClient {
	t.Helper()
	s := must(suite.Get(id))(t)
	c := &testClient{name: name, suite: s, env: testEnv(id, name), updates: OwnUpdates{}, psks: testPSKs{}}
	c.identity = c.newIdentity(t)
	c.env.Identity = &c.identity
	return c
}

// newIdentity makes a new signature key under the client's name.
func (c *testClient) newIdentity(t testing.TB) SigningIdentity {
	t.Helper()
	key, public, err := c.suite.GenerateSignatureKeyPair(c.env.Entropy.Draw("signature", c.suite.SignatureSeedSize()))
	if err != nil {
		t.Fatal(err)
	}
	return SigningIdentity{Credential: BasicCredential([]byte(c.name)), Key: key, Public: public}
}

// keyPackage makes and keeps a key package.
func (c *testClient) keyPackage(t testing.TB) *KeyPackage {
	t.Helper()
	kp, secrets, err := NewKeyPackage(KeyPackageParams{
		Suite: c.suite.ID(), Identity: c.identity, Lifetime: Lifetime{NotBefore: testNow - 100, NotAfter: testNow + 100},
	}, c.env)
	if err != nil {
		t.Fatal(err)
	}
	c.kp, c.secrets = kp, secrets
	return kp
}

// create makes the client the only member of a new group.
func (c *testClient) create(t testing.TB, id string, extensions Extensions) {
	t.Helper()
	c.group = must(NewGroup(GroupParams{
		GroupID: GroupID(id), Suite: c.suite.ID(), Identity: c.identity, Extensions: extensions,
		Lifetime: Lifetime{NotBefore: testNow - 100, NotAfter: testNow + 100},
	}, c.env))(t)
}

// join takes a Welcome.
func (c *testClient) join(t testing.TB, welcome []byte, tree *RatchetTree) {
	t.Helper()
	w := must(ParseMessage(welcome))(t).Welcome()
	c.group = must(JoinFromWelcome(w, JoinInput{
		KeyPackage: c.kp, Secrets: c.secrets, Identity: c.identity, Tree: tree, PSKs: c.psks,
	}))(t)
}

// open reads a message of the client's epoch and takes the successor.
func (c *testClient) open(t testing.TB, message []byte) *Content {
	t.Helper()
	content, next, err := c.group.Open(must(ParseMessage(message))(t), testLimits)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	c.group = next
	return content
}

var testLimits = Limits{OutOfOrderTolerance: 10, MaximumForwardDistance: 1000}

// stage processes a commit without taking its outcome.
func (c *testClient) stage(t testing.TB, commit *Content, proposals []*Content) *Staged {
	t.Helper()
	staged, err := c.group.StageCommit(CommitInput{Commit: commit, Proposals: proposals, OwnUpdates: c.updates, PSKs: c.psks}, c.env)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return staged
}

// newTestGroup makes a group whose first member added the others, one commit
// with all of them.
func newTestGroup(t testing.TB, id CipherSuite, names ...string) []*testClient {
	t.Helper()
	clients := make([]*testClient, len(names))
	for i, name := range names {
		clients[i] = newTestClient(t, id, name)
	}
	founder := clients[0]
	founder.create(t, "group", nil)
	if len(names) == 1 {
		return clients
	}
	in := CommitIntent{TreeInWelcome: WithTree, ForcePath: true}
	for _, c := range clients[1:] {
		in.Inline = append(in.Inline, &Add{KeyPackage: *c.keyPackage(t)})
	}
	out := must(founder.group.Commit(in, founder.env))(t)
	founder.group = out.Staged.Next
	for _, c := range clients[1:] {
		c.join(t, out.Welcome, nil)
	}
	wantAgreement(t, clients)
	return clients
}

// commit lets a member commit and all others follow.
func commit(t testing.TB, clients []*testClient, by int, in CommitIntent) *CommitOut {
	t.Helper()
	committer := clients[by]
	out, err := committer.group.Commit(in, committer.env)
	if err != nil {
		t.Fatalf("%s: %v", committer.name, err)
	}
	for i, c := range clients {
		if i == by {
			continue
		}
		content := c.open(t, out.Message)
		staged := c.stage(t, content, in.Proposals)
		c.group = staged.Next
	}
	committer.group = out.Staged.Next
	if in.NewIdentity != nil {
		committer.identity = *in.NewIdentity
	}
	wantAgreement(t, clients)
	return out
}

// wantAgreement checks that all clients with a group are in one epoch.
func wantAgreement(t testing.TB, clients []*testClient) {
	t.Helper()
	var first *testClient
	for _, c := range clients {
		switch {
		case c.group == nil:
		case first == nil:
			first = c
		case !bytes.Equal(c.group.EpochAuthenticator(), first.group.EpochAuthenticator()):
			t.Fatalf("%s in epoch %d and %s in epoch %d differ", c.name, c.group.Epoch(), first.name, first.group.Epoch())
		}
	}
}
