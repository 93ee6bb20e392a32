package mlsengine

import (
	"bytes"
	"errors"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// newProtection is a group of suite 1 of which only the framing matters.
func newProtection(t testing.TB) *protection {
	t.Helper()
	s, err := suite.Get(1)
	if err != nil {
		t.Fatal(err)
	}
	e := newSeededEntropy("protection")
	key, pub, err := s.GenerateSignatureKeyPair(e.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		t.Fatal(err)
	}
	draw := func(label string) secret.Bytes { return secret.New(e.Draw(label, s.HashSize())) }
	return &protection{
		suite: s,
		context: syntax.Encode(&GroupContext{Version: VersionMLS10, CipherSuite: 1, GroupID: GroupID("group"), Epoch: 4,
			TreeHash: e.Draw("tree", 32), ConfirmedTranscriptHash: e.Draw("transcript", 32)}),
		identity:   SigningIdentity{Key: key, Public: pub},
		tree:       newSecretTree(s, encryptionSecret{draw("encryption")}, protectionLeaves),
		senderData: senderDataSecret{draw("sender data")},
		membership: membershipKey{draw("membership")},
		entropy:    e,
	}
}

func application(text string) framedContent {
	return framedContent{GroupID: GroupID("group"), Epoch: 4, Sender: MemberSender(protectionSender), AAD: []byte("aad"),
		ContentType: ContentTypeApplication, Application: []byte(text)}
}

func proposed(sender Sender, p Proposal) framedContent {
	return framedContent{GroupID: GroupID("group"), Epoch: 4, Sender: sender, AAD: []byte{}, ContentType: ContentTypeProposal, Proposal: p}
}

func committed4(sender Sender, commit *Commit) framedContent {
	return framedContent{GroupID: GroupID("group"), Epoch: 4, Sender: sender, AAD: []byte{}, ContentType: ContentTypeCommit, Commit: commit}
}

// sealRaw seals whatever plaintext, signed or not.
func (p *protection) sealRaw(t testing.TB, plaintext []byte) *Message {
	t.Helper()
	m := &privateMessage{groupID: GroupID("group"), epoch: 4, contentType: ContentTypeApplication, aad: []byte{}}
	keys, _, err := p.tree.consume(protectionSender, ContentTypeApplication, 0, wide)
	if err != nil {
		t.Fatal(err)
	}
	if m.ciphertext, err = p.suite.SealAEAD(keys.key.Expose(), keys.nonce.Expose(), syntax.Encode(privateContentAAD{m}), plaintext); err != nil {
		t.Fatal(err)
	}
	in := privateSeal{SenderData: p.senderData, Scratch: new(sealScratch), Content: &authenticatedContent{
		Content: framedContent{Sender: MemberSender(protectionSender)},
	}}
	if m.encryptedSenderData, err = in.senderData(p.suite, m); err != nil {
		t.Fatal(err)
	}
	return &Message{wireFormat: WireFormatPrivateMessage, private: m}
}

// plaintext is a signed application content, encoded with some padding.
func (p *protection) plaintext(t testing.TB, padding int) []byte {
	t.Helper()
	a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: application("text")}
	a.Content.AAD = []byte{}
	if err := signContent(&p.identity, a, p.context); err != nil {
		t.Fatal(err)
	}
	return syntax.Encode(&privateMessageContent{content: a, padding: padding})
}

func TestPaddingHidesTheLengthAndIsZero(t *testing.T) {
	p := newProtection(t)
	length := func(text string, padding int) int {
		return len(p.protect(t, WireFormatPrivateMessage, application(text), padding).private.ciphertext)
	}
	if a, b := length("a", 128), length("a somewhat longer text", 128); a != b || a%128 != 0 {
		t.Errorf("ciphertexts of %d and %d bytes", a, b)
	}
	if a, b := length("a", 0), length("a", 1); a != b {
		t.Errorf("blocks of 0 and 1 byte pad to %d and %d", a, b)
	}
	if _, err := p.unprotect(p.sealRaw(t, p.plaintext(t, 33))); err != nil {
		t.Errorf("zero padding: %v", err)
	}
	if _, err := p.unprotect(p.sealRaw(t, p.plaintext(t, 0))); err != nil {
		t.Errorf("no padding: %v", err)
	}
}

func TestImpossiblePaddingAndLengthAreErrors(t *testing.T) {
	p := newProtection(t)
	a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: application("text")}
	for _, padding := range []int{-1, PaddingMax + 1} {
		if _, err := sealPrivate(p.suite, privateSeal{Content: a, Padding: padding}); !errors.Is(err, ErrPadding) {
			t.Errorf("padding %d: %v", padding, err)
		}
	}
	a.Content.Application = make([]byte, plaintextMax+1)
	if _, err := sealPrivate(p.suite, privateSeal{Content: a}); !errors.Is(err, ErrTooLong) {
		t.Errorf("a content of %d bytes: %v", plaintextMax+1, err)
	}
}

func TestTheReuseGuardChangesTheNonce(t *testing.T) {
	p := newProtection(t)
	seal := func(guard reuseGuard) []byte {
		keys, _, err := p.tree.consume(protectionSender, ContentTypeApplication, 0, wide)
		if err != nil {
			t.Fatal(err)
		}
		a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: application("text")}
		m, err := sealPrivate(p.suite, privateSeal{Content: a, Keys: keys, Guard: guard, SenderData: p.senderData})
		if err != nil {
			t.Fatal(err)
		}
		return m.private.ciphertext
	}
	if bytes.Equal(seal(reuseGuard{1}), seal(reuseGuard{2})) {
		t.Error("two guards give one ciphertext")
	}
	guard := reuseGuard{0xff, 0, 0x0f, 1}
	if got := guard.apply([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}); got != [nonceSize]byte{0xfe, 2, 0x0c, 5, 5, 6, 7, 8, 9, 10, 11, 12} {
		t.Errorf("guarded nonce %x", got)
	}
}

func TestEveryBitOfAPrivateMessageIsAuthenticated(t *testing.T) {
	p := newProtection(t)
	b := p.protect(t, WireFormatPrivateMessage, application("text"), 0).Bytes()
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1
		m, err := ParseMessage(flipped)
		if err != nil || m.WireFormat() != WireFormatPrivateMessage {
			continue
		}
		if _, err := p.unprotect(m); err == nil {
			t.Errorf("opens with bit %d of byte %d flipped", 0, i)
		}
	}
}

func TestOutsidersSignWithoutTheContext(t *testing.T) {
	p := newProtection(t)
	for _, c := range []struct {
		content framedContent
		bound   bool
	}{
		{proposed(MemberSender(1), &Remove{}), true},
		{proposed(Sender{Type: SenderTypeExternal, Index: 3}, &Remove{}), false},
		{proposed(Sender{Type: SenderTypeNewMemberProposal}, &Add{}), false},
		{committed4(Sender{Type: SenderTypeNewMemberCommit}, &Commit{}), true},
	} {
		a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: c.content}
		if add, ok := c.content.Proposal.(*Add); ok {
			add.KeyPackage = testKeyPackage(t)
		}
		if err := signContent(&p.identity, a, p.context); err != nil {
			t.Fatal(err)
		}
		if err := verifyContent(p.suite, a, p.identity.Public, p.context); err != nil {
			t.Errorf("sender type %d: %v", c.content.Sender.Type, err)
		}
		if err := verifyContent(p.suite, a, p.identity.Public, nil); (err != nil) != c.bound {
			t.Errorf("sender type %d without the context: %v", c.content.Sender.Type, err)
		}
	}
}

func TestSealingWhatWasSignedForAnotherWayIsABug(t *testing.T) {
	p := newProtection(t)
	public := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: application("text")}
	outsider := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: proposed(Sender{Type: SenderTypeExternal}, &Remove{})}
	for name, seal := range map[string]func(){
		"application in the open":  func() { sealPublic(p.suite, public, p.membership, p.context) },
		"public content encrypted": func() { _, _ = sealPrivate(p.suite, privateSeal{Content: public}) },
		"outsider encrypted":       func() { _, _ = sealPrivate(p.suite, privateSeal{Content: outsider}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			seal()
		})
	}
}

func TestContentsSurviveALog(t *testing.T) {
	p := newProtection(t)
	a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: proposed(MemberSender(1), &Remove{Removed: 9})}
	if err := signContent(&p.identity, a, p.context); err != nil {
		t.Fatal(err)
	}
	c := newContent(p.suite, a, 17)
	again, err := ParseContent(c.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation() != 17 || !again.Encrypted() || again.Epoch() != 4 || string(again.GroupID()) != "group" || again.Sender() != MemberSender(1) {
		t.Errorf("read back %+v", again)
	}
	want := p.suite.RefHash("MLS 1.0 Proposal Reference", c.encoded())
	wantBytes(t, "reference", again.ProposalRef(), want)
	if r, ok := again.Proposal().(*Remove); !ok || r.Removed != 9 || again.Commit() != nil || again.Application() != nil {
		t.Error("another arm was read back")
	}
	if err := verifyContent(p.suite, &again.authenticated, p.identity.Public, p.context); err != nil {
		t.Error(err)
	}
}
