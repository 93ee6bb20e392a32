package checklist_test

import (
	"crypto/rand"
	"time"

	"parley"
	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// bundle is what a commit sends.
type bundle = delivery.Bundle

// drawing is the machine's randomness.
type drawing struct{}

func (drawing) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // it never fails
	return b
}

// public is a group as outsiders see it.
func (w *world) public(info []byte) *mlsengine.PublicGroup {
	w.Helper()
	m, err := mlsengine.ParseMessage(info)
	w.must(err)
	group, err := mlsengine.NewPublicGroup(m.GroupInfo(), nil)
	w.must(err)
	return group
}

// signer makes a signature key pair.
func (w *world) signer() (public []byte, private suite.SignaturePrivateKey) {
	w.Helper()
	s, err := suite.Get(w.config.CipherSuite)
	w.must(err)
	key, pub, err := s.GenerateSignatureKeyPair(drawing{}.Draw("", s.SignatureSeedSize()))
	w.must(err)
	return pub, key
}

// outsider is somebody who uses the engine alone: a delivery service, or another implementation.
type outsider struct {
	w          *world
	id         parley.ClientID
	identity   mlsengine.SigningIdentity
	keyPackage *mlsengine.KeyPackage
	secrets    mlsengine.KeyPackageSecrets
}

func (w *world) outsider(whose string, capabilities mlsengine.Capabilities) *outsider {
	w.Helper()
	o := &outsider{w: w, id: w.house.name(whose)}
	public, private := w.signer()
	o.identity = mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(o.id)), Key: private, Public: public}
	o.newKeyPackage(capabilities)
	return o
}

func (o *outsider) newKeyPackage(capabilities mlsengine.Capabilities) {
	o.w.Helper()
	now := uint64(time.Now().Unix())
	var err error
	o.keyPackage, o.secrets, err = mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: o.w.config.CipherSuite, Identity: o.identity, Capabilities: capabilities,
		Lifetime: mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 3600},
	}, o.env())
	o.w.must(err)
}

func (o *outsider) env() mlsengine.Env {
	return mlsengine.Env{Now: uint64(time.Now().Unix()), Entropy: drawing{}, Identity: &o.identity}
}

// externalSender configures the conversation, before it is created, with a delivery service that may propose.
func (w *world) externalSender() *outsider {
	w.Helper()
	public, private := w.signer()
	var err error
	w.config, err = w.config.WithRawExternalSenders(public)
	w.must(err)
	return &outsider{w: w, identity: mlsengine.SigningIdentity{
		Credential: mlsengine.BasicCredential([]byte("wire-server")), Key: private, Public: public,
	}}
}

// proposesRemoval proposes to remove a member from the group of a GroupInfo.
func (o *outsider) proposesRemoval(info []byte, m *member) []byte {
	o.w.Helper()
	group := o.w.public(info)
	for _, one := range group.Members() {
		if conversation.ClientOf(one.Credential) == m.id {
			p, err := group.ProposeExternally(&mlsengine.Remove{Removed: one.Index}, nil, o.env())
			o.w.must(err)
			return p.Message
		}
	}
	o.w.Fatalf("%s is no member", m.id)
	return nil
}
