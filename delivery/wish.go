package delivery

import (
	"bytes"
	"context"
	"slices"

	"parley/conversation"
	deliveryv1 "parley/delivery/v1"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Wish has the service propose something in a group, as an external sender that the group lists (§12.1.8), until it is done: a commit that
// leaves the proposal out, or somebody who joins by a commit of his own, makes it void, and the service proposes it again for the next epoch,
// in the same record. One of Remove and Add is set.
type Wish struct {
	Group    GroupID
	Origin   Origin
	Remove   ids.ClientID // a member that is to go
	Add      []byte       // KeyPackage of who is to come
	Withdraw bool         // the wish stands no longer; what is pending stays so for its epoch
	Reason   string       // for the log
}

func (w *Wish) group() GroupID  { return w.Group }
func (w *Wish) origin() *Origin { return &w.Origin }
func (w *Wish) size() int       { return len(w.Add) + len(w.Remove) + len(w.Reason) }

func (w *Wish) id() string {
	d := ids.DigestOf([]byte("parley wish"), []byte(w.Remove), []byte{0}, w.Add)
	return string(d[:16])
}

func checkWish(w *Wish, l *Limits) *Error {
	switch {
	case (w.Remove == "") == (len(w.Add) == 0):
		return refuse(Malformed, "a wish removes or adds somebody")
	case len(w.Remove) > identityBytesMax, len(w.Reason) > reasonBytesMax:
		return refuse(Malformed, "a wish is longer than it may be")
	case len(w.Add) > l.MessageBytes:
		return refuse(TooLarge, "%d bytes, at most %d", len(w.Add), l.MessageBytes)
	}
	return nil
}

const (
	wishesMax = 64 // that stand in one group at a time
	wishTries = 64 // epochs in which one is proposed
)

// standingWish is a wish that is not done.
type standingWish struct {
	id     string
	remove ids.ClientID
	add    []byte
	reason string
	tries  uint32
	epoch  uint64 // of its newest proposal
	number uint64 // and its entry; 0: none yet
}

func (s *SequencerState) wishIndex(id string) int {
	return slices.IndexFunc(s.wishes, func(w standingWish) bool { return w.id == id })
}

func (s *SequencerState) decideWish(w *Wish, env Env) Decision {
	at := s.wishIndex(w.id())
	if w.Withdraw {
		if at < 0 {
			return Decision{Outcome: Outcome{Position: s.number}}
		}
		return Decision{Event: &eventsv1.WishEnded{Id: []byte(w.id()), Outcome: "withdrawn"}, Outcome: Outcome{Position: s.number}}
	}
	if at >= 0 {
		return Decision{Outcome: Outcome{Position: s.wishes[at].number}}
	}
	if err := s.open(); err != nil {
		return answered(w, err)
	}
	if len(s.wishes) >= wishesMax {
		return answered(w, refuse(Busy, "%d wishes stand in this group", len(s.wishes)))
	}
	if _, _, refused := s.wanted(standingWish{remove: w.Remove, add: w.Add}); refused != nil {
		return answered(w, refused)
	}
	return Decision{Event: &eventsv1.WishMade{
		Id: []byte(w.id()), Remove: []byte(w.Remove), Add: w.Add, Reason: w.Reason, TimeMs: max(env.NowMs, s.timeMs), Principal: string(w.Origin.Client),
	}}
}

// wanted is what a wish asks of the current epoch. done says that nothing is left to ask for.
func (s *SequencerState) wanted(w standingWish) (p mlsengine.Proposal, done bool, refused *Error) {
	if w.remove != "" {
		for _, m := range s.public.Members() {
			if conversation.ClientOf(m.Credential) == w.remove {
				return &mlsengine.Remove{Removed: m.Index}, false, nil
			}
		}
		return nil, true, refuse(NotMember, "%s owns no leaf", w.remove)
	}
	kp, err := mlsengine.ParseKeyPackage(w.add)
	if err != nil {
		return nil, false, refuse(Malformed, "key package: %v", err)
	}
	if c := conversation.ClientOf(kp.LeafNode.Credential); s.isMember(c) {
		return nil, true, refuse(AlreadyMember, "%s", c)
	}
	return &mlsengine.Add{KeyPackage: *kp}, false, nil
}

// foldWish takes the events of wishes into the state.
func (s *SequencerState) foldWish(body events.Body) {
	switch b := body.(type) {
	case *eventsv1.WishMade:
		s.wishes = append(s.wishes, standingWish{id: string(b.Id), remove: ids.ClientID(b.Remove), add: b.Add, reason: b.Reason})
	case *eventsv1.WishEnded:
		if at := s.wishIndex(string(b.Id)); at >= 0 {
			s.wishes = slices.Delete(s.wishes, at, at+1)
		}
	case *eventsv1.OrderEntry:
		if at := s.wishIndex(string(b.Wish)); at >= 0 && len(b.Wish) > 0 {
			s.wishes[at].epoch, s.wishes[at].number = b.Epoch, b.Number
			s.wishes[at].tries++
		}
	}
}

// dueWishes lists those that the current epoch has no proposal of.
func (s *SequencerState) dueWishes() (due []standingWish) {
	for _, w := range s.wishes {
		if w.number == 0 || w.epoch != s.Epoch() || s.successor != "" {
			due = append(due, w)
		}
	}
	return due
}

// fulfil makes the event that a due wish leads to: a proposal for the current epoch, or its end.
func (s *SequencerState) fulfil(w standingWish, signer *mlsengine.SigningIdentity, nowMs uint64) events.Body {
	end := func(outcome, detail string) events.Body {
		return &eventsv1.WishEnded{Id: []byte(w.id), Outcome: outcome, Detail: detail}
	}
	proposal, done, refused := s.wanted(w)
	switch {
	case done:
		return end("done", "")
	case refused != nil:
		return end("refused", refused.Detail)
	case s.successor != "":
		return end("refused", "the group is closed")
	case signer == nil:
		return end("refused", "the group does not list the service")
	case w.tries >= wishTries:
		return end("given-up", "the members have left it out too often")
	}
	made, err := s.public.ProposeExternally(proposal, nil, mlsengine.Env{Now: nowMs / 1000, Identity: signer, Identify: conversation.Identify})
	if err != nil {
		return end("refused", ruleBroken(err).Detail)
	}
	entry := s.entry(eventsv1.EntryKind_ENTRY_KIND_PROPOSAL, &Origin{Client: ServiceSender}, Env{NowMs: nowMs})
	entry.Epoch, entry.Message, entry.Wish = s.Epoch(), made.Message, []byte(w.id)
	entry.Proposals = []*eventsv1.ProposalFacts{factsOf(made.Content)}
	return entry
}

// fulfilWishes brings the wishes of the group up to its epoch, as part of the record that led there.
func (q *Sequencer) fulfilWishes(ctx context.Context, nowMs uint64) ([]events.Event, error) {
	due := q.state.dueWishes()
	if len(due) == 0 || q.broken != nil {
		return nil, nil
	}
	signer, err := q.service.serviceKeys.signerOf(ctx, q.state.public)
	if err != nil {
		return nil, nil // they stay due: the next batch comes by here
	}
	var out []events.Event
	for _, w := range due {
		body := q.state.fulfil(w, signer, nowMs)
		if err := q.state.foldBody(body, nil); err != nil {
			return nil, err
		}
		out = append(out, events.Event{Body: body})
	}
	return out, nil
}

// mayWish refuses a wish in a group that does not list the service: nobody would take its proposals.
func (q *Sequencer) mayWish(ctx context.Context) *Error {
	if q.state.number == 0 {
		return refuse(UnknownGroup, "it is not registered")
	}
	signer, err := q.service.serviceKeys.signerOf(ctx, q.state.public)
	if err != nil {
		return coded(err)
	}
	if signer == nil {
		return refuse(Forbidden, "the group does not list this service among its external senders")
	}
	return nil
}

// Wish has the service propose something, or no more; see Wish. It returns the number of the proposal's entry.
func (s *Service) Wish(ctx context.Context, w Wish) (uint64, error) {
	return s.position(ctx, &w)
}

func wishTo(w *standingWish) *deliveryv1.StandingWish {
	return &deliveryv1.StandingWish{
		Id: []byte(w.id), Remove: []byte(w.remove), Add: w.add, Reason: w.reason, Tries: w.tries, Epoch: w.epoch, Number: w.number,
	}
}

func wishFrom(w *deliveryv1.StandingWish) standingWish {
	return standingWish{
		id: string(w.Id), remove: ids.ClientID(w.Remove), add: bytes.Clone(w.Add), reason: w.Reason, tries: w.Tries, epoch: w.Epoch, number: w.Number,
	}
}
