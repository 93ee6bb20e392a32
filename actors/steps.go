package actors

import (
	"context"

	"parley/delivery"
	"parley/events"
)

// The shell's own steps: moments at which something has left the node or is about to. What is stored is stored by the
// steps of package events.
const (
	StepSendBundle   events.Step = "actors.send-bundle"   // a staged commit goes to the delivery service
	StepSendProposal events.Step = "actors.send-proposal" // a proposal goes to the delivery service
	StepSendMessages events.Step = "actors.send-messages" // application messages go to the delivery service
	StepRegister     events.Step = "actors.register"      // a new group's order is opened
	StepSwap         events.Step = "actors.swap"          // memory moves after the store said yes
	StepCollect      events.Step = "actors.tx-collect"    // a transaction has every participant's records
	StepDecide       events.Step = "actors.tx-decide"     // a transaction's segment is appended: the only commit point
	StepSpread       events.Step = "actors.tx-spread"     // the participants learn the outcome
)

// Steps lists every step of the node, the log's included: demo, simulation and crash tests kill before and after each.
func Steps() []events.Step {
	steps := append(events.Steps(), delivery.Steps()...)
	return append(steps, StepSendBundle, StepSendProposal, StepSendMessages, StepRegister, StepSwap,
		StepCollect, StepDecide, StepSpread)
}

// crash is a hook's error: what stands for the death of the process at a step.
type crash struct{ err error }

func (c *crash) Error() string { return "stopped at a step: " + c.err.Error() }
func (c *crash) Unwrap() error { return c.err }

// crossing runs do between the hooks of a step. An error of a hook is what a crash there would be: the caller stops and does
// nothing that a dead process could not do.
func crossing(ctx context.Context, hooks events.Hooks, step events.Step, id events.LogID, do func() error) error {
	if hooks.Before != nil {
		if err := hooks.Before(ctx, step, id); err != nil {
			return &crash{err}
		}
	}
	if err := do(); err != nil {
		return err
	}
	if hooks.After != nil {
		if err := hooks.After(ctx, step, id); err != nil {
			return &crash{err}
		}
	}
	return nil
}
