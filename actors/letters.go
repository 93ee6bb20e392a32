package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
)

// letterPlaces is where to begin to read for messages that have failed, each from the record before the one that holds it. What a snapshot has
// passed over is not there: the first to need it reads the log from the beginning, and finds the places of all.
type letterPlaces struct {
	at     map[uint64]events.Head // by the message's number
	newest events.Head            // of the records seen
}

// pass takes note of what the record behind the newest one has.
func (p *letterPlaces) pass(evs []events.Event) {
	for i := range evs {
		if body, ok := evs[i].Body.(*v1.DeliveryFailed); ok {
			p.put(body.GetNumber(), p.newest)
		}
	}
}

func (p *letterPlaces) put(number uint64, before events.Head) {
	if p.at == nil {
		p.at = map[uint64]events.Head{}
	}
	p.at[number] = before
}

// keep forgets the places of what is gone.
func (p *letterPlaces) keep(spool conversation.Spool) {
	maps.DeleteFunc(p.at, func(number uint64, _ events.Head) bool {
		_, there := spool.Letter(number)
		return !there
	})
}

// lettersMoved takes note of what a durable step did to messages that have failed. The owner's stream is told: something may be due, and there
// may be room for new messages again.
func (a *conversationActor) lettersMoved(evs []events.Event) {
	moved := false
	for i := range evs {
		switch evs[i].Body.(type) {
		case *v1.DeliveryFailed, *v1.MessageDeadLettered, *v1.LettersSettled, *v1.LettersRequeued, *v1.LettersDropped:
			moved = true
		}
	}
	if moved {
		a.letters.keep(a.state.Spool)
		a.node.hub.wake(a.client, a.conversation, nobody)
	}
}

// nobody who observes is told.
func nobody() bool { return false }

// redeliver tells the owner's stream of messages whose time to be handed over again has come.
func (a *conversationActor) redeliver() {
	if len(a.state.Spool.Due(a.now())) > 0 {
		a.node.hub.wake(a.client, a.conversation, nobody)
	}
}

// wakeAt is when the actor is to be woken next, in Unix milliseconds; 0: never.
func (a *conversationActor) wakeAt() uint64 {
	return conversation.Earlier(a.due(), a.state.Spool.NextRedelivery(a.now()))
}

// lettersBytesMax bounds the messages that are read from the log at once.
const lettersBytesMax = 1 << 20

// overdue adds to an answer what has failed, is due, and was not handed to this stream yet. It returns those that nobody can read any more.
func (a *conversationActor) overdue(q undelivered, out *handOff) (lost []uint64, err error) {
	var due []conversation.Letter
	size := 0
	for _, l := range a.state.Spool.Due(a.now()) {
		if q.Handed[l.Number] == l.Turn {
			continue
		}
		if size += int(l.Bytes); len(due) == q.Max || len(due) > 0 && size > lettersBytesMax {
			out.More = true
			break
		}
		due = append(due, l)
	}
	found, err := a.readLetters(due)
	if err != nil {
		return nil, err
	}
	for _, l := range due {
		failed, ok := found[l.Number]
		if !ok {
			lost = append(lost, l.Number)
			continue
		}
		out.Items = append(out.Items, Delivery{
			Conversation: a.conversation, Version: l.Version, Index: int(l.Index), TimeMs: failed.Message.TimeMs, Message: &failed.Message,
			Turn: l.Turn, Failures: l.Failures,
		})
	}
	return lost, nil
}

// lose says of messages that their keys are gone. Nothing but a log that lost its end after the keys died leads here.
func (a *conversationActor) lose(c actor.Context, numbers []uint64) {
	if len(numbers) == 0 || a.copy != nil {
		return
	}
	a.node.logger.Error("failed messages cannot be read any more", "log", a.log.String(), "messages", len(numbers))
	if _, err := a.absorb(c, work{Conversation: conversation.LoseLetters{Numbers: numbers}}); err != nil && !errors.Is(err, errGone) {
		a.node.logger.Warn("failed messages not given up", "log", a.log.String(), "err", err)
	}
}

// errNotThere means that the log was read and did not have a record that was acknowledged: a replica that lags.
var errNotThere = errors.New("actors: the log does not show a record yet")

// readLetters reads messages that have failed out of the log. What is not in the answer has no key any more.
func (a *conversationActor) readLetters(letters []conversation.Letter) (map[uint64]conversation.FailedMessage, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Recover)
	defer cancel()
	keys, err := events.LoadKeys(ctx, a.node.stores.Rings, a.node.vault, a.log)
	if err != nil {
		return nil, err
	}
	r := letterReading{
		audit: events.OpenAudit(a.node.stores.Log, a.log, keys, events.AuditOptions{}), found: map[uint64]conversation.FailedMessage{},
		holds: map[uint64][]uint64{},
	}
	for _, l := range a.state.Spool.Letters {
		r.holds[l.Held] = append(r.holds[l.Held], l.Number)
	}
	if slices.ContainsFunc(letters, func(l conversation.Letter) bool { _, known := a.letters.at[l.Number]; return !known }) {
		if err := r.places(ctx, &a.letters); err != nil {
			return nil, err
		}
	}
	for _, l := range letters {
		before, known := a.letters.at[l.Number]
		if !known {
			return nil, fmt.Errorf("%w: %d of %s", errNotThere, l.Held, a.log)
		}
		if err := r.read(ctx, before, l); err != nil {
			return nil, err
		}
	}
	return r.found, nil
}

// letterReading reads what has failed.
type letterReading struct {
	audit *events.Audit
	found map[uint64]conversation.FailedMessage
	holds map[uint64][]uint64 // which messages a record holds, by its version
}

// places reads the whole log for the places of all that has failed.
func (r *letterReading) places(ctx context.Context, into *letterPlaces) error {
	left := len(r.holds)
	before := events.Head{}
	err := r.audit.Replay(ctx, events.Head{}, func(record *events.Record) error {
		numbers, holds := r.holds[record.Version]
		for _, number := range numbers {
			into.put(number, before)
		}
		before = record.Head
		if holds {
			left--
		}
		if left == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// read reads one message.
func (r *letterReading) read(ctx context.Context, before events.Head, l conversation.Letter) error {
	err := r.audit.Replay(ctx, before, func(record *events.Record) error {
		if record.Version < l.Held {
			return nil
		}
		failed, err := conversation.FailedMessages(record)
		if err != nil {
			return err
		}
		if one, ok := failed[l.Number]; ok {
			r.found[l.Number] = one
		}
		return errEnough
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil:
		return fmt.Errorf("%w: %d", errNotThere, l.Held)
	}
	return err
}

// letterQuery asks a conversation for a message that has failed.
type letterQuery struct{ Number uint64 }

// FailedLetter is a message that has failed, with what it says.
type FailedLetter struct {
	conversation.Letter
	conversation.FailedMessage
}

func (a *conversationActor) letter(m *ask[letterQuery, FailedLetter]) {
	l, ok := a.state.Spool.Letter(m.Query.Number)
	if !ok {
		m.refuse(&conversation.CommandError{Code: conversation.DeadLetterNotFound, Advice: conversation.GiveUp, Detail: fmt.Sprint(m.Query.Number)})
		return
	}
	found, err := a.readLetters([]conversation.Letter{l})
	if err != nil {
		m.refuse(err)
		return
	}
	failed, ok := found[l.Number]
	if !ok {
		m.refuse(&conversation.CommandError{Code: conversation.SecretsMissing, Advice: conversation.GiveUp, Detail: "the message's key is gone"})
		return
	}
	m.answer(FailedLetter{Letter: l, FailedMessage: failed}, nil)
}

// Letter reads a message that has failed.
func (n *Node) Letter(ctx context.Context, client ids.ClientID, id ids.ConversationID, number uint64) (FailedLetter, error) {
	return request[letterQuery, FailedLetter](ctx, n, ConversationIdentity(client, id), letterQuery{number})
}

// Fail says that the owner could not handle a message: see conversation.Fail. It returns when that is durable.
func (s *Stream) Fail(ctx context.Context, d Delivery, reason string) error {
	if d.Message == nil || d.history() {
		return &conversation.CommandError{Code: conversation.DeliveryNotOpen, Advice: conversation.GiveUp, Detail: "only messages are handed over again for a failure"}
	}
	in := conversation.Fail{Message: *d.Message, Version: d.Version, Index: uint32(d.Index), Turn: d.Turn, Reason: reason}
	reply, err := s.node.Conversation(ctx, s.client, d.Conversation, in)
	if err == nil {
		s.noteFailing(d.Conversation, reply.Failing)
	}
	return err
}

func (s *Stream) noteFailing(id ids.ConversationID, failing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[id] = failing
}

// Holds reports whether a delivery that Next has returned is not to be handed over now: so much has failed meanwhile that the conversation
// waits. Next gives it again, and what comes behind it.
func (s *Stream) Holds(found []Delivery, i int) bool {
	d := found[i]
	s.mu.Lock()
	failing := s.failing[d.Conversation]
	s.mu.Unlock()
	if d.Turn != 0 || failing < conversation.FailingMax {
		return false
	}
	at := s.from
	for _, before := range slices.Backward(found[:i]) {
		if before.Turn == 0 {
			at = cursor{version: before.Version, index: before.Index}
			break
		}
	}
	s.cursors[d.Conversation] = at
	return true
}

// took notes what Next returns: how far the stream has come, and which messages that had failed it has had.
func (s *Stream) took(id ids.ConversationID, got handOff) {
	s.noteFailing(id, got.Failing)
	s.from = s.cursors[id]
	handed := s.handed[id]
	maps.DeleteFunc(handed, func(number, _ uint64) bool { return !slices.Contains(got.Letters, number) })
	for _, d := range got.Items {
		if d.Turn == 0 {
			s.cursors[id] = cursor{version: d.Version, index: d.Index}
			continue
		}
		if handed == nil {
			handed = map[uint64]uint64{}
			s.handed[id] = handed
		}
		handed[d.Message.Number] = d.Turn
	}
}
