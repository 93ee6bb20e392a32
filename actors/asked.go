package actors

import (
	"context"
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// askingDue says that a proposal to join may have to be sent again.
type askingDue struct{ note }

// arm sets the timer for the next proposal to join that is not known to have been sent. A client that is passive has an alarm for it.
func (a *clientActor) arm() {
	a.stopTimer()
	due := a.state.AskingDue()
	if due == 0 || a.gone != nil {
		return
	}
	a.timer = a.noteAt(due, &askingDue{})
}

func (a *clientActor) stopTimer() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// askAgain sends what is due again. The next time is planned before, so that a crash in it, here or on the node that takes over, is not
// followed by another at once.
func (a *clientActor) askAgain(c actor.Context) {
	for _, p := range a.state.Askings {
		if a.copy != nil || p.DueMs > a.now() {
			continue // a transaction has the state; its end is not far
		}
		_, err := a.absorb(c, work{Client: conversation.PlanAsking{Ref: p.Ref}})
		if a.gone != nil {
			return
		}
		if err != nil {
			a.node.logger.Warn("a proposal to join is not planned again", "log", a.log.String(), "err", err)
			continue
		}
		if n, client := a.node, a.state.Client; a.state.Asks(p.Ref) {
			n.work.Go(func() { n.askAgain(client, p) })
		}
	}
	a.arm()
}

// askAgain sends a proposal to join that is not known to have been sent. Where the group has gone on meanwhile another one takes its place.
func (n *Node) askAgain(client ids.ClientID, p conversation.PendingAsking) {
	ctx, cancel := context.WithTimeout(context.Background(), n.limits.Transport)
	defer cancel()
	r := Asking{Client: client, Group: p.Group, Credential: p.Credential, Transport: p.Transport, Meta: n.ownMeta()}
	err := n.stranger(ctx, r)
	if err == nil {
		err = n.sendAsking(ctx, r, conversation.Proposal{Ref: p.Ref, Message: p.Message})
	}
	if errors.Is(err, delivery.WrongEpoch) && p.Renews {
		// A crash after it leaves the one that is void, which is renewed once more: the order has no use for either but in one epoch.
		if _, err = n.AskToJoin(ctx, r); err == nil {
			err = errRenewed
		}
	}
	if err := n.asked(ctx, client, p.Ref, err); err != nil {
		n.logger.Warn("asked to join in vain", "client", client.String(), "group", p.Group.String(), "err", err)
	}
}

// errRenewed ends a proposal that another one has taken the place of.
var errRenewed = &conversation.CommandError{Code: conversation.StaleProposal, Advice: conversation.GiveUp, Detail: "the group has gone on"}

// asked notes what has become of a proposal to join: sent, or refused for good. What may pass is left to the plan, and returned.
func (n *Node) asked(ctx context.Context, client ids.ClientID, ref []byte, err error) error {
	end := conversation.EndAsking{Ref: ref}
	if err != nil {
		code, final := refusedForGood(err)
		if errors.Is(err, delivery.WrongEpoch) {
			code, final = conversation.StaleProposal, true
		}
		if !final {
			return err
		}
		end.Code = code
	}
	_, err = n.Client(ctx, client, end)
	return err
}
