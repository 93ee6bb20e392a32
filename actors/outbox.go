package actors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// flight is an own commit on its way: staged and durable, its outcome open.
type flight struct {
	bundle   conversation.SendBundle
	failures int  // sends in a row whose outcome nobody knows
	calling  bool // a call is under way
	timer    Timer
}

func (f *flight) stop() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// transportAnswered is what the delivery service said to a bundle.
type transportAnswered struct {
	note
	digest ids.Digest
	answer delivery.Answer
	err    error
}

// crashed ends the actor as the death of the process would: what it knew is gone.
type crashed struct{ note }

// bundleDue says that it is time to offer the bundle again.
type bundleDue struct{ note }

// groupRegistered is what became of a registration.
type groupRegistered struct {
	note
	effect   conversation.RegisterGroup
	failures int
	err      error
}

// proposalSent is what became of a proposal.
type proposalSent struct {
	note
	effect   conversation.SendProposal
	failures int
	err      error
}

const proposalTries = 5

// foreignTries is how often a bundle is offered to a foreign service that gives no answer. Our own tells what became of it sooner or
// later.
const foreignTries = 5

// perform begins an effect. Its cause is durable, and repeating it is safe.
func (a *conversationActor) perform(e conversation.Effect) {
	switch e := e.(type) {
	case conversation.SendBundle:
		a.offer(e)
	case conversation.SendProposal:
		a.sendProposal(e, 0)
	case conversation.RegisterGroup:
		a.register(e, 0)
	}
}

// transport is who carries the conversation's messages; nil when nobody does and its owner hands them on.
func (a *conversationActor) transport() delivery.Transport {
	if a.state.Carrier() == conversation.TransportForeign {
		return a.node.foreign
	}
	if a.node.delivery == nil {
		return nil
	}
	return a.node.delivery.Transport()
}

// bundleSender offers a bundle once. How often it is repeated is counted in the log, not by the transport.
func (a *conversationActor) bundleSender() func(context.Context, delivery.Bundle) (delivery.Answer, error) {
	switch {
	case a.state.Carrier() == conversation.TransportBuiltIn && a.node.delivery != nil:
		return a.node.delivery.SubmitBundle
	case a.state.Carrier() == conversation.TransportForeign && a.node.foreign != nil:
		return a.node.foreign.SendCommitBundle
	}
	return nil
}

// beside runs a call of the delivery service in its own goroutine; the actor keeps taking mail meanwhile. What it returns comes back
// as a note.
func (a *conversationActor) beside(call func(context.Context) any) {
	self, n := a.self, a.node
	n.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.limits.Transport)
		defer cancel()
		n.runtime.system.Root.Send(self, call(ctx))
	})
}

// later sends a note to the actor after a while.
func (a *conversationActor) later(d time.Duration, message any) Timer {
	self := a.self
	return a.node.clock.AfterFunc(d, func() { a.node.runtime.system.Root.Send(self, message) })
}

// offer takes a staged commit up: at once, or after a pause where the delivery service has asked for one.
func (a *conversationActor) offer(b conversation.SendBundle) {
	if a.flight == nil {
		a.flight = &flight{}
	}
	a.flight.bundle = b
	a.flight.stop()
	switch {
	case b.Attempt > 0:
		a.flight.timer = a.later(delivery.PauseAfter(int(b.Attempt)), &bundleDue{})
	case b.Rebuilt > 0:
		a.flight.timer = a.later(a.turn(b), &bundleDue{})
	default:
		a.sendBundle()
	}
}

// turnSpan is in how long a time those have their turns who lost a race once.
const turnSpan = 160 * time.Millisecond

// turn is how long a commit waits that was made anew. Others have lost the same race: each goes at a moment of its own, drawn from names and
// epoch, and who has lost more often goes sooner, so that everybody comes to it.
func (a *conversationActor) turn(b conversation.SendBundle) time.Duration {
	drawn := ids.DigestOf([]byte("parley turn"), []byte(a.client), []byte(a.conversation), binary.BigEndian.AppendUint64(nil, uint64(b.Epoch)))
	return time.Duration(binary.BigEndian.Uint64(drawn[:8]) % uint64(turnSpan/time.Duration(b.Rebuilt)))
}

// sendBundle offers the bundle to the delivery service: the identical bytes every time.
func (a *conversationActor) sendBundle() {
	f, send := a.flight, a.bundleSender()
	if f == nil || f.calling || send == nil {
		return
	}
	digest := f.bundle.Digest
	switch {
	case a.wiping:
		f.calling = true
		a.node.runtime.system.Root.Send(a.self, &transportAnswered{digest: digest, answer: delivery.Abort{Reason: errTaken(a.conversation).Error()}})
		return
	case a.current().Unregistered() && !a.registeredOnce:
		return // nobody could take it before the order stands; that is being seen to
	}
	f.calling = true
	f.stop()
	bundle := delivery.BundleOf(a.conversation, a.origin("bundle/"+string(digest[:])), f.bundle)
	hooks, log := a.node.hooks, a.log
	a.beside(func(ctx context.Context) any {
		out := &transportAnswered{digest: digest}
		err := crossing(ctx, hooks, StepSendBundle, log, func() (err error) {
			out.answer, err = send(ctx, bundle)
			return err
		})
		// A crash here loses nothing: the successor asks who won the epoch, and offers the same bundle if nobody has.
		if isCrash(err) {
			return &crashed{}
		}
		out.err = err
		return out
	})
}

// origin says for whom something is sent. What is sent has been made durable before, and is the same whenever it is sent: it goes
// under a name of its own, and as new as it is sent, for a command's window may have passed long ago.
func (a *conversationActor) origin(name string) delivery.Origin {
	return delivery.Origin{Client: a.client, CommandID: ids.CommandID(name), IssuedMs: a.now()}
}

// answered takes the delivery service's answer to a bundle into the log.
func (a *conversationActor) answered(c actor.Context, m *transportAnswered) {
	f := a.flight
	if f == nil || f.bundle.Digest != m.digest {
		return
	}
	f.calling = false
	if code := delivery.CodeOf(m.err); code == delivery.TooLarge || code == delivery.Malformed {
		m.answer, m.err = delivery.Abort{Reason: m.err.Error()}, nil // nothing was done, and nothing ever will be
	}
	if a.copy != nil && a.copy.sealed != nil {
		f.calling = true
		f.timer = a.later(delivery.PauseAfter(0), m) // the segment is being decided: in a moment
		return
	}
	if m.err != nil && (f.failures+1 < foreignTries || a.state.Carrier() == conversation.TransportBuiltIn) {
		// Nobody knows whether the bundle arrived. The order tells, or the same bundle again.
		f.failures++
		a.node.logger.Warn("outcome of a commit unknown; it is offered again", "log", a.log.String(), "err", m.err)
		f.timer = a.later(delivery.PauseAfter(f.failures), &bundleDue{})
		if delivery.CodeOf(m.err) == delivery.Damaged {
			a.despair(fmt.Errorf("the order of group %s: %w", a.conversation, m.err))
		}
		a.followOrder(c)
		return
	}
	f.failures = 0
	in := conversation.TransportAnswered{Bundle: m.digest}
	if m.err != nil {
		in.Outcome, in.Reason = conversation.TransportFailed, m.err.Error()
	}
	switch answer := m.answer.(type) {
	case delivery.Success:
		in.Outcome, in.Position = conversation.TransportSuccess, answer.Position
	case delivery.Abort:
		in.Outcome, in.Reason = conversation.TransportAbort, answer.Reason
	case delivery.Retry:
		in.Outcome = conversation.TransportRetry
		// Behind: what the order holds decides first, and may settle the commit.
		a.followOrder(c)
	}
	if a.gone != nil || a.flight == nil || a.flight.bundle.Digest != m.digest {
		return
	}
	t, err := a.absorb(c, work{Conversation: in})
	if err != nil {
		if !errors.Is(err, errGone) {
			a.node.logger.Warn("answer of the transport", "log", a.log.String(), "err", err)
			f.timer = a.later(delivery.PauseAfter(1), &bundleDue{})
		}
		return
	}
	if f.bundle.External && a.gone == nil {
		a.followOrder(c)
	}
	if a.copy != nil {
		a.answeredInside(c, t)
	}
}

// rebuild goes on with a command whose commit lost its epoch to another one before a crash or an abort: nobody will answer for the
// bundle any more, and what the answer would be is known.
func (a *conversationActor) rebuild(c actor.Context) {
	lost := a.state.Superseded
	if lost == nil || a.gone != nil {
		return
	}
	a.flight = &flight{bundle: conversation.SendBundle{Digest: lost.Digest}} // commands wait for the new commit
	in := conversation.TransportAnswered{Bundle: lost.Digest, Outcome: conversation.TransportRetry}
	if _, err := a.absorb(c, work{Conversation: in}); err != nil && !errors.Is(err, errGone) {
		a.node.logger.Warn("commit not made anew", "log", a.log.String(), "err", err)
	}
}

// despair answers those who wait for the own commit, and behind it, where nothing will come of it before an operator has helped. The
// commit stays staged, and is offered now and then.
func (a *conversationActor) despair(err error) {
	for id, callers := range a.waiters {
		for _, caller := range callers {
			caller.refuse(err)
		}
		delete(a.waiters, id)
	}
	for _, m := range a.held {
		m.refuse(err)
	}
	a.held = nil
}

// register opens the order of a group we created. Until it stands commits are answered Retry, so it is tried until it succeeds.
func (a *conversationActor) register(e conversation.RegisterGroup, failures int) {
	service := a.node.delivery
	if service == nil || a.state.Config.Transport != conversation.TransportBuiltIn {
		return
	}
	r := delivery.Registration{Group: a.conversation, Origin: a.origin("register"), GroupInfo: e.GroupInfo}
	hooks, log := a.node.hooks, a.log
	a.beside(func(ctx context.Context) any {
		err := crossing(ctx, hooks, StepRegister, log, func() error {
			_, err := service.RegisterGroup(ctx, r)
			return err
		})
		if isCrash(err) {
			return &crashed{}
		}
		return &groupRegistered{effect: e, failures: failures, err: err}
	})
}

func (a *conversationActor) registered(c actor.Context, m *groupRegistered) {
	if m.err == nil || errors.Is(m.err, delivery.GroupExists) {
		a.followOrder(c) // its first entry tells whose group it is
		if a.gone != nil {
			return
		}
		if m.err != nil && a.follow.missed {
			a.later(delivery.PauseAfter(1), m) // a transaction has the state, and the entry is not looked at
			return
		}
		a.registeredOnce = !a.wiping
		a.tellRegistered(nil)
		a.sendBundle()
		return
	}
	a.node.logger.Warn("group not registered yet", "log", a.log.String(), "err", m.err)
	a.tellRegistered(nil) // it goes on without them
	a.later(delivery.PauseAfter(m.failures), &registerDue{m.effect, m.failures + 1})
}

// registerDue says that it is time to register again.
type registerDue struct {
	effect   conversation.RegisterGroup
	failures int
}

// IgnoreDeadLetterLogging keeps the library from printing the message.
func (*registerDue) IgnoreDeadLetterLogging() {}

// sendProposal fans an own proposal out. It also travels with the next commit, so giving up loses nothing.
func (a *conversationActor) sendProposal(e conversation.SendProposal, failures int) {
	t := a.transport()
	if t == nil {
		return
	}
	a.proposed++
	p := delivery.Proposal{Group: a.conversation, Origin: a.origin("proposal/" + string(e.Ref)), Message: e.Message}
	hooks, log := a.node.hooks, a.log
	a.beside(func(ctx context.Context) any {
		err := crossing(ctx, hooks, StepSendProposal, log, func() error {
			_, err := t.SendProposal(ctx, p)
			return err
		})
		if isCrash(err) {
			return &crashed{}
		}
		return &proposalSent{effect: e, failures: failures, err: err}
	})
}

func (a *conversationActor) proposalSent(m *proposalSent) {
	a.proposed--
	if m.err == nil {
		return
	}
	a.node.logger.Warn("proposal not sent", "log", a.log.String(), "err", m.err)
	again := delivery.CodeOf(m.err) == delivery.Unavailable || delivery.CodeOf(m.err) == delivery.Unknown || delivery.CodeOf(m.err) == delivery.Busy
	if again && m.failures < proposalTries && m.effect.Epoch == a.state.Epoch() {
		a.proposed++ // until the pause is over
		a.later(delivery.PauseAfter(m.failures), &proposalDue{effect: m.effect, failures: m.failures + 1})
	}
}

// proposalDue says that it is time to send a proposal again.
type proposalDue struct {
	note
	effect   conversation.SendProposal
	failures int
}

// outgoing is a message to publish, with its caller.
type outgoing struct {
	message delivery.Message
	caller  *ask[work, result]
	result  result
	tries   int
}

func (o outgoing) answer(r result, err error) {
	if o.caller != nil {
		o.caller.answer(r, err)
	}
}

func newOutgoing(d finished[conversation.State]) outgoing {
	meta, _ := d.work.meta()
	return outgoing{
		message: delivery.Message{
			Origin:     delivery.Origin{CommandID: meta.ID, IssuedMs: meta.IssuedMs, Request: meta.RequestDigest},
			Bytes:      d.result.Conversation.Ciphertext,
			Generation: d.result.Conversation.Generation,
		},
		caller: d.caller, result: d.result,
	}
}

// messagesSent is what became of a batch of messages.
type messagesSent struct {
	note
	batch    []outgoing
	receipts []delivery.Receipt
	err      error
}

const (
	sendAtOnce   = 256
	sendBytesMax = 512 << 10
	sendTries    = 5
)

// pump publishes what waits: one batch at a time, so that messages of one member stay in order, and everything that gathers
// meanwhile together.
func (a *conversationActor) pump() {
	if a.sending || len(a.outgoing) == 0 || a.gone != nil || a.expected > 0 {
		return // where callers are expected a flush is on its way
	}
	t := a.transport()
	if t == nil {
		for _, o := range a.outgoing {
			o.answer(result{}, errNoDelivery)
		}
		a.outgoing = nil
		return
	}
	batch, bytes := a.outgoing, 0
	for i, o := range batch {
		bytes += len(o.message.Bytes)
		if i > 0 && (i >= sendAtOnce || bytes > sendBytesMax) {
			batch = batch[:i:i]
			break
		}
	}
	a.outgoing = a.outgoing[len(batch):]
	messages := make([]delivery.Message, len(batch))
	for i := range batch {
		messages[i] = batch[i].message
		messages[i].Group, messages[i].Origin.Client = a.conversation, a.client
	}
	a.sending, a.publishing = true, batch
	hooks, log := a.node.hooks, a.log
	a.beside(func(ctx context.Context) any {
		out := &messagesSent{batch: batch}
		err := crossing(ctx, hooks, StepSendMessages, log, func() (err error) {
			out.receipts, err = t.SendMessages(ctx, messages)
			return err
		})
		// A crash here loses nothing: a caller who asks again under its command id gets the first position.
		if isCrash(err) {
			return &crashed{}
		}
		out.err = err
		return out
	})
}

func (a *conversationActor) messagesSent(c actor.Context, m *messagesSent) {
	a.sending, a.publishing = false, nil
	var again []outgoing
	for i, o := range m.batch {
		err := m.err
		if err == nil && i < len(m.receipts) {
			err = m.receipts[i].Err
		}
		code := delivery.CodeOf(err)
		switch {
		case err == nil && i < len(m.receipts):
			o.result.Position = m.receipts[i].Position
			o.answer(o.result, nil)
		case (code == delivery.Unavailable || code == delivery.Unknown || code == delivery.Busy) && o.tries < sendTries:
			o.tries++
			again = append(again, o) // the identical bytes under the same command id: sent once whatever happened
		case err == nil:
			o.answer(result{}, ErrUnknownOutcome)
		default:
			o.answer(result{}, err)
		}
	}
	if len(again) == 0 {
		a.expect(c, len(m.batch))
		a.pump()
		return
	}
	a.outgoing = append(again, a.outgoing...)
	a.sending = true // until the pause is over
	a.later(delivery.PauseAfter(again[0].tries), &messagesSent{})
}

// askIfSent looks whether a refused send was carried out when it was asked for first: then it has its first outcome, whatever the
// conversation has come to since. The caller is answered from beside the actor, which has nothing to do with it any more.
func (a *conversationActor) askIfSent(d finished[conversation.State]) {
	n, group, send := a.node, a.conversation, newOutgoing(d)
	origin := send.message.Origin
	origin.Client = a.client
	n.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.limits.Transport)
		defer cancel()
		position, known, err := n.delivery.Known(ctx, group, origin)
		if known {
			send.result = result{Position: position}
		}
		send.answer(send.result, err)
	})
}
