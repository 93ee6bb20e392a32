package checklist_test

import (
	"context"
	"errors"
	"slices"
	"sync"

	"parley"
	"parley/delivery"
)

// post is a foreign delivery service: it keeps what it is given, delivers nothing, and answers as it is told.
type post struct {
	mu    sync.Mutex
	boxes map[parley.ConversationID]*box
}

// box is what the post has of one group.
type box struct {
	mu      sync.Mutex
	bundles []delivery.Bundle
	answers []answer
}

// answer is what the post says to a bundle. It may do what it wants meanwhile.
type answer func(context.Context) (delivery.Answer, error)

func newPost() *post { return &post{boxes: map[parley.ConversationID]*box{}} }

func (p *post) box(id parley.ConversationID) *box {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.boxes[id]
	if b == nil {
		b = &box{}
		p.boxes[id] = b
	}
	return b
}

// SendCommitBundle keeps the bundle and answers: Success, unless something else was asked for.
func (p *post) SendCommitBundle(ctx context.Context, b delivery.Bundle) (delivery.Answer, error) {
	box := p.box(b.Group)
	box.mu.Lock()
	box.bundles = append(box.bundles, b)
	next := success
	if len(box.answers) > 0 {
		next, box.answers = box.answers[0], box.answers[1:]
	}
	box.mu.Unlock()
	return next(ctx)
}

// SendProposal takes a proposal.
func (p *post) SendProposal(context.Context, delivery.Proposal) (uint64, error) { return 0, nil }

// SendMessages takes messages.
func (p *post) SendMessages(_ context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	return make([]delivery.Receipt, len(ms)), nil
}

// answer says what the next bundles get, one after the other; those behind them get Success.
func (b *box) answer(answers ...answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, answers...)
}

// last is the newest bundle.
func (b *box) last() delivery.Bundle {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.bundles) == 0 {
		return delivery.Bundle{}
	}
	return b.bundles[len(b.bundles)-1]
}

// all are the bundles so far.
func (b *box) all() []delivery.Bundle {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.bundles)
}

func success(context.Context) (delivery.Answer, error) { return delivery.Success{}, nil }

func retry(context.Context) (delivery.Answer, error) { return delivery.Retry{}, nil }

func abort(context.Context) (delivery.Answer, error) { return delivery.Abort{Reason: "not today"}, nil }

// silence is an answer that never comes, however often the bundle is offered.
func silence() []answer {
	const offers = 5
	return slices.Repeat([]answer{func(context.Context) (delivery.Answer, error) { return nil, errors.New("no connection") }}, offers)
}
