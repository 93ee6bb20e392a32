package actors

import (
	"errors"
	"testing"
)

// TestPlacesInTheQueueOfAGroup: one client gets a part of a sequencer's room, a few places in any case; that it has them all takes nothing from other
// clients, nor from itself in other groups, and what it leaves it may take again.
func TestPlacesInTheQueueOfAGroup(t *testing.T) {
	for room, most := range map[int]int{placesMin * placeShare * 4: placesMin * 4, 1: placesMin} {
		p, ada := newPlaces(room), place{"tea", "ada"}
		for i := range most {
			if !p.take(ada) {
				t.Fatalf("room for %d: place %d is refused", room, i)
			}
		}
		if p.take(ada) {
			t.Errorf("room for %d: more than %d places", room, most)
		}
		if !p.take(place{"tea", "bob"}) || !p.take(place{"cake", "ada"}) {
			t.Errorf("room for %d: the others find none", room)
		}
		p.leave(ada)
		if !p.take(ada) || p.take(ada) {
			t.Errorf("room for %d: a place that was left is not one place", room)
		}
		for range most {
			p.leave(ada)
		}
		if len(p.waiting) != 2 {
			t.Errorf("room for %d: %d clients are remembered, two wait", room, len(p.waiting))
		}
	}
}

// TestIntakeCountsPerActorAndPerNode: what is refused is counted nowhere but as refused, and what is answered makes room.
func TestIntakeCountsPerActorAndPerNode(t *testing.T) {
	i := intake{perActor: 2, perNode: 3}
	one, other := &entry{}, &entry{}
	admit := func(e *entry) func() {
		t.Helper()
		release, err := i.admit(e)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	refused := func(e *entry) {
		t.Helper()
		if _, err := i.admit(e); !errors.Is(err, ErrBusy) {
			t.Errorf("admitted: %v", err)
		}
	}
	first := admit(one)
	admit(one)
	refused(one)
	admit(other)
	refused(other) // the node is full
	first()
	admit(other)
	refused(one)
	if i.waiting.Load() != 3 || one.waiting.Load() != 1 || other.waiting.Load() != 2 || i.refused.Load() != 3 {
		t.Errorf("%d wait, %d and %d of them; %d were refused", i.waiting.Load(), one.waiting.Load(), other.waiting.Load(), i.refused.Load())
	}
}
