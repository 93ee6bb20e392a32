package mlsengine

import (
	"bytes"
	"slices"
	"testing"

	"parley/internal/syntax"
)

// fuzzWorld is a small group with a bit of everything in its history, and the
// bytes it made.
type fuzzWorld struct {
	alice, bob *testClient
	before     *PublicGroup // of the last commit
	out        *CommitOut   // the last commit
	commit     *Commit
}

func newFuzzWorld(t testing.TB) *fuzzWorld {
	t.Helper()
	clients := newTestGroup(t, 1, "alice", "bob", "carol", "dave")
	w := &fuzzWorld{alice: clients[0], bob: clients[1]}
	w.alice.psks["key"], w.bob.psks["key"] = []byte("shared"), []byte("shared")
	clients[2].psks, clients[3].psks = w.alice.psks, w.alice.psks
	commit(t, clients, 2, CommitIntent{Inline: []Proposal{&GroupContextExtensions{Extensions: Extensions{
		extension(ExtensionTypeExternalSenders, &ExternalSenders{{SignatureKey: w.alice.identity.Public, Credential: w.alice.identity.Credential}}),
	}}}})
	commit(t, clients, 1, CommitIntent{Inline: []Proposal{&Remove{Removed: 3}}})
	w.before = w.alice.group.public
	update := must(w.bob.group.Propose(&Update{}, Framing{}, w.bob.env))(t)
	w.bob.updates[string(update.Ref)] = update.Secrets
	in := CommitIntent{
		Proposals: []*Content{update.Content}, PSKs: w.alice.psks, TreeInWelcome: WithTree, TreeInInfo: WithTree,
		Inline: []Proposal{&Add{KeyPackage: *newTestClient(t, 1, "erin").keyPackage(t)}, externalPSK("key")},
	}
	w.out = must(w.alice.group.Commit(in, w.alice.env))(t)
	w.commit = w.bob.open(t, w.out.Message).Commit()
	w.bob.group = w.bob.stage(t, w.bob.open(t, w.out.Message), in.Proposals).Next
	w.alice.group = w.out.Staged.Next
	return w
}

func (w *fuzzWorld) treeDecoders() map[string]decoder {
	return map[string]decoder{
		"ratchet tree":   decoderOf[wireTree],
		"key package":    decoderOf[KeyPackage],
		"leaf node":      decoderOf[LeafNode],
		"commit":         decoderOf[Commit],
		"update path":    decoderOf[UpdatePath],
		"welcome":        decoderOf[Welcome],
		"group info":     decoderOf[GroupInfo],
		"group secrets":  decoderOf[groupSecrets],
		"proposal":       decoderOf[codedProposal],
		"stored group":   decoderOf[storedGroup],
		"delta":          decoderOf[groupDelta],
		"commit secrets": decoderOf[commitSecrets],
		"private state":  decodePrivateState(w.alice.group.public),
	}
}

// treeSeeds are valid inputs of the decoders above.
func (w *fuzzWorld) treeSeeds(t testing.TB) map[string][][]byte {
	t.Helper()
	member := w.alice.group.public.tree.leaf(2)
	info := must(ParseMessage(w.out.GroupInfo))(t).GroupInfo()
	secret := pathSecret{w.alice.group.secrets.init.Bytes}
	seeds := map[string][][]byte{
		"ratchet tree":   {w.before.tree.Marshal(), w.alice.group.public.tree.Marshal()},
		"key package":    {newTestClient(t, 1, "frank").keyPackage(t).Bytes()},
		"leaf node":      {syntax.Encode(member), syntax.Encode(&w.commit.Path.LeafNode)},
		"commit":         {syntax.Encode(w.commit)},
		"update path":    {syntax.Encode(w.commit.Path)},
		"welcome":        {syntax.Encode(must(ParseMessage(w.out.Welcome))(t).Welcome())},
		"group info":     {syntax.Encode(info)},
		"group secrets":  {syntax.Encode(&groupSecrets{joiner: joinerSecret{secret.Bytes}, path: &secret, psks: []PreSharedKeyID{externalPSK("key").PSK}})},
		"stored group":   {w.before.Marshal(), w.alice.group.public.Marshal()},
		"delta":          {w.out.Staged.Delta},
		"commit secrets": {w.out.Secrets.Expose()},
		"private state":  {w.alice.group.MarshalPrivate().Expose()},
	}
	for _, p := range []Proposal{
		&Add{KeyPackage: *newTestClient(t, 1, "frank").keyPackage(t)}, &Update{LeafNode: *member}, &Remove{Removed: 1}, externalPSK("key"),
		&ReInit{GroupID: GroupID("next"), Version: 1, CipherSuite: 2}, &ExternalInit{KEMOutput: make([]byte, 32)}, &GroupContextExtensions{},
		appUpdate(counter, 1), appRemove(plain), &AppEphemeral{plain, []byte("data")}, &SelfRemove{}, &CustomProposal{0xf000, []byte("body")},
	} {
		seeds["proposal"] = append(seeds["proposal"], MarshalProposal(p))
	}
	return seeds
}

func decodePrivateState(pub *PublicGroup) decoder {
	return func(b []byte) ([]byte, error) {
		g, err := RestoreGroup(pub, bytes.Clone(b))
		if err != nil {
			return nil, err
		}
		return g.MarshalPrivate().Expose(), nil
	}
}

func fuzzTree(f *testing.F, name string) {
	w := newFuzzWorld(f)
	fuzzCanonical(f, w.treeDecoders()[name], w.treeSeeds(f)[name]...)
}

func FuzzRatchetTree(f *testing.F)   { fuzzTree(f, "ratchet tree") }
func FuzzKeyPackage(f *testing.F)    { fuzzTree(f, "key package") }
func FuzzLeafNode(f *testing.F)      { fuzzTree(f, "leaf node") }
func FuzzCommit(f *testing.F)        { fuzzTree(f, "commit") }
func FuzzUpdatePath(f *testing.F)    { fuzzTree(f, "update path") }
func FuzzWelcome(f *testing.F)       { fuzzTree(f, "welcome") }
func FuzzGroupInfo(f *testing.F)     { fuzzTree(f, "group info") }
func FuzzGroupSecrets(f *testing.F)  { fuzzTree(f, "group secrets") }
func FuzzProposal(f *testing.F)      { fuzzTree(f, "proposal") }
func FuzzStoredGroup(f *testing.F)   { fuzzTree(f, "stored group") }
func FuzzDelta(f *testing.F)         { fuzzTree(f, "delta") }
func FuzzCommitSecrets(f *testing.F) { fuzzTree(f, "commit secrets") }
func FuzzPrivateState(f *testing.F)  { fuzzTree(f, "private state") }

// FuzzParsePublicGroup lets whatever is read back go on living.
func FuzzParsePublicGroup(f *testing.F) {
	w := newFuzzWorld(f)
	f.Add(w.before.Marshal(), w.out.Staged.Delta)
	f.Fuzz(func(t *testing.T, state, delta []byte) {
		g, err := ParsePublicGroup(state)
		if err != nil {
			return
		}
		wantBytes(t, "state", g.Marshal(), state)
		if next, err := g.ApplyDelta(delta); err == nil {
			must(ParsePublicGroup(next.Marshal()))(t)
		}
	})
}

// FuzzVerifyTree verifies whatever tree decodes.
func FuzzVerifyTree(f *testing.F) {
	w := newFuzzWorld(f)
	f.Add(w.before.tree.Marshal())
	f.Add(w.alice.group.public.tree.Marshal())
	f.Fuzz(func(_ *testing.T, b []byte) {
		if tree, err := ParseRatchetTree(1, b); err == nil {
			_ = tree.verify(GroupID("group"), nil)
		}
	})
}

// FuzzMaliciousCommit lets a member sign whatever commit decodes: the others
// refuse it by a rule or follow it, and are unchanged.
func FuzzMaliciousCommit(f *testing.F) {
	w := newFuzzWorld(f)
	f.Add(syntax.Encode(w.commit))
	f.Add(syntax.Encode(&Commit{Proposals: byValue(&Remove{Removed: 2}, externalPSK("key"))}))
	f.Add(syntax.Encode(&Commit{Proposals: byValue(&Add{KeyPackage: *newTestClient(f, 1, "frank").keyPackage(f)})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := syntax.Decode[Commit](b)
		if err != nil {
			return
		}
		a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
			GroupID: w.bob.group.GroupID(), Epoch: w.bob.group.Epoch(), Sender: MemberSender(0), ContentType: ContentTypeCommit, Commit: &m,
		}, ConfirmationTag: []byte("tag")}
		before := w.bob.group.MarshalPrivate().Expose()
		_, err = w.bob.group.StageCommit(CommitInput{Commit: newContent(w.bob.suite, a, 0), PSKs: w.bob.psks}, w.bob.env)
		if err == nil {
			t.Error("a commit with a false confirmation tag was accepted")
		}
		if !slices.Equal(before, w.bob.group.MarshalPrivate().Expose()) {
			t.Error("the group changed")
		}
	})
}

func TestTreeDecodersAllocateInProportionToTheirInput(t *testing.T) {
	const size, perByte, constant = 1 << 14, 160, 1 << 16
	w := newFuzzWorld(t)
	seeds := w.treeSeeds(t)
	for name, decode := range w.treeDecoders() {
		inputs := hostileInputs(size)
		for _, seed := range seeds[name] {
			for cut := range 8 {
				inputs = append(inputs, append(bytes.Clone(seed[:len(seed)*cut/8]), 0xbf, 0xff, 0xff, 0xff))
			}
		}
		for i, b := range inputs {
			if got := allocated(func() { _, _ = decode(b) }); got > uint64(perByte*len(b)+constant) {
				t.Errorf("%s: input %d of %d bytes took %d bytes", name, i, len(b), got)
			}
		}
	}
}
