package conversation

import (
	"unicode/utf8"

	v1 "parley/events/v1"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// commandOutcome is the public outcome of a command, as it is remembered.
type commandOutcome struct {
	epoch    mlsengine.Epoch
	ref      mlsengine.ProposalRef
	kind     OutcomeKind
	code     Code
	rule     string
	number   uint64
	position uint64
}

// Code walks the outcome.
func (o *commandOutcome) Code(c *syntax.Coder) {
	syntax.Uint64(c, &o.epoch)
	syntax.Opaque(c, &o.ref)
	syntax.Uint8(c, &o.kind)
	codeString(c, &o.code)
	codeString(c, &o.rule)
	syntax.Uint64(c, &o.number)
	syntax.Uint64(c, &o.position)
}

// named is a command of a conversation or of a client.
type named interface {
	Name() string
	Meta() CommandMeta
}

func refOf(c named) CommandRef {
	m := c.Meta()
	return CommandRef{ID: m.ID, Principal: m.Principal, Name: c.Name(), IssuedMs: m.IssuedMs, RequestDigest: m.RequestDigest}
}

// The bounds of what is remembered of a command, or stands in a record as its cause.
const (
	commandIDBytesMax = 256
	principalBytesMax = 1024
)

// validate refuses an id or a principal that the log could not hold.
func (m CommandMeta) validate() error {
	switch {
	case len(m.ID) > commandIDBytesMax:
		return refuse(InvalidCommand, GiveUp, "a command id of %d bytes is longer than %d", len(m.ID), commandIDBytesMax)
	case len(m.Principal) > principalBytesMax || !utf8.ValidString(m.Principal):
		return refuse(InvalidCommand, GiveUp, "the principal is longer than %d bytes, or no text", principalBytesMax)
	}
	return nil
}

// recall answers a command whose id is known with its first outcome, and
// refuses ids that the window does not cover. An encryption is never known: a
// retry draws a new generation.
func (w *work) recall(in Input) (known bool, err error) {
	command, ok := in.(Command)
	if !ok {
		return false, nil
	}
	if err := command.Meta().validate(); err != nil {
		return false, err
	}
	if command.Meta().ID == "" || command.Name() == (Encrypt{}).Name() {
		return false, nil
	}
	ref := refOf(command)
	if waiting := w.s.waiting(); waiting.same(ref) {
		w.reply.Repeated, w.reply.InFlight = true, true
		return true, waiting.matches(ref)
	}
	first, err := admit(w.s.Commands, ref, w.now())
	switch {
	case err != nil:
		return false, err
	case first != nil:
		return true, w.repeat(command, *first)
	}
	return w.takeUp(ref)
}

// admit finds the first outcome of a command, or checks that its id may run.
func admit(remembered []RememberedCommand, ref CommandRef, nowMs uint64) (*RememberedCommand, error) {
	if later(ref.IssuedMs, Window) < nowMs {
		return nil, refuse(CommandExpired, GiveUp, "issued %d ms ago", nowMs-ref.IssuedMs)
	}
	live := 0
	for i := range remembered {
		r := &remembered[i]
		if r.same(ref) {
			return r, r.matches(ref)
		}
		if later(r.IssuedMs, Window) >= nowMs {
			live++
		}
	}
	switch {
	case ref.IssuedMs > nowMs+FutureMs:
		return nil, refuse(CommandFromFuture, Retry, "issued %d ms ahead of this node's clock", ref.IssuedMs-nowMs)
	case live >= CommandsMax:
		return nil, refuse(Busy, Retry, "%d commands are remembered", live)
	}
	return nil, nil
}

// same reports whether two references name one command.
func (r CommandRef) same(other CommandRef) bool {
	return r.ID != "" && r.ID == other.ID && r.Principal == other.Principal
}

// matches refuses an id that was used for another request.
func (r CommandRef) matches(other CommandRef) error {
	if r.Name != other.Name || r.RequestDigest != other.RequestDigest {
		return refuse(CommandMismatch, GiveUp, "command id %s was used for another %s", r.ID, r.Name)
	}
	return nil
}

// repeat replies with the first outcome.
func (w *work) repeat(command Command, first RememberedCommand) error {
	w.reply.Repeated = true
	if first.ErrorCode != "" {
		w.reply.Err = &CommandError{Code: first.ErrorCode, Advice: adviceFor(first.ErrorCode), Detail: first.Detail}
		return nil
	}
	outcome, err := syntax.Decode[commandOutcome](first.Outcome)
	if err != nil {
		return brokenf("remembered outcome: %v", err)
	}
	w.reply.Completed = []Completion{{Command: first.CommandRef, Epoch: outcome.epoch}}
	switch in := command.(type) {
	case RequeueLetters, DropLetters:
		w.reply.Letters = int(outcome.number)
	case ProposeAdd, ProposeRemove, ProposeUpdate:
		w.reply.Proposal = &Proposal{Ref: outcome.ref}
		if i := w.s.pendingIndex(outcome.ref); i >= 0 {
			w.reply.Proposal.Message = w.s.Pending[i].Message
		}
	case Received:
		w.reply.Outcomes = []Outcome{{
			Kind: outcome.kind, Code: outcome.code, Rule: outcome.rule, Number: outcome.number,
			Position: outcome.position, Epoch: outcome.epoch, Ref: outcome.ref,
		}}
	case ExportSecret:
		// The secret itself was never stored. It can be derived again as long as the epoch lasts.
		if w.s.Epoch() != outcome.epoch {
			return refuse(OutcomeExpired, GiveUp, "the secret was of epoch %d", outcome.epoch)
		}
		if !w.env.LeaseValid {
			return refuse(LeaseLost, Retry, "this node may no longer hold the conversation")
		}
		return w.derive(in)
	}
	return nil
}

// adviceFor gives the advice back that went with a remembered code.
func adviceFor(code Code) Advice {
	switch code {
	case ConversationUnreachable, ConversationRolledBack, SecretsMissing:
		return Rejoin
	}
	return GiveUp
}

// done ends a command in this step.
func (w *work) done(command Command, outcome commandOutcome) error {
	outcome.epoch = w.s.Epoch()
	return w.complete(refOf(command), nil, outcome)
}

// complete ends a command, this one or one that waited for the transport. A
// refusal that advises to retry is not remembered: asked again under its id the
// command runs again.
func (w *work) complete(ref CommandRef, refused *CommandError, outcome commandOutcome) error {
	if ref.Name == "" {
		return nil
	}
	w.reply.Completed = append(w.reply.Completed, Completion{Command: ref, Err: refused, Epoch: w.s.Epoch()})
	if ref.ID == "" || refused != nil && refused.Advice == Retry {
		return nil
	}
	body := &v1.CommandCompleted{Command: ref.toProto()}
	if refused != nil {
		body.Code, body.Error, body.Detail = 1, string(refused.Code), bounded(refused.Detail)
	} else {
		body.Outcome = syntax.Encode(&outcome)
	}
	return w.emit(event{body: body})
}
