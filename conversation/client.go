package conversation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"parley/events"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// ClientState is one client's own domain: its credentials, key packages,
// pre-shared keys and the list of its conversations.
type ClientState struct {
	ClientPublic
	secrets clientSecrets
}

// ClientPublic is everything of a client that Fold knows without keys.
type ClientPublic struct {
	Client        ids.ClientID
	Created       bool
	Version       uint64
	TimeMs        uint64
	Credentials   []ClientCredential // in the order they were added
	KeyPackages   []ClientKeyPackage // in the order they were made
	PSKs          [][]byte           // ids of external pre-shared keys
	Conversations []ids.ConversationID
	Commands      []RememberedCommand
	Lost          Code   // empty, ClientRolledBack or ClientSecretsLost
	DataLength    uint32 // bytes that the application keeps
	Askings       []PendingAsking
}

// CredentialRef names one of a client's credentials: by its cipher suite and
// its signature key, and a later one of the same key by itself too, so that it
// is the same on every node. The empty one stands
// for the client's first credential of the suite that is needed.
type CredentialRef string

// ClientCredential is a credential and the public half of its key.
type ClientCredential struct {
	Ref          CredentialRef
	CipherSuite  mlsengine.CipherSuite
	Credential   mlsengine.Credential
	SignatureKey []byte
	AddedMs      uint64 // when it was added
}

// ClientKeyPackage is a key package whose private keys wait for a Welcome.
type ClientKeyPackage struct {
	Ref         mlsengine.KeyPackageRef
	KeyPackage  []byte
	Credential  CredentialRef
	CipherSuite mlsengine.CipherSuite
	NotAfter    uint64 // Unix seconds
	LastResort  bool
}

// clientSecrets are the private halves, by reference.
type clientSecrets struct {
	signature   map[string]secret.Bytes
	keyPackages map[string]mlsengine.KeyPackageSecrets
	psks        map[string]secret.Bytes
	data        secret.Bytes // what the application keeps
}

// NewClientState is the state of a client whose log is empty.
func NewClientState(client ids.ClientID) ClientState {
	return ClientState{ClientPublic: ClientPublic{Client: client}}
}

// At is the state after its events became the record of that version.
func (s ClientState) At(version uint64) ClientState {
	s.Version = version
	return s
}

// ClientInput is what can happen to a client. It is a sealed sum.
type ClientInput interface{ isClientInput() }

// ClientCommand is a client's input that somebody asked for and waits on.
type ClientCommand interface {
	ClientInput
	Name() string
	Meta() CommandMeta
}

// AddCredential makes a credential known. Without a key it makes a new pair;
// the credential is basic, with the client's id, unless one is given.
type AddCredential struct {
	CommandMeta
	CipherSuite mlsengine.CipherSuite
	Credential  *mlsengine.Credential
	Key         secret.Bytes // raw signature key; zero: make one
}

// RemoveCredential forgets a credential and its key. It is refused while a key
// package of it may still bring a Welcome, and while conversations use it: InUse
// names those.
type RemoveCredential struct {
	CommandMeta
	Ref   CredentialRef
	InUse []ids.ConversationID
}

// GenerateKeyPackages makes key packages for others to add us with.
type GenerateKeyPackages struct {
	CommandMeta
	Credential      CredentialRef
	Count           int
	LifetimeSeconds uint64 // 0: the default of twelve weeks
	LastResort      bool
}

// RemoveKeyPackages drops key packages and their private keys: those named, and
// every one of a credential. A Welcome for one of them is an orphan from then on.
type RemoveKeyPackages struct {
	CommandMeta
	Refs       []mlsengine.KeyPackageRef
	Credential CredentialRef // empty: of none
}

// ImportKeyPackage takes a key package made elsewhere, with its private keys.
// Its credential is added if it is not known yet.
type ImportKeyPackage struct {
	CommandMeta
	KeyPackage   []byte // bare or MLSMessage
	InitKey      secret.Bytes
	LeafKey      secret.Bytes
	SignatureKey secret.Bytes
}

// ConsumeKeyPackage ends a key package that a join has used; it goes into one
// batch with the join. One marked as last resort stays.
type ConsumeKeyPackage struct {
	CommandMeta
	Ref          mlsengine.KeyPackageRef
	Conversation ids.ConversationID
}

// ExpireKeyPackages drops key packages whose lifetime is over.
type ExpireKeyPackages struct{}

// AddPSK makes an external pre-shared key known.
type AddPSK struct {
	CommandMeta
	ID  []byte
	Key secret.Bytes
}

// RemovePSK forgets one.
type RemovePSK struct {
	CommandMeta
	ID []byte
}

// ListConversation records that a conversation exists from here on, or is gone.
type ListConversation struct {
	Conversation ids.ConversationID
	Gone         bool
}

func (AddCredential) isClientInput()       {}
func (RemoveCredential) isClientInput()    {}
func (GenerateKeyPackages) isClientInput() {}
func (RemoveKeyPackages) isClientInput()   {}
func (ImportKeyPackage) isClientInput()    {}
func (ConsumeKeyPackage) isClientInput()   {}
func (ExpireKeyPackages) isClientInput()   {}
func (AddPSK) isClientInput()              {}
func (RemovePSK) isClientInput()           {}
func (ListConversation) isClientInput()    {}

// Name is the command's name in causes and outcomes.
func (AddCredential) Name() string { return "add_credential" }

// Name is the command's name in causes and outcomes.
func (RemoveCredential) Name() string { return "remove_credential" }

// Name is the command's name in causes and outcomes.
func (GenerateKeyPackages) Name() string { return "generate_key_packages" }

// Name is the command's name in causes and outcomes.
func (RemoveKeyPackages) Name() string { return "remove_key_packages" }

// Name is the command's name in causes and outcomes.
func (ImportKeyPackage) Name() string { return "import_key_package" }

// Name is the command's name in causes and outcomes.
func (ConsumeKeyPackage) Name() string { return "consume_key_package" }

// Name is the command's name in causes and outcomes.
func (AddPSK) Name() string { return "add_psk" }

// Name is the command's name in causes and outcomes.
func (RemovePSK) Name() string { return "remove_psk" }

// ClientTransition is what a step of a client leads to.
type ClientTransition struct {
	Next   ClientState
	Events []events.Event
	Reply  ClientReply
}

// ClientReply is the answer to a client's input.
type ClientReply struct {
	Err         *CommandError
	Repeated    bool
	Credential  CredentialRef      // that was added
	KeyPackages []ClientKeyPackage // that were made or imported
	Proposal    *Proposal          // by which the client asks to join
}

// Identity is the signing identity of a credential; ok is false where there is
// none of this suite, or its key is missing. An empty reference is the first
// credential of the cipher suite.
func (s ClientState) Identity(ref CredentialRef, suite mlsengine.CipherSuite) (id *mlsengine.SigningIdentity, credential CredentialRef, ok bool) {
	for _, c := range s.Credentials {
		if c.CipherSuite != suite || ref != "" && c.Ref != ref {
			continue
		}
		id, ok = s.identity(c)
		return id, c.Ref, ok
	}
	return nil, "", false
}

func (s ClientState) identity(c ClientCredential) (*mlsengine.SigningIdentity, bool) {
	raw, ok := s.secrets.signature[string(c.Ref)]
	if !ok {
		return nil, false
	}
	primitives, err := suite.Get(c.CipherSuite)
	if err != nil {
		return nil, false
	}
	key, err := primitives.ParseSignaturePrivateKey(raw.Expose())
	if err != nil {
		return nil, false
	}
	return &mlsengine.SigningIdentity{Credential: c.Credential, Key: key, Public: c.SignatureKey}, true
}

// KeyPackageFor finds the key package that a Welcome (an MLSMessage) is for.
// The refusal is OrphanWelcome where there is none.
func (s ClientState) KeyPackageFor(welcome []byte) (ClientKeyPackage, mlsengine.KeyPackageSecrets, *CommandError) {
	m, err := mlsengine.ParseMessage(welcome)
	if err != nil {
		return ClientKeyPackage{}, mlsengine.KeyPackageSecrets{}, refuseRule(InvalidWelcome, err)
	}
	if m.Welcome() == nil {
		return ClientKeyPackage{}, mlsengine.KeyPackageSecrets{}, refuse(InvalidWelcome, GiveUp, "wire format %d is no Welcome", m.WireFormat())
	}
	for i := range m.Welcome().Secrets {
		kp, known := s.KeyPackage(m.Welcome().Secrets[i].NewMember)
		if !known {
			continue
		}
		if secrets, ok := s.secrets.keyPackages[string(kp.Ref)]; ok {
			return kp, secrets, nil
		}
	}
	return ClientKeyPackage{}, mlsengine.KeyPackageSecrets{}, refuse(OrphanWelcome, Rejoin, "no key package of ours is in the Welcome")
}

// PSK implements mlsengine.PSKStore for external keys.
func (s ClientState) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) {
	if id.Type != mlsengine.PSKTypeExternal {
		return nil, false
	}
	key, ok := s.secrets.psks[string(id.ID)]
	return key.Expose(), ok
}

// KeyPackage finds a key package by its reference.
func (s ClientPublic) KeyPackage(ref mlsengine.KeyPackageRef) (ClientKeyPackage, bool) {
	for _, kp := range s.KeyPackages {
		if bytes.Equal(kp.Ref, ref) {
			return kp, true
		}
	}
	return ClientKeyPackage{}, false
}

// credential finds a credential by its reference.
func (s ClientPublic) credential(ref CredentialRef) (ClientCredential, bool) {
	for _, c := range s.Credentials {
		if c.Ref == ref {
			return c, true
		}
	}
	return ClientCredential{}, false
}

// RefOf is the reference of the credential with a signature key.
func RefOf(id mlsengine.CipherSuite, signatureKey []byte) CredentialRef {
	sum := sha256.Sum256(signatureKey)
	return CredentialRef(fmt.Sprintf("%d-%s", id, hex.EncodeToString(sum[:16])))
}

// under names another credential with the same signature key.
func (r CredentialRef) under(c mlsengine.Credential) CredentialRef {
	sum := sha256.Sum256(syntax.Encode(&c))
	return r + CredentialRef("-"+hex.EncodeToString(sum[:8]))
}

// JoinedUnder finds the conversation that was joined under a command id.
func (s ClientState) JoinedUnder(meta CommandMeta) (ids.ConversationID, bool) {
	outcome, ok := s.outcomeOf(ConsumeKeyPackage{CommandMeta: meta})
	return outcome.conversation, ok && outcome.conversation != ""
}

// AskedUnder finds the proposal to join that was made under a command id.
func (s ClientState) AskedUnder(meta CommandMeta) (Proposal, bool) {
	outcome, ok := s.outcomeOf(AskToJoin{CommandMeta: meta})
	return Proposal{Ref: outcome.proposalRef, Message: outcome.proposal}, ok
}

// outcomeOf is what is remembered of a command.
func (s ClientState) outcomeOf(command ClientCommand) (clientOutcome, bool) {
	ref := refOf(command)
	for _, first := range s.Commands {
		if first.same(ref) && first.matches(ref) == nil {
			outcome, err := syntax.Decode[clientOutcome](first.Outcome)
			return outcome, err == nil
		}
	}
	return clientOutcome{}, false
}

// WelcomeGroup reads which group a Welcome is for, with the key package that
// KeyPackageFor found. Nothing of it is verified yet; Join does that.
func WelcomeGroup(welcome []byte, in Join, env Env) (ids.ConversationID, *CommandError) {
	if env.Identity == nil {
		return "", refuse(CredentialNotFound, GiveUp, "credential %q", in.Config.Credential)
	}
	m, err := mlsengine.ParseMessage(welcome)
	if err != nil {
		return "", refuseRule(InvalidWelcome, err)
	}
	kp, err := mlsengine.ParseKeyPackage(in.KeyPackage)
	if err != nil {
		return "", refuseRule(InvalidKeyPackage, err)
	}
	if m.Welcome() == nil {
		return "", refuse(InvalidWelcome, GiveUp, "wire format %d is no Welcome", m.WireFormat())
	}
	info, err := m.Welcome().OpenGroupInfo(mlsengine.JoinInput{KeyPackage: kp, Secrets: in.Secrets, Identity: *env.Identity, PSKs: env.PSKs})
	if err != nil {
		return "", refuseRule(InvalidWelcome, err)
	}
	return ids.ConversationID(info.GroupContext.GroupID), nil
}

// NamesKey reports whether a reference is of a credential with a signature key.
func NamesKey(ref CredentialRef, signatureKey []byte) bool {
	parts := strings.Split(string(ref), "-")
	number, err := strconv.ParseUint(parts[0], 10, 16)
	return err == nil && len(parts) > 1 && string(RefOf(mlsengine.CipherSuite(number), signatureKey)) == parts[0]+"-"+parts[1]
}
