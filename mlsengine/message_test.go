package mlsengine

import (
	"errors"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
)

func TestMessagesSayInTheOpenWhereTheyBelong(t *testing.T) {
	p := newProtection(t)
	private := p.protect(t, WireFormatPrivateMessage, application("text"), 0)
	public := p.protect(t, WireFormatPublicMessage, proposed(MemberSender(1), &Remove{}), 0)
	info := groupInfoMessage(&GroupInfo{GroupContext: GroupContext{GroupID: GroupID("group"), Epoch: 4}})
	for _, c := range []struct {
		m  *Message
		ct ContentType
	}{{private, ContentTypeApplication}, {public, ContentTypeProposal}, {info, 0}} {
		m, err := ParseMessage(c.m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if string(m.GroupID()) != "group" || m.Epoch() != 4 || m.ContentType() != c.ct || m.WireFormat() != c.m.WireFormat() {
			t.Errorf("wire format %d: group %q epoch %d content type %d", m.WireFormat(), m.GroupID(), m.Epoch(), m.ContentType())
		}
	}
	if string(private.AAD()) != "aad" || public.AAD() == nil || info.AAD() != nil {
		t.Error("authenticated data is another")
	}
	if sender, ok := public.Sender(); !ok || sender != MemberSender(1) {
		t.Errorf("sender %v, %v", sender, ok)
	}
	if _, ok := private.Sender(); ok {
		t.Error("a PrivateMessage tells its sender")
	}
	k := testKeyPackage(t)
	for _, m := range []*Message{keyPackageMessage(&k), welcomeMessage(&Welcome{CipherSuite: 1})} {
		if m.GroupID() != nil || m.Epoch() != 0 || m.ContentType() != 0 || m.GroupInfo() != nil {
			t.Errorf("wire format %d claims a group", m.WireFormat())
		}
	}
	if keyPackageMessage(&k).KeyPackage() != &k || welcomeMessage(&Welcome{}).Welcome() == nil || info.GroupInfo() == nil {
		t.Error("an arm is lost")
	}
}

func TestAKeyPackageHasTheVersionOfItsMessage(t *testing.T) {
	k := testKeyPackage(t)
	k.Version = 2
	_, err := ParseMessage(keyPackageMessage(&k).Bytes())
	wantRule(t, KeyPackageVersion, err)
}

func TestMessageKeysAreWipedWhenUsed(t *testing.T) {
	p := newProtection(t)
	_, _, block, err := p.tree.reserve(protectionSender, ContentTypeApplication, 2)
	if err != nil {
		t.Fatal(err)
	}
	g, keys, err := block.take(ContentTypeApplication)
	if err != nil {
		t.Fatal(err)
	}
	a := &authenticatedContent{WireFormat: WireFormatPrivateMessage, Content: application("text")}
	if _, err := sealPrivate(p.suite, privateSeal{Content: a, Keys: keys, Generation: g, SenderData: p.senderData}); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "key after use", keys.key.Expose(), make([]byte, 16))
	wantBytes(t, "nonce after use", keys.nonce.Expose(), make([]byte, 12))
	block.Discard()
	wantBytes(t, "secret of a discarded block", block.ratchet.secret.Expose(), make([]byte, 32))
}

func TestDamagedSecretTreesAreMalformed(t *testing.T) {
	ratchetOf := func(next Generation, skipped ...Generation) *secretTree {
		tree := testTree(t, 1)
		r := &ratchet{secret: ratchetSecret{tree.root.secret.Bytes}, next: next}
		for _, g := range skipped {
			r.skipped = append(r.skipped, skippedKeys{g, messageKeys{secret.New(make([]byte, 16)), secret.New(make([]byte, 12))}})
		}
		tree.root = &secretNode{ratchets: &leafRatchets{application: r}}
		return tree
	}
	good := ratchetOf(5, 1, 3).bytes()
	if err := syntax.DecodeOwned(good, &secretTree{suite: testTree(t, 1).suite}); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"size 0":             {0, 0, 0, 0, 0},
		"size 3":             {0, 0, 0, 3, 0},
		"kind of node":       {0, 0, 0, 1, 3},
		"split into nothing": {0, 0, 0, 2, 2, 0, 0},
		"leaf with nothing":  {0, 0, 0, 1, 2, 0, 0},
		"presence byte":      {0, 0, 0, 1, 2, 2},
		"short secret":       append([]byte{0, 0, 0, 1, 1}, make([]byte, 31)...),
		"skipped too late":   tamperedSkip(good, 5),
		"skipped twice":      tamperedSkip(good, 1),
	} {
		if err := syntax.DecodeOwned(b, &secretTree{suite: testTree(t, 1).suite}); !errors.Is(err, syntax.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (t *secretTree) bytes() []byte { return syntax.Encode(t) }

// tamperedSkip sets the second skipped generation of a tree of one ratchet.
func tamperedSkip(good []byte, g byte) []byte {
	b := append([]byte{}, good...)
	b[len(b)-16-12-1] = g
	return b
}
