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
