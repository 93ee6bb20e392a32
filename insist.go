package parley

import (
	"context"
	"time"

	"parley/delivery"
)

// Insist runs a command until it succeeds, fails for good, or ctx ends: an error that advises to retry is met with the same command
// under the same id after a pause, so that it takes effect once however often it is asked.
func (n *Node) Insist(ctx context.Context, command func(context.Context) error) error {
	if settingsOf(ctx).command == "" {
		ctx = WithCommandID(ctx, n.actors.NewCommandID())
	}
	s := settingsOf(ctx)
	s.began = n.options.Clock.Now() // a transaction that is run again keeps its precedence
	ctx = context.WithValue(ctx, settingsKey{}, s)
	for attempt := 0; ; attempt++ {
		err := command(ctx)
		if err == nil || AdviceOf(err) != Retry || ctx.Err() != nil {
			return err
		}
		n.options.Logger.Debug("asked again", "attempt", attempt, "err", err)
		due := make(chan struct{})
		timer := n.options.Clock.AfterFunc(delivery.PauseAfter(attempt+1), func() { close(due) })
		select {
		case <-due:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// inBackground runs something beside the node, until stop is called; stop waits for its end.
func inBackground(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// timeOf turns Unix milliseconds into a time.
func timeOf(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
