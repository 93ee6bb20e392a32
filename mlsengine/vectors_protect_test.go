package mlsengine

import (
	"fmt"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

type secretTreeVector struct {
	Suite      suite.ID `json:"cipher_suite"`
	Encryption hexBytes `json:"encryption_secret"`
	SenderData struct {
		Secret     hexBytes `json:"sender_data_secret"`
		Ciphertext hexBytes `json:"ciphertext"`
		Key        hexBytes `json:"key"`
		Nonce      hexBytes `json:"nonce"`
	} `json:"sender_data"`
	Leaves [][]secretTreeGeneration `json:"leaves"`
}

type secretTreeGeneration struct {
	Generation       Generation `json:"generation"`
	ApplicationKey   hexBytes   `json:"application_key"`
	ApplicationNonce hexBytes   `json:"application_nonce"`
	HandshakeKey     hexBytes   `json:"handshake_key"`
	HandshakeNonce   hexBytes   `json:"handshake_nonce"`
}

// wide takes every generation that the vectors ask for.
var wide = Limits{OutOfOrderTolerance: 1000, MaximumForwardDistance: 1000}

func (v *secretTreeVector) compute(t *testing.T, tree *secretTree) {
	t.Helper()
	s := tree.suite
	var keys [senderDataKeysMax]byte
	p := privateMessage{ciphertext: v.SenderData.Ciphertext}
	key, nonce := p.senderDataKeys(s, senderDataSecret{secret.Clone(v.SenderData.Secret)}, &keys)
	v.SenderData.Key, v.SenderData.Nonce = key, nonce
	for leaf := range v.Leaves {
		for i := range v.Leaves[leaf] {
			g := &v.Leaves[leaf][i]
			application, next, err := tree.consume(LeafIndex(leaf), ContentTypeApplication, g.Generation, wide)
			if err != nil {
				t.Fatal(err)
			}
			handshake, next, err := next.consume(LeafIndex(leaf), ContentTypeCommit, g.Generation, wide)
			if err != nil {
				t.Fatal(err)
			}
			g.ApplicationKey, g.ApplicationNonce = application.key.Expose(), application.nonce.Expose()
			g.HandshakeKey, g.HandshakeNonce = handshake.key.Expose(), handshake.nonce.Expose()
			tree = next
		}
	}
}

func (v *secretTreeVector) tree(t *testing.T) *secretTree {
	t.Helper()
	return newSecretTree(mustSuite(t, v.Suite), encryptionSecret{secret.Clone(v.Encryption)}, treemath.SizeFor(uint32(len(v.Leaves))))
}

func TestSecretTreeVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "secret-tree", generateSecretTree, func(t *testing.T, v *secretTreeVector) {
		seen[v.Suite] = true
		got := *v
		got.Leaves = nil
		for _, generations := range v.Leaves {
			got.Leaves = append(got.Leaves, append([]secretTreeGeneration{}, generations...))
		}
		got.compute(t, v.tree(t))
		wantBytes(t, "sender data key", got.SenderData.Key, v.SenderData.Key)
		wantBytes(t, "sender data nonce", got.SenderData.Nonce, v.SenderData.Nonce)
		for leaf := range v.Leaves {
			for i, want := range v.Leaves[leaf] {
				g, where := got.Leaves[leaf][i], fmt.Sprintf("leaf %d generation %d: ", leaf, want.Generation)
				wantBytes(t, where+"application key", g.ApplicationKey, want.ApplicationKey)
				wantBytes(t, where+"application nonce", g.ApplicationNonce, want.ApplicationNonce)
				wantBytes(t, where+"handshake key", g.HandshakeKey, want.HandshakeKey)
				wantBytes(t, where+"handshake nonce", g.HandshakeNonce, want.HandshakeNonce)
			}
		}
	})
	wantEverySuite(t, seen)
}

func generateSecretTree(t *testing.T) []secretTreeVector {
	var cases []secretTreeVector
	for _, id := range suite.IDs() {
		for _, leaves := range []int{1, 16} {
			s, e := mustSuite(t, id), newSeededEntropy(fmt.Sprintf("secret-tree %d %d", id, leaves))
			v := secretTreeVector{Suite: id, Encryption: e.Draw("encryption", s.HashSize())}
			v.SenderData.Secret, v.SenderData.Ciphertext = e.Draw("sender data", s.HashSize()), e.Draw("ciphertext", 20+5*leaves)
			for range leaves {
				v.Leaves = append(v.Leaves, []secretTreeGeneration{{Generation: 0}, {Generation: 1}, {Generation: 9}})
			}
			v.compute(t, v.tree(t))
			cases = append(cases, v)
		}
	}
	return cases
}

type protectionVector struct {
	Suite            suite.ID `json:"cipher_suite"`
	GroupID          hexBytes `json:"group_id"`
	Epoch            Epoch    `json:"epoch"`
	TreeHash         hexBytes `json:"tree_hash"`
	ConfirmedHash    hexBytes `json:"confirmed_transcript_hash"`
	SignaturePrivate hexBytes `json:"signature_priv"`
	SignaturePublic  hexBytes `json:"signature_pub"`
	Encryption       hexBytes `json:"encryption_secret"`
	SenderData       hexBytes `json:"sender_data_secret"`
	Membership       hexBytes `json:"membership_key"`

	Proposal           hexBytes `json:"proposal"`
	ProposalPrivate    hexBytes `json:"proposal_priv"`
	ProposalPublic     hexBytes `json:"proposal_pub"`
	Commit             hexBytes `json:"commit"`
	CommitPrivate      hexBytes `json:"commit_priv"`
	CommitPublic       hexBytes `json:"commit_pub"`
	Application        hexBytes `json:"application"`
	ApplicationPrivate hexBytes `json:"application_priv"`
}

// protection is a group of which only the framing matters.
type protection struct {
	suite      *suite.Suite
	context    []byte
	identity   SigningIdentity
	tree       *secretTree
	senderData senderDataSecret
	membership membershipKey
	entropy    *seededEntropy
}

// protectionSender and protectionLeaves are what the official file says.
const (
	protectionSender = LeafIndex(1)
	protectionLeaves = 2
)

func (v *protectionVector) open(t *testing.T) *protection {
	t.Helper()
	s := mustSuite(t, v.Suite)
	key, err := s.ParseSignaturePrivateKey(v.SignaturePrivate)
	if err != nil {
		t.Fatal(err)
	}
	return &protection{
		suite: s,
		context: syntax.Encode(&GroupContext{Version: VersionMLS10, CipherSuite: v.Suite, GroupID: GroupID(v.GroupID), Epoch: v.Epoch,
			TreeHash: v.TreeHash, ConfirmedTranscriptHash: v.ConfirmedHash}),
		identity:   SigningIdentity{Key: key, Public: suite.SignaturePublicKey(v.SignaturePublic)},
		tree:       newSecretTree(s, encryptionSecret{secret.Clone(v.Encryption)}, protectionLeaves),
		senderData: senderDataSecret{secret.Clone(v.SenderData)},
		membership: membershipKey{secret.Clone(v.Membership)},
		entropy:    newSeededEntropy("message-protection"),
	}
}

// unprotect opens a message and gives the encoding of what it holds.
func (p *protection) unprotect(m *Message) (*authenticatedContent, error) {
	var a *authenticatedContent
	if m.public != nil {
		a = &m.public.content
		if err := m.public.validate(); err != nil {
			return nil, err
		}
		if err := m.public.verifyMembership(p.suite, p.membership, p.context); err != nil {
			return nil, err
		}
	} else {
		data, err := openSenderData(p.suite, p.senderData, m.private)
		if err != nil {
			return nil, err
		}
		keys, _, err := p.tree.consume(data.Leaf, m.private.contentType, data.Generation, wide)
		if err != nil {
			return nil, err
		}
		if a, err = openPrivate(p.suite, m.private, data, keys); err != nil {
			return nil, err
		}
	}
	return a, verifyContent(p.suite, a, p.identity.Public, p.context)
}

func arm(a *authenticatedContent) []byte {
	switch a.Content.ContentType {
	case ContentTypeProposal:
		return MarshalProposal(a.Content.Proposal)
	case ContentTypeCommit:
		return syntax.Encode(a.Content.Commit)
	case ContentTypeApplication:
		return a.Content.Application
	}
	return nil
}

func (v *protectionVector) content(t *testing.T, ct ContentType) framedContent {
	t.Helper()
	f := framedContent{GroupID: GroupID(v.GroupID), Epoch: v.Epoch, Sender: MemberSender(protectionSender), AAD: []byte{}, ContentType: ct}
	var err error
	switch ct {
	case ContentTypeProposal:
		f.Proposal, err = ParseProposal(v.Proposal)
	case ContentTypeCommit:
		var commit Commit
		commit, err = syntax.Decode[Commit](v.Commit)
		f.Commit = &commit
	case ContentTypeApplication:
		f.Application = v.Application
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// protect signs a content and seals it for a wire format.
func (p *protection) protect(t *testing.T, w WireFormat, f framedContent, padding int) *Message {
	t.Helper()
	a := &authenticatedContent{WireFormat: w, Content: f}
	if err := signContent(&p.identity, a, p.context); err != nil {
		t.Fatal(err)
	}
	if f.ContentType == ContentTypeCommit {
		a.ConfirmationTag = p.entropy.Draw("confirmation tag", p.suite.HashSize())
	}
	if w == WireFormatPublicMessage {
		return sealPublic(p.suite, a, p.membership, p.context)
	}
	_, _, block, err := p.tree.reserve(protectionSender, f.ContentType, 1)
	if err != nil {
		t.Fatal(err)
	}
	g, keys, err := block.take(f.ContentType)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sealPrivate(p.suite, privateSeal{Content: a, Keys: keys, Generation: g, Guard: reuseGuard(p.entropy.Draw("guard", 4)), SenderData: p.senderData, Padding: padding})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMessageProtectionVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "message-protection", generateMessageProtection, func(t *testing.T, v *protectionVector) {
		seen[v.Suite] = true
		p := v.open(t)
		for _, c := range []struct {
			what       string
			ct         ContentType
			given, raw hexBytes
		}{
			{"proposal_pub", ContentTypeProposal, v.ProposalPublic, v.Proposal},
			{"proposal_priv", ContentTypeProposal, v.ProposalPrivate, v.Proposal},
			{"commit_pub", ContentTypeCommit, v.CommitPublic, v.Commit},
			{"commit_priv", ContentTypeCommit, v.CommitPrivate, v.Commit},
			{"application_priv", ContentTypeApplication, v.ApplicationPrivate, v.Application},
		} {
			given, err := ParseMessage(c.given)
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			wantBytes(t, c.what+" again", given.Bytes(), c.given)
			a, err := p.unprotect(given)
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			wantBytes(t, c.what, arm(a), c.raw)
			own, err := ParseMessage(p.protect(t, given.WireFormat(), v.content(t, c.ct), 64).Bytes())
			if err != nil {
				t.Fatalf("own %s: %v", c.what, err)
			}
			if a, err = p.unprotect(own); err != nil {
				t.Fatalf("own %s: %v", c.what, err)
			}
			wantBytes(t, "own "+c.what, arm(a), c.raw)
		}
		wantRule(t, ApplicationInPublic, p.openApplicationInPublic(t, v))
	})
	wantEverySuite(t, seen)
}

// openApplicationInPublic makes what sealPublic refuses to make and opens it.
func (p *protection) openApplicationInPublic(t *testing.T, v *protectionVector) error {
	t.Helper()
	a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: v.content(t, ContentTypeApplication)}
	if err := signContent(&p.identity, a, p.context); err != nil {
		t.Fatal(err)
	}
	sent := &Message{wireFormat: WireFormatPublicMessage, public: &publicMessage{content: *a, membershipTag: p.membership.membershipTag(p.suite, a, p.context)}}
	m, err := ParseMessage(sent.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.unprotect(m)
	return err
}

func generateMessageProtection(t *testing.T) []protectionVector {
	var cases []protectionVector
	for _, id := range suite.IDs() {
		s, e := mustSuite(t, id), newSeededEntropy(fmt.Sprintf("message-protection %d", id))
		key, pub, err := s.GenerateSignatureKeyPair(e.Draw("signature", s.SignatureSeedSize()))
		if err != nil {
			t.Fatal(err)
		}
		hash := func(label string) hexBytes { return e.Draw(label, s.HashSize()) }
		v := protectionVector{
			Suite: id, GroupID: e.Draw("group", 32), Epoch: Epoch(id) << 20, TreeHash: hash("tree"), ConfirmedHash: hash("confirmed"),
			SignaturePrivate: key.Expose(), SignaturePublic: hexBytes(pub),
			Encryption: hash("encryption"), SenderData: hash("sender data"), Membership: hash("membership"),
			Proposal: MarshalProposal(&Remove{Removed: 0}), Application: e.Draw("application", 77),
			Commit: syntax.Encode(&Commit{Proposals: []ProposalOrRef{{Ref: e.Draw("ref", s.HashSize())}, {Proposal: &Remove{Removed: 5}}}}),
		}
		p := v.open(t)
		protect := func(w WireFormat, ct ContentType) hexBytes { return p.protect(t, w, v.content(t, ct), 100).Bytes() }
		v.ProposalPublic, v.ProposalPrivate = protect(WireFormatPublicMessage, ContentTypeProposal), protect(WireFormatPrivateMessage, ContentTypeProposal)
		v.CommitPublic, v.CommitPrivate = protect(WireFormatPublicMessage, ContentTypeCommit), protect(WireFormatPrivateMessage, ContentTypeCommit)
		v.ApplicationPrivate = protect(WireFormatPrivateMessage, ContentTypeApplication)
		cases = append(cases, v)
	}
	return cases
}
