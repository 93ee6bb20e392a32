// Package audittest makes histories for tests of whoever reads them: a real conversation of three clients, run through the engine and
// the domain by hand, as drafts of records that a test can spoil before it has them stored.
package audittest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// Draft is a record to be, and in which log.
type Draft struct {
	Log   events.LogID
	Draft events.Draft
	Batch ids.TransactionID // drafts with the same one, next to each other, are stored as one batch
}

// Group is the conversation of the story.
const Group ids.ConversationID = "team"

// startMS is when the story begins: 2026-01-31T12:00:00Z.
const startMS = 1769860800000

// seeded is entropy that tells every run the same.
type seeded struct {
	name  string
	draws *uint64
}

// Draw implements mlsengine.Entropy.
func (s seeded) Draw(label string, n int) []byte {
	*s.draws++
	out := make([]byte, 0, n+sha256.Size)
	for i := uint32(0); len(out) < n; i++ {
		block := fmt.Appendf(nil, "%s/%s/%d/", s.name, label, *s.draws)
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(block, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// player is one client of the story.
type player struct {
	id       ids.ClientID
	identity mlsengine.SigningIdentity
	entropy  seeded
	state    conversation.State
	version  uint64
}

// teller runs the story.
type teller struct {
	suite   suite.ID
	policy  conversation.WirePolicy
	players map[ids.ClientID]*player
	order   []conversation.Entry
	now     uint64
	drafts  []Draft
}

// Wire says how the handshakes of a story travel.
type Wire = conversation.WirePolicy

// Story is a conversation of ann, bob and cem: ann founds it and adds the two, bob proposes new keys and ann commits them, messages go
// back and forth, bob removes cem, and in the end a proposal of ann is left waiting.
func Story(wire Wire) ([]Draft, error) {
	t := &teller{suite: suite.X25519_AES128GCM_SHA256_Ed25519, policy: wire, players: map[ids.ClientID]*player{}, now: startMS}
	for _, act := range []func() error{t.founding, t.gathering, t.talking, t.renewing, t.parting} {
		if err := act(); err != nil {
			return nil, err
		}
	}
	return t.drafts, nil
}

// founding: ann creates the group and registers it.
func (t *teller) founding() error {
	for _, name := range []ids.ClientID{"ann", "bob", "cem"} {
		if err := t.introduce(name); err != nil {
			return err
		}
	}
	config := conversation.DefaultConfig()
	config.WirePolicy = t.policy
	out, err := t.step("ann", conversation.Create{CommandMeta: t.meta("create"), Config: config})
	if err != nil {
		return err
	}
	for _, effect := range out {
		if register, ok := effect.(conversation.RegisterGroup); ok {
			t.enter(conversation.Entry{Kind: conversation.EntryGroup, Sender: "ann"}, &eventsv1.OrderEntry{
				Kind: eventsv1.EntryKind_ENTRY_KIND_GROUP, GroupInfo: register.GroupInfo,
			})
			return t.followAll("ann")
		}
	}
	return fmt.Errorf("the new group asks for no registration: %v", out)
}

// introduce makes a client with a credential in its own log.
func (t *teller) introduce(name ids.ClientID) error {
	s, err := suite.Get(t.suite)
	if err != nil {
		return err
	}
	p := &player{id: name, entropy: seeded{string(name), new(uint64)}, state: conversation.NewState(name, Group)}
	key, public, err := s.GenerateSignatureKeyPair(p.entropy.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		return err
	}
	p.identity = mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(name)), Key: key, Public: public}
	t.players[name] = p
	t.record(events.ClientLog(name), t.cause("add_credential"), &eventsv1.ClientCreated{Client: []byte(name)},
		&eventsv1.CredentialAdded{Ref: "main", CipherSuite: uint32(t.suite), Type: 1, Credential: []byte(name), SignatureKey: public})
	return nil
}

// gathering: bob and cem publish key packages, ann adds them, and they join.
func (t *teller) gathering() error {
	packages := map[ids.ClientID]*mlsengine.KeyPackage{}
	secrets := map[ids.ClientID]mlsengine.KeyPackageSecrets{}
	add := conversation.AddMembers{CommandMeta: t.meta("add")}
	for _, name := range []ids.ClientID{"bob", "cem"} {
		p := t.players[name]
		kp, sec, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
			Suite: t.suite, Identity: p.identity,
			Capabilities: mlsengine.Capabilities{Credentials: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509}},
			Lifetime:     mlsengine.Lifetime{NotBefore: t.now/1000 - 60, NotAfter: t.now/1000 + 86400},
		}, p.env(t.now).engine())
		if err != nil {
			return err
		}
		packages[name], secrets[name] = kp, sec
		add.KeyPackages = append(add.KeyPackages, kp.Bytes())
		entry := &eventsv1.KeyPackageEntry{Ref: kp.Ref(), KeyPackage: kp.Bytes(), Credential: "main", CipherSuite: uint32(t.suite)}
		t.record(events.ClientLog(name), t.cause("generate_key_packages"), &eventsv1.KeyPackagesGenerated{KeyPackages: []*eventsv1.KeyPackageEntry{entry}})
	}
	bundle, err := t.commit("ann", add)
	if err != nil {
		return err
	}
	for _, name := range []ids.ClientID{"bob", "cem"} {
		transaction := ids.TransactionID("join-" + string(name))
		from := len(t.drafts)
		t.record(events.ClientLog(name), t.cause("join"), &eventsv1.KeyPackagesConsumed{Refs: [][]byte{packages[name].Ref()}, Conversation: []byte(Group)},
			&eventsv1.ConversationListed{Conversation: []byte(Group)})
		config := conversation.DefaultConfig()
		config.WirePolicy = t.policy
		_, err := t.step(name, conversation.Join{
			CommandMeta: t.meta("join-" + string(name)), Config: config, Welcome: bundle.Welcome, KeyPackage: packages[name].Bytes(),
			Secrets: secrets[name], Position: uint64(len(t.order)),
		})
		if err != nil {
			return err
		}
		for i := range t.drafts[from:] {
			t.drafts[from+i].Batch = transaction
		}
	}
	return nil
}

// talking: two messages, read by everybody else.
func (t *teller) talking() error {
	for _, name := range []ids.ClientID{"ann", "bob"} {
		p := t.players[name]
		tr, err := t.transition(p, conversation.Encrypt{CommandMeta: t.meta("say-" + string(name)), Plaintext: []byte("a word of " + string(name))})
		if err != nil {
			return err
		}
		t.enter(conversation.Entry{Kind: conversation.EntryApplication, Message: tr.Reply.Ciphertext, Sender: name, Generation: uint32(tr.Reply.Generation)},
			&eventsv1.OrderEntry{Kind: eventsv1.EntryKind_ENTRY_KIND_APPLICATION})
	}
	return t.followAll("ann", "bob", "cem")
}

// renewing: bob proposes new keys for himself and ann commits what was proposed.
func (t *teller) renewing() error {
	out, err := t.step("bob", conversation.ProposeUpdate{CommandMeta: t.meta("propose-update")})
	if err != nil {
		return err
	}
	if err := t.propose("bob", out); err != nil {
		return err
	}
	if err := t.followAll("ann", "bob", "cem"); err != nil {
		return err
	}
	_, err = t.commit("ann", conversation.CommitPending{CommandMeta: t.meta("commit-pending")})
	return err
}

// parting: bob removes cem, and ann proposes to remove bob.
func (t *teller) parting() error {
	if _, err := t.commit("bob", conversation.RemoveMembers{CommandMeta: t.meta("remove"), Clients: []ids.ClientID{"cem"}}); err != nil {
		return err
	}
	out, err := t.step("ann", conversation.ProposeRemove{CommandMeta: t.meta("propose-remove"), Client: "bob"})
	if err != nil {
		return err
	}
	if err := t.propose("ann", out); err != nil {
		return err
	}
	return t.followAll("ann", "bob")
}
