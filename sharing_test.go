package parley_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/internal/certtest"
)

func historyOf(e parley.Event) bool { return e.History != nil }

// sharers are two bots in a conversation, with basic credentials or certified ones.
func sharers(t *testing.T, x509 bool) (node *parley.Node, ada, bob *bot, conv *parley.Conversation) {
	t.Helper()
	ctx := t.Context()
	if x509 {
		authority := certtest.New(t)
		store, err := (*parley.TrustStore)(nil).WithAnchor(authority.Anchor())
		ok(t, err)
		node = openNode(t, parley.Options{Certificates: func() *parley.TrustStore { return store }})
		for _, id := range []parley.ClientID{"ada", "bob"} {
			b := takeCertified(t, node, id, certified(t, authority, parley.ClientURI(id), time.Now().Add(time.Hour)))
			ada, bob = bob, b
		}
	} else {
		node = openNode(t, parley.Options{})
		ada, bob = takeBot(t, node, "ada"), takeBot(t, node, "bob")
	}
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, conv.Add(ctx, "bob"))
	bob.await(t, "the welcome", inEpoch(1))
	return node, ada, bob, conv
}

// TestEnableDisableHistorySharing is enable_disable_history_sharing and should_update_history_client_on_member_remove through the doors:
// everybody observes each reader's secret once, as what it is, and the enabling member too.
func TestEnableDisableHistorySharing(t *testing.T) {
	for _, x509 := range []bool{false, true} {
		t.Run(fmt.Sprintf("certified %t", x509), func(t *testing.T) {
			ctx := t.Context()
			node, ada, bob, conv := sharers(t, x509)
			defer closeNode(t, node)
			takeBot(t, node, "eve") // with a basic credential
			ok(t, conv.Add(ctx, "eve"))
			ok(t, conv.EnableHistorySharing(ctx))
			status, err := conv.Status(ctx)
			ok(t, err)
			if !status.History || len(status.Members) != 3+1 {
				t.Errorf("%t, %d members", status.History, len(status.Members))
			}
			first := ada.await(t, "its own secret", historyOf)
			theirs := bob.await(t, "the secret", historyOf)
			if first.History.Client != theirs.History.Client || !strings.HasPrefix(string(theirs.History.Client), "history-client") ||
				theirs.History.Sender != "ada" || theirs.Message != nil || string(theirs.History.Secret.Bytes()) != string(first.History.Secret.Bytes()) {
				t.Errorf("ada observes %+v, bob %+v", first.History, theirs.History)
			}
			if text := fmt.Sprintf("%v %+v", theirs.History.Secret, theirs.History); strings.Contains(text, string(theirs.History.Secret.Bytes()[:20])) {
				t.Error("a secret prints itself")
			}
			ok(t, first.Ack(ctx))
			ok(t, theirs.Ack(ctx))
			ok(t, conv.EnableHistorySharing(ctx))
			ok(t, conv.Remove(ctx, "eve"))
			second := bob.await(t, "the next secret", historyOf)
			if second.History.Client == theirs.History.Client || second.Epoch != theirs.Epoch+1 {
				t.Errorf("another secret of %s in epoch %d", second.History.Client, second.Epoch)
			}
			ok(t, second.Ack(ctx))
			ok(t, bob.Conversation("tea").DisableHistorySharing(ctx))
			ok(t, bob.Conversation("tea").DisableHistorySharing(ctx))
			ada.await(t, "the end of sharing", inEpoch(second.Epoch+1))
			clients, err := conv.ClientIDs(ctx)
			ok(t, err)
			if status, err := conv.Status(ctx); err != nil || status.History || len(clients) != 2 {
				t.Errorf("%t %v, clients %v", status.History, err, clients)
			}
		})
	}
}

// TestHistoryIsSharedInATransaction: enabling is a commit like any other, and what follows is undone without it. Two members who enable at
// once let one reader in.
func TestHistoryIsSharedInATransaction(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, conv := sharers(t, false)
	defer closeNode(t, node)
	no := errors.New("no")
	err := ada.Transact(ctx, func(tx *parley.Transaction) error {
		ok(t, tx.Conversation("tea").EnableHistorySharing(ctx))
		if status, err := tx.Conversation("tea").Status(ctx); err != nil || !status.History {
			t.Errorf("inside: %t, %v", status.History, err)
		}
		_, err := tx.Conversation("tea").ProposeUpdate(ctx)
		return errors.Join(err, no)
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	status, err := conv.Status(ctx)
	ok(t, err)
	if !status.History || status.Pending != 0 || status.Holdings.Secrets != 1 {
		t.Errorf("shared: %t, %d proposals, %+v", status.History, status.Pending, status.Holdings)
	}
	ok(t, conv.DisableHistorySharing(ctx))
	awaitEpoch(t, bob.Conversation("tea"), 3)
	var both sync.WaitGroup
	for _, c := range []*parley.Conversation{conv, bob.Conversation("tea")} {
		both.Go(func() {
			if err := node.Insist(ctx, c.EnableHistorySharing); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	awaitEpoch(t, bob.Conversation("tea"), 4)
	if status, err = conv.Status(ctx); err != nil || status.Epoch != 4 || len(status.Members) != 3 {
		t.Errorf("in epoch %d with %d members, %v", status.Epoch, len(status.Members), err)
	}
}
