package actors

import (
	"context"
	"errors"
	"fmt"

	"parley/conversation"
	"parley/events"
)

// Verdicts are what an authentication service has said about who may present which key: a table that a step, which waits for nothing,
// may look into. A table belongs to one actor.
type Verdicts interface {
	conversation.Authenticator
	// Doubtful reports whether the table was asked about somebody it does not know since it was loaded last.
	Doubtful() bool
	// Load asks the service about everybody the table did not know. again: it did, and the step that met them is to be repeated.
	Load(ctx context.Context) (again bool, err error)
}

// verdictRounds bounds how often a step meets somebody whom the table has not heard of: at each round it comes further.
const verdictRounds = 8

// judged steps with the authentication service's verdicts. Where one cannot be had, a command that needs it is not refused for good:
// it fails, and may be asked again. What the group has accepted is followed all the same, under doubt.
func (a *conversationActor) judged(s conversation.State, in conversation.Input, env conversation.Env) (conversation.Transition, error) {
	if a.verdicts == nil {
		return conversation.Step(s, in, env)
	}
	env.Auth, env.Memo = a.verdicts, &conversation.Memo{}
	for range verdictRounds {
		t, err := conversation.Step(s, in, env)
		again, missing := a.loadVerdicts()
		switch {
		case missing != nil && errors.Is(t.Reply.Err, conversation.CredentialRefused):
			return t, fmt.Errorf("%w: the authentication service: %w", events.ErrUnavailable, missing)
		case missing != nil:
			a.node.logger.Warn("members taken under doubt", "log", a.log.String(), "err", missing)
			return t, err
		case !again:
			return t, err
		}
	}
	return conversation.Transition{Next: s}, fmt.Errorf("%w: the authentication service knows no end", events.ErrUnavailable)
}

func (a *conversationActor) loadVerdicts() (again bool, err error) {
	if !a.verdicts.Doubtful() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Store)
	defer cancel()
	return a.verdicts.Load(ctx)
}
