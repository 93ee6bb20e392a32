package delivery

import (
	"errors"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Env is what Decide may know beyond the order itself. Nothing of it decides between commits that are valid by the order.
type Env struct {
	NowMs uint64
	// Joiner is the verdict about somebody who comes in by itself: nil lets the commit or the proposal be judged. Only JoinerOf names it.
	Joiner func(Identity) error
	// Successor is the verdict about a credential that takes the place of another one of its client; nil: every one is let in.
	Successor func(Identity) error
	// Service signs what the service wants; nil: the group does not list it.
	Service *mlsengine.SigningIdentity
}

// Decision is what a sequencer makes of one submission: an event to append and what to answer once it is durable, or an answer alone.
type Decision struct {
	Event   events.Body            // nil: nothing enters the order
	Outcome Outcome                // after the event is durable
	next    *mlsengine.PublicGroup // the epoch the event leads to, so that it need not be computed again
}

// Decide judges a submission against the order. It changes nothing: the caller appends the event and takes it into the state with Apply.
func Decide(s *SequencerState, sub Submission, env Env) Decision {
	if err := checkShape(sub, &s.limits); err != nil {
		return answered(sub, err)
	}
	if sub.group() != s.group {
		return answered(sub, refuse(UnknownGroup, "this is the order of another group"))
	}
	if r, ok := sub.(*Registration); ok {
		return s.decideRegistration(r, env)
	}
	if s.number == 0 {
		return answered(sub, refuse(UnknownGroup, "it is not registered"))
	}
	if sender := sub.origin().Client; conversation.HistoryClient(sender) {
		return answered(sub, refuse(Forbidden, "%s was let in to read", sender))
	}
	switch sub := sub.(type) {
	case *Bundle:
		return s.decideBundle(sub, env)
	case *Proposal:
		return s.decideProposal(sub, env)
	case *Message:
		return s.decideMessage(sub, env)
	case *Restart:
		return s.decideRestart(sub, env)
	case *Wish:
		return s.decideWish(sub, env)
	case *Lookup:
		return Decision{Outcome: Outcome{Standing: s.standing(sub)}}
	}
	return answered(sub, refuse(Malformed, "an unknown kind of submission"))
}

// Apply takes a decision's event into the state. The state is ahead of the log until the event is durable: if it does not become so, the
// state is dropped and read from the log again.
func (s *SequencerState) Apply(d Decision) error {
	if d.Event == nil {
		return nil
	}
	return s.foldBody(d.Event, d.next)
}

// answered is a decision without an event. What a bundle's sender can do nothing about becomes Abort; a bound that may pass becomes Retry.
func answered(sub Submission, err *Error) Decision {
	if _, ok := sub.(*Bundle); !ok {
		return Decision{Outcome: Outcome{Err: err}}
	}
	switch err.Code {
	case Busy:
		return Decision{Outcome: Outcome{Answer: Retry{Epoch: err.Epoch}}}
	case UnknownGroup:
		return Decision{Outcome: Outcome{Err: err}}
	}
	return Decision{Outcome: Outcome{Answer: Abort{Reason: err.Error()}}}
}

// ruleBroken names the engine's rule in a refusal.
func ruleBroken(err error) *Error {
	if rule, ok := errors.AsType[*mlsengine.RuleError](err); ok {
		return &Error{Code: Invalid, Detail: rule.Rule.Code() + ": " + rule.Detail, cause: err}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Malformed, Detail: err.Error(), cause: err}
}

func (s *SequencerState) decideRegistration(r *Registration, env Env) Decision {
	if s.number > 0 {
		if s.registered == ids.DigestOf(r.GroupInfo) {
			return Decision{Outcome: Outcome{Position: 1}}
		}
		return answered(r, refuse(GroupExists, "it was registered with another group info"))
	}
	public, err := publicFromInfo(r.GroupInfo)
	if err != nil {
		return answered(r, ruleBroken(err))
	}
	if GroupID(public.GroupID()) != s.group {
		return answered(r, refuse(GroupInfoWrong, "it describes another group"))
	}
	gi, err := parseGroupInfo(r.GroupInfo)
	if err != nil {
		return answered(r, ruleBroken(err))
	}
	signer, ok := public.Member(gi.Signer)
	if !ok || conversation.ClientOf(signer.Credential) != r.Origin.Client {
		return answered(r, refuse(NotMember, "the group info is signed by somebody else"))
	}
	entry := s.entry(eventsv1.EntryKind_ENTRY_KIND_GROUP, &r.Origin, env)
	entry.Epoch, entry.GroupInfo = uint64(public.Epoch()), r.GroupInfo
	digest := ids.DigestOf(r.GroupInfo)
	entry.Digest = digest[:]
	return Decision{Event: entry, Outcome: Outcome{Position: entry.Number}, next: public}
}

// entry begins the next entry.
func (s *SequencerState) entry(kind eventsv1.EntryKind, o *Origin, env Env) *eventsv1.OrderEntry {
	e := &eventsv1.OrderEntry{
		Number: s.number + 1, Kind: kind, Sender: []byte(o.Client), CommandId: []byte(o.CommandID), TimeMs: max(env.NowMs, s.timeMs),
	}
	if !o.Request.IsZero() {
		e.Request = o.Request[:]
	}
	return e
}

// admit answers a retried command and refuses one outside the window, for proposals and messages.
func (s *SequencerState) admit(sub Submission, message []byte, env Env) (Decision, bool) {
	o := sub.origin()
	if r, ok := s.memory.find(keyOfCommand(o.Client, o.CommandID)); ok {
		request := requestOf(o, message)
		if [16]byte(request[:16]) != r.request {
			return answered(sub, refuse(CommandReused, "command %s was another request", o.CommandID)), false
		}
		return Decision{Outcome: Outcome{Position: r.number}}, false
	}
	if err := fresh(o, env.NowMs, &s.limits); err != nil {
		return answered(sub, err), false
	}
	if err := s.open(); err != nil {
		return answered(sub, err), false
	}
	if s.memory.len() >= s.limits.Remembered {
		return answered(sub, refuse(Busy, "%d commands are remembered", s.memory.len())), false
	}
	return Decision{}, true
}

// open refuses what comes to a closed group.
func (s *SequencerState) open() *Error {
	if s.successor != "" {
		return refuse(Closed, "%s", s.successor)
	}
	return nil
}

func (s *SequencerState) decideMessage(m *Message, env Env) Decision {
	if d, ok := s.admit(m, m.Bytes, env); !ok {
		return d
	}
	if !s.isMember(m.Origin.Client) {
		return answered(m, notMember(m.Origin.Client))
	}
	parsed, err := s.parse(m.Bytes, mlsengine.ContentTypeApplication)
	if err != nil {
		return answered(m, err)
	}
	if parsed.WireFormat() != mlsengine.WireFormatPrivateMessage {
		return answered(m, refuse(Malformed, "application messages are private"))
	}
	// Messages of the last few epochs still have readers: their senders had not seen the commit yet.
	epoch, now := uint64(parsed.Epoch()), s.Epoch()
	if epoch > now || epoch+s.limits.PastEpochs < now {
		return answered(m, &Error{Code: WrongEpoch, Detail: "the message belongs to another epoch", Epoch: now})
	}
	entry := s.entry(eventsv1.EntryKind_ENTRY_KIND_APPLICATION, &m.Origin, env)
	entry.Epoch, entry.Message, entry.Generation = epoch, m.Bytes, m.Generation
	return Decision{Event: entry, Outcome: Outcome{Position: entry.Number}}
}

// parse reads a message of this group and of one content type.
func (s *SequencerState) parse(b []byte, want mlsengine.ContentType) (*mlsengine.Message, *Error) {
	m, err := mlsengine.ParseMessage(b)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	switch m.WireFormat() {
	case mlsengine.WireFormatPublicMessage, mlsengine.WireFormatPrivateMessage:
	default:
		return nil, refuse(Malformed, "wire format %d", m.WireFormat())
	}
	if GroupID(m.GroupID()) != s.group {
		return nil, refuse(Malformed, "a message of another group")
	}
	if m.ContentType() != want {
		return nil, refuse(Malformed, "content type %d, not %d", m.ContentType(), want)
	}
	return m, nil
}

func (s *SequencerState) decideProposal(p *Proposal, env Env) Decision {
	if d, ok := s.admit(p, p.Message, env); !ok {
		return d
	}
	m, refused := s.parse(p.Message, mlsengine.ContentTypeProposal)
	if refused != nil {
		return answered(p, refused)
	}
	if uint64(m.Epoch()) != s.Epoch() {
		return answered(p, &Error{Code: WrongEpoch, Detail: "the proposal belongs to another epoch", Epoch: s.Epoch()})
	}
	if refused := s.roomFor(p.Origin.Client); refused != nil {
		return answered(p, refused)
	}
	entry := s.entry(eventsv1.EntryKind_ENTRY_KIND_PROPOSAL, &p.Origin, env)
	entry.Epoch, entry.Message, entry.Generation = s.Epoch(), p.Message, p.Generation
	if m.WireFormat() == mlsengine.WireFormatPublicMessage {
		content, err := s.verifyProposal(m, p.Origin.Client, env)
		if err != nil {
			return answered(p, err)
		}
		if err := s.judgeUpdate(content, env); err != nil {
			return answered(p, err)
		}
		entry.Proposals = []*eventsv1.ProposalFacts{factsOf(content)}
	} else if !s.isMember(p.Origin.Client) {
		return answered(p, notMember(p.Origin.Client))
	}
	return Decision{Event: entry, Outcome: Outcome{Position: entry.Number}}
}

// roomFor refuses a proposal where too many wait for a commit, or too many of one submitter: nobody takes the room of all.
func (s *SequencerState) roomFor(c ids.ClientID) *Error {
	if len(s.pending) >= s.limits.Pending {
		return refuse(Busy, "%d proposals wait for a commit", len(s.pending))
	}
	own := 0
	for i := range s.pending {
		if s.pending[i].sender == c {
			own++
		}
	}
	if own >= s.limits.PendingOfOne {
		return refuse(Busy, "%d proposals of %s wait for a commit", own, c)
	}
	return nil
}

// verifyProposal checks a proposal's signature and who brings it: a member speaks for itself, and for outsiders it may carry theirs;
// an outsider brings its own only, and to ask to be added it needs the policy's leave.
func (s *SequencerState) verifyProposal(m *mlsengine.Message, submitter ids.ClientID, env Env) (*mlsengine.Content, *Error) {
	content, err := s.public.VerifyMessage(m)
	if err != nil {
		return nil, ruleBroken(err)
	}
	sender := content.Sender()
	if sender.Type == mlsengine.SenderTypeMember {
		if err := s.speaksFor(sender.Leaf, submitter); err != nil {
			return nil, err
		}
		return content, nil
	}
	switch {
	case s.isMember(submitter):
		return content, nil
	case s.outsider(content) != submitter:
		return nil, notMember(submitter)
	case sender.Type == mlsengine.SenderTypeNewMemberProposal:
		return content, s.mayAsk(content, env)
	}
	return content, nil
}

func (s *SequencerState) mayAsk(content *mlsengine.Content, env Env) *Error {
	asker, ok := askerOf(content)
	if !ok || env.Joiner == nil {
		return refuse(Forbidden, "nobody asks to be added to this group")
	}
	if err := env.Joiner(asker); err != nil {
		return ruleBroken(err)
	}
	return nil
}

// outsider names who signed a proposal from outside: an external sender, or a client that proposes itself (§12.1.8).
func (s *SequencerState) outsider(c *mlsengine.Content) ids.ClientID {
	switch c.Sender().Type {
	case mlsengine.SenderTypeExternal:
		if senders := s.public.ExternalSenders(); int(c.Sender().Index) < len(senders) {
			return conversation.ClientOf(senders[c.Sender().Index].Credential)
		}
	case mlsengine.SenderTypeNewMemberProposal:
		if add, ok := c.Proposal().(*mlsengine.Add); ok {
			return conversation.ClientOf(add.KeyPackage.LeafNode.Credential)
		}
	}
	return ""
}

// speaksFor checks that a leaf belongs to the client that submitted.
func (s *SequencerState) speaksFor(leaf mlsengine.LeafIndex, c ids.ClientID) *Error {
	m, ok := s.public.Member(leaf)
	if !ok || conversation.ClientOf(m.Credential) != c {
		return refuse(NotMember, "leaf %d is not %s", leaf, c)
	}
	return nil
}

func notMember(c ids.ClientID) *Error { return refuse(NotMember, "%s is not in the group", c) }

// factsOf tells a verified proposal in the open.
func factsOf(c *mlsengine.Content) *eventsv1.ProposalFacts {
	p := c.Proposal()
	facts := &eventsv1.ProposalFacts{
		Type: uint32(p.ProposalType()), Proposal: mlsengine.MarshalProposal(p), SenderType: uint32(c.Sender().Type), Ref: c.ProposalRef(),
		Content: c.Marshal(),
	}
	facts.SenderIndex = c.Sender().Index
	if c.Sender().Type == mlsengine.SenderTypeMember {
		facts.SenderIndex = uint32(c.Sender().Leaf)
	}
	return facts
}

func (s *SequencerState) decideRestart(r *Restart, env Env) Decision {
	if s.successor != "" {
		if s.successor == r.Successor {
			return Decision{Outcome: Outcome{Position: s.number}}
		}
		return answered(r, s.open())
	}
	return Decision{
		Event: &eventsv1.GroupRestarted{
			Successor: []byte(r.Successor), Reason: r.Reason, Number: s.number + 1, Sender: []byte(r.Origin.Client), TimeMs: max(env.NowMs, s.timeMs),
		},
		Outcome: Outcome{Position: s.number + 1},
	}
}

func (s *SequencerState) standing(l *Lookup) *Standing {
	out := &Standing{Number: s.number, Epoch: s.Epoch(), GroupInfoNumber: s.infoNumber, Member: s.isMember(l.Origin.Client), Successor: s.successor}
	if last, ok := s.senders[l.Origin.Client]; ok {
		out.Last = &last
	}
	if w, ok := s.winnerOf(l.Epoch); ok {
		out.Winner = w.number
	}
	if l.Wishes {
		out.Wishes = s.listed()
	}
	return out
}
