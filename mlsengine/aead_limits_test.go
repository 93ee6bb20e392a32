package mlsengine

import (
	"errors"
	"testing"

	"parley/internal/secret"
)

func TestAMemberSendsNoMoreThanSendMaxInAnEpoch(t *testing.T) {
	clients := newTestGroup(t, 1, "alice", "bob")
	alice := clients[0]
	alice.group.ratchets.root = parentNodeOf(leafNodeOf(&leafRatchets{application: &ratchet{
		secret: ratchetSecret{secret.New(make([]byte, 32))}, next: SendMax - 1,
	}}), &secretNode{secret: treeNodeSecret{secret.New(make([]byte, 32))}})
	for _, n := range []uint32{2, 1<<32 - 1} {
		if _, _, _, err := alice.group.Reserve(ContentTypeApplication, n); !errors.Is(err, ErrGenerationsExhausted) {
			t.Errorf("%d more: %v", n, err)
		}
	}
	from, next, _, err := alice.group.Reserve(ContentTypeApplication, 1)
	if err != nil || from != SendMax-1 {
		t.Fatalf("the last one: %d, %v", from, err)
	}
	if _, _, _, err := next.Reserve(ContentTypeApplication, 1); !errors.Is(err, ErrGenerationsExhausted) {
		t.Errorf("after the last one: %v", err)
	}
	commit(t, clients, 0, CommitIntent{})
	if _, _, _, err := alice.group.Reserve(ContentTypeApplication, 1); err != nil {
		t.Errorf("in the next epoch: %v", err)
	}
}
