package actors

import (
	"testing"

	"parley/events"
)

func TestATrailLeadsToWhereUnreadMessagesBegin(t *testing.T) {
	var walked trail
	const records, seen = 1000, 300
	for v := uint64(1); v <= records; v++ {
		walked = walked.add(events.Head{Version: v, Sequence: 10 * v}, min(v/2, seen))
		walked = walked.add(events.Head{Version: v, Sequence: 10 * v}, min(v/2, seen)) // a record with several steps
		if len(walked) > trailMax {
			t.Fatalf("%d heads at %d", len(walked), v)
		}
	}
	for _, after := range []cursor{{seen, maxIndex}, {seen + 1, 0}, {500, maxIndex}, {500, 3}, {records, maxIndex}} {
		from, through := walked.before(after).Version, after.version
		if after.index != maxIndex {
			through--
		}
		if from > through || from+records/trailMax*2 < through {
			t.Errorf("after %v the log is read from %d on", after, from)
		}
	}
	if from := walked.before(cursor{version: 10, index: maxIndex}); from != (events.Head{}) {
		t.Errorf("before the trail the log is read from %v on", from)
	}
}
