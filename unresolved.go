package parley

import (
	"context"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// Unresolved is an own commit whose fate nobody knows: the foreign delivery service gave no answer, however often it was asked. Until its
// echo or its answer comes, a new commit takes its place, or Conversation.Resolve decides, nothing is encrypted.
type Unresolved struct {
	Bundle   string    // names the commit
	Key      string    // the service knows it by: the Idempotency-Key of delivery/httptransport
	Epoch    uint64    // that the commit ends
	Since    time.Time // when it was made
	Join     bool      // by it we join, or come back
	Replaced bool      // a new commit has taken its place; it counts all the same if it was accepted
}

func unresolvedIn(id ConversationID, s conversation.State) (open []Unresolved) {
	for _, u := range s.Unresolved() {
		bundle := delivery.BundleOf(id, delivery.Origin{}, u.Bundle)
		open = append(open, Unresolved{
			Bundle: u.Bundle.Digest.String(), Key: bundle.IdempotencyKey(), Epoch: uint64(u.Epoch), Since: timeOf(u.StagedMs), Join: u.Join,
			Replaced: u.Replaced,
		})
	}
	return open
}

// Verdict is what an owner says about an own commit.
type Verdict = conversation.TransportOutcome

// The verdicts.
const (
	Accepted   = conversation.TransportSuccess // the service has it: it takes effect here. Said wrongly, this member is alone from here on
	NotTaken   = conversation.TransportAbort   // the service does not have it and never will: it is dropped. Said wrongly, the others go on without us
	OfferAgain = conversation.TransportRetry   // the identical bytes are offered once more
)

// Resolve settles an own commit that got no answer; bundle names it, as Status does, and empty is the newest. With OfferAgain it returns what
// became of the commit: nil also where another one has won its epoch meanwhile, and an error that advises to retry where there is no answer
// again.
func (c *Conversation) Resolve(ctx context.Context, bundle string, v Verdict) error {
	in := conversation.Resolve{CommandMeta: c.client.meta(ctx, "resolve", []byte(bundle), []byte{byte(v)}), Verdict: v}
	if bundle != "" {
		digest, err := ids.ParseDigest(bundle)
		if err != nil {
			return c.wrap("resolve", &conversation.CommandError{Code: conversation.PendingCommitNotFound, Advice: GiveUp, Detail: err.Error()})
		}
		in.Bundle = digest
	}
	return c.change(ctx, "resolve", in)
}

// WithReleased has take called with each message that had waited for the own commit of the next command and was taken with it, in order,
// before the command returns. Application messages, and changes of the membership, come by Client.Events as well, and there they are not lost
// with the process.
func WithReleased(ctx context.Context, take func(Received)) context.Context {
	s := settingsOf(ctx)
	s.released = take
	return context.WithValue(ctx, settingsKey{}, s)
}

// change runs a command that commits.
func (c *Conversation) change(ctx context.Context, op string, in conversation.Input) error {
	reply, err := c.do(ctx, op, in)
	c.client.node.release(ctx, reply)
	return err
}

// release hands out what a commit has set free.
func (n *Node) release(ctx context.Context, reply conversation.Reply) {
	take := settingsOf(ctx).released
	if take == nil {
		return
	}
	for _, got := range n.receivedIn(reply) {
		take(got)
	}
}

// receivedIn puts outcomes and messages together.
func (n *Node) receivedIn(reply conversation.Reply) (all []Received) {
	for _, outcome := range reply.Outcomes {
		got := Received{Outcome: outcome}
		if sender := outcome.Identity; sender != nil {
			identity := n.identify(sender.CipherSuite, sender.Credential, sender.SignatureKey)
			got.Identity = &identity
		}
		for i := range reply.Messages {
			switch m := &reply.Messages[i]; {
			case outcome.Number != m.Number || (outcome.Kind == conversation.OutcomeHistory) != (m.History != ""):
			case m.History != "":
				got.History = sharedHistory(m)
			default:
				got.Message = messageOf(m)
			}
		}
		all = append(all, got)
	}
	return all
}
