package conversation

import (
	"parley/events"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
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
}

// ClientCredential is a credential and the public half of its key.
type ClientCredential struct {
	Ref          string
	CipherSuite  mlsengine.CipherSuite
	Credential   mlsengine.Credential
	SignatureKey []byte
}

// ClientKeyPackage is a key package whose private keys wait for a Welcome.
type ClientKeyPackage struct {
	Ref         mlsengine.KeyPackageRef
	KeyPackage  []byte
	Credential  string // CredentialRef
	CipherSuite mlsengine.CipherSuite
	NotAfter    uint64 // Unix seconds
	LastResort  bool
}

// clientSecrets are the private halves, by reference.
type clientSecrets struct {
	signature   map[string]secret.Bytes
	keyPackages map[string]mlsengine.KeyPackageSecrets
	psks        map[string]secret.Bytes
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

// AddCredential makes a credential known. Without a key it makes a new pair;
// the credential is basic, with the client's id, unless one is given.
type AddCredential struct {
	CommandMeta
	CipherSuite mlsengine.CipherSuite
	Credential  *mlsengine.Credential
	Key         secret.Bytes // raw signature key; zero: make one
}

// RemoveCredential forgets a credential, its key and its key packages. InUse
// names conversations whose own leaf presents it; with any it is refused.
type RemoveCredential struct {
	CommandMeta
	Ref   string
	InUse []ids.ConversationID
}

// GenerateKeyPackages makes key packages for others to add us with.
type GenerateKeyPackages struct {
	CommandMeta
	Credential      string // CredentialRef
	Count           int
	LifetimeSeconds uint64 // 0: the default of twelve weeks
	LastResort      bool
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
func (ImportKeyPackage) isClientInput()    {}
func (ConsumeKeyPackage) isClientInput()   {}
func (ExpireKeyPackages) isClientInput()   {}
func (AddPSK) isClientInput()              {}
func (RemovePSK) isClientInput()           {}
func (ListConversation) isClientInput()    {}

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
	Credential  string             // CredentialRef that was added
	KeyPackages []ClientKeyPackage // that were made or imported
}

// StepClient decides what an input means, like Step.
func StepClient(s ClientState, in ClientInput, env Env) (ClientTransition, error) {
	return ClientTransition{Next: s}, brokenf("no such input")
}

// FoldClient is the state after a record, like Fold. Secrets whose key is gone
// or not given are absent.
func FoldClient(s ClientState, r *events.Record) (ClientState, error) {
	return s, brokenf("not a record")
}

// Identity is the signing identity of a credential; ok is false where the
// credential or its key is missing. An empty reference is the first credential
// of the cipher suite.
func (s ClientState) Identity(ref string, suite mlsengine.CipherSuite) (id *mlsengine.SigningIdentity, credential string, ok bool) {
	return nil, "", false
}

// KeyPackageFor finds the key package that a Welcome (an MLSMessage) is for.
// The refusal is OrphanWelcome where there is none.
func (s ClientState) KeyPackageFor(welcome []byte) (ClientKeyPackage, mlsengine.KeyPackageSecrets, *CommandError) {
	return ClientKeyPackage{}, mlsengine.KeyPackageSecrets{}, refuse(OrphanWelcome, GiveUp, "")
}

// PSK implements mlsengine.PSKStore for external keys.
func (s ClientState) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) { return nil, false }

// KeyPackage finds a key package by its reference.
func (s ClientPublic) KeyPackage(ref mlsengine.KeyPackageRef) (ClientKeyPackage, bool) {
	return ClientKeyPackage{}, false
}
