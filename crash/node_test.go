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
