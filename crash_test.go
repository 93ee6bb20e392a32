package parley_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"parley"
	"parley/events"
)

var errCrash = errors.New("crash")

// crasher fails the first passing of a step once it is armed: what follows that moment does not happen.
type crasher struct {
	step   parley.Step
	before bool
	armed  atomic.Bool
	hit    atomic.Bool
}

func (c *crasher) hooks() parley.Hooks {
	hook := func(before bool) func(context.Context, parley.Step, events.LogID) error {
		return func(_ context.Context, step parley.Step, _ events.LogID) error {
			if before == c.before && step == c.step && c.armed.CompareAndSwap(true, false) {
				c.hit.Store(true)
				return fmt.Errorf("%w at %s", errCrash, step)
			}
			return nil
		}
	}
	return parley.Hooks{Before: hook(true), After: hook(false)}
}
