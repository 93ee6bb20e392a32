package events_test

import (
	"fmt"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
)

// TestReplacedDataCannotBeRead sets an application's data again and again, in records of their own and many times in one: only the last can be
// read, and the ring holds one key for all of it.
func TestReplacedDataCannotBeRead(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(clientLog)
	set := func(text string) events.Event {
		return events.Event{Body: &v1.ClientDataSet{Length: uint32(len(text))}, Secrets: []events.Secret{{Class: events.ClassData, Label: "a", Plain: plain(text)}}}
	}
	w.append(j, set("first"))
	var many []events.Event
	for i := range 600 {
		many = append(many, set(fmt.Sprint("many ", i)))
	}
	w.append(j, many...)
	again, records := w.replay(clientLog)
	for _, r := range records {
		for i, e := range r.Events {
			data, ok := e.Secret(events.ClassData)
			if last := r.Version == 2 && i == len(many)-1; ok != last || ok && string(data.Expose()) != "many 599" {
				t.Errorf("event %d of record %d can be read: %v", i, r.Version, ok)
			}
		}
	}
	if again.Keys() > 16 {
		t.Errorf("ring of %d", again.Keys())
	}
	w.append(again, events.Event{Body: &v1.ClientDataSet{}, Forget: []string{events.Forget(events.ClassData, "a")}})
	_, records = w.replay(clientLog)
	if _, ok := records[1].Events[len(many)-1].Secret(events.ClassData); ok {
		t.Error("data that was taken away can be read")
	}
}
