package parley_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

// racing is a delivery service that answers as it is told, and runs what the test wants while a bundle is with it.
type racing struct {
	carrier
	answers []func(context.Context) (delivery.Answer, error)
}

func (r *racing) SendCommitBundle(ctx context.Context, b delivery.Bundle) (delivery.Answer, error) {
	_, err := r.carrier.SendCommitBundle(ctx, b)
	if next := r.next(); next != nil {
		return next(ctx)
	}
	return delivery.Success{}, err
}

func (r *racing) next() func(context.Context) (delivery.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) == 0 {
		return nil
	}
	next := r.answers[0]
	r.answers = r.answers[1:]
	return next
}

// racers are ada and bob in one group.
func racers(t *testing.T) (node *parley.Node, ada, bob *parley.Conversation, service *racing) {
	t.Helper()
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	service = &racing{}
	node = openNode(t, parley.Options{Config: config, Isolated: true, Foreign: service})
	t.Cleanup(func() { closeNode(t, node) })
	client, err := node.Client(t.Context(), "ada")
	ok(t, err)
	other, err := node.Client(t.Context(), "bob")
	ok(t, err)
	packages, err := other.GenerateKeyPackages(t.Context(), 1)
	ok(t, err)
	ada, err = client.Create(t.Context(), "tea")
	ok(t, err)
	ok(t, ada.AddKeyPackages(t.Context(), packages...))
	bob, err = other.Join(t.Context(), parley.Invitation{Welcome: service.last().Welcome})
	ok(t, err)
	return node, ada, bob, service
}

// TestRetryInTheCallback: while ada's commit is with the service, the application takes in the commit that won, and then answers Retry,
// and once more. Her commit is made anew, holds what it was for, and bob can apply it.
func TestRetryInTheCallback(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, service := racers(t)
	ok(t, bob.UpdateKeys(ctx))
	winner := service.last().Commit
	eve, err := node.Client(ctx, "eve")
	ok(t, err)
	packages, err := eve.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	retry := func(context.Context) (delivery.Answer, error) { return delivery.Retry{}, nil }
	service.answers = []func(context.Context) (delivery.Answer, error){
		func(ctx context.Context) (delivery.Answer, error) {
			got, err := ada.Decrypt(ctx, winner)
			if err != nil || !got.EpochChanged() || !got.Active {
				t.Errorf("the winner: %+v, %v", got, err)
			}
			return delivery.Retry{}, nil
		}, retry,
	}
	ok(t, ada.AddKeyPackages(ctx, packages...))
	got, err := bob.Decrypt(ctx, service.last().Commit)
	ok(t, err)
	if !got.EpochChanged() || got.Identity == nil || got.Identity.Client != "ada" {
		t.Errorf("bob: %+v", got)
	}
	clients, err := bob.ClientIDs(ctx)
	ok(t, err)
	if len(clients) != 3 {
		t.Errorf("members %v", clients)
	}
	agree(t, ada, bob)
}

// TestAbortAndSilence: a refused commit changes nothing; one without an answer stays until its echo comes, or a new one takes its place.
func TestAbortAndSilence(t *testing.T) {
	ctx := t.Context()
	_, ada, bob, service := racers(t)
	service.answers = []func(context.Context) (delivery.Answer, error){
		func(context.Context) (delivery.Answer, error) { return delivery.Abort{Reason: "not today"}, nil },
	}
	if err := ada.UpdateKeys(ctx); !errors.Is(err, conversation.TransportAborted) {
		t.Errorf("refused: %v", err)
	}
	for range 5 {
		service.answers = append(service.answers, func(context.Context) (delivery.Answer, error) { return nil, errors.New("no connection") })
	}
	err := ada.UpdateKeys(ctx)
	if !errors.Is(err, conversation.TransportError) || parley.AdviceOf(err) != parley.Retry {
		t.Fatalf("without an answer: %v", err)
	}
	if _, err := ada.Encrypt(ctx, []byte("x"), nil); !errors.Is(err, parley.PendingCommit) {
		t.Errorf("meanwhile: %v", err)
	}
	lost := service.last().Commit
	got, err := ada.Decrypt(ctx, lost)
	if err != nil || !got.EpochChanged() {
		t.Fatalf("its echo: %+v, %v", got, err)
	}
	if got, err = bob.Decrypt(ctx, lost); err != nil || !got.EpochChanged() {
		t.Fatalf("bob: %+v, %v", got, err)
	}
	agree(t, ada, bob)
}

// TestEverybodyCommitsAtOnce: one commit an epoch wins, the others are made anew, and nobody's caller hears of it.
func TestEverybodyCommitsAtOnce(t *testing.T) {
	const bots = 32
	ctx := t.Context()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	var all []*parley.Conversation
	var names []parley.ClientID
	for i := range bots {
		client, err := node.Client(ctx, parley.ClientID(fmt.Sprint("bot ", i)))
		ok(t, err)
		all, names = append(all, client.Conversation("tea")), append(names, client.ID())
	}
	founder, err := all[0].Client().Create(ctx, "tea")
	ok(t, err)
	ok(t, founder.Add(ctx, names[1:]...))
	for _, c := range all {
		awaitEpoch(t, c, 1)
	}
	var work errgroup.Group
	for _, c := range all {
		work.Go(func() error { return c.UpdateKeys(ctx) })
	}
	ok(t, work.Wait())
	for _, c := range all {
		awaitEpoch(t, c, 1+bots)
	}
	agree(t, all...)
}
