package conversation

import (
	"slices"

	"parley/events"
	v1 "parley/events/v1"
)

// spoolStream is the stream that spooled messages are items of.
const spoolStream = "message"

// A spool mark covers so many messages or such a time before the next begins.
const (
	markMessagesMax = 1000
	markAgeMaxMs    = 10 * minuteMs
)

// add counts a run of spooled messages in. Runs that are close together share
// a mark, and above the bound neighbours merge: a mark only says where to begin
// to read, so a coarser one costs time, not messages.
func (s Spool) add(first uint64, count uint32, version, timeMs uint64) Spool {
	if count == 0 {
		return s
	}
	last := first + uint64(count) - 1
	s.Next = last + 1
	marks := slices.Clone(s.Marks)
	for first <= last { // filled up, so that it does not matter in how many runs the messages of a record come
		n := len(marks)
		if n == 0 || first-marks[n-1].First >= markMessagesMax || timeMs-marks[n-1].TimeMs >= markAgeMaxMs {
			marks = append(marks, SpoolMark{First: first, Version: version, TimeMs: timeMs})
			n++
		}
		newest := &marks[n-1]
		newest.Last, newest.LastMs = min(last, newest.First+markMessagesMax-1), timeMs
		first = newest.Last + 1
		if n > SpoolMarksMax {
			marks = mergeMarks(marks)
		}
	}
	s.Marks = marks
	return s
}

// mergeMarks halves the number of marks, sparing the newest.
func mergeMarks(marks []SpoolMark) []SpoolMark {
	merged := make([]SpoolMark, 0, len(marks)/2+1)
	for i := 0; i < len(marks); i += 2 {
		m := marks[i]
		if i+1 < len(marks) {
			m.Last, m.LastMs = marks[i+1].Last, marks[i+1].LastMs
		}
		merged = append(merged, m)
	}
	return merged
}

// through forgets everything up to a number.
func (s Spool) through(number uint64) Spool {
	s.Acknowledged = max(s.Acknowledged, number)
	s.Marks = slices.DeleteFunc(slices.Clone(s.Marks), func(m SpoolMark) bool { return m.Last <= s.Acknowledged })
	return s
}

// acknowledge says that the owner has its messages; the keys of what it has die.
func (w *work) acknowledge(in Acknowledge) error {
	through, seen := min(in.Through, w.s.Spool.Next-1), min(in.Version, w.s.Version)
	if through <= w.s.Spool.Acknowledged && seen <= w.s.Spool.Seen {
		return nil
	}
	through = max(through, w.s.Spool.Acknowledged)
	return w.emit(event{body: &v1.MessagesDelivered{Through: through, Version: seen}, forget: forgetMessages(through)})
}

// expireSpool drops whole marks whose newest message is above the age.
func (w *work) expireSpool() error {
	age := w.s.Config.SpoolAgeMs
	if age == 0 {
		return nil
	}
	through := w.s.Spool.Acknowledged
	for _, m := range w.s.Spool.Marks {
		if later(m.LastMs, age) <= w.now() {
			through = max(through, m.Last)
		}
	}
	return w.dropSpool(through)
}

// dropSpool says that messages up to a number were never acknowledged and are gone.
func (w *work) dropSpool(through uint64) error {
	lost := through - min(through, w.s.Spool.Acknowledged)
	if lost == 0 {
		return nil
	}
	return w.emit(event{body: &v1.DeliveryExpired{Through: through, Count: uint32(lost)}, forget: forgetMessages(through)})
}

func forgetMessages(through uint64) []string {
	return []string{events.ForgetThrough(events.ClassSpool, spoolStream, through)}
}
