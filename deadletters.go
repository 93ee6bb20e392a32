package parley

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"parley/actors"
	"parley/conversation"
)

// DeadLetter is a message that was put aside because its owner's handling of it kept failing: see Event.Fail. It stays sealed in the log, under a
// key of its own, until it is handed over anew, dropped, or above the age of Config.DeadLetterAgeMs.
type DeadLetter struct {
	Number   uint64    // of the message: Message.Number
	ID       string    // of its Event
	Failures int       // since it was received, or handed over anew
	Bytes    int       // of the message, with what was said of the failure
	First    time.Time // when its handling failed first
	Last     time.Time // and last
	Since    time.Time // when it was put aside
}

// DeadMessage is a dead letter with what it says.
type DeadMessage struct {
	DeadLetter
	Message  *Message
	Epoch    uint64
	Position uint64
	Time     time.Time // of the message
	Reason   string    // what was said of its newest failure
}

// DeadLettersMax bounds how many dead letters a conversation keeps, and with it a page of them. Above it, and above 4 MiB of them, the oldest are
// dropped, and the log says so.
const DeadLettersMax = conversation.DeadLettersMax

// FailingMax is how many messages of a conversation may wait to be handed over again. While there are so many, no new one of the conversation is;
// Conversation.RequeueAll ends the wait.
const FailingMax = conversation.FailingMax

// Fail says that the event's message could not be handled, and why, which is for people and is cut after 256 bytes; it is sealed like the message.
// The message comes again, as an Event of the same ID with its Failures, after a second, then two, four, and so on up to an hour; also on another
// node. After Config.MaxDeliveries failures it is put aside (DeadLetters). Fail returns when that is durable, and where it does not, the
// message counts as not answered: acknowledging a later one would acknowledge it too.
//
// What comes behind the message goes on, and its Ack does not cover what has failed before. Only what Fail was told of counts as a failure: a
// message that is never answered, be it that its owner dies over it, comes again with the next stream. Where FailingMax messages have
// failed already the answer is Busy. Events that are no messages cannot fail: DeliveryNotOpen.
func (e Event) Fail(ctx context.Context, reason string) error {
	if e.stream == nil {
		return wrap("fail", &conversation.CommandError{Code: DeliveryNotOpen, Advice: GiveUp, Detail: "the event is no message"})
	}
	return e.Conversation.wrap("fail", e.stream.Fail(ctx, e.delivery, reason))
}

// DeadLetters lists dead letters by their numbers, those above after, at most so many.
func (c *Conversation) DeadLetters(ctx context.Context, after uint64, limit int) ([]DeadLetter, error) {
	s, err := c.state(ctx)
	if err != nil {
		return nil, c.wrap("dead letters", err)
	}
	var page []DeadLetter
	for _, l := range s.Spool.Letters {
		if l.Dead() && l.Number > after {
			page = append(page, c.deadLetter(l))
		}
	}
	slices.SortFunc(page, func(a, b DeadLetter) int { return cmp.Compare(a.Number, b.Number) })
	return page[:min(len(page), max(limit, 0))], nil
}

// DeadLetter reads one message that is put aside.
func (c *Conversation) DeadLetter(ctx context.Context, number uint64) (DeadMessage, error) {
	found, err := c.client.node.actors.Letter(ctx, c.client.id, c.id, number)
	if err == nil && !found.Dead() {
		err = &conversation.CommandError{Code: DeadLetterNotFound, Advice: GiveUp, Detail: "the message is to be handed over again"}
	}
	if err != nil {
		return DeadMessage{}, c.wrap("dead letter", err)
	}
	m := &found.Message
	return DeadMessage{
		DeadLetter: c.deadLetter(found.Letter), Message: messageOf(m), Epoch: uint64(m.Epoch), Position: m.Position, Time: timeOf(m.TimeMs), Reason: found.Reason,
	}, nil
}

// Requeue hands messages over anew, at once and as if they had never failed: dead letters, and also such as wait to be handed over again.
func (c *Conversation) Requeue(ctx context.Context, numbers ...uint64) error {
	meta := c.client.meta(ctx, "requeue", numbersBytes(numbers))
	_, err := c.do(ctx, "requeue", conversation.RequeueLetters{CommandMeta: meta, Numbers: numbers})
	return err
}

// RequeueAll is Requeue of every dead letter and of all that waits to be handed over again: for when what the handler needs is back. It returns how
// many there were.
func (c *Conversation) RequeueAll(ctx context.Context) (int, error) {
	reply, err := c.do(ctx, "requeue", conversation.RequeueLetters{CommandMeta: c.client.meta(ctx, "requeue_all"), All: true})
	return reply.Letters, err
}

// Drop lets go of messages that have failed: dead letters, and also such as wait to be handed over again. They cannot be read any more then.
func (c *Conversation) Drop(ctx context.Context, numbers ...uint64) error {
	meta := c.client.meta(ctx, "drop", numbersBytes(numbers))
	_, err := c.do(ctx, "drop", conversation.DropLetters{CommandMeta: meta, Numbers: numbers})
	return err
}

// DropAll is Drop of every dead letter. It returns how many there were.
func (c *Conversation) DropAll(ctx context.Context) (int, error) {
	reply, err := c.do(ctx, "drop", conversation.DropLetters{CommandMeta: c.client.meta(ctx, "drop_all"), All: true})
	return reply.Letters, err
}

func numbersBytes(numbers []uint64) []byte {
	var b []byte
	for _, number := range numbers {
		b = binary.BigEndian.AppendUint64(b, number)
	}
	return b
}

func (c *Conversation) deadLetter(l conversation.Letter) DeadLetter {
	return DeadLetter{
		Number: l.Number, ID: eventID(c.id, l.Version, int(l.Index)), Failures: int(l.Failures), Bytes: int(l.Bytes),
		First: timeOf(l.SinceMs), Last: timeOf(l.FailedMs), Since: timeOf(l.DeadMs),
	}
}

// eventID is the name of what a conversation's log has for its owner.
func eventID(id ConversationID, version uint64, index int) string {
	return fmt.Sprintf("%s/%d/%d", id, version, index)
}

// handed yields what the stream has found, until so much has failed that the rest has to wait: the stream gives it again. It reports whether the
// caller wants more.
func (c *Client) handed(ctx context.Context, stream *actors.Stream, found []actors.Delivery, yield func(Event, error) bool) bool {
	for i, d := range found {
		if stream.Holds(found, i) {
			return true
		}
		if joined(d) {
			c.replenish(ctx)
		}
		if !yield(c.event(stream, d), nil) {
			return false
		}
	}
	return true
}
