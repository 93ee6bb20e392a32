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
