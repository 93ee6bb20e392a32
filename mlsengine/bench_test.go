package mlsengine

import (
	"fmt"
	"runtime"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// benchSizes are how many members the groups of the benchmarks have.
func benchSizes() []int { return []int{2, 10, 100, 1000, 10000} }

// benchSuite is the suite of all figures.
const benchSuite = suite.X25519_AES128GCM_SHA256_Ed25519

// warmEvery is how many members of a warm group share one that has updated its
// path since they were added.
const warmEvery = 125

// bigGroup has n members of which some are at hand: the committer and its
// neighbour, who derives the longest path of all when it follows. Those in
// updaters have updated their paths, if the tree is warm.
type bigGroup struct {
	committer, follower *testClient

	keyPackages []*KeyPackage // of all others, unused until they are added
	clients     []*testClient
	welcome     []byte
}

// newBigGroup lets a committer add n-1 members in one commit with a path. Every
// parent outside of the committer's path is blank: the tree is fresh.
func newBigGroup(tb testing.TB, n int) *bigGroup {
	tb.Helper()
	g := &bigGroup{committer: newTestClient(tb, benchSuite, "committer")}
	g.committer.create(tb, "big", nil)
	for i := range n - 1 {
		c := newTestClient(tb, benchSuite, fmt.Sprintf("member %d", i))
		g.keyPackages = append(g.keyPackages, c.keyPackage(tb))
		g.clients = append(g.clients, c)
	}
	out := g.create(tb)
	g.welcome = out.Welcome
	g.committer.group = out.Staged.Next
	g.follower = g.clients[0]
	g.follower.follow(tb, g.committer.group, out.Welcome)
	return g
}

// create makes the commit that adds everybody.
func (g *bigGroup) create(tb testing.TB) *CommitOut {
	in := CommitIntent{ForcePath: true, TreeInWelcome: WithTree}
	for _, kp := range g.keyPackages {
		in.Inline = append(in.Inline, &Add{KeyPackage: *kp})
	}
	return must(g.committer.group.Commit(in, g.committer.env))(tb)
}

// warm lets one in 125 members update its path, the committer among them.
func (g *bigGroup) warm(tb testing.TB) *bigGroup {
	tb.Helper()
	together := []*testClient{g.committer, g.follower}

	for i := warmEvery; i < len(g.clients); i += warmEvery {
		g.clients[i].follow(tb, g.committer.group, g.welcome)
		together = append(together, g.clients[i])

	}
	for i := range together {
		if i != 1 {
			commit(tb, together, i, CommitIntent{})
		}
	}

	return g
}

// follow is join by a Welcome that was made a moment ago, without checking the
// tree again that its maker holds.
func (c *testClient) follow(tb testing.TB, of *Group, welcome []byte) {
	tb.Helper()
	w := must(ParseMessage(welcome))(tb).Welcome()
	secrets := must(w.open(c.suite, JoinInput{KeyPackage: c.kp, Secrets: c.secrets, Identity: c.identity}))(tb)
	psk := must(derivePSKSecret(c.suite, nil, nil))(tb)
	derived, roots := deriveEpoch(c.suite, deriveMemberSecret(c.suite, secrets.joiner, psk), syntax.Encode(&of.public.context))
	own := must(of.public.tree.find(&c.kp.LeafNode))(tb)
	keys := must(welcomeKeys(of.public.tree, own, of.own, secrets.path, c.secrets.LeafKey))(tb)
	c.group = &Group{
		public: of.public, own: own, keys: keys, secrets: derived,
		ratchets: newSecretTree(c.suite, roots.encryption, of.public.tree.size), exports: newExportTree(c.suite, roots.export),
	}
}

// eachBenchSize runs a benchmark on groups of all sizes from least on.
func eachBenchSize(b *testing.B, least int, run func(*testing.B, int)) {
	for _, n := range benchSizes() {
		if n >= least {
			b.Run(fmt.Sprint(n), func(b *testing.B) { run(b, n) })
		}
	}
}

// BenchmarkProcessCommitInV processes an update commit, parsing and
// verification included. The receiver is the committer's neighbour, who has the
// most keys to derive.
func BenchmarkProcessCommitInV(b *testing.B) {
	process := func(b *testing.B, g *bigGroup) {
		out := must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b)
		measure(b, func() {
			content, next, err := g.follower.group.Open(must(ParseMessage(out.Message))(b), testLimits)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := next.StageCommit(CommitInput{Commit: content}, g.follower.env); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("warm", func(b *testing.B) {
		eachBenchSize(b, 2, func(b *testing.B, n int) { process(b, newBigGroup(b, n).warm(b)) })
	})
	b.Run("fresh", func(b *testing.B) {
		eachBenchSize(b, 2, func(b *testing.B, n int) { process(b, newBigGroup(b, n)) })
	})
}

// BenchmarkCreateCommitInV makes an update commit.
func BenchmarkCreateCommitInV(b *testing.B) {
	create := func(b *testing.B, g *bigGroup) {
		measure(b, func() { must(g.committer.group.Commit(CommitIntent{}, g.committer.env))(b) })
	}
	b.Run("warm", func(b *testing.B) {
		eachBenchSize(b, 2, func(b *testing.B, n int) { create(b, newBigGroup(b, n).warm(b)) })
	})
	b.Run("fresh", func(b *testing.B) {
		eachBenchSize(b, 2, func(b *testing.B, n int) { create(b, newBigGroup(b, n)) })
	})
}

// BenchmarkCreateGroupInV adds everybody in one commit with a path: key
// packages checked, Welcome made.
func BenchmarkCreateGroupInV(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		g := newBigGroup(b, n)
		g.committer.create(b, "big", nil)
		measure(b, func() { g.create(b) })
	})
}

// BenchmarkAddMemberInV adds one member with a path, on a warm tree.
func BenchmarkAddMemberInV(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		g := newBigGroup(b, n).warm(b)
		add := []Proposal{&Add{KeyPackage: *newTestClient(b, benchSuite, "newcomer").keyPackage(b)}}
		in := CommitIntent{ForcePath: true, Inline: add, TreeInWelcome: WithTree}
		measure(b, func() { must(g.committer.group.Commit(in, g.committer.env))(b) })
	})
}

// BenchmarkJoinInV joins by a Welcome that holds the warm tree.
func BenchmarkJoinInV(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		g := newBigGroup(b, max(n-1, 2)).warm(b)
		joiner := newTestClient(b, benchSuite, "joiner")
		in := CommitIntent{ForcePath: true, Inline: []Proposal{&Add{KeyPackage: *joiner.keyPackage(b)}}, TreeInWelcome: WithTree}
		welcome := must(g.committer.group.Commit(in, g.committer.env))(b).Welcome
		measure(b, func() { joiner.join(b, welcome, nil) })
	})
}

// BenchmarkGroupSize measures the memory of a member that has just joined, its
// snapshot, and what a transaction copies to begin with.
func BenchmarkGroupSize(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		g := newBigGroup(b, max(n-1, 2)).warm(b)
		joiner := newTestClient(b, benchSuite, "joiner")
		in := CommitIntent{ForcePath: true, Inline: []Proposal{&Add{KeyPackage: *joiner.keyPackage(b)}}, TreeInWelcome: WithTree}
		welcome := must(g.committer.group.Commit(in, g.committer.env))(b).Welcome
		g = nil
		before := liveHeap()
		joiner.join(b, welcome, nil)
		heap := liveHeap() - before
		for b.Loop() {
			runtime.KeepAlive(joiner.group.public.tree.draft())
		}
		b.ReportMetric(float64(heap), "heap-bytes")
		b.ReportMetric(float64(len(joiner.group.public.Marshal())+joiner.group.MarshalPrivate().Len()), "snapshot-bytes")
		runtime.KeepAlive(welcome)
	})
}

// liveHeap is what the collector leaves.
func liveHeap() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
