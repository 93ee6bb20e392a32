package parley

import (
	"errors"
	"testing"

	"parley/conversation"
)

// TestPendingProposalsAreCommittedInTime: whoever is first in the epoch's order commits what others proposed; no application has to.
func TestPendingProposalsAreCommittedInTime(t *testing.T) {
	t.Parallel()
	node, ctx, _ := sequencing(t, nil)
	conv := talking(ctx, t, node, "duties")
	if _, err := conv.ProposeUpdate(ctx); err != nil {
		t.Fatal(err)
	}
	for _, client := range []ClientID{"ada", "bob"} {
		await(ctx, t, "the commit of "+string(client), func() bool {
			status, err := node.Bare(client).Conversation("duties").Status(ctx)
			return err == nil && status.Epoch == 2 && status.Pending == 0
		})
	}
}

func TestChildConversations(t *testing.T) {
	t.Parallel()
	node, ctx, _ := sequencing(t, nil)
	conv := talking(ctx, t, node, "parent")
	child, err := node.Bare("ada").Create(ctx, "child")
	if err != nil {
		t.Fatal(err)
	}
	if err := child.MarkAsChildOf(ctx, "nowhere"); !errors.Is(err, conversation.ParentGroupNotFound) {
		t.Errorf("a parent that is not there: %v", err)
	}
	if err := child.MarkAsChildOf(ctx, conv.ID()); err != nil {
		t.Fatal(err)
	}
	if status, err := child.Status(ctx); err != nil || status.Parent != "parent" {
		t.Errorf("status: %+v, %v", status, err)
	}
}
