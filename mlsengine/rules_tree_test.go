package mlsengine

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// privateExtension is an extension type that only some test clients support.
const privateExtension ExtensionType = 0xF001

// leafRuleCases break the rules of leaves, trees and paths.
func leafRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		LeafSignature: func(t *testing.T) error {
			wantRule(t, LeafSignature, refusedTree(t, func(_ []*testClient, d *treeDraft) {
				leaf := *d.leaf(2) // no parent hash covers the unmerged one
				leaf.Signature = flipped(leaf.Signature)
				d.setLeaf(2, &leaf)
			}))
			wantRule(t, LeafSignature, refusedPath(t, func(b *committing) {
				b.commit.Path.LeafNode.Signature = flipped(b.commit.Path.LeafNode.Signature)
			}))
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			update := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t)
			leaf := update.Content.Proposal().(*Update).LeafNode
			leaf.Signature = flipped(leaf.Signature)
			content, _ := rogueProposal(t, clients[1], &Update{LeafNode: leaf})
			r := rogueCommit{proposals: byReference(content), known: []*Content{content}}
			return r.refused(t, clients)
		},
		LeafSource: func(t *testing.T) error {
			wantRule(t, LeafSource, refusedPathLeaf(t, func(l *LeafNode) { l.Source = LeafNodeSourceUpdate }))
			wantRule(t, LeafSource, refusedUpdate(t, func(l *LeafNode) { l.Source = LeafNodeSourceCommit }))
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.LeafNode.Source = LeafNodeSourceUpdate }))
		},
		LeafLifetime: func(t *testing.T) error {
			k := spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.LeafNode.Lifetime.NotAfter = testNow - 1 })
			alice := newTestGroup(t, 1, "alice", "bob")[0]
			_, err := alice.group.Propose(&Add{KeyPackage: *k}, Framing{}, alice.env)
			wantRule(t, LeafLifetime, err)
			_, err = alice.group.Commit(CommitIntent{Inline: []Proposal{&Add{KeyPackage: *k}}}, alice.env)
			wantRule(t, LeafLifetime, err)
			return k.Validate(alice.env)
		},
		LeafKey: func(t *testing.T) error {
			wantRule(t, LeafKey, refusedPathLeaf(t, func(l *LeafNode) { l.EncryptionKey = l.EncryptionKey[1:] }))
			wantRule(t, LeafKey, refusedUpdate(t, func(l *LeafNode) { l.SignatureKey = l.SignatureKey[1:] }))
			wantRule(t, LeafKey, refusedUpdate(t, func(l *LeafNode) { l.EncryptionKey = make([]byte, 32) })) // nobody could encrypt to it
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.LeafNode.EncryptionKey = make([]byte, 31) }))
		},
		LeafVersion: func(t *testing.T) error {
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.Capabilities.Versions = []ProtocolVersion{2}
			}))
		},
		LeafCipherSuite: func(t *testing.T) error {
			wantRule(t, LeafCipherSuite, refusedUpdate(t, func(l *LeafNode) { l.Capabilities.CipherSuites = []CipherSuite{2} }))
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.Capabilities.CipherSuites = []CipherSuite{2}
			}))
		},
		LeafCredentialUnlisted: func(t *testing.T) error {
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.Capabilities.Credentials = []CredentialType{CredentialTypeX509}
			}))
		},
		LeafExtension: func(t *testing.T) error {
			wantRule(t, LeafExtension, refusedPathLeaf(t, func(l *LeafNode) { l.Extensions = Extensions{{Type: privateExtension}} }))
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.Extensions = Extensions{{Type: privateExtension}}
			}))
		},
	}
}

// leafInGroupRuleCases break the rules of a leaf among others.
func leafInGroupRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		LeafRequiredCapabilities: func(t *testing.T) error {
			for _, required := range []RequiredCapabilities{
				{ExtensionTypes: []ExtensionType{privateExtension}},
				{ProposalTypes: []ProposalType{0xF002}},
				{CredentialTypes: []CredentialType{CredentialTypeX509}},
			} {
				extensions := Extensions{extension(ExtensionTypeRequiredCapabilities, &required)}
				wantRule(t, LeafRequiredCapabilities, refusedAdd(t, extensions, newTestClient(t, 1, "dave").keyPackage(t)))
			}
			extensions := Extensions{extension(ExtensionTypeRequiredCapabilities, &RequiredCapabilities{ExtensionTypes: []ExtensionType{privateExtension}})}
			return refusedAdd(t, extensions, newTestClient(t, 1, "dave").keyPackage(t))
		},
		LeafGroupExtension: func(t *testing.T) error {
			return refusedAdd(t, Extensions{{Type: privateExtension}}, newTestClient(t, 1, "dave").keyPackage(t))
		},
		LeafCredentialUnsupported: func(t *testing.T) error {
			wantRule(t, LeafCredentialUnsupported, refusedTree(t, func(clients []*testClient, d *treeDraft) {
				changeLeaf(t, clients[4], d, func(l *LeafNode) {
					l.Credential = certified(t, clients[4])
					l.Capabilities.Credentials = []CredentialType{CredentialTypeBasic, CredentialTypeX509}
				})
			}))
			return (&rogueCommit{proposals: byValue(&Add{KeyPackage: *certifiedKeyPackage(t, CredentialTypeBasic, CredentialTypeX509)})}).refused(t, newTestGroup(t, 1, "alice", "bob"))
		},
		LeafCredentialOfOthers: func(t *testing.T) error {
			return refusedAdd(t, nil, certifiedKeyPackage(t, CredentialTypeX509))
		},
		LeafCertificateKey: func(t *testing.T) error {
			for _, chain := range [][][]byte{{}, {[]byte("no certificate")}} {
				wantRule(t, LeafCertificateKey, refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
					k.LeafNode.Credential = X509Credential(chain)
					k.LeafNode.Capabilities.Credentials = []CredentialType{CredentialTypeX509}
				})))
			}
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.Credential = certified(t, newTestClient(t, 1, "another"))
				k.LeafNode.Capabilities.Credentials = []CredentialType{CredentialTypeBasic, CredentialTypeX509}
			}))
		},
	}
}

// leafKeyRuleCases break the rules of a leaf's keys.
func leafKeyRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		LeafKeyUnchanged: func(t *testing.T) error {
			wantRule(t, LeafKeyUnchanged, refusedByKeepingKey(t))
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			kept := clients[1].group.public.tree.leaf(1).EncryptionKey
			leaf := must(clients[1].group.public.tree.leaf(1).renewed(LeafNodeSourceUpdate, kept, &clients[1].identity).sign(&clients[1].identity, GroupID("group"), 1))(t)
			content, _ := rogueProposal(t, clients[1], &Update{LeafNode: *leaf})
			return (&rogueCommit{proposals: byReference(content), known: []*Content{content}}).refused(t, clients)
		},
		LeafDuplicateSignatureKey: func(t *testing.T) error {
			wantRule(t, LeafDuplicateSignatureKey, refusedTree(t, func(clients []*testClient, d *treeDraft) {
				clients[4].identity = clients[3].identity
				changeLeaf(t, clients[4], d, func(l *LeafNode) { l.SignatureKey = clients[3].identity.Public })
			}))
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			return (&rogueCommit{beforeSeal: func(b *committing) {
				leaf := *b.st.draft.leaf(0)
				leaf.SignatureKey = clients[1].identity.Public
				b.commit.Path.LeafNode = *must(leaf.sign(&clients[1].identity, GroupID("group"), 0))(t)
			}}).refused(t, clients)
		},
		LeafDuplicateEncryptionKey: func(t *testing.T) error {
			wantRule(t, LeafDuplicateEncryptionKey, refusedTree(t, func(clients []*testClient, d *treeDraft) {
				changeLeaf(t, clients[3], d, func(l *LeafNode) { l.EncryptionKey = d.leaf(2).EncryptionKey })
			}))
			wantRule(t, LeafDuplicateEncryptionKey, refusedUpdate(t, func(l *LeafNode) {
				l.EncryptionKey = newTestGroup(t, 1, "alice", "bob", "carol")[0].group.public.tree.leaf(2).EncryptionKey
			}))
			one := newTestClient(t, 1, "dave").keyPackage(t)
			two := spoiledKeyPackage(t, "erin", func(_ *testClient, k *KeyPackage) { k.LeafNode.EncryptionKey = one.LeafNode.EncryptionKey })
			return (&rogueCommit{proposals: byValue(&Add{KeyPackage: *one}, &Add{KeyPackage: *two})}).refused(t, newTestGroup(t, 1, "alice", "bob"))
		},
	}
}

// refusedByKeepingKey is a path whose leaf has the key of the leaf before.
func refusedByKeepingKey(t *testing.T) error {
	t.Helper()
	return refusedPath(t, func(b *committing) {
		leaf := b.commit.Path.LeafNode
		leaf.EncryptionKey = b.group.public.tree.leaf(b.group.own).EncryptionKey
		b.commit.Path.LeafNode = *must(leaf.sign(b.identity, b.group.GroupID(), b.group.own))(t)
	})
}

// refusedAdd gives the error of adding a key package to a group with these
// extensions, all of which its two members support.
func refusedAdd(t *testing.T, extensions Extensions, k *KeyPackage) error {
	t.Helper()
	capable := Capabilities{
		Extensions: []ExtensionType{privateExtension}, Proposals: []ProposalType{0xF002},
		Credentials: []CredentialType{CredentialTypeBasic, CredentialTypeX509},
	}
	alice, bob := newTestClient(t, 1, "alice"), newTestClient(t, 1, "bob")
	alice.group = must(NewGroup(GroupParams{GroupID: GroupID("group"), Suite: 1, Identity: alice.identity, Capabilities: capable, Extensions: extensions}, alice.env))(t)
	kp := *bob.keyPackage(t)
	kp.LeafNode.Capabilities = capable.filled(1, CredentialTypeBasic)
	bob.kp = bob.signKeyPackage(t, kp)
	out := must(alice.group.Commit(CommitIntent{TreeInWelcome: WithTree, Inline: []Proposal{&Add{KeyPackage: *bob.kp}}}, alice.env))(t)
	alice.group = out.Staged.Next
	bob.join(t, out.Welcome, nil)
	return (&rogueCommit{proposals: byValue(&Add{KeyPackage: *k})}).refused(t, []*testClient{alice, bob})
}

// certified is an X.509 credential with the client's key.
func certified(t *testing.T, c *testClient) Credential {
	t.Helper()
	key := ed25519.NewKeyFromSeed(c.identity.Key.Raw().Expose())
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: c.name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(2*testNow, 0)}
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key))(t)
	return X509Credential([][]byte{der})
}

// certifiedKeyPackage is that of a client with a certificate.
func certifiedKeyPackage(t *testing.T, supported ...CredentialType) *KeyPackage {
	t.Helper()
	return spoiledKeyPackage(t, "dave", func(c *testClient, k *KeyPackage) {
		k.LeafNode.Credential = certified(t, c)
		k.LeafNode.Capabilities.Credentials = supported
	})
}

func treeRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		TreeMalformed: func(t *testing.T) error {
			tree := newTestGroup(t, 1, "alice", "bob", "carol")[0].group.public.tree
			for _, w := range []wireTree{{}, append(tree.wire(), node{}), slices.Concat(tree.wire()[:1], tree.wire()[:1]), tree.wire()[1:]} {
				_, err := w.tree(tree.suite)
				wantRule(t, TreeMalformed, err)
			}
			_, err := append(tree.wire(), node{}).tree(tree.suite)
			return err
		},
		TreeTooLarge: func(t *testing.T) error {
			full := newDraft(must(suite.Get(1))(t), leavesMax)
			for i := range LeafIndex(leavesMax) {
				full.put(i.Node(), node{leaf: new(LeafNode)})
			}
			_, err := full.add(new(LeafNode))
			wantRule(t, TreeTooLarge, err)
			w := make(wireTree, 2*leavesMax+1)
			w[2*leavesMax].leaf = new(LeafNode)
			_, err = w.tree(full.suite)
			return err
		},
		TreeHashMismatch: func(t *testing.T) error {
			alice := newTestGroup(t, 1, "alice", "bob", "carol")[0]
			gi := must(alice.group.GroupInfo(WithoutTree, alice.env))(t)
			after := must(alice.group.Commit(CommitIntent{}, alice.env))(t).Staged.Next
			wrong := must(after.describe(nil, WithTree, alice.env))(t)
			wrong.GroupContext, wrong.ConfirmationTag = alice.group.public.context, alice.group.public.confirmationTag
			check(t, wrong.sign(&alice.identity))
			wantRule(t, TreeHashMismatch, alice.group.public.GroupInfoMatches(wrong))
			_, err := NewPublicGroup(gi, after.public.tree)
			return err
		},
		TreeParentHash: func(t *testing.T) error {
			wantRule(t, TreeParentHash, refusedTree(t, func(clients []*testClient, d *treeDraft) {
				changeParent(d, 7, func(p *parentNode) { p.ParentHash = []byte("not empty") })
			}))
			return refusedTree(t, func(clients []*testClient, d *treeDraft) {
				_, public, err := d.suite.DeriveHPKEKeyPair(make([]byte, 32))
				check(t, err)
				changeParent(d, 3, func(p *parentNode) { p.EncryptionKey = public })
			})
		},
		TreeParentKey: func(t *testing.T) error {
			return refusedTree(t, func(_ []*testClient, d *treeDraft) {
				changeParent(d, 3, func(p *parentNode) { p.EncryptionKey = p.EncryptionKey[1:] })
			})
		},
	}
}

// treeNodeRuleCases break the rules of parent nodes.
func treeNodeRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		TreeUnmergedLeaf: func(t *testing.T) error {
			for _, unmerged := range [][]LeafIndex{{4}, {5}, {2, 2}, {3, 2}, {1 << 20}} {
				wantRule(t, TreeUnmergedLeaf, refusedTree(t, func(_ []*testClient, d *treeDraft) {
					changeParent(d, 3, func(p *parentNode) { p.UnmergedLeaves = unmerged })
				}))
			}
			return refusedTree(t, func(_ []*testClient, d *treeDraft) {
				changeParent(d, 7, func(p *parentNode) { p.UnmergedLeaves = []LeafIndex{2, 6} })
			})
		},
		TreeUnmergedGap: func(t *testing.T) error {
			return refusedTree(t, func(_ []*testClient, d *treeDraft) {
				changeParent(d, 3, func(p *parentNode) { p.UnmergedLeaves = nil })
			})
		},
		TreeDuplicateKey: func(t *testing.T) error {
			wantRule(t, TreeDuplicateKey, refusedTree(t, func(_ []*testClient, d *treeDraft) {
				changeParent(d, 3, func(p *parentNode) { p.EncryptionKey = d.leaf(4).EncryptionKey })
			}))
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			k := spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.LeafNode.EncryptionKey = clients[0].group.public.tree.at(3).encryptionKey()
			})
			return (&rogueCommit{proposals: byValue(&Add{KeyPackage: *k}), pathless: true}).refused(t, clients)
		},
	}
}

func pathRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		PathMissing: func(t *testing.T) error {
			wantRule(t, PathMissing, (&rogueCommit{proposals: byValue(&Remove{Removed: 1}), pathless: true}).refused(t, newTestGroup(t, 1, "alice", "bob", "carol")))
			return (&rogueCommit{pathless: true}).refused(t, newTestGroup(t, 1, "alice", "bob"))
		},
		PathLength: func(t *testing.T) error {
			wantRule(t, PathLength, refusedPath(t, func(b *committing) { b.commit.Path.Nodes = append(b.commit.Path.Nodes, b.commit.Path.Nodes[0]) }))
			return refusedPath(t, func(b *committing) { b.commit.Path.Nodes = b.commit.Path.Nodes[1:] })
		},
		PathCiphertexts: func(t *testing.T) error {
			wantRule(t, PathCiphertexts, refusedPath(t, func(b *committing) {
				n := &b.commit.Path.Nodes[1]
				n.EncryptedPathSecret = append(n.EncryptedPathSecret, n.EncryptedPathSecret[0])
			}))
			return refusedPath(t, func(b *committing) { b.commit.Path.Nodes[1].EncryptedPathSecret = nil })
		},
		PathKeyReused: func(t *testing.T) error {
			wantRule(t, PathKeyReused, refusedPath(t, func(b *committing) {
				b.commit.Path.Nodes[0].EncryptionKey = b.commit.Path.Nodes[1].EncryptionKey
			}))
			wantRule(t, PathKeyReused, refusedPathLeaf(t, func(l *LeafNode) {
				l.EncryptionKey = newTestGroup(t, 1, "alice", "bob", "carol", "dave")[0].group.public.tree.leaf(2).EncryptionKey
			}))
			return refusedPath(t, func(b *committing) {
				b.commit.Path.Nodes[0].EncryptionKey = b.group.public.tree.at(3).encryptionKey()
			})
		},
		PathKey: func(t *testing.T) error {
			return refusedPath(t, func(b *committing) { b.commit.Path.Nodes[0].EncryptionKey = make([]byte, 33) })
		},
		PathParentHash: func(t *testing.T) error {
			return refusedPathLeaf(t, func(l *LeafNode) { l.ParentHash = flipped(l.ParentHash) })
		},
		PathSecret: func(t *testing.T) error {
			wantRule(t, PathSecret, (&rogueCommit{beforeSeal: func(b *committing) {
				b.path.first = pathSecret{secret.New([]byte("too short"))}
			}}).refused(t, newTestGroup(t, 1, "alice", "bob")))
			// What is not even the form of a ciphertext is refused by those it is not for as well.
			for _, spoil := range []func(*HPKECiphertext){
				func(c *HPKECiphertext) { c.KEMOutput = c.KEMOutput[1:] },
				func(c *HPKECiphertext) { c.KEMOutput = make([]byte, 32) },
				func(c *HPKECiphertext) { c.Ciphertext = c.Ciphertext[1:] },
			} {
				wantRule(t, PathSecret, refusedPath(t, func(b *committing) { spoil(&b.commit.Path.Nodes[0].EncryptedPathSecret[0]) }))
			}
			return refusedPath(t, func(b *committing) {
				sealed := &b.commit.Path.Nodes[1].EncryptedPathSecret
				for i := range *sealed {
					(*sealed)[i].Ciphertext = flipped((*sealed)[i].Ciphertext)
				}
			})
		},
		PathUnreachable: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			lost := *clients[2].group
			lost.keys = nil
			clients[2].group = &lost
			return (&rogueCommit{}).refused(t, clients)
		},
		PathKeyMismatch: func(t *testing.T) error {
			return (&rogueCommit{beforeSeal: func(b *committing) {
				b.path.first = pathSecret{secret.New(make([]byte, 32))}
			}}).refused(t, newTestGroup(t, 1, "alice", "bob", "carol", "dave"))
		},
	}
}
