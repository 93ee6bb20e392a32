package actors

import (
	"context"
	"fmt"

	"parley/conversation"
	"parley/delivery"
)

// patient is a foreign transport that is given up when its time is over, though it may never return: nobody hears what it says after that.
// The call itself goes on until it returns.
type patient struct{ delivery.Transport }

func foreignTransport(t delivery.Transport) delivery.Transport {
	if t == nil {
		return nil
	}
	return patient{t}
}

// SendCommitBundle implements delivery.Transport.
func (p patient) SendCommitBundle(ctx context.Context, b delivery.Bundle) (delivery.Answer, error) {
	got, err := untilDone(ctx, func() (delivery.Answer, error) { return p.Transport.SendCommitBundle(ctx, b) })
	if err != nil {
		return nil, err
	}
	return plainAnswer(got)
}

// plainAnswer reads an answer of somebody else's transport. One that is none leaves the outcome unknown.
func plainAnswer(got delivery.Answer) (delivery.Answer, error) {
	switch got := got.(type) {
	case delivery.Success, delivery.Retry, delivery.Abort:
		return got, nil
	case *delivery.Success:
		if got != nil {
			return *got, nil
		}
	case *delivery.Retry:
		if got != nil {
			return *got, nil
		}
	case *delivery.Abort:
		if got != nil {
			return *got, nil
		}
	}
	return nil, &delivery.Error{Code: delivery.Unknown, Detail: fmt.Sprintf("the transport answers %v of type %T", got, got)}
}

// SendProposal implements delivery.Transport.
func (p patient) SendProposal(ctx context.Context, proposal delivery.Proposal) (uint64, error) {
	return untilDone(ctx, func() (uint64, error) { return p.Transport.SendProposal(ctx, proposal) })
}

// SendMessages implements delivery.Transport.
func (p patient) SendMessages(ctx context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	return untilDone(ctx, func() ([]delivery.Receipt, error) { return p.Transport.SendMessages(ctx, ms) })
}

func untilDone[T any](ctx context.Context, call func() (T, error)) (T, error) {
	done := make(chan answer[T], 1)
	go func() {
		value, err := call()
		done <- answer[T]{value, err}
	}()
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// errNoTransport refuses to make what nobody would take out of the process: its caller would wait for an answer that never comes.
var errNoTransport = &conversation.CommandError{
	Code: conversation.TransportMissing, Advice: conversation.GiveUp, Detail: "the node has no transport to a foreign delivery service",
}

// carried says why a conversation in this state can send nothing on this node: it speaks to no service that would take it.
func (a *conversationActor) carried(s conversation.State) error {
	switch foreign := s.Carrier() == conversation.TransportForeign; {
	case foreign && a.node.foreign == nil:
		return errNoTransport
	case !foreign && a.node.delivery == nil:
		return errNoDelivery
	}
	return nil
}
