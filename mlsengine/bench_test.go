package mlsengine

import (
	"fmt"
	"testing"

	"parley/mlsengine/suite"
)

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

// BenchmarkProcessCommit1000InV processes an update commit in a group of
// 1,000, parsing and verification included; the target is 45 V. The receiver is
// the committer's neighbour, who has the most keys to derive.
func BenchmarkProcessCommit1000InV(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	out := must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b)
	process := func() {
		content, next, err := g.follower.group.Open(must(ParseMessage(out.Message))(b), testLimits)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := next.StageCommit(CommitInput{Commit: content}, g.follower.env); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		process()
	}
	inVTimes(b, 8, process)
}

// BenchmarkJoin1000InV joins a group of 1,000 by a Welcome that holds the
// tree; the target is 1,300 V, of which the leaves' signatures are 1,000.
func BenchmarkJoin1000InV(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	b.ReportAllocs()
	for b.Loop() {
		g.joiner.join(b, g.welcome, nil)
	}
	inVTimes(b, 1, func() { g.joiner.join(b, g.welcome, nil) })
}

// BenchmarkCreateCommit1000InV makes an update commit in a group of 1,000.
func BenchmarkCreateCommit1000InV(b *testing.B) {
	g := newBigGroup(b, suite.X25519_AES128GCM_SHA256_Ed25519, 1000)
	b.ReportAllocs()
	for b.Loop() {
		must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b)
	}
	inVTimes(b, 1, func() { must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b) })
}
