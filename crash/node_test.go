package crash_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley"
)

// nodeRows are what a node does, or an operator.
func nodeRows() []*operation {
	return []*operation{
		{name: "rotate the shred key", covers: "Node.Shred Shred", alone: true, prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.node.Shred(ctx)
		}},
		{
			name: "hand shares over", covers: "Node.ReleaseShares Node.TakeShares", alone: true, prepare: then(asCouple, hearOne),
			act: func(ctx context.Context, s *scene) error {
				if s.recovering {
					return nil
				}
				s.node.ReleaseShares(s.node.Shares()...)
				if err := s.await(ctx, "everything to have left", func() (bool, error) { return s.node.Stats().Actors == 0, ctx.Err() }); err != nil {
					return err
				}
				s.node.TakeShares(parley.Shares(shareCount)...)
				return nil
			},
		},
		{
			name: "close a node", covers: "Node.Close Node.Drain", alone: true, prepare: then(asCouple, hearOne),
			act: func(ctx context.Context, s *scene) error {
				if s.recovering {
					return nil
				}
				return s.node.Drain(ctx)
			},
		},
		{
			name: "take over", alone: true,
			before: func(ctx context.Context, s *scene) error {
				if err := s.couple(ctx); err != nil {
					return err
				}
				if err := hearOne(ctx, s); err != nil {
					return err
				}
				s.first.arm()
				if err := s.conv("ada", "tea").UpdateKeys(named(ctx, operationID)); err == nil {
					return errors.New("the first node lived")
				}
				return nil
			},
			act: func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").UpdateKeys(ctx) },
		},
	}
}

// hearOne gives bob a message that he does not acknowledge.
func hearOne(ctx context.Context, s *scene) error {
	if _, err := s.conv("ada", "tea").Send(ctx, []byte("one")); err != nil {
		return err
	}
	return s.await(ctx, "bob to have heard", func() (bool, error) {
		a, err := s.conv("ada", "tea").Status(ctx)
		if err != nil {
			return false, err
		}
		b, err := s.conv("bob", "tea").Status(ctx)
		return b.Position >= a.Position && b.Position > 2, err
	})
}

// timeRows are what time makes due. The clock is set forward once, by whichever node comes to it.
func timeRows() []*operation {
	inEpoch := func(epoch uint64) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			return s.awaitIdly(ctx, fmt.Sprint("epoch ", epoch), func() (bool, error) {
				for _, name := range []string{"ada", "bob"} {
					if status, err := s.conv(name, "tea").Status(ctx); err != nil || status.Epoch != epoch {
						return false, err
					}
				}
				return true, nil
			})
		}
	}
	forward := func(by time.Duration) func(context.Context, *scene) error {
		return func(_ context.Context, s *scene) error {
			if s.luggage.Ahead < by {
				s.wind(by - s.luggage.Ahead)
			}
			return nil
		}
	}
	config := func(change func(*parley.Config)) func(*scene, *parley.Options) {
		return func(_ *scene, o *parley.Options) {
			o.Config = parley.DefaultConfig()
			change(&o.Config)
		}
	}
	return []*operation{
		{
			name: "rotation of keys is due", alone: true, prepare: asCouple, act: then(forward(time.Hour), inEpoch(3)),
			options: config(func(c *parley.Config) { c.KeyRotationSpanMs = uint64(time.Hour.Milliseconds()) }),
		},
		{
			name: "commit is due", alone: true,
			prepare: then(asCouple, func(ctx context.Context, s *scene) error {
				_, err := s.conv("bob", "tea").ProposeUpdate(ctx)
				return err
			}),
			act: then(forward(5*time.Minute), inEpoch(2)),
		},
		{
			name: "messages expire", alone: true, prepare: then(asCouple, hearOne), act: then(forward(2*time.Hour), nothingDue),
			options: config(func(c *parley.Config) { c.SpoolAgeMs = uint64(time.Hour.Milliseconds()) }),
		},
		{name: "checkpoint is due", alone: true, prepare: then(asCouple, hearOne), act: then(forward(90*time.Minute), nothingDue)},
		{
			name: "comes back by itself", alone: true, prepare: then(served("ada", "bob"), loseBob), act: bobComesBack,
			options: func(_ *scene, o *parley.Options) { o.Rejoin, o.Limits.RejoinSpread = parley.RejoinAlways, 2*time.Hour },
			check: func(ctx context.Context, s *scene) error {
				status, err := s.conv("bob", "tea").Status(ctx)
				if err == nil && status.Lost != nil {
					err = fmt.Errorf("bob is still lost: %+v", status.Lost)
				}
				return err
			},
		},
		{
			name: "retention", alone: true, options: func(_ *scene, o *parley.Options) { o.Retention = 2 * time.Hour },
			prepare: then(asCouple, hearOne, forward(time.Hour), say("not so old"), forward(4*time.Hour), say("new")),
			act:     then(forward(5*time.Hour), say("newer")),
		},
	}
}

func say(text string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		_, err := s.conv("ada", "tea").Send(ctx, []byte(text))
		return err
	}
}

// nothingDue waits until time has nothing more to do in bob's conversation.
func nothingDue(ctx context.Context, s *scene) error {
	return s.awaitIdly(ctx, "nothing to be due", func() (bool, error) {
		status, err := s.conv("bob", "tea").Status(ctx)
		return status.NextDue.IsZero() || status.NextDue.After(s.clock.Now()), err
	})
}

// loseBob has the group commit what bob cannot follow, a pre-shared key that he has not got, and waits until his way back is planned.
func loseBob(ctx context.Context, s *scene) error {
	if err := s.client("ada").AddPSK(ctx, []byte("psk"), []byte("a key that bob has not got")); err != nil {
		return err
	}
	if _, err := s.node.Propose(ctx, s.convID("tea"), parley.Want{PSK: []byte("psk")}, "to lose bob"); err != nil {
		return err
	}
	err := s.await(ctx, "the proposal to be committed", func() (bool, error) {
		err := s.conv("ada", "tea").CommitPending(ctx)
		status, unread := s.conv("ada", "tea").Status(ctx)
		return status.Epoch == 2, errors.Join(err, unread)
	})
	if err != nil {
		return err
	}
	return s.await(ctx, "bob to know when he comes back", func() (bool, error) {
		status, err := s.conv("bob", "tea").Status(ctx)
		return status.Lost != nil && !status.Lost.Due.IsZero(), err
	})
}

// bobComesBack lets time pass until bob is back: after a crash the next attempt is due later.
func bobComesBack(ctx context.Context, s *scene) error {
	return s.awaitIdly(ctx, "bob to be back", func() (bool, error) {
		his, err := s.conv("bob", "tea").Status(ctx)
		if err != nil {
			return false, err
		}
		if lost := his.Lost; lost != nil && lost.Due.After(s.clock.Now()) {
			s.wind(lost.Due.Sub(s.clock.Now()) + time.Second)
		}
		hers, err := s.conv("ada", "tea").Status(ctx)
		return his.Lost == nil && his.Epoch == 3 && hers.Epoch == 3, err
	})
}
