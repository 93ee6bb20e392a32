package delivery

import (
	deliveryv1 "parley/delivery/v1"
	"parley/internal/ids"
)

// requestTo puts submissions of one group into the form that travels between nodes.
func requestTo(g GroupID, subs []Submission, node string) *deliveryv1.Request {
	r := &deliveryv1.Request{Group: []byte(g), Node: node}
	for _, s := range subs {
		r.Submissions = append(r.Submissions, submissionTo(s))
	}
	return r
}

func submissionTo(s Submission) *deliveryv1.Submission {
	o := s.origin()
	out := &deliveryv1.Submission{Origin: &deliveryv1.Origin{Client: []byte(o.Client), CommandId: []byte(o.CommandID), IssuedMs: o.IssuedMs}}
	if !o.Request.IsZero() {
		out.Origin.Request = o.Request[:]
	}
	switch s := s.(type) {
	case *Registration:
		out.Body = &deliveryv1.Submission_Registration{Registration: &deliveryv1.Registration{GroupInfo: s.GroupInfo}}
	case *Bundle:
		b := &deliveryv1.Bundle{
			Commit: s.Commit, Welcome: s.Welcome, GroupInfo: s.GroupInfo, EncryptedMessage: s.EncryptedMessage, Proposals: s.Proposals,
			Generation: s.Generation,
		}
		for _, c := range s.Changes {
			b.Changes = append(b.Changes, &deliveryv1.Change{Kind: uint32(c.Kind), Leaf: c.Leaf, Client: []byte(c.Client)})
		}
		out.Body = &deliveryv1.Submission_Bundle{Bundle: b}
	case *Proposal:
		out.Body = &deliveryv1.Submission_Proposal{Proposal: &deliveryv1.Proposal{Message: s.Message, Generation: s.Generation}}
	case *Message:
		out.Body = &deliveryv1.Submission_Message{Message: &deliveryv1.Message{Message: s.Bytes, Generation: s.Generation}}
	case *Restart:
		out.Body = &deliveryv1.Submission_Restart{Restart: &deliveryv1.Restart{Successor: []byte(s.Successor), Reason: s.Reason}}
	case *Wish:
		out.Body = &deliveryv1.Submission_Wish{Wish: &deliveryv1.Wish{
			Remove: []byte(s.Want.Remove), Add: s.Want.Add, Psk: s.Want.PSK, Extensions: encodeExtensions(s.Want.Extensions),
			Without: typesTo(s.Want.Without), Reinit: encodeReinit(s.Want.Reinit), Withdraw: []byte(s.Withdraw), Reason: s.Reason,
		}}
	case *Lookup:
		out.Body = &deliveryv1.Submission_Lookup{Lookup: &deliveryv1.Lookup{Epoch: s.Epoch, Wishes: s.Wishes}}
	}
	return out
}

// submissionsFrom reads a request. What is not a submission of this build is refused as a whole: its sender would misread the outcomes.
func submissionsFrom(r *deliveryv1.Request) ([]Submission, *Error) {
	g := GroupID(r.Group)
	if len(r.Submissions) == 0 {
		return nil, refuse(Malformed, "a request without a submission")
	}
	subs := make([]Submission, 0, len(r.Submissions))
	for _, in := range r.Submissions {
		o := Origin{
			Client: ids.ClientID(in.GetOrigin().GetClient()), CommandID: ids.CommandID(in.GetOrigin().GetCommandId()),
			IssuedMs: in.GetOrigin().GetIssuedMs(), Request: digestOf(in.GetOrigin().GetRequest()),
		}
		switch b := in.GetBody().(type) {
		case *deliveryv1.Submission_Registration:
			subs = append(subs, &Registration{Group: g, Origin: o, GroupInfo: b.Registration.GetGroupInfo()})
		case *deliveryv1.Submission_Bundle:
			subs = append(subs, bundleFrom(g, o, b.Bundle))
		case *deliveryv1.Submission_Proposal:
			subs = append(subs, &Proposal{Group: g, Origin: o, Message: b.Proposal.GetMessage(), Generation: b.Proposal.GetGeneration()})
		case *deliveryv1.Submission_Message:
			subs = append(subs, &Message{Group: g, Origin: o, Bytes: b.Message.GetMessage(), Generation: b.Message.GetGeneration()})
		case *deliveryv1.Submission_Restart:
			subs = append(subs, &Restart{Group: g, Origin: o, Successor: GroupID(b.Restart.GetSuccessor()), Reason: b.Restart.GetReason()})
		case *deliveryv1.Submission_Wish:
			want, err := wantFrom(b.Wish)
			if err != nil {
				return nil, refuse(Malformed, "%v", err)
			}
			subs = append(subs, &Wish{Group: g, Origin: o, Want: want, Withdraw: WishID(b.Wish.GetWithdraw()), Reason: b.Wish.GetReason()})
		case *deliveryv1.Submission_Lookup:
			subs = append(subs, &Lookup{Group: g, Origin: o, Epoch: b.Lookup.GetEpoch(), Wishes: b.Lookup.GetWishes()})
		default:
			return nil, refuse(Malformed, "a submission of a kind this node does not know")
		}
	}
	return subs, nil
}

func bundleFrom(g GroupID, o Origin, b *deliveryv1.Bundle) *Bundle {
	out := &Bundle{
		Group: g, Origin: o, Commit: b.GetCommit(), Welcome: b.GetWelcome(), GroupInfo: b.GetGroupInfo(),
		EncryptedMessage: b.GetEncryptedMessage(), Proposals: b.GetProposals(), Generation: b.GetGeneration(),
	}
	for _, c := range b.GetChanges() {
		out.Changes = append(out.Changes, Change{Kind: ChangeKind(c.GetKind()), Leaf: c.GetLeaf(), Client: ids.ClientID(c.GetClient())})
	}
	return out
}

func responseTo(outcomes []Outcome) *deliveryv1.Response {
	r := &deliveryv1.Response{}
	for _, o := range outcomes {
		out := &deliveryv1.Outcome{Position: o.Position, Failure: failureTo(o.Err), Standing: standingTo(o.Standing)}
		switch a := o.Answer.(type) {
		case Success:
			out.Verdict, out.Position = deliveryv1.Verdict_VERDICT_SUCCESS, a.Position
		case Retry:
			out.Verdict, out.Epoch = deliveryv1.Verdict_VERDICT_RETRY, a.Epoch
		case Abort:
			out.Verdict, out.Reason = deliveryv1.Verdict_VERDICT_ABORT, a.Reason
		}
		r.Outcomes = append(r.Outcomes, out)
	}
	return r
}

func outcomesFrom(r *deliveryv1.Response, want int) ([]Outcome, error) {
	if r.Failure != nil {
		return nil, failureFrom(r.Failure)
	}
	if len(r.Outcomes) != want {
		return nil, refuse(Unknown, "%d outcomes for %d submissions", len(r.Outcomes), want)
	}
	outcomes := make([]Outcome, 0, want)
	for _, in := range r.Outcomes {
		o := Outcome{Position: in.GetPosition(), Standing: standingFrom(in.GetStanding())}
		switch in.GetVerdict() {
		case deliveryv1.Verdict_VERDICT_SUCCESS:
			o.Answer = Success{Position: in.GetPosition()}
		case deliveryv1.Verdict_VERDICT_RETRY:
			o.Answer = Retry{Epoch: in.GetEpoch()}
		case deliveryv1.Verdict_VERDICT_ABORT:
			o.Answer = Abort{Reason: in.GetReason()}
		}
		if in.Failure != nil {
			o.Err = failureFrom(in.Failure)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// failureTo keeps of an error what its reader may branch on. An error without a code left it open what was done.
func failureTo(err error) *deliveryv1.Failure {
	if err == nil {
		return nil
	}
	e := coded(err)
	return &deliveryv1.Failure{Code: uint32(e.Code), Detail: e.Detail, First: e.First, Epoch: e.Epoch}
}

func failureFrom(f *deliveryv1.Failure) *Error {
	return &Error{Code: Code(f.GetCode()), Detail: f.GetDetail(), First: f.GetFirst(), Epoch: f.GetEpoch()}
}

func standingTo(s *Standing) *deliveryv1.Standing {
	if s == nil {
		return nil
	}
	out := &deliveryv1.Standing{Number: s.Number, Epoch: s.Epoch, GroupInfoNumber: s.GroupInfoNumber, Member: s.Member, Successor: []byte(s.Successor), Winner: s.Winner}
	out.Wishes = listedTo(s.Wishes)
	if s.Last != nil {
		out.Last = &deliveryv1.Sender{Number: s.Last.Number, Epoch: s.Last.Epoch, Kind: uint32(s.Last.Kind), Generation: s.Last.Generation}
	}
	return out
}

func standingFrom(s *deliveryv1.Standing) *Standing {
	if s == nil {
		return nil
	}
	out := &Standing{
		Number: s.GetNumber(), Epoch: s.GetEpoch(), GroupInfoNumber: s.GetGroupInfoNumber(), Member: s.GetMember(), Successor: GroupID(s.GetSuccessor()), Winner: s.GetWinner(),
	}
	out.Wishes = listedFrom(s.GetWishes())
	if l := s.GetLast(); l != nil {
		out.Last = &LastEntry{Number: l.GetNumber(), Epoch: l.GetEpoch(), Kind: EntryKind(l.GetKind()), Generation: l.GetGeneration()}
	}
	return out
}
