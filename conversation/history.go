package conversation

import (
	"bytes"
	"encoding/hex"
	"strings"

	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// HistoryPrefix begins the id of a client that only reads, and was added so
// that others may read later what was said.
const HistoryPrefix = ids.HistoryPrefix

// HistoryClient reports whether a client is such a reader. It is a member like
// any other to the group, and so to ClientIDs.
func HistoryClient(client ids.ClientID) bool { return client.ReadsHistory() }

// historyMagic begins an encoded history secret: by it a member knows the
// message that holds one.
var historyMagic = []byte("parley history secret\x00")

// The format of a history secret, and its bounds. It travels as a message, so
// its size is a peer's to choose.
const (
	historyFormat        = 1
	HistorySecretMax     = 64 << 10
	historyClientIDMax   = 128
	historyKeyPackageMax = 32 << 10
)

// HistorySecret is what makes anybody who has it a reader of a conversation:
// the history client's key package with its private keys. The signature key is
// not in it, and exists nowhere any more: a reader cannot say anything.
type HistorySecret struct {
	Conversation ids.ConversationID
	Epoch        mlsengine.Epoch // the first that can be read
	Client       ids.ClientID
	KeyPackage   []byte // bare
	secrets      mlsengine.KeyPackageSecrets
}

// Code walks the secret.
func (s *HistorySecret) Code(c *syntax.Coder) {
	magic := bytes.Clone(historyMagic)
	syntax.Fixed(c, magic)
	if !bytes.Equal(magic, historyMagic) {
		c.Fail("no history secret")
	}
	codeFormat(c, historyFormat)
	codeString(c, &s.Conversation)
	syntax.Uint64(c, &s.Epoch)
	codeString(c, &s.Client)
	syntax.Opaque(c, &s.KeyPackage)
	codeSecret(c, &s.secrets.InitKey)
	codeSecret(c, &s.secrets.LeafKey)
}

// Encode is what travels to the members, and what they keep.
func (s *HistorySecret) Encode() secret.Bytes { return secret.New(syntax.Encode(s)) }

// Secrets are the private keys of the key package.
func (s *HistorySecret) Secrets() mlsengine.KeyPackageSecrets { return s.secrets }

// Identity is as whom the reader joins. It can sign nothing.
func (s *HistorySecret) Identity() (*mlsengine.SigningIdentity, error) {
	kp, err := mlsengine.ParseKeyPackage(s.KeyPackage)
	if err != nil {
		return nil, refuseRule(InvalidHistorySecret, err)
	}
	return &mlsengine.SigningIdentity{Credential: kp.LeafNode.Credential, Public: kp.LeafNode.SignatureKey}, nil
}

// ParseHistorySecret reads a history secret and checks that its parts belong
// together. Whether it is one of a group's is for the group to say.
func ParseHistorySecret(b []byte) (*HistorySecret, error) {
	s, _, err := parseHistorySecret(b)
	return s, err
}

func parseHistorySecret(b []byte) (*HistorySecret, *mlsengine.KeyPackage, error) {
	if len(b) > HistorySecretMax {
		return nil, nil, refuse(InvalidHistorySecret, GiveUp, "%d bytes are more than %d", len(b), HistorySecretMax)
	}
	s, err := syntax.Decode[HistorySecret](b)
	if err != nil {
		return nil, nil, refuse(InvalidHistorySecret, GiveUp, "%v", err)
	}
	if !HistoryClient(s.Client) || len(s.Client) > historyClientIDMax {
		return nil, nil, refuse(InvalidHistorySecret, GiveUp, "its client is not named like a reader of history")
	}
	if len(s.KeyPackage) > historyKeyPackageMax {
		return nil, nil, refuse(InvalidHistorySecret, GiveUp, "a key package of %d bytes", len(s.KeyPackage))
	}
	kp, err := mlsengine.ParseKeyPackage(s.KeyPackage)
	if err != nil {
		return nil, nil, refuseRule(InvalidHistorySecret, err)
	}
	if ClientOf(kp.LeafNode.Credential) != s.Client {
		return nil, nil, refuse(InvalidHistorySecret, GiveUp, "the key package is another client's")
	}
	if err := checkKeyPackageSecrets(kp, s.secrets); err != nil {
		return nil, nil, refuseRule(InvalidHistorySecret, err)
	}
	return &s, kp, nil
}

// fits reports whether the secret is that of a reader in an epoch of its group.
func (s *HistorySecret) fits(kp *mlsengine.KeyPackage, epoch *mlsengine.PublicGroup) bool {
	if s.Conversation != ids.ConversationID(epoch.GroupID()) || s.Epoch > epoch.Epoch() {
		return false
	}
	for _, m := range epoch.Members() {
		if bytes.Equal(m.SignatureKey, kp.LeafNode.SignatureKey) {
			return bytes.Equal(m.Leaf.EncryptionKey, kp.LeafNode.EncryptionKey) && ClientOf(m.Credential) == s.Client
		}
	}
	return false
}

// newHistoryClient makes a reader that the next epoch is to begin with. Its
// signature key signs the key package and is forgotten.
func (w *work) newHistoryClient() (*HistorySecret, *mlsengine.KeyPackage, error) {
	id := w.s.Group.CipherSuite()
	primitives, err := suite.Get(id)
	if err != nil {
		return nil, nil, brokenf("cipher suite %d: %v", id, err)
	}
	client := historyClientID(w.env.Entropy.Draw("history client", 16))
	key, public, err := primitives.GenerateSignatureKeyPair(w.env.Entropy.Draw("history_signature_key", primitives.SignatureSeedSize()))
	if err != nil {
		return nil, nil, brokenf("signature key of a history client: %v", err)
	}
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: id, Lifetime: lifetimeFrom(w.now(), lifetimeSeconds), Capabilities: capabilities(),
		Identity: mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(client)), Key: key, Public: public},
	}, w.env.engine())
	if err != nil {
		return nil, nil, engineFault(CommitInvalid, err)
	}
	key.Raw().Wipe()
	return &HistorySecret{
		Conversation: w.s.Conversation, Epoch: w.s.Epoch() + 1, Client: client, KeyPackage: kp.Bytes(), secrets: secrets,
	}, kp, nil
}

// historyClientID makes the name out of 16 random bytes: the prefix and a UUID.
func historyClientID(b []byte) ids.ClientID {
	uuid := bytes.Clone(b)
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80
	text := hex.EncodeToString(uuid)
	return ids.ClientID(HistoryPrefix + ":" + strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-"))
}
