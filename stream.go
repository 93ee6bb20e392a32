package parley

import (
	"context"
	"iter"
	"time"

	"parley/actors"
	"parley/conversation"
)

// Event is a message, or a change of the membership, of one of a client's conversations, or the loss of the client. It comes again, under the same ID, until it
// is acknowledged: with the next stream, or, where Fail said so, after a while.
type Event struct {
	Conversation *Conversation
	ID           string // stable: whoever has seen it has seen this event
	Time         time.Time
	Epoch        uint64
	Position     uint64 // in the group's order
	Message      *Message
	Membership   *Membership
	Failures     int            // how often the handling of the message has failed
	History      *HistoryShared // the conversation is shared with readers of history from here on
	// Lost says that the client itself has lost the end of its log or its keys (see ClientStatus), and nothing else is set. It stands at the
	// beginning of every stream of such a client; what its conversations still receive follows.
	Lost Code
	// KeyPackages says that the client's published key packages run out, and nothing else is set.
	KeyPackages *KeyPackageNotice

	ack      func(context.Context) error // of what is no delivery of a conversation
	stream   *actors.Stream
	delivery actors.Delivery
}

// Message is a decrypted application message.
type Message struct {
	Sender ClientID // verified
	Leaf   uint32
	Number uint64 // running number in the conversation, from 1
	Text   []byte
	AAD    []byte
}

// Membership is a change of who is in the conversation, or of our own standing in it.
type Membership = conversation.Membership

// Ack says that the event, and everything before it in its conversation that has not failed, need not come again; for an event that has failed
// (see Fail), that it alone need not. It returns when that is durable, and what was decrypted can no longer be read from the log then.
func (e Event) Ack(ctx context.Context) error {
	if e.ack != nil {
		return wrap("ack", e.ack(ctx))
	}
	if e.stream == nil {
		return nil
	}
	return e.Conversation.wrap("ack", e.stream.Acknowledge(ctx, e.delivery))
}

// Reply sends a message to the event's conversation, with Insist and under the event's id: an event that comes again after a crash is not
// answered twice.
func (e Event) Reply(ctx context.Context, text []byte) error {
	return e.Conversation.client.node.Insist(WithCommandID(ctx, CommandID(e.ID)), func(ctx context.Context) error {
		_, err := e.Conversation.Send(ctx, text)
		return err
	})
}

// Events streams what the client's conversations receive, beginning with everything that was not acknowledged. Order holds within a
// conversation, but for messages that have failed, which others pass. A client has one stream at a time. It ends with an error when ctx ends, the
// node is closed, or another node serves the client (ErrNotHere): the stream that is opened there begins with what was not acknowledged here.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		stream, err := c.node.actors.Subscribe(ctx, c.id)
		if err != nil {
			yield(Event{}, wrap("events", err))
			return
		}
		defer stream.Close()
		if status, err := c.Status(ctx); err == nil && status.Lost != "" && !yield(Event{ID: string(status.Lost), Lost: status.Lost}, nil) {
			return
		}
		told := map[string]bool{}
		c.node.actors.Poke(c.id)
		for {
			found, err := stream.Next(ctx)
			if err != nil {
				yield(Event{}, wrap("events", err))
				return
			}
			if len(found) == 0 {
				for _, e := range c.stockEvents(ctx, told) {
					if !yield(e, nil) {
						return
					}
				}
			}
			if !c.handed(ctx, stream, found, yield) {
				return
			}
		}
	}
}

func joined(d actors.Delivery) bool {
	return d.Membership != nil && d.Membership.Kind == conversation.MembershipJoined
}

func (c *Client) event(stream *actors.Stream, d actors.Delivery) Event {
	e := Event{
		Conversation: c.Conversation(d.Conversation), ID: eventID(d.Conversation, d.Version, d.Index), Time: timeOf(d.TimeMs),
		Failures: int(d.Failures), Membership: d.Membership, stream: stream, delivery: d,
	}
	switch {
	case d.Message != nil && d.Message.History != "":
		e.History, e.Epoch, e.Position = sharedHistory(d.Message), uint64(d.Message.Epoch), d.Message.Position
	case d.Message != nil:
		e.Message, e.Epoch, e.Position = messageOf(d.Message), uint64(d.Message.Epoch), d.Message.Position
	default:
		e.Epoch, e.Position = uint64(d.Membership.Epoch), d.Membership.Position
	}
	return e
}

func messageOf(m *conversation.ReceivedMessage) *Message {
	return &Message{Sender: m.Sender, Leaf: uint32(m.Leaf), Number: m.Number, Text: append([]byte(nil), m.Plaintext.Expose()...), AAD: m.AAD}
}
