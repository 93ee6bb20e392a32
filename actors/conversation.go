package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// conversationActor owns one conversation of one client: its log, its state, its place in the group's order.
type conversationActor struct {
	aggregate[conversation.State]
	lifeCycle
	client       ids.ClientID
	conversation ids.ConversationID
	keys         conversation.ClientState // the client's credentials and pre-shared keys
	verdicts     Verdicts                 // nil: every credential is believed
	signer       signer                   // of the own leaf, as the keys have it
	snapshotted  uint64                   // version of the newest public snapshot
	snapshotSize int                      // its bytes
	logged       int                      // bytes of records since, roughly

	flight     *flight                                // the own commit that is with the transport
	waiters    map[ids.CommandID][]*ask[work, result] // callers whose command ends when the commit is settled
	outgoing   []outgoing                             // messages to publish
	sending    bool                                   // some of them are under way
	publishing []outgoing                             // those
	proposed   int                                    // proposals under way
	follow     follower                               // where the group's order is followed to
	timer      Timer                                  // wakes the actor for what time makes due
	fresh      deliveries                             // for the owner, not acknowledged
	trail      trail                                  // where older ones are read from
	letters    letterPlaces                           // and those that have failed
	told       uint64                                 // newest record that replay found a change of the membership in
	pondered   uint64                                 // the newest loss that was looked at, by its time, plus one
	pondering  bool                                   // and is about to be
	returning  bool                                   // an attempt to come back is under way
	listens    uint64                                 // until then what came meanwhile may still be handed in: see catchUp
	updating   mlsengine.Epoch                        // epoch in which an update of the own keys was asked for, plus one

	appeared       bool                           // the index of members has it
	registering    []*ask[registration, struct{}] // wait for the order of a new group
	registeredOnce bool                           // the delivery service has said that it stands
	wiping         bool                           // the id turned out to be another group's
}

// signer is a parsed signing identity.
type signer struct {
	credential conversation.CredentialRef
	suite      mlsengine.CipherSuite
	identity   *mlsengine.SigningIdentity
}

func newConversationActor(n *Node, e *entry) *conversationActor {
	a := &conversationActor{
		client: e.identity.Client, conversation: e.identity.Conversation, waiters: map[ids.CommandID][]*ask[work, result]{},
		fresh: deliveries{bytesMax: n.limits.UndeliveredBytes},
	}
	a.aggregate = aggregate[conversation.State]{
		domain: a, node: n, entry: e, log: e.identity.log(), state: conversation.NewState(a.client, a.conversation),
	}
	if n.auth != nil {
		a.verdicts = n.auth()
	}
	a.receive = a.recovering
	return a
}

// Receive dispatches to what the actor is: recovering, active or stopped.
func (a *conversationActor) Receive(c actor.Context) { a.receive(c) }

// recovering reads the log. Mail waits in the mailbox meanwhile.
func (a *conversationActor) recovering(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	a.self = c.Self()
	if err := a.recover(c); err != nil {
		if errors.Is(err, errGone) {
			return // the actor has stopped itself: a successor will read the log again
		}
		a.fail(c, err)
		return
	}
	a.receive = a.active
	a.resume(c)
	a.catchUp()
	if due := a.due(); a.gone == nil && due > 0 && due <= a.now() {
		a.timeDue(c)
	}
	a.arm()
}

// active serves.
func (a *conversationActor) active(c actor.Context) {
	switch m := c.Message().(type) {
	case *ask[look, conversation.State]:
		if a.copy != nil && a.copy.sealed != nil {
			a.hold(m) // what is being decided may be durable already: nobody sees the state before it any more
			return
		}
		a.commit(c) // what came before the question is part of the answer
		if a.gone == nil {
			m.answer(a.state, nil)
		} else {
			m.refuse(errBounced)
		}
	case *ask[undelivered, handOff]:
		a.handOff(c, m)
	case *ask[letterQuery, FailedLetter]:
		a.letter(m)
	case *ask[vantage, view]:
		a.view(c, m)
	case *ask[heldSecrets, handOff]:
		a.heldSecrets(m)
	case *wake:
		a.woken(c)
	case *flush:
		a.flush(c, m)
		a.pump()
	case *followDue:
		a.follow.timer = nil
		a.followOrder(c)
	case *transportAnswered:
		a.answered(c, m)
	case *bundleDue:
		a.sendBundle()
	case *messagesSent:
		a.messagesSent(c, m)
	case *proposalSent:
		a.proposalSent(m)
	case *proposalDue:
		a.proposed--
		a.sendProposal(m.effect, m.failures)
	case *ask[registration, struct{}]:
		a.awaitRegistration(m)
	case *groupRegistered:
		a.registered(c, m)
	case *registerDue:
		a.register(m.effect, m.failures)
	case *timeDue:
		a.timeDue(c)
	case *rejoinDue:
		a.comeBack(c)
		a.arm()
	case *returned:
		a.cameBack(c, m)
	case *ask[usesCredential, bool]:
		a.usesCredential(m)
	case *clientChanged:
		a.keys, a.signer = m.State, signer{}
	case *crashed:
		a.leave(c, ErrUnknownOutcome)
	case *passivate:
		a.passivate(c, m)
	case *actor.Stopping:
		a.stopTimers()
		a.stopping()
	default:
		a.common(c)
	}
}

func (a *conversationActor) step(s conversation.State, w work, nowMS uint64) (stepped[conversation.State], error) {
	if w.Look {
		seen := s
		return stepped[conversation.State]{next: s, step: step{result: result{Seen: &seen}}}, nil
	}
	if a.node.retired(a.client, newlyUsed(w.Conversation)) {
		return stepped[conversation.State]{next: s}, errRetiring
	}
	t, err := a.judged(s, w.Conversation, a.env(s, w.Conversation, nowMS))
	if sends := w.Send || t.Reply.InFlight; err == nil && sends && t.Reply.Err == nil {
		if err := a.carried(t.Next); err != nil {
			return stepped[conversation.State]{next: s}, err
		}
	}
	return stepped[conversation.State]{next: t.Next, step: step{
		timeMS: t.Next.TimeMs, events: t.Events, outbox: t.Outbox, anchor: t.Anchor, inFlight: t.Reply.InFlight,
		reserved: reserves(s, t.Next), result: result{Conversation: t.Reply},
	}}, err
}

// reserves reports whether a step spoke for own generations that were free before.
func reserves(before, after conversation.State) bool {
	return before.Epoch() == after.Epoch() &&
		(after.Reserved.Application > before.Reserved.Application || after.Reserved.Handshake > before.Reserved.Handshake)
}

// env adds the client's keys to what a step may know.
func (a *conversationActor) env(s conversation.State, in conversation.Input, nowMS uint64) conversation.Env {
	credential, suite := s.Config.Credential, s.Config.CipherSuite
	switch in := in.(type) {
	case conversation.Create:
		credential, suite = in.Config.Credential, in.Config.CipherSuite
	case conversation.Join:
		credential, suite = in.Config.Credential, in.Config.CipherSuite
	case conversation.JoinExternally:
		credential, suite = in.Config.Credential, in.Config.CipherSuite
	}
	if a.signer.credential != credential || a.signer.suite != suite || a.signer.identity == nil {
		identity, _, _ := a.keys.Identity(credential, suite) // parses the key: as much work as a signature
		a.signer = signer{credential, suite, identity}
	}
	env := a.node.env(nowMS, a.signer.identity)
	env.PSKs, env.Credentials = &a.keys, &a.keys // no step outlasts them
	if a.node.certificates != nil {
		env.Certificates = a.node.certificates()
	}
	env.LeaseValid = a.node.owns(a.entry.identity)
	return env
}

func (a *conversationActor) fold(s conversation.State, r *events.Record) (conversation.State, error) {
	a.passed(r, s.Spool.From())
	return conversation.Fold(s, r)
}

func (a *conversationActor) at(s conversation.State, version uint64) conversation.State {
	return s.At(version)
}

// holds makes commands wait while an own commit is with the transport: each would be refused, and soon would not. What arrives
// from the group is taken all the same, for the transport may need just that to come to its answer.
func (a *conversationActor) holds(w work) bool {
	if a.flight == nil || a.carried(a.state) != nil {
		return false
	}
	switch w.Conversation.(type) {
	case conversation.Received, conversation.ExportSecret, conversation.AbandonJoin:
		return false
	}
	_, command := w.Conversation.(conversation.Command)
	return command
}

// current is the state that the conversation's own doings build on: an open transaction's copy, where there is one.
func (a *conversationActor) current() conversation.State {
	if a.copy != nil {
		return a.copy.state
	}
	return a.state
}

// landed lets durable steps be seen: deliveries first, then replies, then what is to be sent.
func (a *conversationActor) landed(c actor.Context, done []finished[conversation.State]) {
	a.trail = a.trail.add(a.journal.Head(), a.state.Spool.From())
	for _, d := range done {
		a.letters.pass(d.events)
	}
	a.letters.newest = a.journal.Head()
	a.appear(c)
	for _, d := range done {
		a.deliver(d)
	}
	replied := 0
	for _, d := range done {
		if a.reply(c, d) {
			replied++
		}
	}
	a.expect(c, replied)
	for _, e := range effects(done) {
		a.perform(e)
	}
	a.settled(c)
	a.pump()
	a.lookAtLoss(c)
	a.arm()
}

// appear lets a conversation that is new here be woken when its group's order grows. It may have grown already.
func (a *conversationActor) appear(c actor.Context) {
	if a.appeared || a.state.Lifecycle == conversation.Absent {
		return
	}
	a.appeared = true
	a.node.members.add(a.client, a.conversation)
	c.Send(c.Self(), &wake{})
}

// reply gives a command's outcome, or remembers who waits for it. It reports whether its caller has it.
func (a *conversationActor) reply(c actor.Context, d finished[conversation.State]) bool {
	a.complete(d.result.Conversation)
	if d.result.Conversation.FollowThrough > 0 {
		a.followThrough(c, d.result.Conversation.FollowThrough)
	}
	switch {
	case d.work.Send && d.result.refusal() == nil && len(d.result.Conversation.Ciphertext) > 0:
		a.outgoing = append(a.outgoing, newOutgoing(d))
	case d.caller == nil || a.recheck(d):
	case d.inFlight:
		meta, _ := d.work.meta()
		a.waiters[meta.ID] = append(a.waiters[meta.ID], d.caller)
	default:
		d.caller.answer(d.result, nil)
		return true
	}
	return false
}

// recheck implements domain: a message that is refused now may have been sent before.
func (a *conversationActor) recheck(d finished[conversation.State]) bool {
	if !d.work.Send || d.result.refusal() == nil || !a.follows() || a.node.delivery == nil {
		return false
	}
	a.askIfSent(d)
	return true
}

// complete answers the callers of commands that ended in a step. They hear too of what had waited for their commit and was taken with it.
func (a *conversationActor) complete(r conversation.Reply) {
	if len(a.waiters) == 0 {
		return
	}
	freed := slices.DeleteFunc(slices.Clone(r.Outcomes), func(o conversation.Outcome) bool { return !o.Buffered })
	for _, done := range r.Completed {
		out := result{Conversation: conversation.Reply{
			Err: done.Err, Epoch: done.Epoch, Completed: []conversation.Completion{done}, Outcomes: freed, Messages: r.Messages,
		}}
		for _, caller := range a.waiters[done.Command.ID] {
			caller.answer(out, nil)
		}
		delete(a.waiters, done.Command.ID)
	}
}

// settled lets held commands in once the own commit is no longer with the transport.
func (a *conversationActor) settled(c actor.Context) {
	if a.flight == nil || a.current().CommitInFlight() {
		return
	}
	a.flight.stop()
	a.flight = nil
	if a.copy == nil {
		a.release(c)
	}
}

// unlocked takes up what an open transaction kept from going on: the group's order, and a commit that the transaction had sent and
// whose settlement it has undone. Generations that only the dropped copy had reserved are given up for good: something may have been
// made with them.
func (a *conversationActor) unlocked(c actor.Context, dropped *conversation.State) {
	if dropped != nil && dropped.Epoch() == a.state.Epoch() && reserves(a.state, *dropped) {
		if _, err := a.absorb(c, work{Conversation: conversation.Burn{Reserved: dropped.Reserved}}); err != nil && a.gone == nil {
			a.node.logger.Error("generations not given up; the conversation is read again", "log", a.log.String(), "err", err)
			a.leave(c, errBounced)
		}
	}
	if a.gone != nil {
		return
	}
	if a.follow.missed || dropped != nil || a.state.Staged != nil {
		a.followOrder(c)
	}
	if f := a.flight; dropped != nil && f != nil && !f.calling && f.timer == nil {
		a.flight = nil // what its commit had come to is undone
	}
	if a.gone == nil && a.state.CommitInFlight() && a.flight == nil {
		for _, e := range a.state.Unsent() {
			a.perform(e)
		}
		a.rebuild(c)
	}
}

// abandon answers everybody who waits inside the actor.
func (a *conversationActor) abandon(err error) {
	a.aggregate.abandon(err)
	for id, callers := range a.waiters {
		for _, caller := range callers {
			caller.refuse(err)
		}
		delete(a.waiters, id)
	}
	for _, o := range append(a.publishing, a.outgoing...) {
		o.answer(result{}, err) // asked again under its command id it is published once, whatever became of this attempt
	}
	a.publishing, a.outgoing = nil, nil
	for _, m := range a.registering {
		m.refuse(err)
	}
	a.registering = nil
}

// passivate stops the actor unless something is under way. What a passivated conversation has consumed is sealed anew first, so
// that the keys of what was read do not outlive the reading.
func (a *conversationActor) passivate(c actor.Context, m *passivate) {
	a.commit(c)
	if a.gone != nil {
		return
	}
	busy := a.copy != nil || a.flight != nil || a.sending || len(a.outgoing) > 0 || a.proposed > 0 || len(a.held) > 0 ||
		a.pondering || a.returning // a way back that is not planned yet has no alarm that would wake the conversation; one under way is not begun twice
	if busy && !m.now {
		return
	}
	if a.copy == nil && a.state.Consumed > 0 && a.state.Exists() {
		if _, err := a.absorb(c, work{Conversation: conversation.Checkpoint{Reason: "passivation", Force: true}}); err != nil {
			a.node.logger.Warn("checkpoint at passivation", "log", a.log.String(), "err", err)
		}
	}
	if a.gone != nil {
		return
	}
	a.saveAnchor()
	a.stopTimers()
	if due := a.wakeAt(); due > 0 {
		a.node.alarms.set(a.entry.identity, due)
	}
	a.entry.rest.Store(a.entry.untouched(m)) // whoever was told something meanwhile gets a successor: the order may have grown
	a.leave(c, errBounced)
}

func (a *conversationActor) stopTimers() {
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.flight != nil {
		a.flight.stop()
	}
	a.follow.stop()
}

func (a *conversationActor) merged(evs []events.Event) []events.Event { return conversation.Merge(evs) }

// storing keeps a public snapshot right before a record that seals the whole private state anew: with that record and the following
// ones it gives everything. Where the record does not come after all, activation finds no secrets behind the snapshot and reads the
// whole log.
func (a *conversationActor) storing(evs []events.Event) {
	at, before := a.journal.Head(), a.logged
	a.logged += sizeOf(evs)
	few := at.Version < a.snapshotted+a.node.limits.SnapshotEvery && before < max(a.node.limits.SnapshotBytes, snapshotShare*a.snapshotSize)
	if few || at.Version == a.snapshotted || !conversation.Reseals(evs) {
		return
	}
	encoded := conversation.EncodePublic(a.state.Public)
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Store)
	defer cancel()
	if err := a.journal.SaveSnapshot(ctx, encoded); err != nil {
		a.node.logger.Warn("snapshot not saved; activation reads more of the log", "log", a.log.String(), "err", err)
		return
	}
	a.snapshotted, a.snapshotSize, a.logged = at.Version, len(encoded), a.logged-before
}

// snapshotShare keeps snapshots of a large group rare beside the records they save reading.
const snapshotShare = 4

var errNoDelivery = fmt.Errorf("%w: this node has no delivery service", ErrNotHere)
