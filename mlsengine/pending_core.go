package mlsengine

import "parley/mlsengine/suite"

// Declarations that other files of this package are about to replace.

const ExtensionLastResort = ExtensionTypeLastResort

type Limits struct{ OutOfOrderTolerance, MaximumForwardDistance uint32 }

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

// Rules under earlier names.
const (
	LeafEncryptionKey           = LeafKey
	LeafVersionUnsupported      = LeafVersion
	LeafSuiteUnsupported        = LeafCipherSuite
	LeafExtensionUnlisted       = LeafExtension
	GroupExtensionUnsupported   = LeafGroupExtension
	RequiredCapabilityMissing   = LeafRequiredCapabilities
	TreeTrailingBlank           = TreeMalformed
	TreeNodeKind                = TreeMalformed
	TreeUnmergedOrder           = TreeUnmergedLeaf
	TreeEncryptionKeyReused     = TreeDuplicateKey
	TreeSignatureKeyReused      = LeafDuplicateSignatureKey
	CredentialTypeUnsupported   = LeafCredentialUnsupported
	PathResolution              = PathCiphertexts
	PathKeyInvalid              = PathKey
	PathDecryption              = PathSecret
	KeyPackageSuite             = KeyPackageCipherSuite
	KeyPackageLeafSource        = LeafSource
	KeyPackageInitKeyReused     = KeyPackageInitKey
	KeyPackageExtensionUnlisted = KeyPackageExtension
)

func (s SigningIdentity) signer(*suite.Suite) Signer { return &s }
