package events

import "context"

// Step names a durable step: something that is stored and then stays.
type Step string

// The durable steps of this package.
const (
	StepRingCreate   Step = "events.ring-create"   // the ring of a new log
	StepRingKeys     Step = "events.ring-keys"     // keys made ahead
	StepAppend       Step = "events.append"        // a record
	StepAppendBatch  Step = "events.append-batch"  // the records of several logs
	StepKeyDeath     Step = "events.key-death"     // dead keys leave the ring; the anchor goes with it
	StepAnchor       Step = "events.anchor"        // the anchor alone
	StepSettle       Step = "events.settle"        // a no-op that takes the place of an append of unknown outcome
	StepTorn         Step = "events.torn"          // a record that supersedes a torn batch
	StepSnapshot     Step = "events.snapshot"      // a snapshot
	StepShredVersion Step = "events.shred-version" // a new shred key
	StepRewrap       Step = "events.rewrap"        // one ring under the new shred key
	StepShredDestroy Step = "events.shred-destroy" // the end of an old shred key
)

// Steps lists them all: tests kill a process before and after each.
func Steps() []Step {
	return []Step{
		StepRingCreate, StepRingKeys, StepAppend, StepAppendBatch, StepKeyDeath, StepAnchor, StepSettle, StepTorn, StepSnapshot,
		StepShredVersion, StepRewrap, StepShredDestroy,
	}
}

// Hooks are called around durable steps. An error is what a crash there would
// be: before, the step does not happen; after, it has happened and the caller
// is not told.
type Hooks struct {
	Before func(ctx context.Context, step Step, id LogID) error
	After  func(ctx context.Context, step Step, id LogID) error
}

func (h Hooks) before(ctx context.Context, step Step, id LogID) error {
	if h.Before == nil {
		return nil
	}
	return h.Before(ctx, step, id)
}

func (h Hooks) after(ctx context.Context, step Step, id LogID) error {
	if h.After == nil {
		return nil
	}
	return h.After(ctx, step, id)
}
