package mlsengine

import (
	"fmt"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// Declarations that other files of this package are about to replace.

type (
	Epoch           uint64
	Generation      uint32
	GroupID         []byte
	ProposalRef     []byte
	KeyPackageRef   []byte
	LeafIndex       = treemath.LeafIndex
	CipherSuite     = suite.ID
	ProtocolVersion uint16
	WireFormat      uint16
	ContentType     uint8
	SenderType      uint8
	ExtensionType   uint16
	ProposalType    uint16
	CredentialType  uint16
)

const VersionMLS10 ProtocolVersion = 1

const (
	ContentTypeApplication ContentType = 1
	ContentTypeProposal    ContentType = 2
	ContentTypeCommit      ContentType = 3

	SenderTypeMember            SenderType = 1
	SenderTypeExternal          SenderType = 2
	SenderTypeNewMemberProposal SenderType = 3
	SenderTypeNewMemberCommit   SenderType = 4

	WireFormatPublicMessage  WireFormat = 1
	WireFormatPrivateMessage WireFormat = 2
	WireFormatWelcome        WireFormat = 3
	WireFormatGroupInfo      WireFormat = 4
	WireFormatKeyPackage     WireFormat = 5

	ProposalTypeAdd                    ProposalType = 1
	ProposalTypeUpdate                 ProposalType = 2
	ProposalTypeRemove                 ProposalType = 3
	ProposalTypePSK                    ProposalType = 4
	ProposalTypeReInit                 ProposalType = 5
	ProposalTypeExternalInit           ProposalType = 6
	ProposalTypeGroupContextExtensions ProposalType = 7

	ExtensionLastResort ExtensionType = 0x000A
)

func (t ExtensionType) isDefault() bool { return t >= 1 && t <= 5 }
func (t ProposalType) isDefault() bool  { return t >= 1 && t <= 7 }

type Limits struct{ OutOfOrderTolerance, MaximumForwardDistance uint32 }

type Rule uint16

func (r Rule) Code() string    { return "" }
func (r Rule) Section() string { return "" }
func (r Rule) Error() string   { return "" }

type RuleError struct {
	Rule   Rule
	Detail string
}

func (e *RuleError) Error() string        { return e.Detail }
func (e *RuleError) Is(target error) bool { r, ok := target.(Rule); return ok && r == e.Rule }

type Extension struct {
	Type ExtensionType
	Data []byte
}
type Extensions []Extension

func (e *Extensions) Code(c *syntax.Coder) {}

type RequiredCapabilities struct {
	ExtensionTypes  []ExtensionType
	ProposalTypes   []ProposalType
	CredentialTypes []CredentialType
}
type ExternalSender struct {
	SignatureKey suite.SignaturePublicKey
	Credential   Credential
}

type Credential struct{ kind CredentialType }

func BasicCredential(identity []byte) Credential { return Credential{} }
func X509Credential(chain [][]byte) Credential   { return Credential{} }
func (c Credential) Identity() []byte            { return nil }
func (c Credential) Type() CredentialType        { return c.kind }
func (c *Credential) Code(*syntax.Coder)         {}

type Signer interface {
	Sign(label string, content []byte) ([]byte, error)
}
type SigningIdentity struct {
	Credential Credential
	Key        suite.SignaturePrivateKey
	Public     suite.SignaturePublicKey
}

type PreSharedKeyID struct{}

func (p *PreSharedKeyID) Code(*syntax.Coder) {}

type PSKStore interface {
	PSK(id PreSharedKeyID) ([]byte, bool)
}

type GroupContext struct {
	Version                 ProtocolVersion
	CipherSuite             CipherSuite
	GroupID                 GroupID
	Epoch                   Epoch
	TreeHash                []byte
	ConfirmedTranscriptHash []byte
	Extensions              Extensions
}

func (g *GroupContext) Code(*syntax.Coder) {}

type Sender struct {
	Type  SenderType
	Leaf  LeafIndex
	Index uint32
}

type Message struct{}

func ParseMessage(b []byte) (*Message, error) { return nil, ErrNotImplemented }
func (m *Message) WireFormat() WireFormat     { return 0 }
func (m *Message) GroupID() GroupID           { return nil }
func (m *Message) Epoch() Epoch               { return 0 }
func (m *Message) ContentType() ContentType   { return 0 }
func (m *Message) KeyPackage() *KeyPackage    { return nil }
func (m *Message) Welcome() *Welcome          { return nil }
func (m *Message) GroupInfo() *GroupInfo      { return nil }

type Content struct{}

func ParseContent(b []byte) (*Content, error) { return nil, ErrNotImplemented }
func (c *Content) Sender() Sender             { return Sender{} }
func (c *Content) ContentType() ContentType   { return 0 }
func (c *Content) GroupID() GroupID           { return nil }
func (c *Content) Epoch() Epoch               { return 0 }
func (c *Content) AAD() []byte                { return nil }
func (c *Content) Application() []byte        { return nil }
func (c *Content) Proposal() Proposal         { return nil }
func (c *Content) ProposalRef() ProposalRef   { return nil }
func (c *Content) Commit() *Commit            { return nil }
func (c *Content) ConfirmationTag() []byte    { return nil }
func (c *Content) Encrypted() bool            { return false }
func (c *Content) Generation() Generation     { return 0 }
func (c *Content) Marshal() []byte            { return nil }

type SendBlock struct{}

type commitSecret struct{ secret.Bytes }

const (
	LeafSignature Rule = iota + 1
	LeafEncryptionKey
	LeafVersionUnsupported
	LeafSuiteUnsupported
	LeafCredentialUnlisted
	LeafExtensionUnlisted
	GroupExtensionUnsupported
	RequiredCapabilityMissing
	LeafLifetime
	UnsupportedCipherSuite
	TreeTrailingBlank
	TreeTooLarge
	TreeNodeKind
	TreeParentKey
	TreeParentHash
	TreeUnmergedOrder
	TreeUnmergedLeaf
	TreeUnmergedGap
	TreeEncryptionKeyReused
	TreeSignatureKeyReused
	CredentialTypeUnsupported
	PathLength
	PathResolution
	PathParentHash
	PathKeyInvalid
	PathKeyReused
	PathUnreachable
	PathDecryption
	PathKeyMismatch
	KeyPackageVersion
	KeyPackageSuite
	KeyPackageLeafSource
	KeyPackageInitKeyReused
	KeyPackageInitKey
	KeyPackageExtensionUnlisted
	KeyPackageSignature
	WrongEpoch
	UnknownProposal
	OwnMessage
)

func broken(r Rule, format string, args ...any) error {
	return &RuleError{r, fmt.Sprintf(format, args...)}
}
func (e Extensions) validateUnique() error                                { return nil }
func (e Extensions) RequiredCapabilities() (*RequiredCapabilities, error) { return nil, nil }
func (e Extensions) ExternalSenders() ([]ExternalSender, error)           { return nil, nil }
func (e Extensions) Has(t ExtensionType) bool                             { return false }
func (s SigningIdentity) signer(*suite.Suite) Signer                      { return nil }
