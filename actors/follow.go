package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
)

// follower is where the group's order is to be followed to, and when to look again.
type follower struct {
	through uint64        // an entry that must come: our own commit stands there
	missed  bool          // a wake came at a time when the order could not be followed
	failed  int           // looks in a row that did not go as they should
	quiet   time.Duration // how long a wake may wait: the last entries were nothing but our own messages
	timer   Timer
}

// followDue says that it is time to look at the group's order.
type followDue struct{ note }

// quietMax bounds how long a wake waits in a conversation that talks a lot and hears nothing.
const quietMax = 300 * time.Millisecond

func (f *follower) stop() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// follows reports whether the conversation's order is the built-in service's to tell.
func (a *conversationActor) follows() bool {
	s := a.current()
	return s.Config.Transport == conversation.TransportBuiltIn && (s.Lifecycle == conversation.Active || s.Lifecycle == conversation.RolledBack)
}

// followThrough follows up to an entry that is known to exist.
func (a *conversationActor) followThrough(c actor.Context, number uint64) {
	a.follow.through = max(a.follow.through, number)
	c.Send(c.Self(), &wake{})
}

// woken follows the order, at once or, while we hear but ourselves, in a moment: what has gathered by then is one record.
func (a *conversationActor) woken(c actor.Context) {
	if a.follow.quiet == 0 || a.flight != nil || a.follow.through > a.current().Position {
		a.followOrder(c)
		return
	}
	if a.follow.timer == nil {
		a.follow.timer = a.later(a.follow.quiet, &followDue{})
	}
}

// heard adjusts the pause to what the newest entries were.
func (a *conversationActor) heard(entries []delivery.Entry) {
	for i := range entries {
		if entries[i].Sender != a.client || entries[i].Kind != delivery.KindApplication {
			a.follow.quiet = 0
			return
		}
	}
	a.follow.quiet = min(max(2*a.follow.quiet, 10*time.Millisecond), quietMax)
}

// followOrder pulls what the group's order has beyond the own position, record by record, until there is no more. The position
// moves in the same record as what the entries did: each takes effect exactly once.
func (a *conversationActor) followOrder(c actor.Context) {
	if !a.follows() || a.node.delivery == nil {
		return
	}
	if a.copy != nil && (a.flight == nil || a.copy.sealed != nil) {
		a.follow.missed = true // a transaction has the state; its end brings us back
		return
	}
	a.follow.missed = false
	for {
		more, err := a.followOnce(c)
		switch {
		case a.gone != nil:
			return
		case err != nil:
			a.node.logger.Warn("group order not followed", "log", a.log.String(), "err", err)
			a.lookAgain()
			return
		case more:
			a.follow.failed = 0
			continue
		case a.current().Position < a.follow.through:
			a.lookAgain() // a replica that lags: the entry is there
			return
		}
		a.follow.failed = 0
		a.updateIfDue(c)
		return
	}
}

// followOnce takes one batch of entries. It reports whether there may be more.
func (a *conversationActor) followOnce(c actor.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Transport)
	defer cancel()
	found, err := a.node.delivery.Follow(ctx, a.conversation, a.current().Position+1, a.node.limits.EntriesPerRecord)
	switch {
	case errors.Is(err, delivery.UnknownGroup):
		return false, nil // not registered yet
	case errors.Is(err, delivery.Behind):
		first := uint64(0)
		if e, ok := errors.AsType[*delivery.Error](err); ok {
			first = e.First
		}
		_, err = a.absorb(c, work{Conversation: conversation.MarkBehind{First: first}})
		return false, err
	case err != nil || len(found) == 0:
		return false, err
	}
	if a.foreignOrder(found) {
		a.giveUpID(c)
		return false, nil
	}
	in := conversation.Entries{Entries: make([]conversation.Entry, len(found))}
	for i := range found {
		in.Entries[i] = found[i].ForMember()
	}
	a.heard(found)
	before := a.current().Position
	t, err := a.absorb(c, work{Conversation: in})
	if err != nil {
		return false, err
	}
	if a.copy != nil {
		a.staged(c, t)
	}
	through := a.current().Position
	whole := through >= found[len(found)-1].Number && len(found) < a.node.limits.EntriesPerRecord // and the order had no more
	return through > before && !whole && a.follows(), nil
}

// lookAgain comes back in a while, later each time.
func (a *conversationActor) lookAgain() {
	a.follow.stop()
	a.follow.failed++
	a.follow.timer = a.later(delivery.PauseAfter(a.follow.failed), &followDue{})
}

// updateIfDue commits new own keys before so many generations are under way that others could no longer read us. It is the
// conversation's own commit, never part of a caller's transaction.
func (a *conversationActor) updateIfDue(c actor.Context) {
	epoch := a.state.Epoch()
	if a.copy != nil || a.flight != nil || !a.state.UpdateDue() || a.updating == epoch+1 {
		return
	}
	a.updating = epoch + 1
	in := conversation.UpdateKeyMaterial{CommandMeta: a.node.ownMeta()}
	a.gather(c, newAsk[work, result](work{Conversation: in}, time.Time{}))
}

// deliver keeps what a durable step holds for the owner.
func (a *conversationActor) deliver(d finished[conversation.State]) {
	if len(d.events) == 0 {
		return
	}
	if news := a.news(d); a.fresh.add(a.state.Version, news) {
		a.node.hub.announce(a.client, a.conversation, news)
	}
	a.fresh.acknowledged(a.state.Spool)
	a.lettersMoved(d.events)
}

// news lists what a durable step tells the owner. All steps of one record carry that record's version and time.
func (a *conversationActor) news(d finished[conversation.State]) (out []Delivery) {
	r := &events.Record{Head: events.Head{Version: a.state.Version}, Log: a.log, TimeMS: d.timeMS, Events: d.events}
	messages := d.result.Conversation.Messages
	if !conversation.TellsOnly(d.events, messages) {
		return deliveriesOf(a.conversation, r)
	}
	for i := range messages { // as they were decrypted a moment ago
		out = append(out, Delivery{Conversation: a.conversation, Version: r.Version, TimeMs: r.TimeMS, Message: &messages[i]})
	}
	return out
}

// arm sets the timer for the next thing that time makes due.
func (a *conversationActor) arm() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	due := a.wakeAt()
	if due == 0 || a.gone != nil {
		return
	}
	a.timer = a.noteAt(due, &timeDue{})
}

// catchUp gives the owner of a conversation that a foreign service orders time to hand in what came while nobody held it: a commit of its own
// accord, in an epoch that others have left long since, would part it from them. In our own service the order is followed first.
func (a *conversationActor) catchUp() {
	if a.state.Carrier() == conversation.TransportForeign {
		l := a.node.limits
		a.listens = a.now() + uint64(min(l.CatchUp, l.Idle/2).Milliseconds())
	}
}

// due is when time makes something due, in Unix milliseconds; 0: never.
func (a *conversationActor) due() uint64 {
	due, other := a.state.NextDue(a.ready()), a.state.NextDue(false)
	if due == other || a.now() >= a.listens {
		return due
	}
	if commit := max(due, a.listens); other == 0 || commit < other {
		return commit
	}
	return other
}

// mayCommit reports whether the conversation may commit by itself now.
func (a *conversationActor) mayCommit() bool { return a.ready() && a.now() >= a.listens }

// ready reports whether the conversation may commit by itself, sooner or later: nobody has kept that for himself, somebody carries the
// commit, none is under way, and everything that the group's order has told us is taken in.
func (a *conversationActor) ready() bool {
	return !a.node.manual && a.copy == nil && a.flight == nil && a.bundleSender() != nil && a.follow.failed == 0 && a.follow.through <= a.state.Position
}

// timeDue says that something is due: a checkpoint, an expiry, a commit of what is pending, new keys, a message that has failed.
type timeDue struct{ note }

func (a *conversationActor) timeDue(c actor.Context) {
	a.redeliver()
	if a.copy != nil {
		a.arm()
		return
	}
	a.followOrder(c) // what is pending may have been committed meanwhile
	if a.gone != nil {
		return
	}
	if _, err := a.absorb(c, work{Conversation: conversation.Tick{MayCommit: a.mayCommit()}}); err != nil && !errors.Is(err, errGone) {
		a.node.logger.Warn("housekeeping", "log", a.log.String(), "err", err)
	}
	a.comeBack(c)
	a.arm()
}

// ownMeta is under which the node itself commands.
func (n *Node) ownMeta() conversation.CommandMeta {
	return conversation.CommandMeta{ID: n.NewCommandID(), Principal: "node", IssuedMs: milliseconds(n.clock.Now())}
}
