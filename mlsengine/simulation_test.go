package mlsengine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// simulation is a random history of one group. Laws checked after each step:
// all members agree, outsiders follow by commit and by delta, snapshots are
// canonical, a commit found again after a crash leads to the same state, and
// every member opens what every other says.
type simulation struct {
	t       *testing.T
	id      CipherSuite
	rand    *rand.Rand
	members []*testClient // in no particular order
	past    []*testClient // removed members
	outside *PublicGroup
	service *testClient    // an external sender; without one the group neither ends nor branches
	saw     map[string]int // what happened, and how often
	born    int
	deepest uint // level of the highest node a Welcome's path secret was for
	record  *recorder
}

// recorder writes a history down as a passive client saw it.
type recorder struct {
	client *testClient
	vector passiveVector
	epoch  passiveEpoch // whose commit has not come yet
}

// isPassive reports whether a client only watches.
func (sim *simulation) isPassive(c *testClient) bool {
	return sim.record != nil && sim.record.client == c
}

func TestSimulatedGroups(t *testing.T) {
	var levels [18]uint
	var saw [len(levels)]map[string]int
	t.Run("seeds", func(t *testing.T) {
		for seed := range levels {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				id := suiteForSeed(seed)
				steps := 20
				if id != 1 {
					steps = 5
				}
				levels[seed], saw[seed] = simulate(t, id, uint64(seed), steps)
			})
		}
	})
	if deepest := slices.Max(levels[:]); deepest < 4 {
		t.Errorf("Welcomes went %d levels deep, want at least 4", deepest)
	}
	for _, what := range everything() {
		if !slices.ContainsFunc(saw[:], func(seen map[string]int) bool { return seen[what] > 0 }) {
			t.Errorf("no simulation had %s", what)
		}
	}
}

// suiteForSeed takes each suite once, and then suite 1 for longer histories.
func suiteForSeed(seed int) CipherSuite {
	if ids := suite.IDs(); seed < len(ids) {
		return ids[seed]
	}
	return 1
}

func simulate(t *testing.T, id CipherSuite, seed uint64, steps int) (deepest uint, saw map[string]int) {
	sim := &simulation{t: t, id: id, rand: rand.New(rand.NewPCG(seed, 1))}
	founder := sim.newClient()
	sim.service = newTestClient(t, id, "service")
	founder.create(t, "simulated", sim.senders())
	sim.members = append(sim.members, founder)
	sim.outside = founder.group.Public()
	for range steps {
		sim.step()
	}
	return sim.deepest, sim.saw
}

func (sim *simulation) newClient() *testClient {
	sim.born++
	c := newTestClient(sim.t, sim.id, fmt.Sprintf("client %d", sim.born))
	c.psks["shared"] = []byte("a key that all clients know")
	return c
}

// pick takes any member that acts.
func (sim *simulation) pick() *testClient {
	for {
		if c := sim.members[sim.rand.IntN(len(sim.members))]; !sim.isPassive(c) {
			return c
		}
	}
}

func (sim *simulation) chance(percent int) bool { return sim.rand.IntN(100) < percent }

func (sim *simulation) step() {
	switch {
	case sim.chance(12):
		sim.externalJoin()
	case sim.service != nil && sim.chance(6):
		sim.reinitialize()
	default:
		sim.memberCommit()
	}
	if sim.service != nil && sim.chance(10) {
		sim.branch()
	}
	sim.talk()
	if sim.chance(30) {
		sim.restart(sim.pick())
	}
}

// memberCommit proposes at random, by several members, and commits.
func (sim *simulation) memberCommit() {
	committer := sim.pick()
	in := CommitIntent{ForcePath: sim.chance(50), Framing: sim.framing(committer, 40), PSKs: committer.psks}
	in.TreeInWelcome = TreeInclusion(sim.chance(50))
	joiners := sim.proposeChanges(committer, &in)
	if sim.chance(25) {
		sim.note("a pre-shared key")
		in.Inline = append(in.Inline, &PreSharedKey{PSK: sim.pskID(committer, joiners)})
	}
	if sim.chance(10) {
		in.Inline = append(in.Inline, &GroupContextExtensions{
			Extensions: sim.outside.context.Extensions.WithRequiredCapabilities(RequiredCapabilities{CredentialTypes: []CredentialType{CredentialTypeBasic}}),
		})
	}
	if sim.chance(15) {
		identity := committer.newIdentity(sim.t)
		in.NewIdentity = &identity
	}
	before := committer.group
	out, err := before.Commit(in, committer.env)
	if err != nil {
		sim.t.Fatalf("%s: %v", committer.name, err)
	}
	sim.checkResume(before, in, out, committer)
	sim.deliver(out.Message, in.Proposals, committer)
	committer.group = out.Staged.Next
	if in.NewIdentity != nil {
		committer.identity = *in.NewIdentity
	}
	sim.afterCommit(out, joiners, in.TreeInWelcome)
}

// proposeChanges lets members propose adds, removes and updates, and puts some
// changes inline. It returns who is about to join.
func (sim *simulation) proposeChanges(committer *testClient, in *CommitIntent) []*testClient {
	var joiners []*testClient
	touched := []*testClient{committer}
	adds := sim.rand.IntN(4)
	if len(sim.members) > 24 {
		adds = 0
	}
	for range adds {
		joiner := sim.newClient()
		joiners = append(joiners, joiner)
		sim.proposeAdd(joiner, in)
	}
	for _, c := range sim.members {
		switch {
		case slices.Contains(touched, c) || sim.isPassive(c):
		case len(sim.members) > 3 && sim.chance(10):
			sim.propose(&Remove{Removed: c.group.OwnLeaf()}, in)
		case sim.chance(10):
			sim.proposeUpdate(c, in)
		}
	}
	return joiners
}

// propose makes a proposal part of the commit: inline, or sent by a member or
// the service.
func (sim *simulation) propose(p Proposal, in *CommitIntent) {
	if sim.chance(50) {
		in.Inline = append(in.Inline, p)
		return
	}
	if len(sim.outside.ExternalSenders()) > 0 && sim.chance(40) {
		sim.note("a proposal of the service")
		sim.spread(must(sim.outside.ProposeExternally(p, []byte("by the service"), sim.service.env))(sim.t), nil, in)
		return
	}
	c := sim.pick()
	proposed, err := c.group.Propose(p, sim.framing(c, 40), c.env)
	if err != nil {
		sim.t.Fatalf("%s: %v", c.name, err)
	}
	sim.spread(proposed, c, in)
}

func (sim *simulation) proposeUpdate(c *testClient, in *CommitIntent) {
	identity := c.identity
	if sim.chance(30) {
		identity = c.newIdentity(sim.t)
	}
	proposed, err := c.group.ProposeUpdate(&identity, nil, sim.framing(c, 40), c.env)
	if err != nil {
		sim.t.Fatalf("%s: %v", c.name, err)
	}
	c.updates[string(proposed.Ref)] = proposed.Secrets
	c.next = &identity
	sim.spread(proposed, c, in)
}

// spread lets everybody else open a proposal.
func (sim *simulation) spread(proposed *Proposed, by *testClient, in *CommitIntent) {
	for _, c := range sim.members {
		if c != by {
			content := c.open(sim.t, proposed.Message)
			wantBytes(sim.t, "proposal reference", content.ProposalRef(), proposed.Ref)
		}
	}
	in.Proposals = append(in.Proposals, proposed.Content)
	if sim.record != nil {
		sim.record.epoch.Proposals = append(sim.record.epoch.Proposals, proposed.Message)
	}
}

func (sim *simulation) framing(c *testClient, percentEncrypted int) Framing {
	how := Framing{AAD: []byte("in the open")}
	if !sim.chance(percentEncrypted) {
		return how
	}
	_, next, block, err := c.group.Reserve(ContentTypeCommit, 1)
	if err != nil {
		sim.t.Fatal(err)
	}
	c.group = next
	how.Encrypt, how.Block, how.Padding = true, block, 64
	return how
}

// pskID names a key that all members know, those about to join included.
func (sim *simulation) pskID(committer *testClient, joiners []*testClient) PreSharedKeyID {
	id := PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("shared")}
	if len(joiners) == 0 && sim.chance(60) {
		id = PreSharedKeyID{Type: PSKTypeResumption, Usage: ResumptionPSKUsageApplication, Group: committer.group.GroupID(), Epoch: committer.group.Epoch()}
	}
	id.Nonce = committer.env.draw("psk_nonce", committer.suite.HashSize())
	return id
}

// deliver lets everybody but the committer follow a commit, and the outsider.
func (sim *simulation) deliver(message []byte, proposals []*Content, committer *testClient) {
	t := sim.t
	var delta []byte
	var stay []*testClient
	for _, c := range sim.members {
		if c == committer {
			stay = append(stay, c)
			continue
		}
		content := c.open(t, message)
		before := c.group
		staged := c.stage(t, content, proposals)
		if delta == nil {
			checkStagedInPublic(t, before, content, proposals, staged)
		}
		delta = staged.Delta
		c.updates = OwnUpdates{}
		if c.next != nil {
			c.identity, c.next = *c.next, nil
		}
		if staged.Removed {
			sim.past = append(sim.past, c)
			continue
		}
		c.group = staged.Next
		stay = append(stay, c)
	}
	sim.members = stay
	if r := sim.record; r != nil && r.client != nil {
		r.epoch.Commit, r.epoch.EpochAuthenticator = message, r.client.group.EpochAuthenticator()
		r.vector.Epochs = append(r.vector.Epochs, r.epoch)
		r.epoch = passiveEpoch{}
	}
	if delta != nil {
		sim.outside = must(sim.outside.ApplyDelta(delta))(t)
	}
}

// checkResume checks that a commit found again leads where it led at first.
func (sim *simulation) checkResume(before *Group, in CommitIntent, out *CommitOut, committer *testClient) {
	t := sim.t
	pub := must(ParsePublicGroup(before.Public().Marshal()))(t)
	restored := must(RestoreGroup(pub, before.MarshalPrivate().Expose()))(t)
	again, err := restored.ResumeCommit(ResumeInput{
		Message: out.Message, Secrets: secret.Clone(out.Secrets.Expose()), Proposals: in.Proposals, PSKs: committer.psks,
	}, committer.env)
	if err != nil {
		t.Fatalf("resume: %v", err)
	}
	wantBytes(t, "resumed public state", again.Public.Marshal(), out.Staged.Public.Marshal())
	wantBytes(t, "resumed private state", again.Next.MarshalPrivate().Expose(), out.Staged.Next.MarshalPrivate().Expose())
}

// afterCommit lets the new members join.
func (sim *simulation) afterCommit(out *CommitOut, joiners []*testClient, inWelcome TreeInclusion) {
	t := sim.t
	if len(sim.members) == 1 && len(joiners) == 0 {
		sim.outside = out.Staged.Public
	}
	if len(joiners) > 0 && len(sim.members) == 1 {
		sim.outside = out.Staged.Public
	}
	for _, c := range joiners {
		var tree *RatchetTree
		if inWelcome == WithoutTree {
			tree = must(ParseRatchetTree(sim.id, out.Staged.Public.Tree().Marshal()))(t)
		}
		c.join(t, out.Welcome, tree)
		if len(c.group.keys) > 1 {
			size := c.group.public.tree.size
			ancestor := size.CommonAncestor(c.group.own, out.Staged.Effects.CommitterLeaf)
			sim.deepest = max(sim.deepest, size.Root().Level()-ancestor.Level()+1)
		}
		sim.members = append(sim.members, c)
	}
	if sim.record != nil && sim.record.client == nil && len(joiners) > 0 {
		sim.startRecord(joiners[0], out, inWelcome)
	}
	gi := must(ParseMessage(out.GroupInfo))(t).GroupInfo()
	if err := sim.members[0].group.Public().GroupInfoMatches(gi); err != nil {
		t.Fatal(err)
	}
	sim.agree()
}

func (sim *simulation) agree() {
	wantAgreement(sim.t, sim.members)
	for _, c := range sim.members {
		wantBytes(sim.t, "tree hash", c.group.Public().TreeHash(), sim.outside.TreeHash())
	}
	c := sim.pick()
	wantBytes(sim.t, "public state", c.group.Public().Marshal(), sim.outside.Marshal())
	sim.checkKeys(c)
}

// checkKeys checks the tree invariant: a member holds the private keys of
// nodes above it that have one, except where it is unmerged.
func (sim *simulation) checkKeys(c *testClient) {
	tree := c.group.public.tree
	want := 1
	for _, step := range tree.directPath(c.group.own) {
		p := tree.at(step.node).parent
		if p == nil || slices.Contains(p.UnmergedLeaves, c.group.own) {
			continue
		}
		want++
	}
	if len(c.group.keys) != want {
		sim.t.Fatalf("%s at leaf %d holds %d keys, want %d", c.name, c.group.own, len(c.group.keys), want)
	}
	for _, k := range c.group.keys {
		public := must(tree.suite.PublicHPKEKey(k.key))(sim.t)
		wantBytes(sim.t, "node key", public, tree.at(k.node).encryptionKey())
	}
}

// externalJoin lets a new client, or a member that lost its state, join by
// external commit.
func (sim *simulation) externalJoin() {
	t := sim.t
	helper := sim.pick()
	joiner := sim.newClient()
	p := ExternalCommitParams{PSKStore: joiner.psks, AAD: []byte("let me in"), TreeInInfo: WithTree}
	inside := TreeInclusion(sim.chance(50))
	p.GroupInfo = must(helper.group.GroupInfo(inside, helper.env))(t)
	if inside == WithoutTree {
		p.Tree = must(ParseRatchetTree(sim.id, helper.group.Public().Tree().Marshal()))(t)
	}
	if len(sim.members) > 1 && sim.chance(40) {
		joiner.name, joiner.identity = sim.lostOne(&p)
	}
	if sim.chance(30) {
		sim.note("a pre-shared key of a joiner")
		p.PSKs = append(p.PSKs, PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("shared")})
	}
	sim.note("a join from outside")
	out, err := ExternalCommit(p, joiner.env)
	check(t, err)
	sim.checkExternalResume(p, out, joiner)
	sim.deliver(out.Message, nil, nil)
	joiner.group = out.Staged.Next
	sim.members = append(sim.members, joiner)
	if len(sim.members) == 1 {
		sim.outside = joiner.group.Public()
	}
	check(t, joiner.group.Public().GroupInfoMatches(must(ParseMessage(out.GroupInfo))(t).GroupInfo()))
	sim.agree()
}

// lostOne picks a member that comes back, with its key or a new one.
func (sim *simulation) lostOne(p *ExternalCommitParams) (string, SigningIdentity) {
	lost := sim.pick()
	sim.note("a resync")
	p.Resync = ResyncFound()
	if sim.chance(50) {
		p.Resync = ResyncLeaf(lost.group.OwnLeaf())
	}
	if sim.chance(50) { // it still knows the epoch, and proves it
		p.PSKs = append(p.PSKs, PreSharedKeyID{
			Type: PSKTypeResumption, Usage: ResumptionPSKUsageApplication, Group: lost.group.GroupID(), Epoch: lost.group.Epoch(),
		})
		p.PSKStore = bothStores{lost.group, p.PSKStore}
	}
	if sim.chance(50) {
		return lost.name, lost.newIdentity(sim.t)
	}
	return lost.name, lost.identity
}

// checkExternalResume checks that a join found again leads where it led at first.
func (sim *simulation) checkExternalResume(p ExternalCommitParams, out *CommitOut, joiner *testClient) {
	t := sim.t
	again, err := ResumeExternalCommit(ExternalResume{
		GroupInfo: p.GroupInfo, Tree: p.Tree, Message: out.Message, Secrets: secret.Clone(out.Secrets.Expose()), PSKs: p.PSKStore,
	}, joiner.env)
	check(t, err)
	wantBytes(t, "resumed public state", again.Public.Marshal(), out.Staged.Public.Marshal())
	wantBytes(t, "resumed private state", again.Next.MarshalPrivate().Expose(), out.Staged.Next.MarshalPrivate().Expose())
}

// talk lets a member say something that all others read, out of order.
func (sim *simulation) talk() {
	t := sim.t
	speaker := sim.pick()
	n := uint32(1 + sim.rand.IntN(3))
	_, next, block, err := speaker.group.Reserve(ContentTypeApplication, n)
	if err != nil {
		t.Fatal(err)
	}
	speaker.group = next
	var said [][]byte
	aad := []byte("about it")
	for i := range n {
		m, _, err := speaker.group.SealApplication(block, Plaintext{AAD: aad, Data: fmt.Appendf(nil, "%d", i), Padding: 32}, speaker.env)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, m)
	}
	for _, i := range sim.rand.Perm(int(n)) {
		sim.record.said(passiveApp{said[i], aad, fmt.Appendf(nil, "%d", i)})
		for _, c := range sim.members {
			if c == speaker {
				continue
			}
			content := c.open(t, said[i])
			if !bytes.Equal(content.Application(), fmt.Appendf(nil, "%d", i)) || content.Sender() != MemberSender(speaker.group.own) {
				t.Fatalf("%s read %q of %v", c.name, content.Application(), content.Sender())
			}
		}
	}
}

// startRecord begins with the Welcome of the passive client.
func (sim *simulation) startRecord(c *testClient, out *CommitOut, inWelcome TreeInclusion) {
	r := sim.record
	r.client, r.epoch = c, passiveEpoch{}
	r.vector = passiveVector{
		CipherSuite: sim.id, KeyPackage: keyPackageMessage(c.kp).Bytes(), Welcome: out.Welcome,
		SignaturePriv: c.identity.Key.Raw().Expose(), EncryptionPriv: c.secrets.LeafKey.Expose(), InitPriv: c.secrets.InitKey.Expose(),
		InitialEpochAuthenticator: c.group.EpochAuthenticator(), ExternalPSKs: []passivePSK{{[]byte("shared"), c.psks["shared"]}},
	}
	if inWelcome == WithoutTree {
		r.vector.RatchetTree = out.Staged.Public.Tree().Marshal()
	}
}

// said writes an application message down under the epoch it was said in.
func (r *recorder) said(m passiveApp) {
	switch {
	case r == nil || r.client == nil:
	case len(r.vector.Epochs) == 0:
		r.vector.App = append(r.vector.App, m)
	default:
		last := &r.vector.Epochs[len(r.vector.Epochs)-1]
		last.App = append(last.App, m)
	}
}

// restart replaces a member's group by one that went through bytes.
func (sim *simulation) restart(c *testClient) {
	pub := must(ParsePublicGroup(c.group.Public().Marshal()))(sim.t)
	private := c.group.MarshalPrivate().Expose()
	c.group = must(RestoreGroup(pub, slices.Clone(private)))(sim.t)
	wantBytes(sim.t, "private state", c.group.MarshalPrivate().Expose(), private)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
