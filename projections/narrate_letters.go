package projections

import (
	"fmt"

	eventsv1 "parley/events/v1"
)

// letters words what became of messages whose owner could not handle them.
func (n *Narrator) letters(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.DeliveryFailed:
		clause := fmt.Sprintf("the owner of %s could not handle message %d (%s)", n.who, b.GetNumber(), plural(b.GetFailures(), "failure"))
		if b.GetDueMs() > 0 {
			clause += ", which comes again at " + Timestamp(b.GetDueMs())
		}
		return clause
	case *eventsv1.MessageDeadLettered:
		return fmt.Sprintf("%s put message %d aside after %s", n.who, b.GetNumber(), plural(b.GetFailures(), "failure"))
	case *eventsv1.LettersSettled:
		return fmt.Sprintf("the owner of %s acknowledged %s that had failed", n.who, numbered(b.GetNumbers()))
	case *eventsv1.LettersRequeued:
		return fmt.Sprintf("%s hands %s over anew", n.who, numbered(b.GetNumbers()))
	case *eventsv1.LettersDropped:
		return fmt.Sprintf("%s dropped %s that had failed%s", n.who, numbered(b.GetNumbers()), reason(b.GetReason()))
	}
	return ""
}

// numbered names messages by their numbers.
func numbered(numbers []uint64) string {
	if len(numbers) == 1 {
		return fmt.Sprintf("message %d", numbers[0])
	}
	names := make([]string, len(numbers))
	for i, number := range numbers {
		names[i] = fmt.Sprint(number)
	}
	return "messages " + enumerate(names)
}
