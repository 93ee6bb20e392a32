package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// openBatch is what was consumed since the last event: one record may hold
// many messages, and they become as few events as their order allows.
type openBatch struct {
	uses          consumptions
	messages      []ReceivedMessage
	bytes         int
	own           uint32 // own messages seen in the group's order
	ownGeneration uint32 // own generations of this epoch below this were seen there
	position      uint64
	consumed      bool // something was consumed or reserved since the step began
}

// follow notes a position of the group's order that is part of the state.
func (b *openBatch) follow(in incoming) { b.position = max(b.position, in.position) }

// position is the newest entry taken, open batch included.
func (w *work) position() uint64 { return max(w.s.Position, w.batch.position) }

// flush turns the open batch into an event.
func (w *work) flush() error {
	b := w.batch
	w.batch = openBatch{consumed: b.consumed || len(b.uses) > 0}
	switch {
	case len(b.uses) > 0:
		return w.add(w.consumedEvent(b))
	case b.own > 0 || b.position > w.s.Position:
		return w.add(event{body: &v1.OrderFollowed{Position: b.position, OwnMessages: b.own, OwnGeneration: b.ownGeneration}})
	}
	return nil
}

func (w *work) consumedEvent(b openBatch) event {
	list := spooled(b.messages)
	last := b.messages[len(b.messages)-1].Number
	return event{
		body: &v1.MessagesConsumed{
			Count: uint32(len(b.uses)), Position: b.position, FirstMessage: b.messages[0].Number, Spooled: uint32(len(b.messages)),
			Bytes: uint64(b.bytes), OwnMessages: b.own, OwnGeneration: b.ownGeneration,
		},
		secrets: []events.Secret{
			{Class: events.ClassConsumption, Plain: sealedList(&b.uses)},
			{Class: events.ClassSpool, Label: events.Item(spoolStream, last), Plain: sealedList(&list)},
		},
	}
}

// sized is a list that can guess how long its encoding is, which saves growing.
type sized interface {
	syntax.Codable
	sizeHint() int
}

func sealedList(list sized) secret.Bytes {
	return secret.New(syntax.Append(make([]byte, 0, list.sizeHint()), list))
}

// entries takes a batch of the group's order. It stops where the membership
// does, and where one record has enough.
func (w *work) entries(in Entries) error {
	if err := w.listener(); err != nil {
		return err
	}
	spent := 0
	for _, e := range in.Entries {
		if e.Number <= w.position() {
			w.reply.Taken++
			continue
		}
		if e.Number != w.position()+1 {
			if w.reply.Taken == 0 {
				return refuse(OrderGap, Retry, "entry %d follows %d", e.Number, w.position())
			}
			return nil
		}
		if size := e.size(); spent > 0 && spent+size > batchBytesMax {
			return nil
		} else {
			spent += size
		}
		if err := w.entry(e); err != nil {
			return err
		}
		w.reply.Taken++
		if w.s.Lifecycle != Active && w.s.Lifecycle != RolledBack {
			return nil
		}
	}
	return nil
}

func (e Entry) size() int {
	n := len(e.Message) + len(e.EncryptedMessage)
	for _, p := range e.Proposals {
		n += len(p)
	}
	return n
}

// entry takes one entry. A commit comes with the committer's own proposals
// before it and possibly a message of the new epoch behind it.
func (w *work) entry(e Entry) error {
	in := incoming{bytes: e.Message, position: e.Number, ordered: true, sender: e.Sender}
	switch e.Kind {
	case EntryApplication:
		in.content = mlsengine.ContentTypeApplication
		return w.take(in)
	case EntryProposal:
		in.content = mlsengine.ContentTypeProposal
		return w.take(in)
	case EntryCommit:
		return w.commitEntry(e, in)
	case EntryRestarted:
		waiting := w.s.waiting()
		if err := w.clearBuffer("the group is closed"); err != nil {
			return err
		}
		if err := w.emitSealed(event{body: &v1.GroupRestarted{Successor: e.Message, Reason: "by an operator"}}, nil); err != nil {
			return err
		}
		return w.abandon(waiting, refuse(GroupEnded, GiveUp, "the group goes on as %s", ids.ConversationID(e.Message)))
	case EntryGroup:
	}
	w.batch.follow(in)
	w.note(Outcome{Kind: OutcomeOther, Position: e.Number})
	return nil
}

// behindCommit takes the message of the new epoch that came with a commit.
func (w *work) behindCommit(message []byte, commit incoming) error {
	if len(message) == 0 || !w.listening() {
		return nil
	}
	return w.take(incoming{
		bytes: message, position: commit.position, ordered: true, sender: commit.sender, content: mlsengine.ContentTypeApplication,
	})
}

func (w *work) commitEntry(e Entry, in incoming) error {
	for _, p := range e.Proposals {
		if err := w.take(incoming{bytes: p, position: e.Number, ordered: true, sender: e.Sender, content: mlsengine.ContentTypeProposal}); err != nil {
			return err
		}
	}
	in.content = mlsengine.ContentTypeCommit
	if err := w.take(in); err != nil {
		return err
	}
	return w.behindCommit(e.EncryptedMessage, in)
}
