package conversation

import (
	"bytes"
	"slices"

	v1 "parley/events/v1"
	"parley/mlsengine"
)

// Buffer holds messages that came before what they need: those of the next
// epoch, and commits that refer to proposals which are not here yet. Nothing in
// it is believed before it is opened in its turn.
type Buffer struct {
	Taken    uint64            // messages ever put in: the running number of the newest
	Messages []BufferedMessage // as they arrived
}

// BufferedMessage is a message that waits.
type BufferedMessage struct {
	Number      uint64
	Epoch       mlsengine.Epoch // as it says itself
	ContentType mlsengine.ContentType
	Reason      Code   // what it waits for
	Message     []byte // MLSMessage
	Position    uint64
	TimeMs      uint64 // when it came
}

// bytes is the size of what waits.
func (b Buffer) bytes() (n int) {
	for i := range b.Messages {
		n += len(b.Messages[i].Message)
	}
	return n
}

// without is the buffer less some messages.
func (b Buffer) without(numbers ...uint64) Buffer {
	b.Messages = slices.DeleteFunc(slices.Clone(b.Messages), func(m BufferedMessage) bool { return slices.Contains(numbers, m.Number) })
	if len(b.Messages) == 0 {
		b.Messages = nil
	}
	return b
}

func (b Buffer) numbers(which func(BufferedMessage) bool) []uint64 {
	var numbers []uint64
	for _, m := range b.Messages {
		if which(m) {
			numbers = append(numbers, m.Number)
		}
	}
	return numbers
}

// expiry is when the oldest message has waited long enough; 0: none waits.
func (b Buffer) expiry() uint64 {
	if len(b.Messages) == 0 {
		return 0
	}
	return later(b.Messages[0].TimeMs, BufferAgeMs)
}

func (p *Public) evolveBuffer(body any) {
	switch e := body.(type) {
	case *v1.MessageBuffered:
		p.follow(e.GetPosition(), 0)
		p.Buffer.Taken = e.GetNumber()
		p.Buffer.Messages = append(slices.Clone(p.Buffer.Messages), BufferedMessage{
			Number: e.GetNumber(), Epoch: mlsengine.Epoch(e.GetEpoch()), ContentType: mlsengine.ContentType(e.GetContentType()),
			Reason: Code(e.GetReason()), Message: e.GetMessage(), Position: e.GetPosition(), TimeMs: p.TimeMs,
		})
	case *v1.BufferDrained:
		p.Buffer = p.Buffer.without(e.GetNumbers()...)
	case *v1.BufferExpired:
		p.Buffer = p.Buffer.without(e.GetNumbers()...)
	case *v1.MessageDropped:
		p.Buffer = p.Buffer.without(e.GetNumber())
	}
}

// buffer keeps a message until what it needs is here. The same bytes are kept once.
func (w *work) buffer(in incoming, why Code) error {
	waits := Outcome{Kind: OutcomeBuffered, Code: why, Position: in.position, Epoch: in.message.Epoch()}
	for _, m := range w.s.Buffer.Messages {
		if bytes.Equal(m.Message, in.bytes) {
			w.note(waits)
			return nil
		}
	}
	if len(w.s.Buffer.Messages) >= BufferMax || w.s.Buffer.bytes()+len(in.bytes) > BufferBytesMax {
		return w.refuseMessage(in, BufferFull, nil)
	}
	err := w.emit(event{body: &v1.MessageBuffered{
		Number: w.s.Buffer.Taken + 1, Epoch: uint64(in.message.Epoch()), ContentType: uint32(in.message.ContentType()),
		Message: in.bytes, Position: in.position, Reason: string(why),
	}})
	if err != nil {
		return err
	}
	w.note(waits)
	return nil
}

// replay takes what waited and need not wait any more: application messages,
// then proposals, then the first commit that can be followed, each kind in the
// order of arrival; and so on in the epoch that the commit led to. Whatever
// turns out to be of no use is dropped, and harms nothing else.
func (w *work) replay() error {
	if w.replaying {
		return nil // the loop further up goes on
	}
	w.replaying = true
	defer func() { w.replaying = false }()
	for advanced := true; advanced && w.listening(); {
		if err := w.replayKind(mlsengine.ContentTypeApplication); err != nil {
			return err
		}
		if err := w.replayKind(mlsengine.ContentTypeProposal); err != nil {
			return err
		}
		var err error
		if advanced, err = w.replayCommits(); err != nil {
			return err
		}
	}
	return nil
}

// listening reports whether messages are taken at all.
func (w *work) listening() bool { return w.s.Exists() && w.s.Private != nil }

// replayKind takes all messages of a kind whose epoch is here.
func (w *work) replayKind(kind mlsengine.ContentType) error {
	due := func(m BufferedMessage) bool { return m.ContentType == kind && m.Epoch <= w.s.Epoch() }
	waiting := w.s.Buffer.Messages
	numbers := w.s.Buffer.numbers(due)
	if len(numbers) == 0 {
		return nil
	}
	if err := w.drain(numbers); err != nil {
		return err
	}
	for _, m := range waiting {
		if !due(m) {
			continue
		}
		if err := w.take(m.incoming()); err != nil {
			return err
		}
	}
	return nil
}

// replayCommits takes the first commit that is complete; it reports whether the
// epoch has changed.
func (w *work) replayCommits() (advanced bool, err error) {
	epoch := w.s.Epoch()
	for _, m := range w.s.Buffer.Messages {
		if m.ContentType != mlsengine.ContentTypeCommit || m.Epoch > epoch || w.waits(m) {
			continue
		}
		if err := w.drain([]uint64{m.Number}); err != nil {
			return false, err
		}
		if err := w.take(m.incoming()); err != nil {
			return false, err
		}
		if w.s.Epoch() != epoch || !w.listening() {
			return true, nil
		}
	}
	return false, nil
}

// waits reports whether a commit of this epoch still lacks a proposal. One that
// cannot be opened does not wait: taking it says what is wrong with it.
func (w *work) waits(m BufferedMessage) bool {
	if m.Epoch != w.s.Epoch() {
		return false
	}
	message, err := mlsengine.ParseMessage(m.Message)
	if err != nil {
		return false
	}
	content, _, err := w.s.Private.Group.Open(message, w.s.Config.handshakeLimits())
	if err != nil || content.Commit() == nil {
		return false
	}
	return slices.ContainsFunc(content.Commit().Proposals, func(p mlsengine.ProposalOrRef) bool {
		return p.Proposal == nil && !w.s.known(p.Ref)
	})
}

func (w *work) drain(numbers []uint64) error {
	return w.emit(event{body: &v1.BufferDrained{Count: uint32(len(numbers)), Numbers: numbers}})
}

func (m BufferedMessage) incoming() incoming {
	return incoming{bytes: m.Message, position: m.Position, number: m.Number}
}

// dropped is the event of a message that had waited and is of no use.
func dropped(number uint64, r *v1.MessageRejected) *v1.MessageDropped {
	return &v1.MessageDropped{
		Number: number, Code: r.GetCode(), Rule: r.GetRule(), Detail: r.GetDetail(), Epoch: r.GetEpoch(), ContentType: r.GetContentType(),
		Digest: r.GetDigest(), Position: r.GetPosition(),
	}
}

// clearBuffer says that what waits will not be read: the membership that it
// waited in is over.
func (w *work) clearBuffer(reason string) error {
	return w.expireBuffer(reason, func(BufferedMessage) bool { return true })
}

// expireBuffer drops messages that waited in vain.
func (w *work) expireBuffer(reason string, over func(BufferedMessage) bool) error {
	numbers := w.s.Buffer.numbers(over)
	if len(numbers) == 0 {
		return nil
	}
	return w.emit(event{body: &v1.BufferExpired{Count: uint32(len(numbers)), Reason: reason, Numbers: numbers}})
}

// ageBuffer drops messages that waited too long.
func (w *work) ageBuffer() error {
	return w.expireBuffer("age", func(m BufferedMessage) bool { return later(m.TimeMs, BufferAgeMs) <= w.now() })
}
