package mlsengine

import (
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

type (
	// Epoch counts the states of a group.
	Epoch uint64
	// Generation counts the keys of one ratchet (§9.1).
	Generation uint32
	// LeafIndex counts leaves from the left; a member is named by it.
	LeafIndex = treemath.LeafIndex
	// CipherSuite is a code point of §17.1.
	CipherSuite = suite.ID
	// GroupID names a group; the application makes it.
	GroupID []byte
	// ProposalRef names a proposal by its hash (§5.2).
	ProposalRef []byte
	// KeyPackageRef names a key package by its hash (§5.2).
	KeyPackageRef []byte
)

// ProtocolVersion is the version of MLS (§6).
type ProtocolVersion uint16

// VersionMLS10 is the version of RFC 9420.
const VersionMLS10 ProtocolVersion = 1

// Code walks the two bytes.
func (v *ProtocolVersion) Code(c *syntax.Coder) { syntax.Uint16(c, v) }

// WireFormat says what an MLSMessage holds (§17.2).
type WireFormat uint16

// The wire formats.
const (
	WireFormatPublicMessage  WireFormat = 1
	WireFormatPrivateMessage WireFormat = 2
	WireFormatWelcome        WireFormat = 3
	WireFormatGroupInfo      WireFormat = 4
	WireFormatKeyPackage     WireFormat = 5
)

// ContentType says what a FramedContent holds (§6).
type ContentType uint8

// The content types.
const (
	ContentTypeApplication ContentType = 1
	ContentTypeProposal    ContentType = 2
	ContentTypeCommit      ContentType = 3
)

// SenderType says in which capacity somebody sends (§6).
type SenderType uint8

// The sender types.
const (
	SenderTypeMember            SenderType = 1
	SenderTypeExternal          SenderType = 2
	SenderTypeNewMemberProposal SenderType = 3
	SenderTypeNewMemberCommit   SenderType = 4
)

// Sender is who sent a FramedContent (§6).
type Sender struct {
	Type  SenderType
	Leaf  LeafIndex // of a member
	Index uint32    // in external_senders, of an external sender
}

// Code walks the Sender struct of §6.
func (s *Sender) Code(c *syntax.Coder) {
	syntax.Uint8(c, &s.Type)
	switch s.Type {
	case SenderTypeMember:
		syntax.Uint32(c, &s.Leaf)
	case SenderTypeExternal:
		syntax.Uint32(c, &s.Index)
	case SenderTypeNewMemberProposal, SenderTypeNewMemberCommit:
	default:
		c.Fail("unknown sender type")
	}
}

// MemberSender is the sender at a leaf.
func MemberSender(leaf LeafIndex) Sender { return Sender{Type: SenderTypeMember, Leaf: leaf} }

// contextBound reports whether the sender's signature covers the group
// context: outsiders need not know it (§6.1).
func (s Sender) contextBound() bool {
	return s.Type == SenderTypeMember || s.Type == SenderTypeNewMemberCommit
}

// parse decodes a struct; bytes that do not parse break MalformedMessage.
func parse[T any, P interface {
	*T
	syntax.Codable
}](b []byte) (T, error) {
	v, err := syntax.Decode[T, P](b)
	if err != nil {
		return v, broken(MalformedMessage, "%v", err)
	}
	return v, nil
}

// framedContent is what somebody says in an epoch (§6). Of the last three
// fields the content type chooses one.
type framedContent struct {
	GroupID     GroupID
	Epoch       Epoch
	Sender      Sender
	AAD         []byte
	ContentType ContentType
	Application []byte
	Proposal    Proposal
	Commit      *Commit
	// encoded is the encoding of the above, where it was read or will be needed
	// again: a commit is signed, hashed and authenticated, and may be long. Who
	// changes the content must clear it.
	encoded []byte
}

// Code walks the FramedContent struct of §6.
func (f *framedContent) Code(c *syntax.Coder) {
	if !c.Reading() && f.encoded != nil {
		syntax.Fixed(c, f.encoded)
		return
	}
	start := c.Mark()
	f.codeFields(c)
	if c.Reading() {
		f.encoded = c.Since(start)
	}
}

// bytes is the encoding.
func (f *framedContent) bytes() []byte {
	if f.encoded != nil {
		return f.encoded
	}
	return syntax.Append(make([]byte, 0, f.sizeHint()), f)
}

// parts is the encoding in two parts, which saves copying application data: it
// stands last.
func (f *framedContent) parts() (front, text []byte) {
	if f.encoded != nil || f.ContentType != ContentTypeApplication {
		return f.bytes(), nil
	}
	head := *f
	head.Application = nil
	front = syntax.Append(make([]byte, 0, head.sizeHint()+4), &head)
	return syntax.AppendLength(front[:len(front)-1], len(f.Application)), f.Application // in place of the length 0
}

// sizeHint is a fair guess of how long the encoding is; it saves growing.
func (f *framedContent) sizeHint() int {
	if f.encoded != nil {
		return len(f.encoded)
	}
	size := 64 + len(f.Application) + len(f.AAD) + len(f.GroupID)
	if f.Commit == nil {
		return size
	}
	size += 400 * (1 + len(f.Commit.Proposals))
	if f.Commit.Path != nil {
		for i := range f.Commit.Path.Nodes {
			size += 64
			if sealed := f.Commit.Path.Nodes[i].EncryptedPathSecret; len(sealed) > 0 {
				size += len(sealed) * (4 + len(sealed[0].KEMOutput) + len(sealed[0].Ciphertext))
			}
		}
	}
	return size
}

func (f *framedContent) codeFields(c *syntax.Coder) {
	syntax.Opaque(c, &f.GroupID)
	syntax.Uint64(c, &f.Epoch)
	f.Sender.Code(c)
	syntax.Opaque(c, &f.AAD)
	syntax.Uint8(c, &f.ContentType)
	f.codeArm(c)
}

// codeArm walks the arm that the content type chooses.
func (f *framedContent) codeArm(c *syntax.Coder) {
	switch f.ContentType {
	case ContentTypeApplication:
		syntax.Opaque(c, &f.Application)
	case ContentTypeProposal:
		codeProposal(c, &f.Proposal)
	case ContentTypeCommit:
		syntax.Arm(c, &f.Commit)
	default:
		c.Fail("unknown content type")
	}
}

// authenticatedContent is a framed content with what authenticates its sender
// (§6). The signature covers the wire format too.
type authenticatedContent struct {
	WireFormat      WireFormat
	Content         framedContent
	Signature       []byte
	ConfirmationTag []byte // of a commit
}

// Code walks the AuthenticatedContent struct of §6.
func (a *authenticatedContent) Code(c *syntax.Coder) {
	syntax.Uint16(c, &a.WireFormat)
	if a.WireFormat != WireFormatPublicMessage && a.WireFormat != WireFormatPrivateMessage {
		c.Fail("wire format without a framed content")
		return
	}
	a.Content.Code(c)
	a.codeAuth(c)
}

// codeAuth walks the FramedContentAuthData struct of §6.1.
func (a *authenticatedContent) codeAuth(c *syntax.Coder) {
	syntax.Opaque(c, &a.Signature)
	if a.Content.ContentType == ContentTypeCommit {
		syntax.Opaque(c, &a.ConfirmationTag)
	}
}

// publicMessage is a content signed but not encrypted (§6.2).
type publicMessage struct {
	content       authenticatedContent
	membershipTag []byte // of a member
}

// Code walks the PublicMessage struct of §6.2.
func (p *publicMessage) Code(c *syntax.Coder) {
	if c.Reading() {
		p.content.WireFormat = WireFormatPublicMessage
	}
	p.content.Content.Code(c)
	p.content.codeAuth(c)
	if p.content.Content.Sender.Type == SenderTypeMember {
		syntax.Opaque(c, &p.membershipTag)
	}
}

// privateMessage is a content signed and encrypted (§6.3).
type privateMessage struct {
	groupID             GroupID
	epoch               Epoch
	contentType         ContentType
	aad                 []byte
	encryptedSenderData []byte
	ciphertext          []byte
}

// Code walks the PrivateMessage struct of §6.3.
func (p *privateMessage) Code(c *syntax.Coder) {
	p.codeHeader(c)
	syntax.Opaque(c, &p.aad)
	syntax.Opaque(c, &p.encryptedSenderData)
	syntax.Opaque(c, &p.ciphertext)
}

// codeHeader walks the fields that SenderDataAAD and PrivateContentAAD share.
func (p *privateMessage) codeHeader(c *syntax.Coder) {
	syntax.Opaque(c, &p.groupID)
	syntax.Uint64(c, &p.epoch)
	syntax.Uint8(c, &p.contentType)
	if p.contentType < ContentTypeApplication || p.contentType > ContentTypeCommit {
		c.Fail("unknown content type")
	}
}
