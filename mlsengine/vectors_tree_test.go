package mlsengine

import (
	"slices"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

type treeOperationVector struct {
	CipherSuite    CipherSuite `json:"cipher_suite"`
	Proposal       hexBytes    `json:"proposal"`
	ProposalSender LeafIndex   `json:"proposal_sender"`
	TreeBefore     hexBytes    `json:"tree_before"`
	TreeHashBefore hexBytes    `json:"tree_hash_before"`
	TreeAfter      hexBytes    `json:"tree_after"`
	TreeHashAfter  hexBytes    `json:"tree_hash_after"`
}

func TestVectorsTreeOperations(t *testing.T) {
	eachVector(t, "tree-operations", generateTreeOperations, func(t *testing.T, v *treeOperationVector) {
		before := must(ParseRatchetTree(v.CipherSuite, v.TreeBefore))(t)
		wantBytes(t, "tree hash before", before.hash(), v.TreeHashBefore)
		d := before.draft()
		switch p := must(ParseProposal(v.Proposal))(t).(type) {
		case *Add:
			must(d.add(&p.KeyPackage.LeafNode))(t)
		case *Update:
			d.update(v.ProposalSender, &p.LeafNode)
		case *Remove:
			d.remove(p.Removed)
		default:
			t.Fatalf("proposal type %d", p.ProposalType())
		}
		after := d.seal()
		wantBytes(t, "tree", after.Marshal(), v.TreeAfter)
		wantBytes(t, "tree hash after", after.hash(), v.TreeHashAfter)
		wantBytes(t, "tree before", before.Marshal(), v.TreeBefore)
	})
}

type treeValidationVector struct {
	CipherSuite CipherSuite            `json:"cipher_suite"`
	Tree        hexBytes               `json:"tree"`
	GroupID     hexBytes               `json:"group_id"`
	TreeHashes  []hexBytes             `json:"tree_hashes"`
	Resolutions [][]treemath.NodeIndex `json:"resolutions"`
}

func TestVectorsTreeValidation(t *testing.T) {
	eachVector(t, "tree-validation", generateTreeValidation, func(t *testing.T, v *treeValidationVector) {
		tree := must(ParseRatchetTree(v.CipherSuite, v.Tree))(t)
		if width := int(tree.size.Width()); width != len(v.TreeHashes) || width != len(v.Resolutions) {
			t.Fatalf("%d nodes, want %d", width, len(v.TreeHashes))
		}
		for x := range treemath.NodeIndex(tree.size.Width()) {
			wantBytes(t, "tree hash", tree.subtreeHash(x), v.TreeHashes[x])
			if got := tree.resolution(nil, x, nil); !slices.Equal(got, v.Resolutions[x]) {
				t.Errorf("resolution of node %d is %v, want %v", x, got, v.Resolutions[x])
			}
			if occupied := len(v.Resolutions[x]) > 0; tree.occupied(x) != occupied {
				t.Errorf("node %d: occupied is %v", x, !occupied)
			}
		}
		if err := tree.verify(GroupID(v.GroupID), nil); err != nil {
			t.Error(err)
		}
		wantBytes(t, "tree", tree.Marshal(), v.Tree)
	})
}

type treeKEMVector struct {
	CipherSuite             CipherSuite      `json:"cipher_suite"`
	GroupID                 hexBytes         `json:"group_id"`
	Epoch                   Epoch            `json:"epoch"`
	ConfirmedTranscriptHash hexBytes         `json:"confirmed_transcript_hash"`
	RatchetTree             hexBytes         `json:"ratchet_tree"`
	LeavesPrivate           []treeKEMPrivate `json:"leaves_private"`
	UpdatePaths             []treeKEMPath    `json:"update_paths"`
}

type treeKEMPrivate struct {
	Index          LeafIndex       `json:"index"`
	EncryptionPriv hexBytes        `json:"encryption_priv"`
	SignaturePriv  hexBytes        `json:"signature_priv"`
	PathSecrets    []treeKEMSecret `json:"path_secrets"`
	keys           nodeKeys
}

type treeKEMSecret struct {
	Node       treemath.NodeIndex `json:"node"`
	PathSecret hexBytes           `json:"path_secret"`
}

type treeKEMPath struct {
	Sender        LeafIndex  `json:"sender"`
	UpdatePath    hexBytes   `json:"update_path"`
	PathSecrets   []hexBytes `json:"path_secrets"`
	CommitSecret  hexBytes   `json:"commit_secret"`
	TreeHashAfter hexBytes   `json:"tree_hash_after"`
}

func TestVectorsTreeKEM(t *testing.T) {
	eachVector(t, "treekem", generateTreeKEM, func(t *testing.T, v *treeKEMVector) {
		t.Parallel()
		tree := must(ParseRatchetTree(v.CipherSuite, v.RatchetTree))(t)
		for i := range v.LeavesPrivate {
			v.LeavesPrivate[i].keys = v.keys(t, tree, &v.LeavesPrivate[i])
		}
		for i := range v.UpdatePaths {
			v.processPath(t, tree, &v.UpdatePaths[i])
			made := v.makePath(t, tree, v.UpdatePaths[i].Sender)
			v.processPath(t, tree, &made)
		}
	})
}

// keys are the private keys of a leaf of the case.
func (v *treeKEMVector) keys(t *testing.T, tree *RatchetTree, p *treeKEMPrivate) nodeKeys {
	t.Helper()
	keys := nodeKeys{{p.Index.Node(), must(tree.suite.ParseHPKEPrivateKey(p.EncryptionPriv))(t)}}
	for _, at := range p.PathSecrets {
		private, public, err := pathSecret{secret.Clone(at.PathSecret)}.keyPair(tree.suite)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "node key", public, tree.at(at.Node).encryptionKey())
		keys = keys.with([]nodeKey{{at.Node, private}})
	}
	return keys
}

// provisional is the context that the path secrets are bound to.
func (v *treeKEMVector) provisional(tree *RatchetTree) []byte {
	return syntax.Encode(&GroupContext{
		Version: VersionMLS10, CipherSuite: v.CipherSuite, GroupID: GroupID(v.GroupID), Epoch: v.Epoch,
		TreeHash: tree.hash(), ConfirmedTranscriptHash: v.ConfirmedTranscriptHash,
	})
}

func (v *treeKEMVector) processPath(t *testing.T, tree *RatchetTree, want *treeKEMPath) {
	path := must(syntax.Decode[UpdatePath](want.UpdatePath))(t)
	wantBytes(t, "update path", syntax.Encode(&path), want.UpdatePath)
	d := tree.draft()
	if err := path.LeafNode.verifySignature(tree.suite, GroupID(v.GroupID), want.Sender); err != nil {
		t.Fatal(err)
	}
	if err := d.mergePath(want.Sender, &path, nil); err != nil {
		t.Fatal(err)
	}
	merged := d.seal()
	wantBytes(t, "tree hash after", merged.hash(), want.TreeHashAfter)
	if err := merged.verifyParents(); err != nil {
		t.Error(err)
	}
	for i := range v.LeavesPrivate {
		p := &v.LeavesPrivate[i]
		if p.Index == want.Sender {
			continue
		}
		r := pathReceiver{merged, want.Sender, p.Index, nil, p.keys, v.provisional(merged)}
		steps := merged.filteredDirectPath(want.Sender)
		at := slices.IndexFunc(steps, func(s pathStep) bool { return covers(s.copath, p.Index) })
		fresh, commit, err := r.open(&path)
		if err != nil {
			t.Fatal(err)
		}
		_, public, err := pathSecret{secret.Clone(want.PathSecrets[p.Index])}.keyPair(tree.suite)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "key of the path secret", public, path.Nodes[at].EncryptionKey)
		if want := len(steps) - at; len(fresh) != want {
			t.Errorf("%d node keys, want %d", len(fresh), want)
		}
		wantBytes(t, "commit secret", commit.Expose(), want.CommitSecret)
	}
}

// makePath makes a new path for a sender.
func (v *treeKEMVector) makePath(t *testing.T, tree *RatchetTree, sender LeafIndex) treeKEMPath {
	s, env := tree.suite, testEnv("treekem", int(sender))
	at := slices.IndexFunc(v.LeavesPrivate, func(p treeKEMPrivate) bool { return p.Index == sender })
	identity := &SigningIdentity{
		Credential: tree.leaf(sender).Credential, Public: tree.leaf(sender).SignatureKey,
		Key: must(s.ParseSignaturePrivateKey(v.LeavesPrivate[at].SignaturePriv))(t),
	}
	own := drawPath(s, env)
	_, public, err := own.leafKey(s)
	if err != nil {
		t.Fatal(err)
	}
	d := tree.draft()
	steps := d.filteredDirectPath(sender)
	leaf := tree.leaf(sender).renewed(LeafNodeSourceCommit, public, identity)
	_, keys, _, err := derivePath(s, steps, own.first)
	check(t, err)
	leaf.ParentHash = d.setPath(sender, steps, keys)
	signed := must(leaf.sign(identity, GroupID(v.GroupID), sender))(t)
	d.setLeaf(sender, signed)
	after := d.seal()
	path := UpdatePath{LeafNode: *signed, Nodes: must(own.seal(after, steps, nil, v.provisional(after), env))(t)}
	made := treeKEMPath{
		Sender: sender, UpdatePath: syntax.Encode(&path), TreeHashAfter: after.hash(),
		CommitSecret: own.secretAfter(s, len(steps)).Expose(), PathSecrets: make([]hexBytes, tree.size),
	}
	for i := range v.LeavesPrivate {
		if leaf := v.LeavesPrivate[i].Index; leaf != sender {
			made.PathSecrets[leaf] = own.secrets(s, len(steps))[sharedStep(steps, leaf)].Expose()
		}
	}
	return made
}

// secretAfter is the path secret n steps up.
func (o ownPath) secretAfter(s *suite.Suite, n int) pathSecret {
	current := o.first
	for range n {
		current = current.next(s)
	}
	return current
}

type welcomeVector struct {
	CipherSuite CipherSuite `json:"cipher_suite"`
	InitPriv    hexBytes    `json:"init_priv"`
	SignerPub   hexBytes    `json:"signer_pub"`
	KeyPackage  hexBytes    `json:"key_package"`
	Welcome     hexBytes    `json:"welcome"`
}

func TestVectorsWelcome(t *testing.T) {
	eachVector(t, "welcome", generateWelcome, func(t *testing.T, v *welcomeVector) {
		s := must(suite.Get(v.CipherSuite))(t)
		in := JoinInput{KeyPackage: must(ParseKeyPackage(v.KeyPackage))(t), Secrets: KeyPackageSecrets{InitKey: secret.Clone(v.InitPriv)}}
		in.Identity.Public = in.KeyPackage.LeafNode.SignatureKey
		w := must(ParseMessage(v.Welcome))(t).Welcome()
		secrets := must(w.open(s, in))(t)
		member := deriveMemberSecret(s, secrets.joiner, must(joinPSKs(s, secrets.psks, in))(t))
		gi := must(w.openGroupInfo(s, member))(t)
		if err := s.VerifyWithLabel(suite.SignaturePublicKey(v.SignerPub), "GroupInfoTBS", syntax.Encode(groupInfoTBS{gi}), gi.Signature); err != nil {
			t.Error(err)
		}
		derived, _ := deriveEpoch(s, member, syntax.Encode(&gi.GroupContext))
		if err := derived.confirmation.verify(s, gi.GroupContext.ConfirmedTranscriptHash, gi.ConfirmationTag); err != nil {
			t.Error(err)
		}
	})
}

type messagesVector struct {
	Welcome                  hexBytes `json:"mls_welcome"`
	GroupInfo                hexBytes `json:"mls_group_info"`
	KeyPackage               hexBytes `json:"mls_key_package"`
	RatchetTree              hexBytes `json:"ratchet_tree"`
	GroupSecrets             hexBytes `json:"group_secrets"`
	Add                      hexBytes `json:"add_proposal"`
	Update                   hexBytes `json:"update_proposal"`
	Remove                   hexBytes `json:"remove_proposal"`
	PreSharedKey             hexBytes `json:"pre_shared_key_proposal"`
	ReInit                   hexBytes `json:"re_init_proposal"`
	ExternalInit             hexBytes `json:"external_init_proposal"`
	GroupContextExtensions   hexBytes `json:"group_context_extensions_proposal"`
	Commit                   hexBytes `json:"commit"`
	PublicMessageApplication hexBytes `json:"public_message_application"`
	PublicMessageProposal    hexBytes `json:"public_message_proposal"`
	PublicMessageCommit      hexBytes `json:"public_message_commit"`
	PrivateMessage           hexBytes `json:"private_message"`
}

func TestVectorsMessages(t *testing.T) {
	eachVector(t, "messages", generateMessages, func(t *testing.T, v *messagesVector) {
		for _, b := range []hexBytes{
			v.Welcome, v.GroupInfo, v.KeyPackage, v.PublicMessageApplication, v.PublicMessageProposal, v.PublicMessageCommit, v.PrivateMessage,
		} {
			wantBytes(t, "message", must(ParseMessage(b))(t).Bytes(), b)
		}
		wantCanonical[wireTree](t, "ratchet_tree", v.RatchetTree)
		wantCanonical[groupSecrets](t, "group_secrets", v.GroupSecrets)
		wantCanonical[Add](t, "add", v.Add)
		wantCanonical[Update](t, "update", v.Update)
		wantCanonical[Remove](t, "remove", v.Remove)
		wantCanonical[PreSharedKey](t, "psk", v.PreSharedKey)
		wantCanonical[ReInit](t, "reinit", v.ReInit)
		wantCanonical[ExternalInit](t, "external_init", v.ExternalInit)
		wantCanonical[GroupContextExtensions](t, "group_context_extensions", v.GroupContextExtensions)
		wantCanonical[Commit](t, "commit", v.Commit)
	})
}

// wantCanonical checks that bytes decode and encode to themselves.
func wantCanonical[T any, P interface {
	*T
	syntax.Codable
}](t *testing.T, what string, b []byte) {
	t.Helper()
	v := must(syntax.Decode[T, P](b))(t)
	forget(P(&v))
	wantBytes(t, what, syntax.Encode(P(&v)), b)
}
