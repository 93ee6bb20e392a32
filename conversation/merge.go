package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
	"parley/internal/syntax"
)

// Merge makes one event of consumptions that follow each other, as the steps of one record leave them: less to seal, and the same state.
func Merge(evs []events.Event) []events.Event {
	merged := make([]events.Event, 0, len(evs))
	for len(evs) > 0 {
		n, bytes := 0, uint64(0)
		for n < len(evs) {
			body, ok := evs[n].Body.(*v1.MessagesConsumed)
			if !ok || n > 0 && bytes+body.GetBytes() > batchBytesMax {
				break
			}
			n, bytes = n+1, bytes+body.GetBytes()
		}
		one, ok := mergeConsumed(evs[:n])
		if !ok {
			n = max(n, 1)
			merged = append(merged, evs[:n]...)
		} else {
			merged = append(merged, one)
		}
		evs = evs[n:]
	}
	return merged
}

// mergeConsumed is one event in place of several MessagesConsumed; false: they stay as they are.
func mergeConsumed(evs []events.Event) (merged events.Event, ok bool) {
	if len(evs) < 2 {
		return merged, false
	}
	first := evs[0].Body.(*v1.MessagesConsumed)
	all := &v1.MessagesConsumed{FirstMessage: first.GetFirstMessage()}
	for i := range evs {
		body := evs[i].Body.(*v1.MessagesConsumed)
		all.Count += body.GetCount()
		all.Spooled += body.GetSpooled()
		all.Bytes += body.GetBytes()
		all.OwnMessages += body.GetOwnMessages()
		all.OwnGeneration = max(all.OwnGeneration, body.GetOwnGeneration())
		all.Position = max(all.Position, body.GetPosition())
	}
	merged.Body = all
	for _, part := range evs[len(evs)-1].Secrets {
		if part.Plain, ok = concatenated(evs, part.Class); !ok {
			return merged, false
		}
		merged.Secrets = append(merged.Secrets, part)
	}
	return merged, true
}

// concatenated is the encoding of one list, with the elements of those that all events have of a class.
func concatenated(evs []events.Event, class events.Class) (list secret.Bytes, ok bool) {
	lists, size := make([]elements, len(evs)), 0
	for i, e := range evs {
		plain, ok := e.Secret(class)
		if !ok || syntax.DecodeOwned(plain.Expose(), &lists[i]) != nil {
			return secret.Bytes{}, false
		}
		size += len(lists[i])
	}
	all := syntax.AppendLength(make([]byte, 0, size+4), size)
	for _, l := range lists {
		all = append(all, l...)
	}
	return secret.New(all), true
}

// elements are a list whose elements stay encoded.
type elements []byte

// Code walks the list.
func (e *elements) Code(c *syntax.Coder) { syntax.Opaque(c, e) }
