package mlsengine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// Generators of the committed vectors (testdata/vectors). They use the same
// random histories as TestSimulatedGroups.

// recordHistory is a random history as its first joiner sees it, from its
// Welcome on, with that many epochs.
func recordHistory(t *testing.T, id CipherSuite, seed uint64, epochs int) passiveVector {
	sim := &simulation{t: t, id: id, rand: rand.New(rand.NewPCG(seed, 2)), record: new(recorder)}
	founder := sim.newClient()
	founder.create(t, fmt.Sprintf("vector %d", seed), nil)
	sim.members, sim.outside = []*testClient{founder}, founder.group.Public()
	for sim.record.client == nil || len(sim.record.vector.Epochs) < epochs {
		sim.step()
	}
	return sim.record.vector
}

func eachSuite[T any](make func(CipherSuite) T) []T {
	var all []T
	for _, id := range suite.IDs() {
		all = append(all, make(id))
	}
	return all
}

func generatePassiveWelcome(t *testing.T) []passiveVector {
	return append(
		eachSuite(func(id CipherSuite) passiveVector { return recordHistory(t, id, uint64(id), 0) }),
		eachSuite(func(id CipherSuite) passiveVector { return recordHistory(t, id, 100+uint64(id), 0) })...)
}

func generatePassiveHandlingCommit(t *testing.T) []passiveVector {
	return eachSuite(func(id CipherSuite) passiveVector { return recordHistory(t, id, 200+uint64(id), 3) })
}

func generatePassiveRandom(t *testing.T) []passiveVector {
	return []passiveVector{recordHistory(t, 1, 300, 30)}
}

// generateTreeOperations adds, updates and removes, in every suite, where the
// tree grows, stays and shrinks.
func generateTreeOperations(t *testing.T) []treeOperationVector {
	var all []treeOperationVector
	for _, suiteCases := range eachSuite(func(id CipherSuite) []treeOperationVector {
		clients := newTestGroup(t, id, "alice", "bob", "carol", "dave", "erin")
		commit(t, clients, 1, CommitIntent{ForcePath: true})
		bob, frank := clients[1], newTestClient(t, id, "frank")
		update := must(bob.group.Propose(&Update{}, Framing{}, bob.env))(t).Content.Proposal()
		tree := bob.group.public.tree
		return []treeOperationVector{
			operate(t, tree, 1, update),
			operate(t, tree, 0, &Add{KeyPackage: *frank.keyPackage(t)}),
			operate(t, tree, 0, &Remove{Removed: 2}),
			operate(t, tree, 0, &Remove{Removed: 4}),
		}
	}) {
		all = append(all, suiteCases...)
	}
	return all
}

func operate(t *testing.T, tree *RatchetTree, sender LeafIndex, p Proposal) treeOperationVector {
	d := tree.draft()
	switch p := p.(type) {
	case *Add:
		must(d.add(&p.KeyPackage.LeafNode))(t)
	case *Update:
		d.update(sender, &p.LeafNode)
	case *Remove:
		d.remove(p.Removed)
	}
	after := d.seal()
	return treeOperationVector{
		CipherSuite: tree.suite.ID(), Proposal: MarshalProposal(p), ProposalSender: sender,
		TreeBefore: tree.Marshal(), TreeHashBefore: tree.hash(), TreeAfter: after.Marshal(), TreeHashAfter: after.hash(),
	}
}

func generateTreeValidation(t *testing.T) []treeValidationVector {
	return eachSuite(func(id CipherSuite) treeValidationVector {
		sim := &simulation{t: t, id: id, rand: rand.New(rand.NewPCG(uint64(id), 3))}
		founder := sim.newClient()
		founder.create(t, "tree", nil)
		sim.members, sim.outside = []*testClient{founder}, founder.group.Public()
		for len(sim.members) < 5 {
			sim.step()
		}
		tree := sim.outside.tree
		v := treeValidationVector{CipherSuite: id, Tree: tree.Marshal(), GroupID: hexBytes("tree")}
		for x := range treemath.NodeIndex(tree.size.Width()) {
			v.TreeHashes = append(v.TreeHashes, tree.subtreeHash(x))
			v.Resolutions = append(v.Resolutions, append([]treemath.NodeIndex{}, tree.resolution(nil, x, nil)...))
		}
		return v
	})
}

// generateTreeKEM makes trees of five leaves in which two have set their paths
// and one, added last, is unmerged.
func generateTreeKEM(t *testing.T) []treeKEMVector {
	return eachSuite(func(id CipherSuite) treeKEMVector {
		v := treeKEMVector{CipherSuite: id, GroupID: hexBytes("treekem"), Epoch: 7, ConfirmedTranscriptHash: hexBytes("confirmed")}
		k := &treeKEMMaker{t: t, vector: &v, identities: map[LeafIndex]*SigningIdentity{}}
		k.addLeaves(5)
		for _, leaf := range []LeafIndex{0, 3} {
			k.setPath(leaf)
		}
		k.addLeaves(1)
		v.RatchetTree = k.tree.Marshal()
		for _, sender := range []LeafIndex{1, 5} {
			v.UpdatePaths = append(v.UpdatePaths, v.makePath(t, k.tree, sender))
		}
		return v
	})
}

// treeKEMMaker builds a tree and keeps the secrets of all its leaves.
type treeKEMMaker struct {
	t          *testing.T
	vector     *treeKEMVector
	tree       *RatchetTree
	identities map[LeafIndex]*SigningIdentity
}

func (k *treeKEMMaker) addLeaves(n int) {
	for range n {
		c := newTestClient(k.t, k.vector.CipherSuite, fmt.Sprintf("leaf %d", len(k.vector.LeavesPrivate)))
		kp := c.keyPackage(k.t)
		index := LeafIndex(0)
		if k.tree == nil {
			k.tree = newTree(c.suite, &kp.LeafNode)
		} else {
			d := k.tree.draft()
			index = must(d.add(&kp.LeafNode))(k.t)[0]
			k.tree = d.seal()
		}
		k.identities[index] = &c.identity
		k.vector.LeavesPrivate = append(k.vector.LeavesPrivate, treeKEMPrivate{
			Index: index, EncryptionPriv: c.secrets.LeafKey.Expose(), SignaturePriv: c.identity.Key.Raw().Expose(), PathSecrets: []treeKEMSecret{},
		})
	}
}

// setPath lets a leaf set its path and everybody below learn its secrets.
func (k *treeKEMMaker) setPath(sender LeafIndex) {
	s, env := k.tree.suite, testEnv("set path", k.vector.CipherSuite, sender)
	own := drawPath(s, env)
	private, public, err := own.leafKey(s)
	check(k.t, err)
	d := k.tree.draft()
	steps := d.filteredDirectPath(sender)
	leaf := k.tree.leaf(sender).renewed(LeafNodeSourceCommit, public, k.identities[sender])
	_, keys, _, err := derivePath(s, steps, own.first)
	check(k.t, err)
	leaf.ParentHash = d.setPath(sender, steps, keys)
	d.setLeaf(sender, must(leaf.sign(k.identities[sender], GroupID(k.vector.GroupID), sender))(k.t))
	k.tree = d.seal()
	for i := range k.vector.LeavesPrivate {
		p := &k.vector.LeavesPrivate[i]
		if p.Index == sender {
			p.EncryptionPriv = private.Raw().Expose()
		}
		p.PathSecrets = keptSecrets(k.tree, p, steps)
		for n, step := range steps {
			if covers(step.node, p.Index) {
				p.PathSecrets = append(p.PathSecrets, treeKEMSecret{step.node, own.secretAfter(s, n).Expose()})
			}
		}
	}
}

// keptSecrets are those of nodes that the path did not touch.
func keptSecrets(tree *RatchetTree, p *treeKEMPrivate, steps []pathStep) []treeKEMSecret {
	kept := []treeKEMSecret{}
	for _, at := range p.PathSecrets {
		touched := tree.at(at.Node).blank()
		for _, step := range steps {
			touched = touched || step.node == at.Node
		}
		if !touched {
			kept = append(kept, at)
		}
	}
	return kept
}

func generateWelcome(t *testing.T) []welcomeVector {
	return eachSuite(func(id CipherSuite) welcomeVector {
		alice, bob := newTestGroup(t, id, "alice")[0], newTestClient(t, id, "bob")
		out := must(alice.group.Commit(CommitIntent{ForcePath: true, Inline: []Proposal{&Add{KeyPackage: *bob.keyPackage(t)}}}, alice.env))(t)
		return welcomeVector{
			CipherSuite: id, InitPriv: bob.secrets.InitKey.Expose(), SignerPub: hexBytes(alice.identity.Public),
			KeyPackage: keyPackageMessage(bob.kp).Bytes(), Welcome: out.Welcome,
		}
	})
}

func generateMessages(t *testing.T) []messagesVector {
	w := newFuzzWorld(t)
	seeds := w.treeSeeds(t)
	body := func(p Proposal) hexBytes { return syntax.Encode(p) }
	application := must(w.alice.group.frame(framedContent{ContentType: ContentTypeApplication, Application: []byte("hello")}, Framing{}, w.alice.env))(t)
	_, proposal := rogueProposal(t, w.alice, &Remove{Removed: 1})
	return []messagesVector{{
		Welcome: w.out.Welcome, GroupInfo: w.out.GroupInfo, KeyPackage: keyPackageMessage(newTestClient(t, 1, "frank").keyPackage(t)).Bytes(),
		RatchetTree: w.before.tree.Marshal(), GroupSecrets: seeds["group secrets"][0], Commit: seeds["commit"][0],
		Add: body(&Add{KeyPackage: *newTestClient(t, 1, "frank").keyPackage(t)}), Update: body(&Update{LeafNode: w.commit.Path.LeafNode}),
		Remove: body(&Remove{Removed: 1}), PreSharedKey: body(externalPSK("key")),
		ReInit:       body(&ReInit{GroupID: GroupID("next"), Version: 1, CipherSuite: 2}),
		ExternalInit: body(&ExternalInit{KEMOutput: make([]byte, 32)}), GroupContextExtensions: body(&GroupContextExtensions{}),
		PublicMessageApplication: (&Message{wireFormat: WireFormatPublicMessage, public: &publicMessage{content: *application, membershipTag: []byte("tag")}}).Bytes(),
		PublicMessageProposal:    proposal, PublicMessageCommit: w.out.Message, PrivateMessage: speak(t, w.alice),
	}}
}
