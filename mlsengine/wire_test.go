package mlsengine

import "testing"

func TestPartsTravelByThemselves(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	alice := clients[0]
	kp := newTestClient(t, 1, "carol").keyPackage(t)
	wantBytes(t, "key package", must(ParseMessage(kp.Message()))(t).KeyPackage().Bytes(), kp.Bytes())
	gi := must(alice.group.GroupInfo(WithTree, alice.env))(t)
	wantBytes(t, "GroupInfo", must(ParseMessage(gi.Message()))(t).GroupInfo().Message(), gi.Message())

	sender := ExternalSender{SignatureKey: alice.identity.Public, Credential: alice.identity.Credential}
	wantBytes(t, "external sender", must(ParseExternalSender(sender.Bytes()))(t).Bytes(), sender.Bytes())
	extensions := Extensions{}.WithExternalSenders(ExternalSenders{sender, sender})
	if senders := must(extensions.ExternalSenders())(t); len(senders) != 2 {
		t.Fatalf("%d external senders, want 2", len(senders))
	}
	_, err := ParseExternalSender(sender.Bytes()[1:])
	wantRule(t, MalformedMessage, err)
}
