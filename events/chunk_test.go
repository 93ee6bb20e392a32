package events_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

// content is bytes that do not repeat soon.
func content(n int, seed byte) []byte {
	b := make([]byte, n)
	state := uint32(seed) + 1
	for i := range b {
		state = state*1664525 + 1013904223
		b[i] = byte(state >> 24)
	}
	return b
}

// large is an event with n bytes of public and as many of sealed content.
func large(n int) events.Event {
	return events.Event{
		Body:    &v1.ConversationJoined{GroupInfo: content(n, 1), PublicGroup: content(n/2, 2), KeyPackageRef: []byte("ref")},
		Secrets: []events.Secret{{Class: events.ClassPrivateState, Plain: secret.New(content(n, 3))}},
	}
}

func TestLargePartsTravelInChunks(t *testing.T) {
	for _, n := range []int{1 << 10, 200 << 10, 600 << 10, 3 << 20} {
		w := newWorld(t)
		j, _ := w.replay(conversation)
		event := large(n)
		w.append(j, event, events.Event{Body: &v1.OrderFollowed{Position: 1}})
		w.append(j, consumed("after"))
		for i, m := range w.store.Messages(conversation) {
			if len(m.Data) > 1<<20 {
				t.Errorf("%d bytes: message %d has %d bytes", n, i, len(m.Data))
			}
		}
		_, records := w.replay(conversation)
		sameEvent(t, records[0].Events[0], event)
		if records[0].Size < 2*n {
			t.Errorf("%d bytes: the record's size is %d", n, records[0].Size)
		}
		body := event.Body.(*v1.ConversationJoined)
		if len(body.GroupInfo) != n {
			t.Errorf("%d bytes: the caller's event was changed", n)
		}
	}
}

func TestRecordThatDoesNotFitIsRefused(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	many := &v1.KeyPackagesGenerated{}
	for range 300 {
		many.KeyPackages = append(many.KeyPackages, &v1.KeyPackageEntry{KeyPackage: content(8<<10, 1)})
	}
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{{Body: many}}}); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("2.4 MB of small parts: %v", err)
	}
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{{Body: &v1.OrderCheckpoint{State: make([]byte, 130<<20)}}}}); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("130 MB: %v", err)
	}
	w.append(j, advanced(0, "p"))
}

func TestDamagedChunksAreFound(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	w.append(j, large(1<<20))
	whole := w.store.Messages(conversation)
	damage := func(what string, change func([]events.Message) []events.Message) {
		changed := slices.Clone(whole)
		for i := range changed {
			changed[i].Data = bytes.Clone(changed[i].Data)
		}
		changed = change(changed)
		for i := range changed {
			changed[i].Sequence = uint64(i + 1)
		}
		w.store.Replace(conversation, changed)
		w.wantCorrupt(1, what)
	}
	for i := range len(whole) - 1 {
		damage("flipped", func(m []events.Message) []events.Message { m[i].Data[len(m[i].Data)/2] ^= 4; return m })
		damage("cut", func(m []events.Message) []events.Message { m[i].Data = m[i].Data[:len(m[i].Data)-1]; return m })
		damage("missing", func(m []events.Message) []events.Message { return slices.Delete(m, i, i+1) })
		damage("twice", func(m []events.Message) []events.Message { return slices.Insert(m, i, m[i]) })
	}
	damage("swapped", func(m []events.Message) []events.Message { m[0], m[1] = m[1], m[0]; return m })
}
