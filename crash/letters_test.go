package crash_test

import (
	"context"
	"fmt"

	"parley"
)

// letterRows are what becomes of a message whose owner cannot handle it. It is put aside at once: when it would come again is a matter of time.
func letterRows() []*operation {
	fail := func(ctx context.Context, s *scene) error {
		return s.hears(ctx, "ada", "bitter", func(ctx context.Context, e parley.Event) error { return e.Fail(ctx, "too bitter") })
	}
	served := then(func(ctx context.Context, s *scene) error {
		if err := s.take(ctx, "ada", "bob"); err != nil {
			return err
		}
		config := parley.DefaultConfig()
		config.MaxDeliveries = 1
		return s.found(ctx, "tea", []string{"ada", "bob"}, config)
	}, func(ctx context.Context, s *scene) error {
		_, err := s.conv("bob", "tea").Send(ctx, []byte("bitter"))
		return err
	})
	aside := then(served, fail, func(ctx context.Context, s *scene) error {
		status, err := s.conv("ada", "tea").Status(ctx)
		if err == nil && status.Holdings.Dead != 1 {
			err = fmt.Errorf("%d messages are put aside", status.Holdings.Dead)
		}
		return err
	})
	return []*operation{
		{name: "fail", covers: "Event.Fail", prepare: served, act: fail},
		{name: "hand over anew", covers: "Conversation.RequeueAll Conversation.Requeue", prepare: aside, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "tea").RequeueAll(ctx)
			return err
		}},
		{name: "drop what failed", covers: "Conversation.DropAll Conversation.Drop", prepare: aside, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "tea").DropAll(ctx)
			return err
		}},
	}
}
