package mlsengine

import "parley/mlsengine/suite"

// Names that other files of this package are about to stop using.

const ExtensionLastResort = ExtensionTypeLastResort

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
