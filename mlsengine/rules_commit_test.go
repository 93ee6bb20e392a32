package mlsengine

import (
	"bytes"
	"testing"

	"parley/internal/secret"
)

func keyPackageRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		KeyPackageVersion: func(t *testing.T) error {
			k := spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.Version = 2 })
			_, err := ParseMessage(keyPackageMessage(k).Bytes())
			wantRule(t, KeyPackageVersion, err)
			return refusedKeyPackage(t, k)
		},
		KeyPackageCipherSuite: func(t *testing.T) error {
			return refusedKeyPackage(t, newTestClient(t, 3, "dave").keyPackage(t))
		},
		KeyPackageSignature: func(t *testing.T) error {
			k := *newTestClient(t, 1, "dave").keyPackage(t)
			k.Signature = flipped(k.Signature)
			return refusedKeyPackage(t, &k)
		},
		KeyPackageInitKey: func(t *testing.T) error {
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.InitKey = k.LeafNode.EncryptionKey }))
		},
		KeyPackageInitKeyInvalid: func(t *testing.T) error {
			lowOrder := spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.InitKey = make([]byte, 32) })
			wantRule(t, KeyPackageInitKeyInvalid, refusedKeyPackage(t, lowOrder))
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) { k.InitKey = k.InitKey[1:] }))
		},
		KeyPackageExtension: func(t *testing.T) error {
			return refusedKeyPackage(t, spoiledKeyPackage(t, "dave", func(_ *testClient, k *KeyPackage) {
				k.Extensions = Extensions{{Type: privateExtension}, {Type: ExtensionTypeLastResort}}
			}))
		},
	}
}

// refusedInline gives the error of alice committing proposals by value.
func refusedInline(t *testing.T, proposals ...Proposal) error {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	err := (&rogueCommit{proposals: byValue(proposals...)}).refused(t, clients)
	if _, ownErr := clients[0].group.Commit(CommitIntent{Inline: proposals}, clients[0].env); ownErr == nil || err == nil || ownErr.Error() != err.Error() {
		t.Errorf("others say %v, the committer %v", err, ownErr)
	}
	return err
}

func externalPSK(name string) *PreSharedKey {
	return &PreSharedKey{PSK: PreSharedKeyID{Type: PSKTypeExternal, ID: []byte(name), Nonce: make([]byte, 32)}}
}

func proposalRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		PSKUnknown: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			clients[0].psks["key"] = []byte("known to alice only")
			return (&rogueCommit{proposals: byValue(externalPSK("key"))}).refused(t, clients)
		},
		PSKUsage: func(t *testing.T) error {
			id := PreSharedKeyID{Type: PSKTypeResumption, Usage: ResumptionPSKUsageBranch, Group: GroupID("group"), Epoch: 1, Nonce: make([]byte, 32)}
			wantRule(t, PSKUsage, refusedInline(t, &PreSharedKey{PSK: id}))
			id.Usage = ResumptionPSKUsageReInit
			return refusedInline(t, &PreSharedKey{PSK: id})
		},
		PSKDuplicate: func(t *testing.T) error { return refusedInline(t, externalPSK("key"), externalPSK("key")) },
		UpdateSender: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			leaf := *clients[1].group.public.tree.leaf(1)
			a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
				GroupID: GroupID("group"), Epoch: 1, Sender: MemberSender(3), ContentType: ContentTypeProposal, Proposal: &Update{LeafNode: leaf},
			}}
			content := newContent(clients[0].suite, a, 0) // as a damaged log might give it
			return (&rogueCommit{proposals: byReference(content), known: []*Content{content}}).refused(t, clients)
		},
		RemoveBlankLeaf: func(t *testing.T) error {
			wantRule(t, RemoveBlankLeaf, refusedInline(t, &Remove{Removed: 3}))
			return refusedInline(t, &Remove{Removed: 1 << 31})
		},
		ReInitVersion: func(t *testing.T) error {
			return refusedInline(t, &ReInit{GroupID: GroupID("next"), Version: 0, CipherSuite: 1})
		},
		GroupContextRequirements: func(t *testing.T) error {
			wantRule(t, GroupContextRequirements, refusedInline(t, &GroupContextExtensions{Extensions: Extensions{{Type: privateExtension}}}))
			required := RequiredCapabilities{CredentialTypes: []CredentialType{CredentialTypeX509}}
			return refusedInline(t, &GroupContextExtensions{Extensions: Extensions{extension(ExtensionTypeRequiredCapabilities, &required)}})
		},
		UpdateByCommitter: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			proposed := must(clients[0].group.Propose(&Update{}, Framing{}, clients[0].env))(t)
			return (&rogueCommit{proposals: byReference(proposed.Content), known: []*Content{proposed.Content}}).refused(t, clients)
		},
		RemoveCommitter: func(t *testing.T) error { return refusedInline(t, &Remove{Removed: 0}) },
		MultipleChangesOfLeaf: func(t *testing.T) error {
			wantRule(t, MultipleChangesOfLeaf, refusedInline(t, &Remove{Removed: 1}, &Remove{Removed: 1}))
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			update := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t)
			again := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t)
			known := []*Content{update.Content, again.Content}
			wantRule(t, MultipleChangesOfLeaf, (&rogueCommit{proposals: byReference(known...), known: known}).refused(t, clients))
			return (&rogueCommit{proposals: append(byReference(update.Content), byValue(&Remove{Removed: 1})...), known: known}).refused(t, clients)
		},
		AddDuplicate: func(t *testing.T) error {
			dave := newTestClient(t, 1, "dave")
			return refusedInline(t, &Add{KeyPackage: *dave.keyPackage(t)}, &Add{KeyPackage: *dave.keyPackage(t)})
		},
		AddMember: func(t *testing.T) error {
			return refusedInline(t, &Add{KeyPackage: *newTestClient(t, 1, "bob").keyPackage(t)})
		},
		MultipleGroupContextExtensions: func(t *testing.T) error {
			return refusedInline(t, &GroupContextExtensions{}, &GroupContextExtensions{})
		},
		ReInitWithOthers: func(t *testing.T) error {
			return refusedInline(t, &ReInit{GroupID: GroupID("next"), Version: 1, CipherSuite: 1}, &Remove{Removed: 1})
		},
		ExternalInitByMember: func(t *testing.T) error { return refusedInline(t, &ExternalInit{KEMOutput: make([]byte, 32)}) },
	}
}

// refusedExternal gives the error of an external commit whose proposals were
// changed before it was signed.
func refusedExternal(t *testing.T, name string, change func(*Commit)) error {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol")
	joiner := newTestClient(t, 1, name)
	join := externalJoin{groupInfo: must(clients[0].group.GroupInfo(WithTree, clients[0].env))(t), beforeSign: change}
	return refusedBy(t, clients[2], join.create(t, joiner), nil)
}

func externalRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		ExternalInitCount: func(t *testing.T) error {
			wantRule(t, ExternalInitCount, refusedExternal(t, "dave", func(m *Commit) { m.Proposals = append(m.Proposals, m.Proposals[0]) }))
			return refusedExternal(t, "dave", func(m *Commit) { m.Proposals = nil })
		},
		ExternalCommitRemoves: func(t *testing.T) error {
			clients, bob := newTestGroup(t, 1, "alice", "bob", "carol"), LeafIndex(1)
			join := externalJoin{groupInfo: must(clients[0].group.GroupInfo(WithTree, clients[0].env))(t), removed: &bob}
			join.beforeSign = func(m *Commit) { m.Proposals = append(m.Proposals, byValue(&Remove{Removed: 1})...) }
			again := newTestClient(t, 1, "bob")
			again.keyPackage(t) // so that the next leaf key is another
			return refusedBy(t, clients[2], join.create(t, again), nil)
		},
		ExternalCommitProposal: func(t *testing.T) error {
			return refusedExternal(t, "dave", func(m *Commit) {
				m.Proposals = append(m.Proposals, byValue(&Add{KeyPackage: *newTestClient(t, 1, "erin").keyPackage(t)})...)
			})
		},
		ExternalCommitReference: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			content, _ := rogueProposal(t, clients[1], externalPSK("key"))
			join := externalJoin{groupInfo: must(clients[0].group.GroupInfo(WithTree, clients[0].env))(t)}
			join.beforeSign = func(m *Commit) { m.Proposals = append(m.Proposals, byReference(content)...) }
			return refusedBy(t, clients[2], join.create(t, newTestClient(t, 1, "dave")), []*Content{content})
		},
		ExternalCommitIdentity: func(t *testing.T) error {
			return refusedExternal(t, "mallory", func(m *Commit) { m.Proposals = append(m.Proposals, byValue(&Remove{Removed: 1})...) })
		},
		ExternalInitKEM: func(t *testing.T) error {
			return refusedExternal(t, "dave", func(m *Commit) { m.Proposals = byValue(&ExternalInit{KEMOutput: []byte("no point")}) })
		},
	}
}

func commitRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		WrongGroup: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			other := newTestClient(t, 1, "alice")
			other.create(t, "another group", nil)
			r := rogueCommit{}
			wantRule(t, WrongGroup, refusedBy(t, clients[1], r.make(t, other), nil))
			return refusedBy(t, clients[1], speak(t, other), nil)
		},
		WrongEpoch: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			late, spoken := (&rogueCommit{}).make(t, clients[0]), speak(t, clients[0])
			old := clients[1].group.Retire()
			_, _, err := old.Open(must(ParseMessage(late))(t), testLimits)
			wantRule(t, WrongEpoch, err)
			proposal, _ := rogueProposal(t, clients[0], &Remove{Removed: 1})
			commit(t, clients, 0, CommitIntent{})
			wantRule(t, WrongEpoch, (&rogueCommit{proposals: byReference(proposal), known: []*Content{proposal}}).refused(t, clients))
			wantRule(t, WrongEpoch, refusedBy(t, clients[1], spoken, nil))
			return refusedBy(t, clients[1], late, nil)
		},
		UnknownSender: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob", "carol")
			ghost := *clients[0].group
			ghost.own = 3
			ghost.public = &PublicGroup{suite: ghost.public.suite, context: ghost.public.context, encoded: ghost.public.encoded, tree: withGhost(ghost.public.tree)}
			clients[0].group = &ghost
			_, message := rogueProposal(t, clients[0], &Remove{Removed: 1})
			wantRule(t, UnknownSender, refusedBy(t, clients[2], message, nil))
			return refusedBy(t, clients[2], speak(t, clients[0]), nil)
		},
		UnknownExternalSender: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			m := outsiderProposal(t, clients[0].group.public, Sender{Type: SenderTypeExternal, Index: 1}, &Remove{Removed: 1}, &clients[0].identity)
			return refusedBy(t, clients[1], m.Bytes(), nil)
		},
		OwnMessage: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			spoken, committed := speak(t, clients[0]), (&rogueCommit{}).make(t, clients[0])
			wantRule(t, OwnMessage, refusedBy(t, clients[0], spoken, nil))
			content := clients[1].open(t, committed)
			_, err := clients[0].group.StageCommit(CommitInput{Commit: content}, clients[0].env)
			wantRule(t, OwnMessage, err)
			return refusedBy(t, clients[0], committed, nil)
		},
	}
}

// commitListRuleCases break the rules of what a commit refers to.
func commitListRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		UnknownProposal: func(t *testing.T) error {
			return (&rogueCommit{proposals: []ProposalOrRef{{Ref: make([]byte, 32)}}}).refused(t, newTestGroup(t, 1, "alice", "bob"))
		},
		OwnUpdateUnknown: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			proposed := must(clients[1].group.Propose(&Update{}, Framing{}, clients[1].env))(t)
			r := rogueCommit{proposals: byReference(proposed.Content), known: []*Content{proposed.Content}}
			clients[1].updates[string(proposed.Ref)] = secret.New(bytes.Repeat([]byte{7}, 32)) // of another leaf
			wantRule(t, OwnUpdateUnknown, r.refused(t, clients))
			delete(clients[1].updates, string(proposed.Ref))
			return (&rogueCommit{proposals: byReference(proposed.Content), known: []*Content{proposed.Content}}).refused(t, clients)
		},
		GroupEnded: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			commit(t, clients, 0, CommitIntent{Inline: []Proposal{&ReInit{GroupID: GroupID("next"), Version: 1, CipherSuite: 1}}})
			g, env := clients[0].group, clients[0].env
			_, err := g.Propose(&Remove{Removed: 1}, Framing{}, env)
			wantRule(t, GroupEnded, err)
			_, next, block, err := g.Reserve(ContentTypeApplication, 1)
			check(t, err)
			_, _, err = next.SealApplication(block, Plaintext{}, env)
			wantRule(t, GroupEnded, err)
			open := *g.public
			open.reinit = nil
			unaware := *g
			unaware.public = &open
			clients[0].group = &unaware
			return (&rogueCommit{}).refused(t, clients)
		},
	}
}

// withGhost is a tree with a copy of leaf 0 at leaf 3.
func withGhost(tree *RatchetTree) *RatchetTree {
	d := tree.draft()
	d.setLeaf(3, d.leaf(0))
	return d.seal()
}

// speak makes an application message.
func speak(t *testing.T, c *testClient) []byte {
	t.Helper()
	_, next, block, err := c.group.Reserve(ContentTypeApplication, 1)
	check(t, err)
	c.group = next
	m, _, err := next.SealApplication(block, Plaintext{Data: []byte("hello")}, c.env)
	check(t, err)
	return m
}
