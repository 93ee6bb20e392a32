package conversation

import (
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Unresolved is an own commit whose fate nobody knows: the transport gave no
// answer, however often it was asked. It counts if it turns up. Until that, an
// answer, or a decision of the owner (Resolve), nothing is encrypted; a new
// commit may take its place.
type Unresolved struct {
	Bundle   SendBundle // what the transport was offered
	Epoch    mlsengine.Epoch
	StagedMs uint64
	Join     bool // by it we join
	Replaced bool // a new commit has taken its place; it may still have been accepted
}

// Unresolved lists the own commits whose fate nobody knows, the newest last.
func (s State) Unresolved() []Unresolved {
	var open []Unresolved
	for i := range s.Shelved {
		c := &s.Shelved[i]
		open = append(open, Unresolved{Bundle: s.bundleOf(c), Epoch: c.Epoch, StagedMs: c.StagedMs, Replaced: true})
	}
	if c := s.Staged; c != nil && c.Failed {
		open = append(open, Unresolved{Bundle: s.bundle(), Epoch: c.Epoch, StagedMs: c.StagedMs})
	}
	if j := s.Joining; j != nil && j.Failed {
		open = append(open, Unresolved{Bundle: s.joinBundle(), Epoch: j.Epoch, StagedMs: j.StagedMs, Join: true})
	}
	return open
}

// Resolve is the owner's word about an own commit whose fate is unknown.
type Resolve struct {
	CommandMeta
	Bundle   ids.Digest       // which one; zero: the newest
	Verdict  TransportOutcome // Success: it was accepted; Abort: it was not, and never will be; Retry: offer the identical bytes again
	Position uint64           // Success: where it stands in the service's order, where that has one
}

func (Resolve) isInput() {}

// Name is the command's name in causes and outcomes.
func (Resolve) Name() string { return "resolve_commit" }

// resolve settles a commit by the owner's word, or offers it once more.
func (w *work) resolve(in Resolve) error {
	if waiting := w.s.waiting(); waiting.Name != "" {
		return refuse(PendingCommit, Retry, "%s waits for the transport", waiting.Name)
	}
	open := w.s.Unresolved()
	for i := len(open) - 1; i >= 0; i-- {
		if in.Bundle.IsZero() || in.Bundle == open[i].Bundle.Digest {
			return w.settle(in, open[i])
		}
	}
	return refuse(PendingCommitNotFound, GiveUp, "no such commit is without an answer")
}

func (w *work) settle(in Resolve, which Unresolved) error {
	switch in.Verdict {
	case TransportSuccess, TransportAbort:
		told := TransportAnswered{Bundle: which.Bundle.Digest, Outcome: in.Verdict, Position: in.Position, Reason: "the owner says so"}
		if err := w.transportAnswered(told); err != nil {
			return err
		}
		return w.done(in, commandOutcome{})
	case TransportRetry:
		if which.Replaced {
			return refuse(PendingCommitNotFound, GiveUp, "another commit has taken its place")
		}
		return w.offerAgain(in, which)
	}
	return refuse(InvalidCommand, GiveUp, "verdict %d", in.Verdict)
}

// takeUp goes on with the commit of a command that is asked again because the
// transport gave no answer: the identical bundle is offered once more, so that
// the command takes effect once, whichever of the offers the service has taken.
func (w *work) takeUp(ref CommandRef) (known bool, err error) {
	staged := w.s.Staged
	if staged == nil || !staged.Failed || !staged.Command.same(ref) || w.s.waiting().Name != "" || w.member() != nil {
		return false, nil
	}
	if err := staged.Command.matches(ref); err != nil {
		return true, err
	}
	body := &v1.CommitRetried{BundleDigest: staged.Digest[:], Attempt: 1, Reason: "the command is asked again", Command: ref.toProto()}
	if err := w.emit(event{body: body}); err != nil {
		return true, err
	}
	w.outbox = append(w.outbox, w.s.bundle())
	w.reply.InFlight = true
	return true, nil
}

// offerAgain sends the identical bundle once more, and has the command wait for
// what becomes of it. What the bundle was made for is not made anew for this
// command: who wanted it has been told to ask again.
func (w *work) offerAgain(in Resolve, which Unresolved) error {
	digest := which.Bundle.Digest
	body := &v1.CommitRetried{BundleDigest: digest[:], Attempt: 1, Reason: "the owner asks once more", Command: refOf(in).toProto()}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	again := w.s.bundle
	if which.Join {
		again = w.s.joinBundle
	}
	w.outbox = append(w.outbox, again())
	w.reply.InFlight = true
	return nil
}

// waitsAgain gives a commit that nobody waited for any more a command that does.
func (p *Public) waitsAgain(e *v1.CommitRetried) {
	ref := refFromProto(e.GetCommand())
	if j := p.Joining; j != nil && string(j.Digest[:]) == string(e.GetBundleDigest()) {
		again := *j
		again.Command, again.Failed = ref, false
		p.Joining = &again
		return
	}
	if p.Staged == nil {
		return
	}
	again := *p.Staged
	again.Command, again.Failed, again.Attempt = ref, false, e.GetAttempt()
	if !p.Staged.Command.same(ref) { // who wanted it has been told to ask again, and does not wait
		again.Intent, again.Clients, again.Inline = ref.Name, nil, nil
	}
	p.Staged = &again
}
