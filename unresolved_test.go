package parley_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

func silent(context.Context) (delivery.Answer, error) { return nil, errors.New("no connection") }

// unanswered makes the service say nothing until nobody asks any more.
func (r *racing) unanswered() {
	r.answers = []func(context.Context) (delivery.Answer, error){silent, silent, silent, silent, silent}
}

// TestACommitWithoutAnAnswerIsTheOwnersToSettle: the conversation says what is open and that somebody has to decide, also after the node was
// started anew. The owner has it offered again, drops it, or says that the service has it.
func TestACommitWithoutAnAnswerIsTheOwnersToSettle(t *testing.T) {
	ctx, service := t.Context(), &racing{}
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	options := parley.Options{Data: filepath.Join(t.TempDir(), "data"), Config: config, Isolated: true, Foreign: service}
	node := openNode(t, options)
	client, err := node.Client(ctx, "ada")
	ok(t, err)
	ada, err := client.Create(ctx, "tea")
	ok(t, err)
	open := func() parley.Unresolved {
		t.Helper()
		status, err := ada.Status(ctx)
		ok(t, err)
		if len(status.Unresolved) != 1 {
			t.Fatalf("open: %+v", status.Unresolved)
		}
		return status.Unresolved[0]
	}
	lose := func() {
		t.Helper()
		service.unanswered()
		if err := ada.UpdateKeys(ctx); !errors.Is(err, conversation.TransportError) || parley.AdviceOf(err) != parley.Retry {
			t.Fatalf("without an answer: %v", err)
		}
	}
	lose()
	first := open()
	if bundle := service.last(); first.Key != bundle.IdempotencyKey() || first.Epoch != 0 || first.Since.IsZero() {
		t.Errorf("it is %+v", first)
	}
	_, err = ada.Encrypt(ctx, []byte("x"), nil)
	if !errors.Is(err, parley.PendingCommit) || parley.AdviceOf(err) != parley.Decide {
		t.Errorf("meanwhile: %v", err)
	}
	closeNode(t, node)
	node = openNode(t, options)
	defer closeNode(t, node)
	ada = node.Bare("ada").Conversation("tea")
	if again := open(); again != first {
		t.Errorf("after a restart: %+v", again)
	}
	sent := service.last().Commit
	service.unanswered()
	if err := ada.Resolve(ctx, "", parley.OfferAgain); !errors.Is(err, conversation.TransportError) {
		t.Errorf("no answer again: %v", err)
	}
	ok(t, ada.Resolve(ctx, first.Bundle, parley.OfferAgain))
	if string(service.last().Commit) != string(sent) {
		t.Error("other bytes were offered")
	}
	awaitEpoch(t, ada, 1)
	lose()
	ok(t, ada.Resolve(ctx, open().Bundle, parley.NotTaken))
	_, err = ada.Encrypt(ctx, []byte("it is as it was"), nil)
	ok(t, err)
	awaitEpoch(t, ada, 1)
	lose()
	ok(t, ada.Resolve(ctx, "", parley.Accepted))
	awaitEpoch(t, ada, 2)
	if err := ada.Resolve(ctx, "", parley.Accepted); !errors.Is(err, conversation.PendingCommitNotFound) {
		t.Errorf("nothing is open: %v", err)
	}
	bot := takeBot(t, node, "ada")
	bot.await(t, "word of the open commit", func(e parley.Event) bool {
		return e.Membership != nil && e.Membership.Kind == conversation.MembershipUnresolved
	})
}

// TestWhatWaitedForTheOwnCommitIsHandedOut: while the service has ada's commit, its echo has reached bob, and what he says and does behind it
// reaches ada first. She gets all of it with her commit.
func TestWhatWaitedForTheOwnCommitIsHandedOut(t *testing.T) {
	ctx := t.Context()
	_, ada, bob, service := racers(t)
	early := func(message []byte) {
		t.Helper()
		got, err := ada.Decrypt(ctx, message)
		if err != nil || got.Code != conversation.BufferedFutureMessage {
			t.Fatalf("it came too early: %+v, %v", got, err)
		}
	}
	service.answers = append(service.answers, func(ctx context.Context) (delivery.Answer, error) {
		_, err := bob.Decrypt(ctx, service.last().Commit)
		ok(t, err)
		said, err := bob.Encrypt(ctx, []byte("welcome to the new epoch"), nil)
		ok(t, err)
		proposed, err := bob.ProposeUpdate(ctx)
		ok(t, err)
		early(proposed.Message)
		early(said)
		return delivery.Success{}, nil
	})
	var released []parley.Received
	ok(t, ada.UpdateKeys(parley.WithReleased(ctx, func(got parley.Received) { released = append(released, got) })))
	if len(released) != 2 {
		t.Fatalf("released: %+v", released)
	}
	if m := released[0].Message; m == nil || string(m.Text) != "welcome to the new epoch" || m.Sender != "bob" {
		t.Errorf("the message: %+v", released[0])
	}
	if p := released[1]; p.Kind != conversation.OutcomeProposal || p.Sender != "bob" || p.Delay == nil || !p.Active {
		t.Errorf("the proposal: %+v", p)
	}
	agree(t, ada, bob)
}
