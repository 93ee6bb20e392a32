package parley

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"parley/conversation"
	"parley/events/jetlog"
	"parley/internal/ids"
)

// TestObserverOfAConversationWhoseRingIsGone: what the log says before the loss cannot be believed any more. The client comes back by itself,
// and its observer is told of that.
func TestObserverOfAConversationWhoseRingIsGone(t *testing.T) {
	node, ctx := losing(t, func(ctx context.Context, t *testing.T, js jetstream.JetStream, names jetlog.Names) {
		stream, err := js.Stream(ctx, names.Stream(jetlog.StreamKeys, names.Partition("ada")))
		if err != nil {
			t.Fatal(err)
		}
		ring, err := stream.GetLastMsgForSubject(ctx, names.Namespace+".keys."+ids.Token("ada")+"."+ids.Token("tea"))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(ctx, ring.Sequence); err != nil {
			t.Fatal(err)
		}
	})
	ada := node.Bare("ada")
	err := node.Insist(ctx, func(ctx context.Context) error {
		_, err := ada.JoinExternally(ctx, "tea", ExternalJoin{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	observing, stop := context.WithCancel(ctx)
	_ = ada.ObserveEpochs(observing, nil, func(_ context.Context, c EpochChange) error {
		if c.Membership.Kind != conversation.MembershipJoined || c.Epoch != 2 {
			t.Errorf("told of %d in epoch %d", c.Membership.Kind, c.Epoch)
		}
		stop()
		return nil
	})
	if ctx.Err() != nil {
		t.Error("nobody told of the join")
	}
	if _, err := ada.Conversation("tea").Send(ctx, []byte("back")); err != nil {
		t.Error(err)
	}
}
