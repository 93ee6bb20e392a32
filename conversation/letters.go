package conversation

import (
	"slices"
	"strconv"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
	"parley/internal/syntax"
)

// The bounds of what waits for another try, and of what is put aside.
const (
	FailingMax        = 32      // messages that have failed and are to be handed over again: while there are so many, no new one is
	DeadLettersMax    = 128     // messages put aside; above it the oldest go
	DeadLetterBytes   = 4 << 20 // of them
	AsideMax          = 1024    // messages that failed although older ones were not acknowledged
	FailureReasonMax  = 256     // bytes of what the owner says of a failure
	redeliverAfterMs  = 1000    // after the first failure; doubled by each
	redeliverAtMostMs = hourMs
)

// Why messages that had failed are gone without having been acknowledged.
const (
	LetterAge         = "age"          // nobody asked for them in time
	LetterCount       = "count"        // too many are put aside
	LetterBytes       = "bytes"        // they are too large together
	LetterOwner       = "owner"        // the owner has said so
	LetterUnreadable  = "unreadable"   // the key is gone
	LetterSecretsLost = "secrets lost" // every key is
)

// Letter is a message whose owner could not handle it. It waits apart from the others, under a key of its own: what comes behind it goes on.
type Letter struct {
	Number   uint64 // of the message
	Version  uint64 // with Index: where the log first had it for the owner
	Index    uint32
	Held     uint64 // record that holds it
	Bytes    uint32
	Failures uint32 // since it was received, or handed over anew
	Turn     uint64 // record that says when it is handed over; names the handing over
	SinceMs  uint64 // when it failed first
	FailedMs uint64 // and last
	DueMs    uint64 // when it is handed over again; 0: it is put aside
	DeadMs   uint64 // since when
}

// Dead reports whether the message is put aside: it is not handed over again unless the owner asks for it.
func (l Letter) Dead() bool { return l.DueMs == 0 }

// Fail says that the owner could not handle a message. It comes again after a while, longer with every failure, until it has failed
// Config.MaxDeliveries times: then it is put aside. Turn is 0, or that of the Letter which was handed over; of another one nothing is counted,
// so that a failure that is told twice counts once.
type Fail struct {
	Message ReceivedMessage
	Version uint64 // with Index: where the log first had it for the owner
	Index   uint32
	Turn    uint64
	Reason  string // for people; it is sealed with the message
}

// RequeueLetters lets messages that have failed be handed over at once, as if they never had: those named, and with All every one.
type RequeueLetters struct {
	CommandMeta
	Numbers []uint64
	All     bool
}

// DropLetters lets go of messages that have failed: those named, and with All every one that is put aside.
type DropLetters struct {
	CommandMeta
	Numbers []uint64
	All     bool
}

// LoseLetters says that the keys of messages which have failed are gone.
type LoseLetters struct{ Numbers []uint64 }

func (Fail) isInput()           {}
func (RequeueLetters) isInput() {}
func (DropLetters) isInput()    {}
func (LoseLetters) isInput()    {}

// Name is the command's name in causes and outcomes.
func (RequeueLetters) Name() string { return "requeue_letters" }

// Name is the command's name in causes and outcomes.
func (DropLetters) Name() string { return "drop_letters" }

// Letter finds a message that has failed.
func (s Spool) Letter(number uint64) (Letter, bool) {
	i := s.letterIndex(number)
	if i < 0 {
		return Letter{}, false
	}
	return s.Letters[i], true
}

func (s Spool) letterIndex(number uint64) int {
	return slices.IndexFunc(s.Letters, func(l Letter) bool { return l.Number == number })
}

// Failing counts the messages that have failed and are to be handed over again.
func (s Spool) Failing() (n int) {
	for _, l := range s.Letters {
		if !l.Dead() {
			n++
		}
	}
	return n
}

// DeadLetters counts the messages that are put aside, and their bytes.
func (s Spool) DeadLetters() (n int, bytes uint64) {
	for _, l := range s.Letters {
		if l.Dead() {
			n, bytes = n+1, bytes+uint64(l.Bytes)
		}
	}
	return n, bytes
}

// Due lists the messages that have failed and are to be handed over again by now, the one that has waited longest first.
func (s Spool) Due(nowMs uint64) (due []Letter) {
	for _, l := range s.Letters {
		if !l.Dead() && l.DueMs <= nowMs {
			due = append(due, l)
		}
	}
	slices.SortStableFunc(due, func(a, b Letter) int { return int(int64(a.DueMs - b.DueMs)) })
	return due
}

// NextRedelivery is when the next message that has failed is to be handed over again that is not due yet; 0: none is.
func (s Spool) NextRedelivery(nowMs uint64) (at uint64) {
	for _, l := range s.Letters {
		if l.DueMs > nowMs {
			at = Earlier(at, l.DueMs)
		}
	}
	return at
}

// setAside takes a message out of those that are acknowledged in their order.
func (s Spool) setAside(number uint64) Spool {
	at, found := slices.BinarySearch(s.Aside, number)
	if number <= s.Acknowledged || found {
		return s
	}
	s.Aside = slices.Insert(slices.Clone(s.Aside), at, number)
	return s.through(s.Acknowledged)
}

// failed counts a failure.
func (s Spool) failed(e *v1.DeliveryFailed, version, timeMs uint64) Spool {
	s = s.setAside(e.GetNumber())
	s.Letters = slices.Clone(s.Letters)
	i := s.letterIndex(e.GetNumber())
	if i < 0 {
		i = len(s.Letters)
		s.Letters = append(s.Letters, Letter{Number: e.GetNumber(), Version: e.GetVersion(), Index: e.GetIndex(), SinceMs: timeMs})
	}
	l := &s.Letters[i]
	l.Failures, l.DueMs, l.Bytes = e.GetFailures(), e.GetDueMs(), e.GetBytes()
	l.Held, l.Turn, l.FailedMs = version, version, timeMs
	return s
}

// bury puts a message aside: behind those that were before.
func (s Spool) bury(number, version, timeMs uint64) Spool {
	l, ok := s.Letter(number)
	if !ok {
		return s
	}
	l.DueMs, l.DeadMs, l.Turn = 0, timeMs, version
	s = s.lessLetters([]uint64{number})
	s.Letters = append(slices.Clip(s.Letters), l)
	return s
}

// requeue makes messages due.
func (s Spool) requeue(numbers []uint64, version, timeMs uint64) Spool {
	s.Letters = slices.Clone(s.Letters)
	for i := range s.Letters {
		if l := &s.Letters[i]; slices.Contains(numbers, l.Number) {
			l.Failures, l.DueMs, l.DeadMs, l.Turn = 0, max(timeMs, 1), 0, version
		}
	}
	return s
}

// lessLetters forgets messages that have failed.
func (s Spool) lessLetters(numbers []uint64) Spool {
	s.Letters = slices.DeleteFunc(slices.Clone(s.Letters), func(l Letter) bool { return slices.Contains(numbers, l.Number) })
	return s
}

func (p *Public) evolveLetters(body events.Body) {
	switch e := body.(type) {
	case *v1.DeliveryFailed:
		p.Spool = p.Spool.failed(e, p.Version+1, p.TimeMs)
	case *v1.MessageDeadLettered:
		p.Spool = p.Spool.bury(e.GetNumber(), p.Version+1, p.TimeMs)
	case *v1.LettersRequeued:
		p.Spool = p.Spool.requeue(e.GetNumbers(), p.Version+1, p.TimeMs)
	case *v1.LettersSettled:
		p.Spool = p.Spool.lessLetters(e.GetNumbers())
	case *v1.LettersDropped:
		p.Spool = p.Spool.lessLetters(e.GetNumbers())
	}
}

// fail counts that the owner could not handle a message. What it holds is sealed anew with every failure, under a key of its own: neither the
// keys of its neighbours nor records of long ago are needed for it.
func (w *work) fail(in Fail) error {
	letter, known := w.s.Spool.Letter(in.Message.Number)
	w.reply.Failing = w.s.Spool.Failing()
	if known && (letter.Dead() || letter.Turn != in.Turn) {
		return nil // counted before
	}
	if !known {
		if err := w.mayFail(in); err != nil {
			return err
		}
	}
	reason, failures := bounded(in.Reason), letter.Failures+1
	body := &v1.DeliveryFailed{
		Number: in.Message.Number, Version: in.Version, Index: in.Index, Failures: failures,
		Bytes: uint32(in.Message.Plaintext.Len() + len(in.Message.AAD) + len(reason)),
	}
	limit := w.s.Config.MaxDeliveries
	dead := limit > 0 && failures >= limit
	if !dead {
		body.DueMs = later(w.now(), redeliveryPause(failures))
	} else if err := w.makeRoom(uint64(body.Bytes)); err != nil {
		return err
	}
	content := letterContent{message: in.Message, reason: reason}
	failed := event{body: body, secrets: []events.Secret{
		{Class: events.ClassLetter, Label: letterLabel(in.Message.Number), Plain: secret.New(syntax.Encode(&content))},
	}}
	if through := w.s.Spool.setAside(in.Message.Number).Acknowledged; through > w.s.Spool.Acknowledged {
		failed.forget = forgetMessages(through, 0)
	}
	if err := w.emit(failed); err != nil {
		return err
	}
	if dead {
		if err := w.emit(event{body: &v1.MessageDeadLettered{Number: in.Message.Number, Failures: failures}}); err != nil {
			return err
		}
	}
	w.reply.Failing = w.s.Spool.Failing()
	return nil
}

// mayFail checks that a message that has not failed before is there, and that there is room for it.
func (w *work) mayFail(in Fail) error {
	spool := w.s.Spool
	switch {
	case in.Turn != 0 || in.Message.History != "" || in.Message.Number >= spool.Next || !spool.Open(&in.Message):
		return refuse(DeliveryNotOpen, GiveUp, "message %d does not wait for its owner", in.Message.Number)
	case spool.Failing() >= FailingMax:
		return refuse(Busy, Retry, "%d messages have failed and wait to be handed over again", FailingMax)
	case len(spool.Aside) >= AsideMax:
		return refuse(Busy, Retry, "%d messages have failed before older ones were acknowledged", AsideMax)
	}
	return nil
}

// redeliveryPause is how long a message waits after so many failures.
func redeliveryPause(failures uint32) uint64 {
	return min(uint64(redeliverAfterMs)<<min(failures-1, 32), redeliverAtMostMs)
}

// makeRoom lets the oldest messages that are put aside go until there is room for one more.
func (w *work) makeRoom(more uint64) error {
	n, size := w.s.Spool.DeadLetters()
	var numbers []uint64
	reason := LetterCount
	for _, l := range w.s.Spool.Letters {
		if n < DeadLettersMax && size+more <= DeadLetterBytes {
			break
		}
		if !l.Dead() {
			continue
		}
		if n < DeadLettersMax {
			reason = LetterBytes
		}
		n, size = n-1, size-uint64(l.Bytes)
		numbers = append(numbers, l.Number)
	}
	return w.dropLetters(numbers, reason)
}

// dropLetters says that messages which had failed are gone, and their keys die.
func (w *work) dropLetters(numbers []uint64, reason string) error {
	if len(numbers) == 0 {
		return nil
	}
	return w.emit(event{body: &v1.LettersDropped{Numbers: numbers, Reason: reason}, forget: forgetLetters(numbers)})
}

// settleLetter says that the owner has a message that had failed.
func (w *work) settleLetter(number uint64) error {
	if _, ok := w.s.Spool.Letter(number); !ok {
		return nil
	}
	numbers := []uint64{number}
	return w.emit(event{body: &v1.LettersSettled{Numbers: numbers}, forget: forgetLetters(numbers)})
}

// requeueLetters makes messages due that have failed.
func (w *work) requeueLetters(in RequeueLetters) error {
	numbers, err := w.named(in.Numbers, func(Letter) bool { return in.All })
	if err != nil {
		return err
	}
	if len(numbers) > 0 {
		if err := w.emit(event{body: &v1.LettersRequeued{Numbers: numbers}}); err != nil {
			return err
		}
	}
	w.reply.Letters = len(numbers)
	return w.done(in, commandOutcome{number: uint64(len(numbers))})
}

// discardLetters lets messages go that have failed.
func (w *work) discardLetters(in DropLetters) error {
	numbers, err := w.named(in.Numbers, func(l Letter) bool { return in.All && l.Dead() })
	if err != nil {
		return err
	}
	if err := w.dropLetters(numbers, LetterOwner); err != nil {
		return err
	}
	w.reply.Letters = len(numbers)
	return w.done(in, commandOutcome{number: uint64(len(numbers))})
}

// loseLetters lets messages go that cannot be read any more.
func (w *work) loseLetters(in LoseLetters) error {
	lost := slices.DeleteFunc(slices.Clone(in.Numbers), func(n uint64) bool { return w.s.Spool.letterIndex(n) < 0 })
	return w.dropLetters(lost, LetterUnreadable)
}

// named lists the messages that a command is about: each of those named has failed and is there. Others may be meant
// without a name.
func (w *work) named(asked []uint64, meant func(Letter) bool) (numbers []uint64, err error) {
	if w.s.Lifecycle == Absent || w.s.Lifecycle == Wiped {
		return nil, refuse(ConversationNotFound, GiveUp, "%s: %s", w.s.Conversation, w.s.Lifecycle)
	}
	for _, n := range asked {
		if w.s.Spool.letterIndex(n) < 0 {
			return nil, refuse(DeadLetterNotFound, GiveUp, "message %d has not failed, or is gone", n)
		}
	}
	for _, l := range w.s.Spool.Letters {
		if meant(l) || slices.Contains(asked, l.Number) {
			numbers = append(numbers, l.Number)
		}
	}
	return numbers, nil
}

// expireLetters drops messages whose time is over: those put aside, and those that have failed for as long as a message waits at all.
func (w *work) expireLetters() error {
	var numbers []uint64
	for _, l := range w.s.Spool.Letters {
		if at := w.s.letterExpiry(l); at > 0 && at <= w.now() {
			numbers = append(numbers, l.Number)
		}
	}
	return w.dropLetters(numbers, LetterAge)
}

// letterExpiry is when a message that has failed is dropped; 0: never.
func (p Public) letterExpiry(l Letter) uint64 {
	since, age := l.SinceMs, p.Config.SpoolAgeMs
	if l.Dead() {
		since, age = l.DeadMs, p.Config.DeadLetterAgeMs
	}
	if age == 0 {
		return 0
	}
	return later(since, age)
}

// LetterExpiry is when the next message that has failed is dropped; 0: never.
func (p Public) LetterExpiry() (at uint64) {
	for _, l := range p.Spool.Letters {
		at = Earlier(at, p.letterExpiry(l))
	}
	return at
}

func letterLabel(number uint64) string { return strconv.FormatUint(number, 10) }

func forgetLetters(numbers []uint64) (forget []string) {
	for _, n := range numbers {
		forget = append(forget, events.Forget(events.ClassLetter, letterLabel(n)))
	}
	return forget
}

// letterContent is what is sealed of a message that has failed.
type letterContent struct {
	message ReceivedMessage
	reason  string
}

// Code walks the message and the reason.
func (l *letterContent) Code(c *syntax.Coder) {
	l.message.Code(c)
	codeString(c, &l.reason)
}

// FailedMessage is a message that has failed, as a record holds it.
type FailedMessage struct {
	Message ReceivedMessage
	Reason  string // what the owner said of the newest failure
}

// FailedMessages reads the messages that a record holds because they have failed, by their numbers. Those whose key is gone are left out.
func FailedMessages(r *events.Record) (map[uint64]FailedMessage, error) {
	var found map[uint64]FailedMessage
	for i := range r.Events {
		if _, ok := r.Events[i].Body.(*v1.DeliveryFailed); !ok {
			continue
		}
		plain, ok := r.Events[i].Secret(events.ClassLetter)
		if !ok {
			continue
		}
		content, err := syntax.Decode[letterContent](plain.Expose())
		if err != nil {
			return nil, brokenf("failed message of record %d: %v", r.Version, err)
		}
		if found == nil {
			found = map[uint64]FailedMessage{}
		}
		found[content.message.Number] = FailedMessage{Message: content.message, Reason: content.reason}
	}
	return found, nil
}
