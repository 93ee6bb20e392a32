package mlsengine

import (
	"errors"
	"testing"
)

// TestABlockOfAnotherEpochSealsNothing: generations that were reserved in an epoch are of no use in the next one, and none of them is taken.
func TestABlockOfAnotherEpochSealsNothing(t *testing.T) {
	alice := newComponentGroup(t, nil, "alice", "bob")[0]
	_, block, err := alice.reserve(t)
	check(t, err)
	out, err := alice.group.Commit(CommitIntent{ForcePath: true}, alice.env)
	check(t, err)
	next := out.Staged.Next
	if _, _, err := next.SealApplication(block, Plaintext{Data: []byte("x")}, alice.env); !errors.Is(err, ErrSendBlock) {
		t.Errorf("sealed with the keys of before: %v", err)
	}
	if block.Remaining() != 1 {
		t.Error("a generation was taken")
	}
	_, _, err = alice.group.SealApplication(block, Plaintext{Data: []byte("x")}, alice.env)
	check(t, err)
}
