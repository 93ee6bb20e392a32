package mlsengine

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// framedContentTBS is what the signature covers (§6.1). The context is
// encoded; outsiders sign without it.
type framedContentTBS struct {
	content *authenticatedContent
	context []byte
}

// Code writes the FramedContentTBS struct of §6.1.
func (t *framedContentTBS) Code(c *syntax.Coder) {
	version := VersionMLS10
	version.Code(c)
	syntax.Uint16(c, &t.content.WireFormat)
	t.content.Content.Code(c)
	if t.content.Content.Sender.contextBound() {
		syntax.Fixed(c, t.context)
	}
}

// tbsAround is what stands before and after the content in the FramedContentTBS
// struct.
func (a *authenticatedContent) tbsAround(context []byte) (before, after []byte) {
	before = binary.BigEndian.AppendUint16(make([]byte, 0, 4), uint16(VersionMLS10))
	before = binary.BigEndian.AppendUint16(before, uint16(a.WireFormat))
	if !a.Content.Sender.contextBound() {
		return before, nil
	}
	return before, context
}

// tbsSize is a fair guess of how long a framedContentTBS is; it saves growing.
func tbsSize(a *authenticatedContent, context []byte) int {
	return 8 + a.Content.sizeHint() + len(context)
}

// frameAuth is the rest of an AuthenticatedContent after its content (§6.1).
type frameAuth struct{ content *authenticatedContent }

// Code writes the FramedContentAuthData struct of §6.1.
func (f frameAuth) Code(c *syntax.Coder) { f.content.codeAuth(c) }

// signContent puts the sender's signature on a content (§6.1). The context is
// the epoch's GroupContext, encoded.
func signContent(signer Signer, a *authenticatedContent, context []byte) error {
	return new(sealScratch).sign(signer, a, context)
}

// sealScratch holds what is encoded on the way to a message and then forgotten.
type sealScratch struct {
	tbs     framedContentTBS
	content privateMessageContent
	data    senderData
	encoder syntax.Scratch
}

func (x *sealScratch) sign(signer Signer, a *authenticatedContent, context []byte) error {
	if a.Content.ContentType == ContentTypeCommit {
		a.Content.encoded = nil
		a.Content.encoded = a.Content.bytes()
	}
	x.tbs = framedContentTBS{a, context}
	x.encoder.Grow(tbsSize(a, context))
	signature, err := signer.Sign("FramedContentTBS", x.encoder.Encode(&x.tbs))
	if err != nil {
		return err
	}
	a.Signature = signature
	return nil
}

// verifyContent checks the sender's signature on a content (§6.1) by the key
// that its sender type asks for.
func verifyContent(v verifier, a *authenticatedContent, key suite.SignaturePublicKey, context []byte) error {
	head, context := a.tbsAround(context)
	front, text := a.Content.parts()
	if err := v.VerifyPartsWithLabel(key, "FramedContentTBS", a.Signature, head, front, text, context); err != nil {
		return broken(InvalidSignature, "%v", err)
	}
	return nil
}

// validateSender checks what §6.1 and §12.1.8 ask of a content by its sender's
// type alone. Which key then verifies it depends on the group.
func (f *framedContent) validateSender() error {
	switch f.Sender.Type {
	case SenderTypeMember:
		return nil
	case SenderTypeExternal:
		if f.ContentType != ContentTypeProposal {
			return broken(ExternalSenderContent, "content type %d", f.ContentType)
		}
		if t := f.Proposal.ProposalType(); !t.isExternal() {
			return broken(ExternalProposalType, "type %d", t)
		}
	case SenderTypeNewMemberProposal:
		if f.ContentType != ContentTypeProposal {
			return broken(NewMemberProposalContent, "content type %d", f.ContentType)
		}
		if t := f.Proposal.ProposalType(); t != ProposalTypeAdd {
			return broken(NewMemberProposalContent, "proposal type %d", t)
		}
	case SenderTypeNewMemberCommit:
		if f.ContentType != ContentTypeCommit {
			return broken(NewMemberCommitContent, "content type %d", f.ContentType)
		}
		if f.Commit.Path == nil {
			return broken(NewMemberCommitContent, "no path")
		}
	}
	return nil
}

// membershipTag authenticates a member's PublicMessage, over the
// AuthenticatedContentTBM struct (§6.2).
func (k membershipKey) membershipTag(s *suite.Suite, a *authenticatedContent, context []byte) []byte {
	head, context := a.tbsAround(context)
	return s.MAC(k.Expose(), head, a.Content.bytes(), context, syntax.Encode(frameAuth{a}))
}

// sealPublic makes a PublicMessage of a signed content (§6.2).
func sealPublic(s *suite.Suite, a *authenticatedContent, key membershipKey, context []byte) *Message {
	if a.WireFormat != WireFormatPublicMessage || a.Content.ContentType == ContentTypeApplication {
		panic("mlsengine: this content was not signed to travel in the open")
	}
	p := &publicMessage{content: *a}
	if a.Content.Sender.Type == SenderTypeMember {
		p.membershipTag = key.membershipTag(s, a, context)
	}
	return &Message{wireFormat: WireFormatPublicMessage, public: p}
}

// validate checks what can be checked of a PublicMessage without any key:
// application data must be encrypted (§6), and the sender's type must fit.
func (p *publicMessage) validate() error {
	if p.content.Content.ContentType == ContentTypeApplication {
		return broken(ApplicationInPublic, "epoch %d", p.content.Content.Epoch)
	}
	return p.content.Content.validateSender()
}

// verifyMembership checks the membership tag of a member's PublicMessage
// (§6.2); other senders have none.
func (p *publicMessage) verifyMembership(s *suite.Suite, key membershipKey, context []byte) error {
	if p.content.Content.Sender.Type != SenderTypeMember {
		return nil
	}
	if subtle.ConstantTimeCompare(key.membershipTag(s, &p.content, context), p.membershipTag) != 1 {
		return broken(InvalidMembershipTag, "%d bytes", len(p.membershipTag))
	}
	return nil
}

// reuseGuard makes a nonce used by mistake for a second time another one (§6.3.1).
type reuseGuard [4]byte

// senderData says which key opens a PrivateMessage (§6.3.2).
type senderData struct {
	Leaf       LeafIndex
	Generation Generation
	Guard      reuseGuard
}

// Code walks the SenderData struct of §6.3.2.
func (d *senderData) Code(c *syntax.Coder) {
	syntax.Uint32(c, &d.Leaf)
	syntax.Uint32(c, &d.Generation)
	syntax.Fixed(c, d.Guard[:])
}

// senderDataAAD is what the encrypted sender data is bound to (§6.3.2).
type senderDataAAD struct{ message *privateMessage }

// Code writes the SenderDataAAD struct of §6.3.2.
func (a senderDataAAD) Code(c *syntax.Coder) { a.message.codeHeader(c) }

// privateContentAAD is what the encrypted content is bound to (§6.3.1).
type privateContentAAD struct{ message *privateMessage }

// Code writes the PrivateContentAAD struct of §6.3.1.
func (a privateContentAAD) Code(c *syntax.Coder) {
	a.message.codeHeader(c)
	syntax.Opaque(c, &a.message.aad)
}

// privateMessageContent is what a PrivateMessage encrypts (§6.3.1). The
// content type stands outside of it and must be set before reading.
type privateMessageContent struct {
	content *authenticatedContent
	padding int  // how many bytes
	clean   bool // whether all of them were zero
}

// Code walks the PrivateMessageContent struct of §6.3.1.
func (p *privateMessageContent) Code(c *syntax.Coder) {
	p.content.Content.codeArm(c)
	p.content.codeAuth(c)
	p.clean = syntax.Zeros(c, &p.padding)
}

// PaddingMax bounds the block to which contents are padded.
const PaddingMax = 1 << 16

// plaintextMax bounds what is encrypted in one message, far below what the
// AEADs allow and what a length header can say.
const plaintextMax = 1 << 28

var (
	// ErrPadding is returned for a padding block that is negative or above PaddingMax.
	ErrPadding = errors.New("padding is not between 0 and 65536")
	// ErrTooLong is returned for a content that is too long to encrypt.
	ErrTooLong = errors.New("content is too long to encrypt")
)

// privateSeal is what sealPrivate needs besides the suite.
type privateSeal struct {
	Content    *authenticatedContent // signed
	Keys       messageKeys           // of the generation, used for this message only
	Generation Generation
	Guard      reuseGuard
	SenderData senderDataSecret
	Padding    int // the ciphertext is a multiple of it long; 0 and 1 pad nothing
	Scratch    *sealScratch
}

// sealPrivate makes a PrivateMessage of a signed content (§6.3). The keys are
// consumed, whether it succeeds or not.
func sealPrivate(s *suite.Suite, in privateSeal) (*Message, error) {
	defer in.Keys.wipe()
	if in.Scratch == nil {
		in.Scratch = new(sealScratch)
	}
	f := &in.Content.Content
	if in.Content.WireFormat != WireFormatPrivateMessage || f.Sender.Type != SenderTypeMember {
		panic("mlsengine: this content was not signed to travel encrypted")
	}
	p := &privateMessage{groupID: f.GroupID, epoch: f.Epoch, contentType: f.ContentType, aad: f.AAD}
	plaintext, err := in.plaintext(s.AEADOverhead())
	if err != nil {
		return nil, err
	}
	nonce := in.Guard.apply(in.Keys.nonce.Expose())
	aad := in.Scratch.encoder.Encode(privateContentAAD{p})
	if p.ciphertext, err = s.SealAEADInPlace(in.Keys.key.Expose(), nonce[:], aad, plaintext); err != nil {
		return nil, err
	}
	if p.encryptedSenderData, err = in.senderData(s, p); err != nil {
		return nil, err
	}
	return &Message{wireFormat: WireFormatPrivateMessage, private: p}, nil
}

// plaintext encodes and pads the content, so that it fills blocks together with what its encryption appends: room is left for that.
func (in *privateSeal) plaintext(room int) ([]byte, error) {
	if in.Padding < 0 || in.Padding > PaddingMax {
		return nil, ErrPadding
	}
	if len(in.Content.Content.Application) > plaintextMax {
		return nil, ErrTooLong
	}
	size := len(in.Content.Content.Application) + len(in.Content.Signature) + len(in.Content.ConfirmationTag) + 32 + in.Padding + room
	in.Scratch.content = privateMessageContent{content: in.Content}
	b := syntax.Append(make([]byte, 0, size), &in.Scratch.content)
	if len(b) > plaintextMax {
		return nil, ErrTooLong
	}
	if in.Padding > 1 {
		if over := (len(b) + room) % in.Padding; over > 0 {
			b = append(b, make([]byte, in.Padding-over)...)
		}
	}
	return b, nil
}

// nonceSize is the nonce length of every AEAD of the suites.
const nonceSize = 12

// apply is the XOR of §6.3.1.
func (g reuseGuard) apply(nonce []byte) (guarded [nonceSize]byte) {
	copy(guarded[:], nonce)
	for i := range g {
		guarded[i] ^= g[i]
	}
	return guarded
}

// senderDataKeys derives key and nonce from a sample of the ciphertext (§6.3.2).
func (p *privateMessage) senderDataKeys(s *suite.Suite, from senderDataSecret, out *[senderDataKeysMax]byte) (key, nonce []byte) {
	sample := p.ciphertext[:min(len(p.ciphertext), s.HashSize())]
	key, nonce = out[:s.AEADKeySize()], out[s.AEADKeySize():s.AEADKeySize()+nonceSize]
	s.ExpandWithLabelInto(key, from.Expose(), "key", sample)
	s.ExpandWithLabelInto(nonce, from.Expose(), "nonce", sample)
	return key, nonce
}

// senderDataKeysMax has room for the longest key and its nonce.
const senderDataKeysMax = 32 + nonceSize

// senderData encrypts who sent the message and with which key (§6.3.2).
func (in *privateSeal) senderData(s *suite.Suite, p *privateMessage) ([]byte, error) {
	var keys [senderDataKeysMax]byte
	key, nonce := p.senderDataKeys(s, in.SenderData, &keys)
	x := in.Scratch
	x.data = senderData{Leaf: in.Content.Content.Sender.Leaf, Generation: in.Generation, Guard: in.Guard}
	data := syntax.Append(make([]byte, 0, senderDataSize+s.AEADOverhead()), &x.data)
	return s.SealAEADInPlace(key, nonce, x.encoder.Encode(senderDataAAD{p}), data)
}

// senderDataSize is the length of a SenderData.
const senderDataSize = 12

// openSenderData finds out who sent a PrivateMessage and with which key
// (§6.3.2). Whether the leaf is in use is for the group to check.
func openSenderData(s *suite.Suite, from senderDataSecret, p *privateMessage) (senderData, error) {
	var keys [senderDataKeysMax]byte
	key, nonce := p.senderDataKeys(s, from, &keys)
	plaintext, err := s.OpenAEAD(key, nonce, syntax.Encode(senderDataAAD{p}), p.encryptedSenderData)
	if err != nil {
		return senderData{}, broken(InvalidSenderData, "%v", err)
	}
	data, err := syntax.Decode[senderData](plaintext)
	if err != nil {
		return senderData{}, broken(InvalidSenderData, "%v", err)
	}
	return data, nil
}

// openPrivate decrypts a PrivateMessage (§6.3.1). Its signature is still to
// be verified.
func openPrivate(s *suite.Suite, p *privateMessage, data senderData, keys messageKeys) (*authenticatedContent, error) {
	nonce := data.Guard.apply(keys.nonce.Expose())
	aad := syntax.Append(make([]byte, 0, 128+len(p.aad)), privateContentAAD{p})
	plaintext, err := s.OpenAEAD(keys.key.Expose(), nonce[:], aad, p.ciphertext)
	if err != nil {
		return nil, broken(InvalidCiphertext, "leaf %d generation %d: %v", data.Leaf, data.Generation, err)
	}
	a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: framedContent{
		GroupID: p.groupID, Epoch: p.epoch, Sender: MemberSender(data.Leaf), AAD: p.aad, ContentType: p.contentType,
	}}
	content := privateMessageContent{content: a}
	if err := syntax.DecodeOwned(plaintext, &content); err != nil {
		return nil, broken(MalformedContent, "%v", err)
	}
	if !content.clean {
		return nil, broken(NonZeroPadding, "within %d bytes", content.padding)
	}
	if p.contentType == ContentTypeCommit {
		a.Content.encoded = a.Content.bytes()
	}
	return a, nil
}
