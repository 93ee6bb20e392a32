package mlsengine

import (
	"bytes"
	"runtime"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// decoder is a top-level decoder as the tests of decoding see it: it reads and
// writes again, or fails.
type decoder func(b []byte) ([]byte, error)

func decoderOf[T any, P interface {
	*T
	syntax.Codable
}](b []byte) ([]byte, error) {
	v, err := syntax.Decode[T, P](b)
	if err != nil {
		return nil, err
	}
	forget(P(&v))
	return syntax.Encode(P(&v)), nil
}

// forget makes what a struct remembers of its encoding unknown, so that it is
// encoded from its fields.
func forget(v any) {
	switch v := v.(type) {
	case *Message:
		if v.public != nil {
			forget(&v.public.content)
		}
	case *publicMessage:
		forget(&v.content)
	case *authenticatedContent:
		v.Content.encoded = nil
	case *framedContent:
		v.encoded = nil
	case *commitSecrets:
		if v.content != nil {
			forget(v.content)
		}
	}
}

// decodePrivateContent reads what a PrivateMessage encrypts.
func decodePrivateContent(ct ContentType) decoder {
	return func(b []byte) ([]byte, error) {
		content := privateMessageContent{content: &authenticatedContent{Content: framedContent{ContentType: ct}}}
		if err := syntax.DecodeOwned(bytes.Clone(b), &content); err != nil {
			return nil, err
		}
		if !content.clean {
			return nil, broken(NonZeroPadding, "")
		}
		return syntax.Encode(&content), nil
	}
}

func decodeMessage(b []byte) ([]byte, error) {
	m, err := ParseMessage(b)
	if err != nil {
		return nil, err
	}
	forget(m)
	return m.Bytes(), nil
}

func decodeContent(b []byte) ([]byte, error) {
	c, err := ParseContent(b)
	if err != nil {
		return nil, err
	}
	forget(&c.authenticated)
	return c.Marshal(), nil
}

// fuzzCanonical checks that what decodes encodes to the same bytes.
func fuzzCanonical(f *testing.F, decode decoder, seeds ...[]byte) {
	f.Helper()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		if again, err := decode(s); err != nil || !bytes.Equal(again, s) {
			f.Fatalf("seed %x: %v", s, err)
		}
		f.Add(s)
		for _, hostile := range hostileEncodings(s) {
			f.Add(hostile)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := decode(b); err == nil && !bytes.Equal(again, b) {
			t.Errorf("%x encodes again to %x", b, again)
		}
	})
}

// messageSeeds are messages of every wire format that this file can make alone.
func messageSeeds(f testing.TB) [][]byte {
	f.Helper()
	p := newProtection(f)
	k := testKeyPackage(f)
	seeds := [][]byte{keyPackageMessage(&k).Bytes()}
	for _, c := range []framedContent{
		proposed(MemberSender(1), &Remove{Removed: 3}),
		proposed(Sender{Type: SenderTypeNewMemberProposal}, &Add{KeyPackage: k}),
		proposed(Sender{Type: SenderTypeExternal, Index: 2}, &PreSharedKey{PSK: PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("id")}}),
		committed4(MemberSender(1), &Commit{Proposals: []ProposalOrRef{{Ref: []byte("ref")}}, Path: &UpdatePath{LeafNode: k.LeafNode}}),
		committed4(MemberSender(0), &Commit{Proposals: []ProposalOrRef{{Proposal: &ReInit{GroupID: GroupID("next"), Version: 1, CipherSuite: 2}}}}),
	} {
		a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: c}
		if err := signContent(&p.identity, a, p.context); err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, sealPublic(p.suite, a, p.membership, p.context).Bytes())
	}
	return append(seeds, p.sealRaw(f, p.plaintext(f, 7)).Bytes())
}

func FuzzMessage(f *testing.F) { fuzzCanonical(f, decodeMessage, messageSeeds(f)...) }

func FuzzContent(f *testing.F) {
	p := newProtection(f)
	var seeds [][]byte
	for _, c := range []framedContent{application("text"), proposed(MemberSender(1), &Remove{Removed: 3}), committed4(MemberSender(1), &Commit{})} {
		a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: c}
		if err := signContent(&p.identity, a, p.context); err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, newContent(p.suite, a, 5).Marshal())
	}
	fuzzCanonical(f, decodeContent, seeds...)
}

func FuzzPrivateContent(f *testing.F) {
	p := newProtection(f)
	fuzzCanonical(f, decodePrivateContent(ContentTypeApplication), p.plaintext(f, 0), p.plaintext(f, 40))
}

func FuzzPrivateCommit(f *testing.F) {
	a := &authenticatedContent{Content: committed4(MemberSender(1), &Commit{Proposals: []ProposalOrRef{{Ref: []byte("ref")}}}), ConfirmationTag: []byte("tag")}
	fuzzCanonical(f, decodePrivateContent(ContentTypeCommit), syntax.Encode(&privateMessageContent{content: a, padding: 3}))
}

func FuzzGroupContext(f *testing.F) {
	fuzzCanonical(f, decoderOf[GroupContext], newProtection(f).context)
}

func FuzzExtensions(f *testing.F) {
	required := RequiredCapabilities{ExtensionTypes: []ExtensionType{9}, CredentialTypes: []CredentialType{1, 2}}
	senders := ExternalSenders{{SignatureKey: []byte("key"), Credential: BasicCredential([]byte("bot"))}}
	list := Extensions{extension(ExtensionTypeRequiredCapabilities, &required), extension(ExtensionTypeExternalSenders, &senders),
		extension(ExtensionTypeApplicationID, &ApplicationID{ID: []byte("id")}), extension(ExtensionTypeExternalPub, &externalPub{Key: []byte("key")})}
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		read, err := parse[Extensions](b)
		if err != nil {
			return nil, err
		}
		rewriteExtensions(read)
		return syntax.Encode(&read), nil
	}, syntax.Encode(&list), []byte{0})
}

// rewriteExtensions replaces the data of known extensions that parse by what
// they encode to.
func rewriteExtensions(e Extensions) {
	for i := range e {
		var again []byte
		var err error
		switch e[i].Type {
		case ExtensionTypeRequiredCapabilities:
			again, err = decoderOf[RequiredCapabilities](e[i].Data)
		case ExtensionTypeExternalSenders:
			again, err = decoderOf[ExternalSenders](e[i].Data)
		case ExtensionTypeExternalPub:
			again, err = decoderOf[externalPub](e[i].Data)
		case ExtensionTypeApplicationID:
			again, err = decoderOf[ApplicationID](e[i].Data)
		default:
			continue
		}
		if err == nil {
			e[i].Data = again
		}
	}
}

func FuzzCredential(f *testing.F) {
	basic, x509 := BasicCredential([]byte("alice")), X509Credential([][]byte{[]byte("leaf"), []byte("root")})
	fuzzCanonical(f, decoderOf[Credential], syntax.Encode(&basic), syntax.Encode(&x509))
}

func FuzzPreSharedKeyID(f *testing.F) {
	external := PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("id"), Nonce: []byte("nonce")}
	resumption := PreSharedKeyID{Type: PSKTypeResumption, Usage: ResumptionPSKUsageBranch, Group: GroupID("group"), Epoch: 7, Nonce: []byte("nonce")}
	fuzzCanonical(f, decoderOf[PreSharedKeyID], syntax.Encode(&external), syntax.Encode(&resumption))
}

func FuzzSenderData(f *testing.F) {
	fuzzCanonical(f, decoderOf[senderData], syntax.Encode(&senderData{Leaf: 3, Generation: 9, Guard: reuseGuard{1, 2, 3, 4}}))
}

func FuzzEpochSecrets(f *testing.F) {
	s, err := suite.Get(1)
	if err != nil {
		f.Fatal(err)
	}
	secrets, _ := deriveEpochSecrets(s, epochSecret{testTree(f, 1).root.secret.Bytes})
	retired := secrets.retire()
	fuzzCanonical(f, decoderOf[epochSecrets], syntax.Encode(&secrets), syntax.Encode(&retired))
}

// TestDecodersAllocateInProportionToTheirInput feeds every decoder inputs made
// to be expensive: headers that promise much, vectors of the smallest elements.
func TestDecodersAllocateInProportionToTheirInput(t *testing.T) {
	const size, perByte, constant = 1 << 14, 160, 1 << 14
	inputs := hostileInputs(size)
	for name, decode := range map[string]decoder{
		"message": decodeMessage, "content": decodeContent, "private application": decodePrivateContent(ContentTypeApplication),
		"private proposal": decodePrivateContent(ContentTypeProposal), "private commit": decodePrivateContent(ContentTypeCommit),
		"group context": decoderOf[GroupContext], "extensions": decoderOf[Extensions], "credential": decoderOf[Credential],
		"required capabilities": decoderOf[RequiredCapabilities], "external senders": decoderOf[ExternalSenders],
	} {
		for _, seed := range messageSeeds(t) {
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

// hostileInputs are vectors filled with each small element, behind prefixes
// that lead to the vectors of the decoders.
func hostileInputs(size int) [][]byte {
	var inputs [][]byte
	for _, prefix := range [][]byte{nil, {0, 2}, {0, 0, 0, 0}, append([]byte{0, 1, 0, 1}, make([]byte, 20)...), {0, 1, 0, 5, 0, 1, 0, 1}} {
		for _, element := range [][]byte{{0}, {0, 0, 0}, {0, 0}, {2, 0}, {1, 0, 3, 0, 0, 0, 0}, {0, 0, 1, 0}, {1}} {
			body := bytes.Repeat(element, size/len(element))
			inputs = append(inputs, append(syntax.AppendLength(bytes.Clone(prefix), len(body)), body...))
		}
		inputs = append(inputs, append(bytes.Clone(prefix), 0xbf, 0xff, 0xff, 0xff))
	}
	return inputs
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
