package parley_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"parley"
)

func TestARetentionOutOfBoundsIsRefused(t *testing.T) {
	t.Parallel()
	for _, retention := range []time.Duration{-1, time.Second, parley.RetentionMax + 1} {
		data := filepath.Join(t.TempDir(), "data")
		if _, err := parley.Open(t.Context(), parley.Options{Data: data, Retention: retention}); !errors.Is(err, parley.ErrRetention) {
			t.Errorf("%s: %v", retention, err)
		}
		if files, _ := filepath.Glob(data + "*"); len(files) > 0 {
			t.Errorf("%s: it left %v", retention, files)
		}
	}
}

// TestAnOrderIsKeptForItsRetention lets what was sent become older than the node is told to keep it.
func TestAnOrderIsKeptForItsRetention(t *testing.T) {
	t.Parallel()
	clock := &warpedClock{Clock: parley.SystemClock()}
	d := deploy(t)
	node := d.node(t, parley.Options{Clock: clock, Retention: 2 * time.Hour})
	defer closeNode(t, node)
	c := newCouple(t, node)
	order := streams(t, d.url)
	begins := func() uint64 {
		t.Helper()
		stream, err := order.Stream(t.Context(), "parley_DS")
		ok(t, err)
		return stream.CachedInfo().State.FirstSeq
	}
	ok(t, c.say("old")(t.Context()))
	clock.ahead.Store(int64(time.Hour))
	ok(t, c.say("not so old")(t.Context()))
	if at := begins(); at != 1 {
		t.Errorf("after an hour it begins at %d", at)
	}
	clock.ahead.Store(int64(4 * time.Hour))
	ok(t, c.say("new")(t.Context()))
	clock.ahead.Store(int64(5 * time.Hour)) // a part of the retention later there is a checkpoint, and what is old before it goes
	ok(t, c.say("newer")(t.Context()))
	if at := begins(); at == 1 {
		t.Error("everything is kept")
	}
	c.bob.await(t, "what is new", text("newer"))
	agree(t, c.tea, c.bob.Conversation("tea"))
}
