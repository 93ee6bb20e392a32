package crash_test

import (
	"context"
	"errors"

	"parley"
	"parley/delivery"
	"parley/mlsengine"
)

// serviceRows are what a deployment's delivery service does in its own name, at an operator's wish.
func serviceRows() []*operation {
	propose := func(ctx context.Context, s *scene) error {
		_, err := s.node.ProposeRemoval(ctx, s.convID("tea"), s.id("eve"), "her account is closed")
		if errors.Is(err, delivery.NotMember) {
			return nil // the members have removed her already
		}
		return err
	}
	gone := func(ctx context.Context, s *scene) error { return s.awaitEve(ctx, false) }
	return []*operation{
		{name: "make the service's key", covers: "Node.WithServiceSender", alone: true, prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			_, err := s.node.WithServiceSender(ctx, parley.DefaultConfig())
			return err
		}},
		{
			name: "rotate the service's key", covers: "Node.RotateServiceSender", alone: true, prepare: served("ada", "bob"),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.node.RotateServiceSender(ctx, parley.DefaultConfig())
				return err
			},
		},
		{name: "the service proposes to remove", covers: "ServiceDesk.ProposeRemoval", alone: true, prepare: served("ada", "bob", "eve"), act: then(propose, gone)},
		{
			name: "the service proposes to add", covers: "ServiceDesk.ProposeAddition", alone: true,
			prepare: then(served("ada", "bob"), func(ctx context.Context, s *scene) error { return s.take(ctx, "eve") }, packFor("eve")),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.node.ProposeAddition(ctx, s.convID("tea"), s.luggage.Kept["package"], "she was invited")
				if err != nil && !errors.Is(err, delivery.AlreadyMember) { // then the members have added her already
					return err
				}
				return s.awaitEve(ctx, true)
			},
		},
		{
			name: "the service takes a proposal back", covers: "ServiceDesk.WithdrawProposal", alone: true, prepare: then(served("ada", "bob", "eve"), propose),
			act: func(ctx context.Context, s *scene) error {
				return s.node.WithdrawProposal(ctx, s.convID("tea"), parley.Want{Remove: s.id("eve")}.ID())
			},
		},
		{
			name: "the service proposes another context", covers: "ServiceDesk.Propose", alone: true, prepare: served("ada", "bob"),
			act: func(ctx context.Context, s *scene) error {
				required := mlsengine.RequiredCapabilities{CredentialTypes: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic}}
				want := parley.Want{Extensions: mlsengine.Extensions{}.WithRequiredCapabilities(required)}
				if _, err := s.node.Propose(ctx, s.convID("tea"), want, "whoever comes is to be known"); err != nil && !errors.Is(err, delivery.NothingToChange) {
					return err
				}
				return s.await(ctx, "the members to follow the service", func() (bool, error) {
					standing, err := s.node.StandingWishes(ctx, s.convID("tea"))
					return len(standing) == 0, err
				})
			},
		},
	}
}

// awaitEve waits for the commit that does what the service has proposed: its steps belong to the operation.
func (s *scene) awaitEve(ctx context.Context, there bool) error {
	return s.await(ctx, "the members to follow the service", func() (bool, error) {
		status, err := s.conv("eve", "tea").Status(ctx)
		return err == nil && status.Exists == there, err
	})
}

// served is a conversation that lists the service among its external senders.
func served(members ...string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		if err := s.take(ctx, members...); err != nil {
			return err
		}
		config, err := s.node.WithServiceSender(ctx, parley.DefaultConfig())
		if err != nil {
			return err
		}
		return s.found(ctx, "tea", members, config)
	}
}
