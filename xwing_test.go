package parley_test

import (
	"testing"

	"parley"
	"parley/mlsengine/suite"
)

func TestConversationUnderTheHybridSuite(t *testing.T) {
	ctx := t.Context()
	config := parley.DefaultConfig()
	config.CipherSuite = suite.XWing_AES256GCM_SHA384_Ed25519
	d := deploy(t)
	node := d.node(t, parley.Options{Config: config})
	ada, bob, cem := takeBot(t, node, "ada"), takeBot(t, node, "bob"), takeBot(t, node, "cem")
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob", "cem"))
	inBobs := bob.await(t, "the welcome", inEpoch(1)).Conversation
	_, err = inBobs.Send(ctx, []byte("later than they think"))
	ok(t, err)
	for _, b := range []*bot{ada, cem} {
		ok(t, b.await(t, "bob's words", text("later than they think")).Ack(ctx))
	}
	ok(t, cem.Conversation("tea").UpdateKeys(ctx))
	bob.await(t, "epoch 2", inEpoch(2))
	for _, b := range []*bot{ada, bob, cem} {
		b.stop()
	}
	closeNode(t, node)
	node = d.node(t, parley.Options{Config: config})
	defer closeNode(t, node)
	ada, bob = takeBot(t, node, "ada"), takeBot(t, node, "bob")
	ok(t, ada.Conversation("tea").Remove(ctx, "cem"))
	_, err = ada.Conversation("tea").Send(ctx, []byte("just us"))
	ok(t, err)
	ok(t, bob.await(t, "ada's words", text("just us")).Ack(ctx))
}
