package delivery

import (
	"context"
	"encoding/hex"
	"slices"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Want is what the service is to propose, as an external sender that the group lists (§12.1.8). One kind of it is set. Of the proposals that
// RFC 9420 lets external senders make none is missing; those of an application's own types members take from nobody outside.
type Want struct {
	Remove ids.ClientID // a member is to go
	Add    []byte       // somebody is to come: a KeyPackage, bare or MLSMessage
	PSK    []byte       // an external pre-shared key of this id is to enter the key schedule; who has not got it cannot follow (§8.4)
	// Extensions are to stand in the group's context, and those of the types in Without are to go; all others stay as they are.
	Extensions mlsengine.Extensions
	Without    []mlsengine.ExtensionType
	// Reinit ends the group in favour of the one it names (§11.2), which has to be created under that id by whoever is to found it.
	Reinit *mlsengine.ReInit
}

// WishID names what the service wants of a group: the same want has the same id.
type WishID string

// String is the id in hexadecimal.
func (id WishID) String() string { return hex.EncodeToString([]byte(id)) }

// ParseWishID reads what String wrote.
func ParseWishID(text string) (WishID, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != wishIDBytes {
		return "", refuse(Malformed, "%q is not the id of a wish", text)
	}
	return WishID(b), nil
}

const wishIDBytes = 16

// ID names the want.
func (w Want) ID() WishID {
	parts := [][]byte{[]byte("parley wish")}
	switch {
	case w.Remove != "" || len(w.Add) > 0:
		parts = append(parts, []byte(w.Remove), []byte{0}, w.Add)
	case len(w.PSK) > 0:
		parts = append(parts, []byte{1}, w.PSK)
	case w.Reinit != nil:
		parts = append(parts, []byte{2}, mlsengine.MarshalProposal(w.Reinit))
	default:
		parts = append(parts, []byte{3}, encodeExtensions(w.Extensions))
		for _, t := range w.Without {
			parts = append(parts, []byte{byte(t >> 8), byte(t)})
		}
	}
	d := ids.DigestOf(parts...)
	return WishID(d[:wishIDBytes])
}

func (w *Want) size() int {
	n := len(w.Remove) + len(w.Add) + len(w.PSK) + 2*len(w.Without)
	for _, e := range w.Extensions {
		n += len(e.Data) + 8
	}
	if w.Reinit != nil {
		n += len(mlsengine.MarshalProposal(w.Reinit))
	}
	return n
}

// kinds counts what is set: one kind is meant.
func (w *Want) kinds() (n int) {
	for _, set := range []bool{w.Remove != "", len(w.Add) > 0, len(w.PSK) > 0, w.changesContext(), w.Reinit != nil} {
		if set {
			n++
		}
	}
	return n
}

func (w *Want) changesContext() bool { return len(w.Extensions)+len(w.Without) > 0 }

// Wish has the service propose something until it is done: a commit that leaves the proposal out, or somebody who joins by a commit of his own,
// makes it void, and the service proposes it again for the next epoch, in the same record. Or it takes such a wish back.
type Wish struct {
	Group    GroupID
	Origin   Origin
	Want     Want
	Withdraw WishID // not empty: this wish stands no longer, and nothing else is set; what is pending stays so for its epoch
	Reason   string // for the log
}

func (w *Wish) group() GroupID  { return w.Group }
func (w *Wish) origin() *Origin { return &w.Origin }
func (w *Wish) size() int       { return w.Want.size() + len(w.Reason) }

func checkWish(w *Wish, l *Limits) *Error {
	switch kinds := w.Want.kinds(); {
	case w.Withdraw != "" && (kinds > 0 || len(w.Withdraw) != wishIDBytes):
		return refuse(Malformed, "what is taken back is named by its id alone")
	case w.Withdraw == "" && kinds != 1:
		return refuse(Malformed, "%d things are wanted at once, not one", kinds)
	case max(len(w.Want.Remove), len(w.Want.PSK)) > identityBytesMax, len(w.Reason) > reasonBytesMax:
		return refuse(Malformed, "a wish is longer than it may be")
	case len(w.Want.Extensions)+len(w.Want.Without) > wishTypesMax:
		return refuse(Malformed, "more than %d extensions are to change", wishTypesMax)
	case w.Want.Reinit != nil && (len(w.Want.Reinit.GroupID) == 0 || len(w.Want.Reinit.GroupID) > identityBytesMax):
		return refuse(Malformed, "the group that follows has an id of %d bytes", len(w.Want.Reinit.GroupID))
	case w.size() > l.MessageBytes:
		return refuse(TooLarge, "%d bytes, at most %d", w.size(), l.MessageBytes)
	}
	return nil
}

const (
	wishesMax    = 64 // that stand in one group at a time
	wishTries    = 64 // epochs in which one is proposed
	wishTypesMax = 64 // extensions that one changes
)

// standingWish is a wish that is not done.
type standingWish struct {
	id        WishID
	want      Want
	reason    string
	principal string
	timeMs    uint64 // when it was made
	tries     uint32
	epoch     uint64 // of its newest proposal
	number    uint64 // and its entry; 0: none yet
	settled   string // what a commit has made of it, where the group does not show it: the outcome that it ends with
}

func (s *SequencerState) wishIndex(id WishID) int {
	return slices.IndexFunc(s.wishes, func(w standingWish) bool { return w.id == id })
}

func (s *SequencerState) decideWish(w *Wish, env Env) Decision {
	if w.Withdraw != "" {
		if s.wishIndex(w.Withdraw) < 0 {
			return Decision{Outcome: Outcome{Position: s.number}}
		}
		return Decision{Event: &eventsv1.WishEnded{Id: []byte(w.Withdraw), Outcome: "withdrawn"}, Outcome: Outcome{Position: s.number}}
	}
	id := w.Want.ID()
	if at := s.wishIndex(id); at >= 0 {
		return Decision{Outcome: Outcome{Position: s.wishes[at].number}}
	}
	if err := s.open(); err != nil {
		return answered(w, err)
	}
	if env.Service == nil {
		return answered(w, refuse(Forbidden, "the group does not list this service among its external senders"))
	}
	if len(s.wishes) >= wishesMax {
		return answered(w, refuse(Busy, "%d wishes stand in this group", len(s.wishes)))
	}
	proposal, _, refused := s.wanted(&w.Want)
	if refused == nil { // made only to see whether it can be: whoever asks hears it now, and not from the log
		_, refused = s.propose(proposal, env.Service, env.NowMs)
	}
	if refused != nil {
		return answered(w, refused)
	}
	return Decision{Event: &eventsv1.WishMade{
		Id: []byte(id), Remove: []byte(w.Want.Remove), Add: w.Want.Add, Psk: w.Want.PSK, Extensions: encodeExtensions(w.Want.Extensions),
		Without: typesTo(w.Want.Without), Reinit: encodeReinit(w.Want.Reinit),
		Reason: w.Reason, TimeMs: max(env.NowMs, s.timeMs), Principal: w.Origin.Client.Text(),
	}}
}

// foldWish takes the events of wishes into the state, and what commits have made of them.
func (s *SequencerState) foldWish(body events.Body) error {
	switch b := body.(type) {
	case *eventsv1.WishMade:
		want, err := wantFrom(b)
		if err != nil {
			return failed(Damaged, "read a wish", err)
		}
		s.wishes = append(s.wishes, standingWish{id: WishID(b.Id), want: want, reason: b.Reason, principal: b.Principal, timeMs: b.TimeMs})
	case *eventsv1.WishEnded:
		if at := s.wishIndex(WishID(b.Id)); at >= 0 {
			s.wishes = slices.Delete(s.wishes, at, at+1)
		}
	case *eventsv1.OrderEntry:
		if b.Kind == eventsv1.EntryKind_ENTRY_KIND_COMMIT {
			return s.settleWishes(b)
		}
		if at := s.wishIndex(WishID(b.Wish)); at >= 0 && len(b.Wish) > 0 {
			s.wishes[at].epoch, s.wishes[at].number = b.Epoch, b.Number
			s.wishes[at].tries++
		}
	}
	return nil
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
	proposal, done, refused := s.wanted(&w.want)
	switch {
	case done:
		return end(outcomeDone, "")
	case w.settled != "":
		return end(w.settled, "")
	case refused != nil:
		return end("refused", refused.Detail)
	case s.successor != "":
		return end("refused", "the group is closed")
	case signer == nil:
		return end("refused", "the group does not list the service")
	case w.tries >= wishTries:
		return end("given-up", "the members have left it out too often")
	}
	made, refused := s.propose(proposal, signer, nowMs)
	if refused != nil {
		return end("refused", refused.Detail)
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

// Wish has the service propose something, or no more; see Wish. It returns the number of the proposal's entry.
func (s *Service) Wish(ctx context.Context, w Wish) (uint64, error) { return s.position(ctx, &w) }
