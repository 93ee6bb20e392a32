package conversation

import (
	"bytes"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// AskToJoin makes an Add proposal by which the client asks to be added to a
// group that it is no member of (RFC 9420, 12.1.8). The private keys of the key
// package inside are kept for the Welcome. Asked again under its id it is the
// same proposal.
type AskToJoin struct {
	CommandMeta
	Group       ids.ConversationID
	Epoch       mlsengine.Epoch // of the group: in any other one the proposal is void
	CipherSuite mlsengine.CipherSuite
	Credential  CredentialRef // empty: the client's first of the suite
	Transport   TransportKind // who carries it; 0: whoever asked sees to that, also after a crash
	Renews      bool          // where the group has gone on before it was sent, another one takes its place
}

// PendingAsking is a proposal to join that is not known to have been sent.
type PendingAsking struct {
	Ref        mlsengine.ProposalRef
	Group      ids.ConversationID
	Message    []byte // MLSMessage
	KeyPackage mlsengine.KeyPackageRef
	Credential CredentialRef
	Transport  TransportKind
	Renews     bool
	DueMs      uint64 // it is sent again then
	Attempt    uint32 // how often that was planned
}

// Code walks a proposal to join.
func (a *PendingAsking) Code(c *syntax.Coder) {
	syntax.Opaque(c, &a.Ref)
	codeString(c, &a.Group)
	syntax.Opaque(c, &a.Message)
	syntax.Opaque(c, &a.KeyPackage)
	codeString(c, &a.Credential)
	syntax.Uint32(c, &a.Transport)
	codeBool(c, &a.Renews)
	syntax.Uint64(c, &a.DueMs)
	syntax.Uint32(c, &a.Attempt)
}

// The bounds of sending a proposal to join again: whoever asked has a moment to
// do it, then it is sent after pauses that double up to an hour.
const (
	AskingsMax     = 12
	askingGraceMs  = 5 * 1000
	askingPauseMs  = minuteMs / 2
	askingPauseMax = hourMs
)

// PlanAsking plans when a proposal to join is sent again, unless that was done
// often enough. The plan is made before it is sent.
type PlanAsking struct{ Ref mlsengine.ProposalRef }

// EndAsking says that it was sent, or why it never is.
type EndAsking struct {
	Ref  mlsengine.ProposalRef
	Code Code
}

func (PlanAsking) isClientInput() {}
func (EndAsking) isClientInput()  {}

// AskingDue is when a proposal to join is to be sent again; 0: none is.
func (s ClientPublic) AskingDue() (due uint64) {
	for i := range s.Askings {
		due = Earlier(due, s.Askings[i].DueMs)
	}
	return due
}

// Asks reports whether a proposal to join is not known to have been sent.
func (s ClientPublic) Asks(ref mlsengine.ProposalRef) bool {
	_, ok := s.asking(ref)
	return ok
}

func (s ClientPublic) asking(ref mlsengine.ProposalRef) (PendingAsking, bool) {
	for _, a := range s.Askings {
		if bytes.Equal(a.Ref, ref) {
			return a, true
		}
	}
	return PendingAsking{}, false
}

func (w *clientWork) planAsking(in PlanAsking) error {
	a, ok := w.s.asking(in.Ref)
	switch {
	case !ok:
		return nil
	case a.Attempt >= AskingsMax:
		return w.endAsking(EndAsking{Ref: in.Ref, Code: RetriesExhausted})
	}
	pause := min(uint64(askingPauseMs)<<a.Attempt, askingPauseMax)
	return w.emit(events.Event{Body: &v1.JoinSending{ProposalRef: in.Ref, DueMs: later(w.now(), pause), Attempt: a.Attempt + 1}})
}

func (w *clientWork) endAsking(in EndAsking) error {
	if !w.s.Asks(in.Ref) {
		return nil
	}
	return w.emit(events.Event{Body: &v1.JoinSending{ProposalRef: in.Ref, Code: string(in.Code)}})
}

// foldAsking is what proposals to join, and their being sent, make of the state.
func (s *ClientState) foldAsking(body events.Body) {
	switch e := body.(type) {
	case *v1.JoinProposed:
		if e.GetTransport() == 0 {
			return // nobody sends it by himself
		}
		kp, _ := s.KeyPackage(e.GetKeyPackageRef())
		s.Askings = append(slices.Clone(s.Askings), PendingAsking{
			Ref: e.GetProposalRef(), Group: ids.ConversationID(e.GetGroup()), Message: e.GetMessage(), KeyPackage: e.GetKeyPackageRef(),
			Credential: kp.Credential, Transport: TransportKind(e.GetTransport()), Renews: e.GetRenews(), DueMs: later(s.TimeMs, askingGraceMs),
		})
	case *v1.JoinSending:
		s.Askings = slices.Clone(s.Askings)
		for i := range s.Askings {
			if bytes.Equal(s.Askings[i].Ref, e.GetProposalRef()) {
				s.Askings[i].DueMs, s.Askings[i].Attempt = e.GetDueMs(), e.GetAttempt()
			}
		}
		s.Askings = slices.DeleteFunc(s.Askings, func(a PendingAsking) bool { return a.DueMs == 0 })
	}
}

func (AskToJoin) isClientInput() {}

// Name is the command's name in causes and outcomes.
func (AskToJoin) Name() string { return "new_external_add_proposal" }

func (w *clientWork) askToJoin(in AskToJoin) error {
	if len(in.Group) == 0 {
		return refuse(InvalidConfiguration, GiveUp, "no group is named")
	}
	identity, ref, ok := w.s.Identity(in.Credential, in.CipherSuite)
	if !ok {
		return refuse(CredentialNotFound, GiveUp, "%q of cipher suite %d", in.Credential, in.CipherSuite)
	}
	env := w.env.engine()
	env.Identity = identity
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: in.CipherSuite, Identity: *identity, Lifetime: lifetimeFrom(w.now(), lifetimeSeconds), Capabilities: capabilities(),
	}, env)
	if err != nil {
		return engineFault(InvalidKeyPackage, err)
	}
	proposed, err := mlsengine.ProposeToJoin(&mlsengine.GroupContext{
		Version: mlsengine.VersionMLS10, CipherSuite: in.CipherSuite, GroupID: mlsengine.GroupID(in.Group), Epoch: in.Epoch,
	}, kp, nil, env)
	if err != nil {
		return engineFault(InvalidConfiguration, err)
	}
	refs, err := w.hold(ref, []heldKeyPackage{{kp, secrets}}, &v1.KeyPackagesGenerated{})
	if err != nil {
		return err
	}
	err = w.emit(events.Event{Body: &v1.JoinProposed{
		Group: []byte(in.Group), Epoch: uint64(in.Epoch), KeyPackageRef: refs[0], ProposalRef: proposed.Ref, Message: proposed.Message,
		Transport: uint32(in.Transport), Renews: in.Renews,
	}})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: ref, keyPackages: refs, proposalRef: proposed.Ref, proposal: proposed.Message})
}
