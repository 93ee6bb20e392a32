package parley_test

import (
	"context"
	"testing"
	"time"

	"parley"
	"parley/events"
)

// TestAnchorsFollowWithinAMoment lets conversations and clients append what nobody waits to be anchored: their anchors follow without
// any further traffic.
func TestAnchorsFollowWithinAMoment(t *testing.T) {
	t.Parallel()
	anchored := make(chan events.LogID, 64)
	hooks := parley.Hooks{After: func(_ context.Context, step parley.Step, log events.LogID) error {
		if step == "events.anchor" || step == "events.key-death" {
			select {
			case anchored <- log:
			default:
			}
		}
		return nil
	}}
	node := openNode(t, parley.Options{Hooks: hooks, Limits: parley.Limits{AnchorDelay: 300 * time.Millisecond}})
	defer closeNode(t, node)
	ada, err := node.Client(t.Context(), "ada")
	ok(t, err)
	tea, err := ada.Create(t.Context(), "tea")
	ok(t, err)
	for log, append := range map[events.LogID]func() error{
		events.ConversationLog("ada", "tea"): func() error { _, err := tea.ProposeUpdate(t.Context()); return err },
		events.ClientLog("ada"):              func() error { _, err := ada.GenerateKeyPackages(t.Context(), 1); return err },
	} {
		// What came before is anchored at the latest by now.
		quiet := time.After(time.Second)
		for waiting := true; waiting; {
			select {
			case <-anchored:
			case <-quiet:
				waiting = false
			}
		}
		ok(t, append())
		timeout := time.After(patience)
		for found := false; !found; {
			select {
			case got := <-anchored:
				found = got == log
			case <-timeout:
				t.Fatalf("the anchor of %s does not follow", log)
			}
		}
	}
}
