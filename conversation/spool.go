package conversation

import (
	"slices"

	"parley/events"
	v1 "parley/events/v1"
)

// The streams that spooled messages, and history secrets, are items of.
const (
	spoolStream   = "message"
	historyStream = "history"
)

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
	for len(s.Aside) > 0 && s.Aside[0] <= s.Acknowledged+1 { // what has failed is acknowledged apart
		s.Acknowledged, s.Aside = max(s.Acknowledged, s.Aside[0]), s.Aside[1:]
	}
	s.Marks = slices.DeleteFunc(slices.Clone(s.Marks), func(m SpoolMark) bool { return m.Last <= s.Acknowledged })
	return s
}

// hold counts a history secret in.
func (s Spool) hold(number, version, timeMs uint64) Spool {
	s.Secrets = number
	s.Held = append(slices.Clone(s.Held), HeldSecret{Number: number, Version: version, TimeMs: timeMs})
	return s
}

// heldThrough forgets the history secrets up to a number.
func (s Spool) heldThrough(number uint64) Spool {
	s.Held = slices.DeleteFunc(slices.Clone(s.Held), func(h HeldSecret) bool { return h.Number <= number })
	return s
}

// From is the oldest version whose record, or one behind it, may hold something that the owner has not acknowledged.
func (s Spool) From() uint64 {
	if len(s.Held) > 0 && s.Held[0].Version <= s.Seen {
		return s.Held[0].Version - 1
	}
	return s.Seen
}

// Open reports whether a message or a history secret is not acknowledged, and has not failed.
func (s Spool) Open(m *ReceivedMessage) bool {
	if m.History != "" {
		return slices.ContainsFunc(s.Held, func(h HeldSecret) bool { return h.Number == m.Number })
	}
	_, aside := slices.BinarySearch(s.Aside, m.Number)
	return m.Number > s.Acknowledged && !aside
}

// acknowledge says that the owner has its messages; the keys of what it has die.
func (w *work) acknowledge(in Acknowledge) error {
	if err := w.settleLetter(in.Letter); err != nil {
		return err
	}
	spool := w.s.Spool
	through, seen, history := min(in.Through, spool.Next-1), min(in.Version, w.s.Version), min(in.History, spool.Secrets)
	for _, h := range spool.Held {
		if in.Histories && h.Version <= seen {
			history = max(history, h.Number)
		}
	}
	if len(spool.Held) == 0 || history < spool.Held[0].Number {
		history = 0
	}
	if through <= spool.Acknowledged && seen <= spool.Seen && history == 0 {
		return nil
	}
	through = max(through, spool.Acknowledged)
	return w.emit(event{
		body:   &v1.MessagesDelivered{Through: through, Version: seen, History: history},
		forget: forgetMessages(spool.through(through).Acknowledged, history),
	})
}

// expireSpool drops whole marks whose newest message is above the age, and messages that have failed and are.
func (w *work) expireSpool() error {
	if err := w.expireLetters(); err != nil {
		return err
	}
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
	history := uint64(0)
	for _, h := range w.s.Spool.Held {
		if later(h.TimeMs, age) <= w.now() {
			history = h.Number
		}
	}
	return w.dropSpool(through, history)
}

// dropSpool says that messages, and history secrets, up to a number were never
// acknowledged and are gone.
func (w *work) dropSpool(through, history uint64) error {
	lost := through - min(through, w.s.Spool.Acknowledged)
	for _, n := range w.s.Spool.Aside {
		if n <= through {
			lost-- // it has failed, and is no message that nobody took
		}
	}
	if held := w.s.Spool.Held; len(held) == 0 || history < held[0].Number {
		history = 0
	}
	if lost == 0 && history == 0 {
		return nil
	}
	through = max(through, w.s.Spool.Acknowledged)
	return w.emit(event{
		body:   &v1.DeliveryExpired{Through: through, Count: uint32(lost), History: history},
		forget: forgetMessages(w.s.Spool.through(through).Acknowledged, history),
	})
}

// loseSpool says that all that was never acknowledged is gone, and what has failed.
func (w *work) loseSpool() error {
	numbers := make([]uint64, len(w.s.Spool.Letters))
	for i, l := range w.s.Spool.Letters {
		numbers[i] = l.Number
	}
	if err := w.dropLetters(numbers, LetterSecretsLost); err != nil {
		return err
	}
	return w.dropSpool(w.s.Spool.Next-1, w.s.Spool.Secrets)
}

func forgetMessages(through, history uint64) []string {
	forget := []string{events.ForgetThrough(events.ClassSpool, spoolStream, through)}
	if history > 0 {
		forget = append(forget, events.ForgetThrough(events.ClassSpool, historyStream, history))
	}
	return forget
}
