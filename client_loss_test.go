package parley

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/conversation"
	"parley/events/jetlog"
	"parley/internal/ids"
)

// losing runs a client with a conversation, stops its node, lets something be lost, and starts the node again.
func losing(t *testing.T, lose func(ctx context.Context, t *testing.T, js jetstream.JetStream, names jetlog.Names)) (*Node, context.Context) {
	t.Helper()
	node, ctx, o := sequencing(t, nil)
	talking(ctx, t, node, "tea")
	await(ctx, t, "bob is welcomed", func() bool {
		exists, err := node.Bare("bob").Conversation("tea").Exists(ctx)
		return err == nil && exists
	})
	if _, err := node.Bare("ada").GenerateKeyPackages(ctx, 1); err != nil { // the newest record of ada's own log
		t.Fatal(err)
	}
	names := node.store.Names()
	if err := node.Close(ctx); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	lose(ctx, t, js, names)
	return openSequencing(t, o), ctx
}

// refusesClient checks that a lost client is refused with a code and the advice to give it up, also when it is asked again, and says so in
// its status and its stream.
func refusesClient(ctx context.Context, t *testing.T, node *Node, code Code) {
	t.Helper()
	ada := node.Bare("ada")
	for range 2 {
		_, err := node.Client(ctx, "ada")
		if !errors.Is(err, code) || AdviceOf(err) != GiveUp {
			t.Errorf("taking the client: %v", err)
		}
		_, err = ada.GenerateKeyPackages(ctx, 1)
		if !errors.Is(err, code) || AdviceOf(err) != GiveUp {
			t.Errorf("a command of the client: %v", err)
		}
		_, err = ada.Create(ctx, "cake")
		if !errors.Is(err, code) || AdviceOf(err) != GiveUp {
			t.Errorf("a new conversation: %v", err)
		}
	}
	status, err := ada.Status(ctx)
	if err != nil || status.Lost != code {
		t.Errorf("status %+v, %v", status, err)
	}
	for e, err := range ada.Events(ctx) {
		if err != nil || e.Lost != code {
			t.Errorf("the stream begins with %+v, %v", e, err)
		}
		if err := e.Ack(ctx); err != nil {
			t.Error(err)
		}
		break
	}
	if _, err := node.Client(ctx, "bob"); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func TestClientWhoseLogIsRolledBack(t *testing.T) {
	node, ctx := losing(t, func(ctx context.Context, t *testing.T, js jetstream.JetStream, names jetlog.Names) {
		cutNewest(ctx, t, js, names.Stream(jetlog.StreamLog, names.Partition("ada")), names.Namespace+".log."+ids.Token("ada")+"._")
	})
	refusesClient(ctx, t, node, conversation.ClientRolledBack)
	// Its conversations have their own logs, and its keys are left.
	tea := node.Bare("ada").Conversation("tea")
	if err := tea.UpdateKeys(ctx); err != nil {
		t.Error(err)
	}
	if _, err := tea.Send(ctx, []byte("still here")); err != nil {
		t.Error(err)
	}
}

func TestClientWhoseRingIsGone(t *testing.T) {
	node, ctx := losing(t, func(ctx context.Context, t *testing.T, js jetstream.JetStream, names jetlog.Names) {
		stream, err := js.Stream(ctx, names.Stream(jetlog.StreamKeys, names.Partition("ada")))
		if err != nil {
			t.Fatal(err)
		}
		ring, err := stream.GetLastMsgForSubject(ctx, names.Namespace+".keys."+ids.Token("ada")+"._")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.DeleteMsg(ctx, ring.Sequence); err != nil {
			t.Fatal(err)
		}
	})
	refusesClient(ctx, t, node, conversation.ClientSecretsLost)
	// Its conversations go on reading; to speak they would need the keys.
	if _, err := node.Bare("bob").Conversation("tea").Send(ctx, []byte("are you there?")); err != nil {
		t.Fatal(err)
	}
	for e, err := range node.Bare("ada").Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Message != nil && string(e.Message.Text) == "are you there?" {
			break
		}
	}
	if _, err := node.Bare("ada").Conversation("tea").Send(ctx, []byte("yes")); AdviceOf(err) == Retry {
		t.Errorf("speaking without keys: %v", err)
	}
}

// cutNewest brings a stream back without its newest message, which must be of the subject.
func cutNewest(ctx context.Context, t *testing.T, js jetstream.JetStream, name, subject string) {
	t.Helper()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	config, last := stream.CachedInfo().Config, stream.CachedInfo().State.LastSeq
	var kept []*nats.Msg
	for sequence := uint64(1); sequence <= last; sequence++ {
		m, err := stream.GetMsg(ctx, sequence)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, &nats.Msg{Subject: m.Subject, Data: m.Data})
	}
	if got := kept[len(kept)-1].Subject; got != subject {
		t.Fatalf("the newest message is %s, not %s", got, subject)
	}
	if err := js.DeleteStream(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	for _, m := range kept[:len(kept)-1] {
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}
