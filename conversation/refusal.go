package conversation

import (
	"errors"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// messageCode names what the engine found wrong with a message.
func messageCode(err error) Code {
	var rule *mlsengine.RuleError
	if !errors.As(err, &rule) {
		return InvalidMessage
	}
	switch rule.Rule {
	case mlsengine.WrongEpoch:
		return WrongEpoch
	case mlsengine.WrongGroup:
		return WrongGroup
	case mlsengine.OwnMessage:
		return OwnMessage
	case mlsengine.GenerationConsumed:
		return DuplicateMessage
	case mlsengine.GenerationTooFar:
		return GenerationTooFar
	case mlsengine.InvalidCiphertext, mlsengine.InvalidSenderData:
		return DecryptionError
	case mlsengine.MalformedMessage, mlsengine.MalformedContent, mlsengine.UnsupportedVersion:
		return MalformedMessage
	case mlsengine.UnsupportedWireFormat:
		return IncompatibleWireFormat
	case mlsengine.UnknownProposal:
		return UnknownProposal
	case mlsengine.GroupEnded:
		return GroupEnded
	}
	return InvalidMessage
}

// refuseMessage records a message that was not accepted.
func (w *work) refuseMessage(in incoming, code Code, cause error) error {
	if in.digest.IsZero() && len(in.bytes) <= MessageMax {
		in.digest = ids.DigestOf(in.bytes)
	}
	body := &v1.MessageRejected{Code: string(code), Position: in.position, Digest: in.digest[:]}
	var rule *mlsengine.RuleError
	if errors.As(cause, &rule) {
		body.Rule = rule.Rule.Code()
	}
	if cause != nil {
		body.Detail = bounded(cause.Error())
	}
	if in.message != nil {
		body.Epoch, body.ContentType = uint64(in.message.Epoch()), uint32(in.message.ContentType())
	}
	refused := event{body: body}
	if in.number > 0 {
		refused.body = dropped(in.number, body)
	}
	if err := w.emit(refused); err != nil {
		return err
	}
	w.note(Outcome{
		Kind: OutcomeRejected, Code: code, Rule: body.GetRule(), Detail: body.GetDetail(),
		Position: in.position, Epoch: mlsengine.Epoch(body.GetEpoch()),
	})
	return nil
}

// note adds what became of a message to the reply.
func (w *work) note(o Outcome) {
	o.Active, o.Buffered = w.s.Exists(), w.replaying
	if seconds, ok := w.s.CommitDelay(); ok && (o.Kind == OutcomeProposal || o.Kind == OutcomeCommit) {
		o.Delay = &seconds
	}
	w.reply.Outcomes = append(w.reply.Outcomes, o)
}
