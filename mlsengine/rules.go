package mlsengine

import "fmt"

// Rule is one validation rule of the protocol. It is an error, so that
// errors.Is(err, WrongEpoch) asks which rule was broken.
type Rule uint16

// The validation rules, in the order of the table below.
const (
	// §2, §5, §6: bytes, framing and protection
	MalformedMessage Rule = iota
	UnsupportedVersion
	UnsupportedWireFormat
	UnsupportedCipherSuite
	WrongGroup
	WrongEpoch
	ApplicationInPublic
	UnknownSender
	UnknownExternalSender
	ExternalSenderContent
	ExternalProposalType
	NewMemberProposalContent
	NewMemberCommitContent
	InvalidSignature
	InvalidMembershipTag
	InvalidSenderData
	InvalidCiphertext
	MalformedContent
	NonZeroPadding
	OwnMessage
	GenerationConsumed
	GenerationTooFar
	DuplicateExtension
	MalformedExtension
	GREASEMisplaced
	PSKNonceLength

	// §7: leaves, trees and paths
	LeafSignature
	LeafSource
	LeafLifetime
	LeafLifetimeTotal
	LeafKey
	LeafVersion
	LeafCipherSuite
	LeafRequiredCapabilities
	LeafCredentialUnsupported
	LeafCredentialOfOthers
	LeafCredentialUnlisted
	LeafExtension
	LeafGroupExtension
	LeafCertificateKey
	LeafKeyUnchanged
	LeafDuplicateSignatureKey
	LeafDuplicateEncryptionKey
	TreeMalformed
	TreeTooLarge
	TreeHashMismatch
	TreeParentHash
	TreeParentKey
	TreeUnmergedLeaf
	TreeUnmergedGap
	TreeDuplicateKey
	PathMissing
	PathLength
	PathCiphertexts
	PathKeyReused
	PathKey
	PathParentHash
	PathSecret
	PathUnreachable
	PathKeyMismatch

	// §8.4, §10, §11: pre-shared keys, key packages, groups
	PSKTooMany
	PSKUnknown
	PSKUsage
	PSKDuplicate
	KeyPackageVersion
	KeyPackageCipherSuite
	KeyPackageSignature
	KeyPackageInitKey
	KeyPackageInitKeyInvalid
	KeyPackageExtension
	ReInitParameters
	ReInitEpoch
	ReInitMember
	BranchParameters
	BranchEpoch
	BranchMember

	// §12.1, §12.2: proposals and lists of them
	UpdateSender
	RemoveBlankLeaf
	ReInitVersion
	GroupContextRequirements
	UpdateByCommitter
	RemoveCommitter
	MultipleChangesOfLeaf
	AddDuplicate
	AddMember
	MultipleGroupContextExtensions
	ReInitWithOthers
	ProposalUnsupported
	ExternalInitByMember
	ExternalInitCount
	ExternalCommitRemoves
	ExternalCommitProposal
	ExternalCommitReference
	ExternalCommitIdentity

	// §12.4: commits and joining
	UnknownProposal
	OwnUpdateUnknown
	GroupEnded
	InvalidConfirmationTag
	ExternalInitKEM
	WelcomeNotForUs
	WelcomeCipherSuite
	WelcomeSecrets
	WelcomeGroupInfo
	WelcomePSKs
	WelcomeLeaf
	WelcomePathSecret
	GroupInfoSigner
	GroupInfoSignature
	GroupInfoTree
	GroupInfoContext
	GroupInfoExtension
	GroupInfoExternalPub

	// draft-ietf-mls-extensions
	AppComponentUnknown
	AppComponentRefused
	AppDataUpdateConflict
	AppDataRemoveAbsent
	AppDataLocked
	SelfRemoveByValue
	SelfRemoveEncrypted
	SafeAADMalformed

	ruleCount
)

// rule is what the table says of a Rule. Codes are stable: events, metrics and
// documents use them.
type rule struct{ code, section, text string }

// rules is the one table of all rules.
var rules = [ruleCount]rule{
	// §2, §5, §6: bytes, framing and protection
	MalformedMessage:         {"malformed_message", "§2.1", "the bytes are not the encoding of an MLS struct"},
	UnsupportedVersion:       {"unsupported_version", "§6", "the protocol version is not mls10"},
	UnsupportedWireFormat:    {"unsupported_wire_format", "§6", "the wire format is not one this message may have"},
	UnsupportedCipherSuite:   {"unsupported_cipher_suite", "§5.1", "the cipher suite is not supported"},
	WrongGroup:               {"wrong_group", "§6", "the group id is another group's"},
	WrongEpoch:               {"wrong_epoch", "§12.4.2", "the epoch is not the group's epoch"},
	ApplicationInPublic:      {"application_in_public", "§6", "application data came as a PublicMessage"},
	UnknownSender:            {"unknown_sender", "§6.1", "the sender's leaf is blank or outside the tree"},
	UnknownExternalSender:    {"unknown_external_sender", "§6.1", "the sender index is not in external_senders"},
	ExternalSenderContent:    {"external_sender_content", "§6.1", "an external sender sent something else than a proposal"},
	ExternalProposalType:     {"external_proposal_type", "§12.1.8", "an external sender sent a proposal of a type not open to it"},
	NewMemberProposalContent: {"new_member_proposal_content", "§6.1", "a new_member_proposal sender sent something else than an Add"},
	NewMemberCommitContent:   {"new_member_commit_content", "§6.1", "a new_member_commit sender sent something else than a commit with a path"},
	InvalidSignature:         {"invalid_signature", "§6.1", "the signature of the content does not verify"},
	InvalidMembershipTag:     {"invalid_membership_tag", "§6.2", "the membership tag does not verify"},
	InvalidSenderData:        {"invalid_sender_data", "§6.3.2", "the sender data does not decrypt or parse"},
	InvalidCiphertext:        {"invalid_ciphertext", "§6.3.1", "the content does not decrypt"},
	MalformedContent:         {"malformed_content", "§6.3.1", "the decrypted content does not parse"},
	NonZeroPadding:           {"non_zero_padding", "§6.3.1", "the padding has a byte that is not zero"},
	OwnMessage:               {"own_message", "§6", "the message is our own, sent back to us"},
	GenerationConsumed:       {"generation_consumed", "§9.2", "the key of this generation was used or is no longer kept"},
	GenerationTooFar:         {"generation_too_far", "§15.3", "the generation is further ahead than the limit allows"},
	DuplicateExtension:       {"duplicate_extension", "§13.4", "a list of extensions has two of one type"},
	MalformedExtension:       {"malformed_extension", "§13.4", "the data of a known extension does not parse"},
	GREASEMisplaced:          {"grease_misplaced", "§13.5", "a value without a meaning stands where members cannot ignore it"},
	PSKNonceLength:           {"psk_nonce_length", "§12.1.4", "the nonce of a pre-shared key id is not one hash long"},

	// §7: leaves, trees and paths
	LeafSignature:              {"leaf_signature", "§7.3", "the leaf node's signature does not verify"},
	LeafSource:                 {"leaf_source", "§7.3", "the leaf node's source is not the one of its place"},
	LeafLifetime:               {"leaf_lifetime", "§7.3", "the leaf node's lifetime does not contain the present"},
	LeafLifetimeTotal:          {"leaf_lifetime_total", "§7.2", "the leaf node's whole lifetime is longer than we accept"},
	LeafKey:                    {"leaf_key", "§7.3", "a key of the leaf node is not one of the cipher suite"},
	LeafVersion:                {"leaf_version", "§7.2", "the leaf's capabilities leave out the group's protocol version"},
	LeafCipherSuite:            {"leaf_cipher_suite", "§7.2", "the leaf's capabilities leave out the group's cipher suite"},
	LeafRequiredCapabilities:   {"leaf_required_capabilities", "§7.3", "the leaf's capabilities leave out what the group requires"},
	LeafCredentialUnsupported:  {"leaf_credential_unsupported", "§7.3", "a member does not support the leaf's credential type"},
	LeafCredentialOfOthers:     {"leaf_credential_of_others", "§7.3", "the leaf does not support a credential type in use"},
	LeafCredentialUnlisted:     {"leaf_credential_unlisted", "§7.2", "the leaf's capabilities leave out its own credential type"},
	LeafExtension:              {"leaf_extension", "§7.3", "the leaf carries an extension that its capabilities leave out"},
	LeafGroupExtension:         {"leaf_group_extension", "§13.4", "the leaf does not support an extension of the group"},
	LeafCertificateKey:         {"leaf_certificate_key", "§5.3", "the end-entity certificate holds another key than the leaf"},
	LeafKeyUnchanged:           {"leaf_key_unchanged", "§7.3", "the new leaf has the encryption key of the leaf it replaces"},
	LeafDuplicateSignatureKey:  {"leaf_duplicate_signature_key", "§7.3", "two leaves have one signature key"},
	LeafDuplicateEncryptionKey: {"leaf_duplicate_encryption_key", "§7.3", "two leaves have one encryption key"},
	TreeMalformed:              {"tree_malformed", "§12.4.3.3", "a node stands where its kind cannot, or the last node is blank"},
	TreeTooLarge:               {"tree_too_large", "§4.1.1", "the tree has more leaves than an index can number"},
	TreeHashMismatch:           {"tree_hash_mismatch", "§12.4.3.1", "the tree hash is not the one of the group context"},
	TreeParentHash:             {"tree_parent_hash", "§7.9.2", "a parent node is not parent-hash valid"},
	TreeParentKey:              {"tree_parent_key", "§7.1", "a parent node's key is not one of the cipher suite"},
	TreeUnmergedLeaf:           {"tree_unmerged_leaf", "§12.4.3.1", "an unmerged leaf is blank, out of order or not below its node"},
	TreeUnmergedGap:            {"tree_unmerged_gap", "§12.4.3.1", "a node between an unmerged leaf and its ancestor does not list it"},
	TreeDuplicateKey:           {"tree_duplicate_key", "§12.4.3.1", "a parent node's key appears in another node"},
	PathMissing:                {"path_missing", "§12.4", "the commit must have a path and has none"},
	PathLength:                 {"path_length", "§7.5", "the path's nodes are not those of the filtered direct path"},
	PathCiphertexts:            {"path_ciphertexts", "§7.6", "a path node's ciphertexts are not one for each node of the resolution"},
	PathKeyReused:              {"path_key_reused", "§12.4.2", "a public key of the path appears in the new tree"},
	PathKey:                    {"path_key", "§7.6", "a public key of the path is not one of the cipher suite"},
	PathParentHash:             {"path_parent_hash", "§7.9", "the path's leaf has another parent hash than its path gives"},
	PathSecret:                 {"path_secret", "§7.5", "the path secret for us does not decrypt"},
	PathUnreachable:            {"path_unreachable", "§7.5", "no node of the path encrypts to a key that we have"},
	PathKeyMismatch:            {"path_key_mismatch", "§7.5", "a path secret derives another public key than the path has"},

	// §8.4, §10, §11: pre-shared keys, key packages, groups
	PSKTooMany:               {"psk_too_many", "§8.4", "there are more pre-shared keys than their label can count"},
	PSKUnknown:               {"psk_unknown", "§12.4.2", "a pre-shared key is not known here"},
	PSKUsage:                 {"psk_usage", "§12.1.4", "a resumption key is used outside its purpose"},
	PSKDuplicate:             {"psk_duplicate", "§12.2", "two proposals name one pre-shared key"},
	KeyPackageVersion:        {"key_package_version", "§10.1", "the key package's protocol version is not the group's"},
	KeyPackageCipherSuite:    {"key_package_cipher_suite", "§10.1", "the key package's cipher suite is not the group's"},
	KeyPackageSignature:      {"key_package_signature", "§10.1", "the key package's signature does not verify"},
	KeyPackageInitKey:        {"key_package_init_key", "§10.1", "the key package's init key is its leaf's encryption key"},
	KeyPackageInitKeyInvalid: {"key_package_init_key_invalid", "§10", "the key package's init key is not one of the cipher suite"},
	KeyPackageExtension:      {"key_package_extension", "§10", "the key package carries an extension that its leaf's capabilities leave out: one that the engine gives a meaning or, of whom we add ourselves, any"},
	ReInitParameters:         {"reinit_parameters", "§11.2", "the new group is not the one that ReInit named"},
	ReInitEpoch:              {"reinit_epoch", "§11.2", "the new group of a ReInit is not in epoch 1"},
	ReInitMember:             {"reinit_member", "§11.2", "the members of the new group are not those of the old one"},
	BranchParameters:         {"branch_parameters", "§11.3", "the branch has another version or cipher suite than its group"},
	BranchEpoch:              {"branch_epoch", "§11.3", "the branch is not in epoch 1"},
	BranchMember:             {"branch_member", "§11.3", "a leaf of the branch matches no member of its group"},

	// §12.1, §12.2: proposals and lists of them
	UpdateSender:                   {"update_sender", "§12.1.2", "an Update came from somebody who is not a member"},
	RemoveBlankLeaf:                {"remove_blank_leaf", "§12.1.3", "a Remove names a leaf that is not in use"},
	ReInitVersion:                  {"reinit_version", "§12.1.5", "a ReInit goes back to an older protocol version"},
	GroupContextRequirements:       {"group_context_requirements", "§12.1.7", "new group extensions require what a member does not support"},
	UpdateByCommitter:              {"update_by_committer", "§12.2", "the committer's own Update is in the list"},
	RemoveCommitter:                {"remove_committer", "§12.2", "the list removes the committer"},
	MultipleChangesOfLeaf:          {"multiple_changes_of_leaf", "§12.2", "two Updates or Removes are for one leaf"},
	AddDuplicate:                   {"add_duplicate", "§12.2", "two Adds are for one client"},
	AddMember:                      {"add_member", "§12.2", "an Add is for a client who is a member already"},
	MultipleGroupContextExtensions: {"multiple_group_context_extensions", "§12.2", "the list has two GroupContextExtensions"},
	ReInitWithOthers:               {"reinit_with_others", "§12.2", "a ReInit is not alone in its list"},
	ProposalUnsupported:            {"proposal_unsupported", "§12.2", "a proposal's type is not the RFC's and a member does not support it"},
	ExternalInitByMember:           {"external_init_by_member", "§12.2", "a member's commit has an ExternalInit"},
	ExternalInitCount:              {"external_init_count", "§12.2", "an external commit has no ExternalInit, or two"},
	ExternalCommitRemoves:          {"external_commit_removes", "§12.2", "an external commit has two Removes"},
	ExternalCommitProposal:         {"external_commit_proposal", "§12.2", "an external commit has a proposal it may not have"},
	ExternalCommitReference:        {"external_commit_reference", "§12.4.3.2", "an external commit has a proposal by reference"},
	ExternalCommitIdentity:         {"external_commit_identity", "§12.2", "an external commit removes somebody else than an older self"},

	// §12.4: commits and joining
	UnknownProposal:        {"unknown_proposal", "§12.4", "the commit refers to a proposal that is not known here"},
	OwnUpdateUnknown:       {"own_update_unknown", "§12.4.2", "the key of our own committed Update is not known here"},
	GroupEnded:             {"group_ended", "§12.4.2", "the group was reinitialized or left and takes no more messages"},
	InvalidConfirmationTag: {"invalid_confirmation_tag", "§12.4.2", "the confirmation tag does not verify"},
	ExternalInitKEM:        {"external_init_kem", "§8.3", "the KEM output of an ExternalInit does not decapsulate"},
	WelcomeNotForUs:        {"welcome_not_for_us", "§12.4.3.1", "the Welcome has no secrets for our key package"},
	WelcomeCipherSuite:     {"welcome_cipher_suite", "§12.4.3.1", "the Welcome's cipher suite is not the key package's"},
	WelcomeSecrets:         {"welcome_secrets", "§12.4.3.1", "the group secrets do not decrypt or parse"},
	WelcomeGroupInfo:       {"welcome_group_info", "§12.4.3.1", "the group info does not decrypt or parse"},
	WelcomePSKs:            {"welcome_psks", "§12.4.3.1", "a key for reinit or branch is not the only one of its kind"},
	WelcomeLeaf:            {"welcome_leaf", "§12.4.3.1", "no leaf of the tree is the key package's"},
	WelcomePathSecret:      {"welcome_path_secret", "§12.4.3.1", "the path secret derives another public key than the tree has"},
	GroupInfoSigner:        {"group_info_signer", "§12.4.3.1", "the signer's leaf is blank or outside the tree"},
	GroupInfoSignature:     {"group_info_signature", "§12.4.3", "the group info's signature does not verify"},
	GroupInfoTree:          {"group_info_tree", "§12.4.3.3", "no ratchet tree came with the group info or beside it"},
	GroupInfoContext:       {"group_info_context", "§12.4.3", "the group info does not describe this epoch"},
	GroupInfoExtension:     {"group_info_extension", "§13.4", "the joiner does not support an extension of the group"},
	GroupInfoExternalPub:   {"group_info_external_pub", "§12.4.3.2", "the group info has no external_pub"},

	// draft-ietf-mls-extensions, by its sections
	AppComponentUnknown:   {"app_component_unknown", "ext. AppDataUpdate", "a proposal is for a component that the application does not know"},
	AppComponentRefused:   {"app_component_refused", "ext. AppDataUpdate", "a component takes what a proposal has for it for invalid"},
	AppDataUpdateConflict: {"app_data_update_conflict", "ext. AppDataUpdate", "a component's data is removed twice, or removed and updated"},
	AppDataRemoveAbsent:   {"app_data_remove_absent", "ext. AppDataUpdate", "a component's data is removed and there is none"},
	AppDataLocked:         {"app_data_locked", "ext. AppDataUpdate", "a GroupContextExtensions changes application data where members must know AppDataUpdate"},
	SelfRemoveByValue:     {"self_remove_by_value", "ext. SelfRemove", "a commit holds a SelfRemove by value"},
	SelfRemoveEncrypted:   {"self_remove_encrypted", "ext. SelfRemove", "a SelfRemove travelled as a PrivateMessage"},
	SafeAADMalformed:      {"safe_aad_malformed", "ext. Safe AAD", "the authenticated data is not framed as the group asks"},
}

// Rules lists every rule in the order of the table.
func Rules() []Rule {
	all := make([]Rule, ruleCount)
	for i := range all {
		all[i] = Rule(i)
	}
	return all
}

func (r Rule) row() rule {
	if r >= ruleCount {
		return rule{"unknown_rule", "", "no such rule"}
	}
	return rules[r]
}

// Code is the stable name of the rule.
func (r Rule) Code() string { return r.row().code }

// Section is where RFC 9420 states the rule, or draft-ietf-mls-extensions ("ext.").
func (r Rule) Section() string { return r.row().section }

// Text says how the rule is broken.
func (r Rule) Text() string { return r.row().text }

// Error makes a Rule a target of errors.Is.
func (r Rule) Error() string { return r.Text() + " (" + r.Section() + ")" }

// RuleError says which rule a peer's input broke, and with what. Detail never
// holds a secret.
type RuleError struct {
	Rule   Rule
	Detail string
}

func (e *RuleError) Error() string {
	if e.Detail == "" {
		return e.Rule.Error()
	}
	return e.Rule.Error() + ": " + e.Detail
}

// Is makes errors.Is(err, WrongEpoch) hold.
func (e *RuleError) Is(target error) bool {
	r, ok := target.(Rule)
	return ok && r == e.Rule
}

// broken makes a *RuleError; the detail is formatted and may be empty.
func broken(r Rule, format string, args ...any) error {
	return &RuleError{Rule: r, Detail: fmt.Sprintf(format, args...)}
}
