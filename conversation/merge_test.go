package conversation

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

// TestRunsOfOneRecordMayBeMerged counts messages in one by one and in runs of any length: the marks are the same.
func TestRunsOfOneRecordMayBeMerged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	one, run := Spool{Next: 1}, Spool{Next: 1}
	for version := uint64(1); version < 400; version++ {
		count, timeMs := uint32(rng.IntN(2*markMessagesMax)), version*minuteMs
		first := run.Next
		run = run.add(first, count, version, timeMs)
		for n := range uint64(count) {
			one = one.add(first+n, 1, version, timeMs)
		}
		if !reflect.DeepEqual(one, run) {
			t.Fatalf("version %d, %d messages: %v, one by one %v", version, count, run, one)
		}
	}
}

// TestMergeKeepsOrderAndBounds merges what follows each other, up to what one event holds, and nothing across another event.
func TestMergeKeepsOrderAndBounds(t *testing.T) {
	number := uint64(0)
	consumed := func(bytes int) events.Event {
		number++
		w := &work{}
		e := w.consumedEvent(openBatch{
			uses: consumptions{{generation: 7}}, bytes: bytes, position: number,
			messages: []ReceivedMessage{{Number: number, Plaintext: secret.New(make([]byte, bytes))}},
		})
		return events.Event{Body: e.body, Secrets: e.secrets}
	}
	other := events.Event{Body: &v1.CommandCompleted{}}
	merged := Merge([]events.Event{consumed(10), consumed(20), other, consumed(30), consumed(batchBytesMax), other, other})
	if len(merged) != 6 {
		t.Fatalf("%d events", len(merged))
	}
	both := merged[0].Body.(*v1.MessagesConsumed)
	if both.GetCount() != 2 || both.GetSpooled() != 2 || both.GetBytes() != 30 || both.GetFirstMessage() != 1 || both.GetPosition() != 2 {
		t.Error("merged:", both)
	}
	if label := merged[0].Secrets[1].Label; label != events.Item(spoolStream, 2) {
		t.Error("label", label)
	}
	messages, err := Messages(&events.Record{Events: merged})
	if err != nil || len(messages) != 4 {
		t.Fatal(len(messages), err)
	}
	for i, m := range messages {
		if m.Number != uint64(i+1) {
			t.Error("message", i, "has number", m.Number)
		}
	}
}
