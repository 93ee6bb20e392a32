package delivery

import (
	"context"
	"testing"
	"time"
)

// TestAQuietGroupIsPurgedByAgeToo sends a message now and then: what is old goes, however little there is of it.
func TestAQuietGroupIsPurgedByAgeToo(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	limits := func(c *Config) { c.Limits.RetainEntries = time.Hour }
	s := w.serving("a", limits)
	bots := crowd(t, s, testGroup, 2)
	for range 4 {
		for _, b := range bots {
			b.now = w.clock.now
		}
		if r := must(s.SubmitMessages(ctx, []Message{bots[0].message("x")}))(t)[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
		w.clock.advance(2 * time.Hour)
	}
	_, err := w.node("b", limits).Follow(ctx, testGroup, 1, 10)
	wants(t, err, Behind)
}

// TestAGroupWithoutTrafficIsPurgedByAge leaves a group alone. The node's patrol lets go what has become too old, and then leaves it alone.
func TestAGroupWithoutTrafficIsPurgedByAge(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	limits := func(c *Config) { c.Limits.RetainEntries = time.Hour }
	s := w.serving("a", limits)
	bots := crowd(t, s, testGroup, 2)
	if r := must(s.SubmitMessages(ctx, []Message{bots[0].message("x")}))(t)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	s.lookAfterAged(ctx)
	if entries, err := w.node("b", limits).Follow(ctx, testGroup, 1, 10); err != nil || len(entries) == 0 {
		t.Fatalf("what is young: %d entries, %v", len(entries), err)
	}
	w.clock.advance(2 * time.Hour)
	s.lookAfterAged(ctx)
	_, err := w.node("c", limits).Follow(ctx, testGroup, 1, 10)
	wants(t, err, Behind)
	if aged, err := w.store.AgedOrders(ctx, w.clock.now().Add(-time.Hour)); err != nil || len(aged) != 0 {
		t.Errorf("still to be looked after: %v, %v", aged, err)
	}
	for _, b := range bots {
		b.now = w.clock.now
	}
	if r := must(s.SubmitMessages(ctx, []Message{bots[0].message("y")}))(t)[0]; r.Err != nil {
		t.Errorf("the group goes on: %v", r.Err)
	}
}
