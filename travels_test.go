package parley_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"parley"
	"parley/mlsengine"
)

// The beginnings of what travels: the protocol's version, and of an MLSMessage its wire format.
const (
	version        = "\x00\x01"
	publicMessage  = version + "\x00\x01"
	privateMessage = version + "\x00\x02"
	welcomeMessage = version + "\x00\x03"
	groupInfo      = version + "\x00\x04"
	keyPackage     = version + "\x00\x05"
)

// vector reads a variable-size vector (RFC 9420, 2.1.2).
func vector(b []byte) (content, rest []byte) {
	size := 1 << (b[0] >> 6)
	length := uint32(b[0] & 0x3f)
	for _, next := range b[1:size] {
		length = length<<8 | uint32(next)
	}
	return b[size : size+int(length)], b[size+int(length):]
}

// shape reads a public commit: the first byte of each proposal (1: by value, 2: by reference) would need their lengths, so it tells the first
// one's, how long they are together, and whether there is a path.
func shape(t *testing.T, commit []byte) (first byte, proposals int, path bool) {
	t.Helper()
	if !bytes.HasPrefix(commit, []byte(publicMessage)) {
		t.Fatalf("a commit begins with %x", commit[:4])
	}
	_, rest := vector(commit[4:])
	rest = rest[8:] // epoch
	if rest[0] == 1 {
		rest = rest[5:] // a member, with its leaf
	} else {
		rest = rest[1:]
	}
	aad, rest := vector(rest)
	if len(aad) != 0 || rest[0] != 3 {
		t.Fatalf("additional data %x, content type %d", aad, rest[0])
	}
	list, rest := vector(rest[1:])
	if len(list) > 0 {
		first = list[0]
	}
	return first, len(list), rest[0] == 1
}

// TestWhatDeployedMembersAreSent holds the forms that members of other implementations insist on.
func TestWhatDeployedMembersAreSent(t *testing.T) {
	ctx := t.Context()
	node, transport, of := foreign(t)
	defer closeNode(t, node)
	ada, bob, eve := of[0], of[1], of[2]
	packages, err := eve.Client().GenerateKeyPackages(ctx, 1)
	ok(t, err)
	bare := packages[0]
	kp, err := mlsengine.ParseKeyPackage(bare)
	ok(t, err)
	capable := kp.LeafNode.Capabilities
	if !bytes.HasPrefix(bare, []byte(version+"\x00\x01")) || len(kp.Extensions) != 0 || len(kp.LeafNode.Extensions) != 0 ||
		!slices.Contains(capable.Credentials, mlsengine.CredentialTypeBasic) || !slices.Contains(capable.Credentials, mlsengine.CredentialTypeX509) {
		t.Errorf("a key package begins with %x, extensions %v and %v, credentials %v", bare[:4], kp.Extensions, kp.LeafNode.Extensions, capable.Credentials)
	}
	const week = 7 * 24 * time.Hour
	life := kp.LeafNode.Lifetime
	if span := time.Duration(life.NotAfter-life.NotBefore) * time.Second; span != 12*week+time.Hour {
		t.Errorf("a key package lasts %s", span)
	}

	added := transport.last()
	if first, n, path := shape(t, added.Commit); first != 1 || n == 0 || !path {
		t.Errorf("an addition: first proposal %d, %d bytes, path %v", first, n, path)
	}
	if !bytes.HasPrefix(added.Welcome, []byte(welcomeMessage)) || !bytes.HasPrefix(added.GroupInfo, []byte(groupInfo)) {
		t.Errorf("a Welcome begins with %x, a GroupInfo with %x", added.Welcome[:4], added.GroupInfo[:4])
	}
	m, err := mlsengine.ParseMessage(added.GroupInfo)
	ok(t, err)
	context := m.GroupInfo().GroupContext.Extensions
	if len(context) != 1 || !bytes.Equal(context[0].Data, []byte{0, 0, 4, 0, 1, 0, 2}) {
		t.Errorf("the context's extensions are %+v", context)
	}
	var kinds []mlsengine.ExtensionType
	for _, e := range m.GroupInfo().Extensions {
		kinds = append(kinds, e.Type)
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []mlsengine.ExtensionType{mlsengine.ExtensionTypeRatchetTree, mlsengine.ExtensionTypeExternalPub}) {
		t.Errorf("the GroupInfo's extensions are %v", kinds)
	}

	ok(t, bob.UpdateKeys(ctx))
	if _, n, path := shape(t, transport.last().Commit); n != 0 || !path {
		t.Errorf("an update: %d bytes of proposals, path %v", n, path)
	}
	for _, c := range []*parley.Conversation{ada, eve} {
		_, err := c.Decrypt(ctx, transport.last().Commit)
		ok(t, err)
	}
	p, err := ada.ProposeRemove(ctx, "eve")
	ok(t, err)
	_, err = bob.Decrypt(ctx, p.Message)
	ok(t, err)
	ok(t, bob.CommitPending(ctx))
	if first, n, path := shape(t, transport.last().Commit); first != 2 || n == 0 || !path || !bytes.HasPrefix(p.Message, []byte(publicMessage)) {
		t.Errorf("by reference: first proposal %d, %d bytes, path %v", first, n, path)
	}
}

// TestFormsThatDeployedMembersSend: key packages and GroupInfos are taken bare and as MLSMessages, and encrypted messages are as long as theirs.
func TestFormsThatDeployedMembersSend(t *testing.T) {
	ctx := t.Context()
	node, transport, of := foreign(t)
	defer closeNode(t, node)
	ada := of[0]
	for i, id := range []parley.ClientID{"bare", "wrapped"} {
		client, err := node.Client(ctx, id)
		ok(t, err)
		packages, err := client.GenerateKeyPackages(ctx, 2)
		ok(t, err)
		if id == "wrapped" {
			packages[0] = append([]byte(keyPackage), packages[0]...)
		}
		ok(t, ada.AddKeyPackages(ctx, packages[0]))
		if members, err := ada.ClientIDs(ctx); err != nil || len(members) != 4 || members[3] != id {
			t.Errorf("members %v, %v", members, err)
		}
		ok(t, ada.Remove(ctx, id))
		info := transport.last().GroupInfo
		if id == "bare" {
			info = info[4:]
		}
		_, err = client.JoinExternally(ctx, "tea", parley.ExternalJoin{GroupInfo: info})
		ok(t, err)
		_, err = ada.Decrypt(ctx, transport.last().Commit)
		ok(t, err)
		ok(t, ada.Remove(ctx, id))
		if status, err := ada.Status(ctx); err != nil || status.Epoch != uint64(1+4*(i+1)) {
			t.Errorf("epoch %d, %v", status.Epoch, err)
		}
	}
	for text, want := range map[int]int{0: 128, 32: 128, 64: 256, 128: 256, 1024: 1152} {
		m, err := ada.Encrypt(ctx, make([]byte, text), nil)
		ok(t, err)
		_, rest := vector(m[4:])
		rest = rest[8+1:] // epoch, content type
		aad, rest := vector(rest)
		_, rest = vector(rest) // encrypted sender data
		sealed, rest := vector(rest)
		if !bytes.HasPrefix(m, []byte(privateMessage)) || len(aad) != 0 || len(rest) != 0 || len(sealed) != want {
			t.Errorf("%d bytes: %d are encrypted, want %d", text, len(sealed), want)
		}
	}
}
