package parley_test

import (
	"errors"
	"testing"
	"time"

	"parley"
	"parley/conversation"
)

// TestAMemberComesBackByItself: a bot that has wiped a conversation is still a member of its group; it comes back without being added,
// and is not there twice. Somebody else may come only where the policy lets him.
func TestAMemberComesBackByItself(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{Access: func(_ parley.ConversationID, c parley.ClientID) parley.Access {
		if c == "guest" {
			return parley.JoinsByInfo
		}
		return parley.NoAccess
	}})
	defer closeNode(t, node)
	clients := map[parley.ClientID]*parley.Client{}
	for _, id := range []parley.ClientID{"ada", "bob", "guest", "eve"} {
		client, err := node.Client(ctx, id)
		ok(t, err)
		clients[id] = client
	}
	ada, err := clients["ada"].Create(ctx, "tea")
	ok(t, err)
	ok(t, ada.Add(ctx, "bob"))
	bob := clients["bob"].Conversation("tea")
	awaitEpoch(t, bob, 1)
	ok(t, bob.Wipe(ctx))

	bob, err = clients["bob"].JoinExternally(ctx, "tea", parley.ExternalJoin{})
	ok(t, err)
	guest, err := clients["guest"].JoinExternally(ctx, "tea", parley.ExternalJoin{})
	ok(t, err)
	if _, err := clients["eve"].JoinExternally(ctx, "tea", parley.ExternalJoin{}); err == nil {
		t.Error("eve came in")
	}
	for _, c := range []*parley.Conversation{ada, bob, guest} {
		awaitEpoch(t, c, 3)
	}
	agree(t, ada, bob, guest)
	members, err := ada.ClientIDs(ctx)
	ok(t, err)
	if len(members) != 3 {
		t.Errorf("members %v", members)
	}
	for _, c := range []*parley.Conversation{ada, bob, guest} {
		_, err := c.Send(ctx, []byte("hello"))
		ok(t, err)
	}
	if _, err := clients["guest"].Create(ctx, "tea"); !errors.Is(err, parley.ConversationAlreadyExists) {
		t.Errorf("created over it: %v", err)
	}
	if err := bob.AbandonJoin(ctx); !errors.Is(err, conversation.PendingJoinNotFound) {
		t.Errorf("nothing is pending: %v", err)
	}
}

func awaitEpoch(t *testing.T, c *parley.Conversation, epoch uint64) {
	t.Helper()
	deadline := time.After(patience)
	for {
		status, err := c.Status(t.Context())
		ok(t, err)
		if status.Epoch == epoch {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s is in epoch %d, want %d", c.Client().ID(), status.Epoch, epoch)
		}
	}
}

// TestKeysRotateInAPassiveConversation: nobody asks anything of the conversations, and the keys of their members are renewed all the same.
func TestKeysRotateInAPassiveConversation(t *testing.T) {
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	config := parley.DefaultConfig()
	config.KeyRotationSpanMs = uint64(time.Hour.Milliseconds())
	node := openNode(t, parley.Options{
		Clock: clock, Config: config, Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond},
	})
	defer closeNode(t, node)
	conv, bob := teaForTwo(t, node)
	awaitEpoch(t, bob.Conversation("tea"), 1)
	history, err := conv.History(ctx)
	ok(t, err)
	clock.ahead.Add(int64(time.Hour))
	awaitVersion(t, conv, history.Version)
	awaitEpoch(t, conv, 3)
}

// TestPendingProposalsAreCommittedByThemselves: nobody commits what bob has proposed, until its time has come.
func TestPendingProposalsAreCommittedByThemselves(t *testing.T) {
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	node := openNode(t, parley.Options{Clock: clock, Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond}})
	defer closeNode(t, node)
	conv, bob := teaForTwo(t, node)
	his := bob.Conversation("tea")
	awaitEpoch(t, his, 1)
	_, err := his.ProposeUpdate(ctx)
	ok(t, err)
	history, err := conv.History(ctx)
	ok(t, err)
	clock.ahead.Add(int64(5 * time.Minute))
	awaitVersion(t, conv, history.Version)
	awaitEpoch(t, his, 2)
	parent, err := conv.Client().Create(ctx, "house")
	ok(t, err)
	ok(t, conv.MarkAsChildOf(ctx, parent.ID()))
	if err := conv.MarkAsChildOf(ctx, "nowhere"); !errors.Is(err, conversation.ParentGroupNotFound) {
		t.Errorf("no such parent: %v", err)
	}
	if _, err := conv.ExternalSender(ctx); !errors.Is(err, conversation.MissingExternalSender) {
		t.Errorf("no external sender: %v", err)
	}
}
