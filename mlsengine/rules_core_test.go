package mlsengine

import (
	"bytes"
	"maps"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// coreRuleCases has, for each rule of framing, protection, extensions and
// pre-shared keys, an input that breaks it and nothing else.
func coreRuleCases() map[Rule]ruleCase {
	all := framingRuleCases()
	maps.Copy(all, protectionRuleCases())
	maps.Copy(all, structRuleCases())
	return all
}

func framingRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		MalformedMessage: func(t *testing.T) error {
			_, err := ParseMessage(newProtection(t).protect(t, WireFormatPrivateMessage, application("text"), 0).Bytes()[:40])
			return err
		},
		UnsupportedVersion: func(t *testing.T) error { return parseChanged(t, 1, 2) },
		UnsupportedWireFormat: func(t *testing.T) error {
			return parseChanged(t, 3, byte(WireFormatKeyPackage)+1)
		},
		UnsupportedCipherSuite: func(t *testing.T) error {
			c := newContent(mustSuite(t, 1), &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: proposed(MemberSender(1), &Remove{})}, 0)
			c.suite = 9
			_, err := ParseContent(c.Marshal())
			return err
		},
		ApplicationInPublic: func(t *testing.T) error { return validatePublic(application("text")) },
		ExternalSenderContent: func(t *testing.T) error {
			return validatePublic(committed4(Sender{Type: SenderTypeExternal}, &Commit{}))
		},
		ExternalProposalType: func(t *testing.T) error {
			return validatePublic(proposed(Sender{Type: SenderTypeExternal}, &Update{}))
		},
		NewMemberProposalContent: func(t *testing.T) error {
			wantRule(t, NewMemberProposalContent, validatePublic(committed4(Sender{Type: SenderTypeNewMemberProposal}, &Commit{})))
			return validatePublic(proposed(Sender{Type: SenderTypeNewMemberProposal}, &Remove{}))
		},
		NewMemberCommitContent: func(t *testing.T) error {
			wantRule(t, NewMemberCommitContent, validatePublic(proposed(Sender{Type: SenderTypeNewMemberCommit}, &Add{})))
			return validatePublic(committed4(Sender{Type: SenderTypeNewMemberCommit}, &Commit{}))
		},
	}
}

func protectionRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		InvalidSignature: func(t *testing.T) error {
			p := newProtection(t)
			other := *p
			other.context = append(bytes.Clone(p.context), 0)
			_, err := p.unprotect(other.protect(t, WireFormatPrivateMessage, application("text"), 0))
			return err
		},
		InvalidMembershipTag: func(t *testing.T) error {
			p := newProtection(t)
			m := p.protect(t, WireFormatPublicMessage, proposed(MemberSender(1), &Remove{}), 0)
			m.public.membershipTag[0] ^= 1
			_, err := p.unprotect(m)
			return err
		},
		InvalidSenderData: func(t *testing.T) error {
			p := newProtection(t)
			m := p.protect(t, WireFormatPrivateMessage, application("text"), 0)
			wantRule(t, InvalidSenderData, p.openLongSenderData(t))
			m.private.encryptedSenderData[0] ^= 1
			_, err := p.unprotect(m)
			return err
		},
		InvalidCiphertext: func(t *testing.T) error {
			p := newProtection(t)
			m := p.protect(t, WireFormatPrivateMessage, application("text"), 100)
			m.private.ciphertext[len(m.private.ciphertext)-1] ^= 1 // beyond the sample
			_, err := p.unprotect(m)
			return err
		},
		MalformedContent: func(t *testing.T) error {
			p := newProtection(t)
			_, err := p.unprotect(p.sealRaw(t, p.plaintext(t, 0)[:50]))
			return err
		},
		NonZeroPadding: func(t *testing.T) error {
			p := newProtection(t)
			_, err := p.unprotect(p.sealRaw(t, append(p.plaintext(t, 5), 1)))
			return err
		},
		GenerationConsumed: func(t *testing.T) error {
			_, tree := mustConsume(t, testTree(t, 2), 0, ContentTypeApplication, 0, wide)
			_, _, err := tree.consume(0, ContentTypeApplication, 0, wide)
			return err
		},
		GenerationTooFar: func(t *testing.T) error {
			_, _, err := testTree(t, 2).consume(0, ContentTypeApplication, 1001, wide)
			return err
		},
	}
}

func structRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		DuplicateExtension: func(t *testing.T) error {
			return Extensions{{Type: 9}, {Type: 10}, {Type: 9, Data: []byte("x")}}.validateUnique()
		},
		MalformedExtension: func(t *testing.T) error {
			wantRule(t, MalformedExtension, Extensions{{Type: ExtensionTypeExternalSenders, Data: []byte{1}}}.validateData())
			return Extensions{{Type: ExtensionTypeRequiredCapabilities, Data: []byte{0, 0, 0, 0}}}.validateData()
		},
		PSKNonceLength: func(t *testing.T) error {
			id := PreSharedKeyID{Type: PSKTypeExternal, Nonce: make([]byte, 31)}
			return id.validateNonce(mustSuite(t, 1))
		},
		PSKTooMany: func(t *testing.T) error {
			n := pskCountMax + 1
			_, err := derivePSKSecret(mustSuite(t, 1), make([]PreSharedKeyID, n), make([][]byte, n))
			return err
		},
		InvalidConfirmationTag: func(t *testing.T) error {
			s, key := mustSuite(t, 1), confirmationKey{secret.New(make([]byte, 32))}
			tag := key.tag(s, []byte("transcript"))
			tag[31] ^= 1
			wantRule(t, InvalidConfirmationTag, key.verify(s, []byte("transcript"), tag))
			spoil := func(a *authenticatedContent) { a.ConfirmationTag = flipped(a.ConfirmationTag) }
			wantRule(t, InvalidConfirmationTag, (&rogueCommit{afterSign: spoil}).refused(t, newTestGroup(t, 1, "alice", "bob")))
			welcome := rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.ConfirmationTag = flipped(gi.ConfirmationTag) }}
			return welcome.join(t, newTestGroup(t, 1, "alice", "bob")[0], newTestClient(t, 1, "dave"))
		},
	}
}

// parseChanged parses a message of which one byte was set.
func parseChanged(t *testing.T, at int, to byte) error {
	t.Helper()
	b := newProtection(t).protect(t, WireFormatPrivateMessage, application("text"), 0).Bytes()
	if _, err := ParseMessage(b); err != nil {
		t.Fatal(err)
	}
	b[at] = to
	_, err := ParseMessage(b)
	return err
}

func validatePublic(f framedContent) error {
	return (&publicMessage{content: authenticatedContent{WireFormat: WireFormatPublicMessage, Content: f}}).validate()
}

func TestSendersMaySayWhatTheirTypeAllows(t *testing.T) {
	path := &Commit{Path: &UpdatePath{}}
	for _, f := range []framedContent{
		proposed(MemberSender(1), &Update{}),
		committed4(MemberSender(1), &Commit{}),
		proposed(Sender{Type: SenderTypeExternal}, &Add{}),
		proposed(Sender{Type: SenderTypeExternal}, &Remove{}),
		proposed(Sender{Type: SenderTypeExternal}, &PreSharedKey{}),
		proposed(Sender{Type: SenderTypeExternal}, &ReInit{}),
		proposed(Sender{Type: SenderTypeExternal}, &GroupContextExtensions{}),
		proposed(Sender{Type: SenderTypeNewMemberProposal}, &Add{}),
		committed4(Sender{Type: SenderTypeNewMemberCommit}, path),
	} {
		if err := validatePublic(f); err != nil {
			t.Errorf("sender type %d, content type %d: %v", f.Sender.Type, f.ContentType, err)
		}
	}
	wantRule(t, ExternalProposalType, validatePublic(proposed(Sender{Type: SenderTypeExternal}, &ExternalInit{})))
}

// openLongSenderData opens sender data with a byte too many.
func (p *protection) openLongSenderData(t *testing.T) error {
	t.Helper()
	m := p.protect(t, WireFormatPrivateMessage, application("text"), 0).private
	var keys [senderDataKeysMax]byte
	key, nonce := m.senderDataKeys(p.suite, p.senderData, &keys)
	var err error
	if m.encryptedSenderData, err = p.suite.SealAEAD(key, nonce, syntax.Encode(senderDataAAD{m}), make([]byte, 13)); err != nil {
		t.Fatal(err)
	}
	_, err = openSenderData(p.suite, p.senderData, m)
	return err
}

func testKeyPackage(t testing.TB) KeyPackage {
	t.Helper()
	s, err := suite.Get(1)
	if err != nil {
		t.Fatal(err)
	}
	e := newSeededEntropy("key package")
	key, pub, err := s.GenerateSignatureKeyPair(e.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		t.Fatal(err)
	}
	k, _, err := NewKeyPackage(KeyPackageParams{Suite: 1, Identity: SigningIdentity{BasicCredential([]byte("alice")), key, pub}}, Env{Entropy: e})
	if err != nil {
		t.Fatal(err)
	}
	return *k
}
