package actors

import (
	"context"

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
	return untilDone(ctx, func() (delivery.Answer, error) { return p.Transport.SendCommitBundle(ctx, b) })
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
