package mlsengine

import (
	"fmt"
	"testing"

	"parley/mlsengine/suite"
)

// Benchmarks are read against BenchmarkVerify of the same run.

// BenchmarkVerify is one Ed25519 verification, the unit V.
func BenchmarkVerify(b *testing.B) {
	c := newTestClient(b, 1, "alice")
	content := make([]byte, 128)
	signature, err := c.identity.Sign("bench", content)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.suite.VerifyWithLabel(c.identity.Public, "bench", content, signature); err != nil {
			b.Fatal(err)
		}
	}
}

// bigGroup has n members of which three are at hand: the committer, one that
// follows and one that is about to join by the Welcome.
type bigGroup struct {
	committer, follower, joiner *testClient
	welcome                     []byte
}

// newBigGroup adds n members and lets a good part of them update their paths,
// so that the tree is as full as that of a group in use.
func newBigGroup(tb testing.TB, id CipherSuite, n int) *bigGroup {
	tb.Helper()
	g := &bigGroup{committer: newTestClient(tb, id, "committer")}
	g.committer.create(tb, "big", nil)
	in := CommitIntent{ForcePath: true, TreeInWelcome: WithTree}
	clients := []*testClient{g.committer}
	for i := range n - 2 {
		c := newTestClient(tb, id, fmt.Sprintf("member %d", i))
		in.Inline = append(in.Inline, &Add{KeyPackage: *c.keyPackage(tb)})
		clients = append(clients, c)
	}
	out := must(g.committer.group.Commit(in, g.committer.env))(tb)
	g.committer.group = out.Staged.Next
	updaters := []*testClient{g.committer}
	for i := 1; i < len(clients); i += len(clients)/8 + 1 {
		clients[i].join(tb, out.Welcome, nil)
		updaters = append(updaters, clients[i])
	}
	for i := range updaters {
		commit(tb, updaters, i, CommitIntent{})
	}
	g.follower = updaters[1] // the committer's neighbour derives the longest path
	g.joiner = newTestClient(tb, id, "joiner")
	last := commit(tb, updaters, 0, CommitIntent{
		ForcePath: true, TreeInWelcome: WithTree, Inline: []Proposal{&Add{KeyPackage: *g.joiner.keyPackage(tb)}},
	})
	g.welcome = last.Welcome
	return g
}

// BenchmarkProcessCommit1000 processes an update commit in a group of 1,000:
// parsing, verification and staging.
func BenchmarkProcessCommit1000(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	out := must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b)
	b.ReportAllocs()
	for b.Loop() {
		content, next, err := g.follower.group.Open(must(ParseMessage(out.Message))(b), testLimits)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := next.StageCommit(CommitInput{Commit: content}, g.follower.env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJoin1000 joins a group of 1,000 by a Welcome that holds the tree.
func BenchmarkJoin1000(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	b.ReportAllocs()
	for b.Loop() {
		g.joiner.join(b, g.welcome, nil)
	}
}

// BenchmarkCreateCommit1000 makes an update commit in a group of 1,000.
func BenchmarkCreateCommit1000(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	b.ReportAllocs()
	for b.Loop() {
		must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b)
	}
}

// BenchmarkEncrypt1KiB encrypts an application message.
func BenchmarkEncrypt1KiB(b *testing.B) {
	clients := newTestGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, "alice", "bob")
	alice, data := clients[0], make([]byte, 1024)
	var block *SendBlock
	for b.Loop() {
		if block == nil || block.Remaining() == 0 {
			_, next, reserved, err := alice.group.Reserve(ContentTypeApplication, 32)
			if err != nil {
				b.Fatal(err)
			}
			alice.group, block = next, reserved
		}
		if _, _, err := alice.group.SealApplication(block, Plaintext{Data: data}, alice.env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecrypt1KiB decrypts application messages, each the next one.
func BenchmarkDecrypt1KiB(b *testing.B) {
	clients := newTestGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, "alice", "bob")
	alice, bob, data := clients[0], clients[1], make([]byte, 1024)
	_, next, block, err := alice.group.Reserve(ContentTypeApplication, 512)
	if err != nil {
		b.Fatal(err)
	}
	alice.group = next
	messages := make([][]byte, 512)
	for i := range messages {
		if messages[i], _, err = alice.group.SealApplication(block, Plaintext{Data: data}, alice.env); err != nil {
			b.Fatal(err)
		}
	}
	from, i := bob.group, 0
	for b.Loop() {
		if i == len(messages) {
			bob.group, i = from, 0
		}
		bob.open(b, messages[i])
		i++
	}
}
