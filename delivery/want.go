package delivery

import (
	"bytes"
	"fmt"
	"slices"

	"parley/conversation"
	deliveryv1 "parley/delivery/v1"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// wanted is the proposal that a want leads to in the current epoch. done says that nothing is left to ask for.
func (s *SequencerState) wanted(w *Want) (p mlsengine.Proposal, done bool, refused *Error) {
	if r := s.public.ReInit(); r != nil {
		return nil, w.Reinit != nil, refuse(Closed, "it was reinitialized as %s", GroupID(r.GroupID))
	}
	switch {
	case w.Remove != "":
		for _, m := range s.public.Members() {
			if conversation.ClientOf(m.Credential) == w.Remove {
				return &mlsengine.Remove{Removed: m.Index}, false, nil
			}
		}
		return nil, true, refuse(NotMember, "%s owns no leaf", w.Remove)
	case len(w.Add) > 0:
		return s.wantedMember(w.Add)
	case len(w.PSK) > 0:
		return &mlsengine.PreSharedKey{PSK: mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: w.PSK}}, false, nil
	case w.Reinit != nil:
		return w.Reinit, false, nil
	}
	group := s.public.Context()
	next := group.Extensions
	for _, e := range w.Extensions {
		next = next.With(e.Type, e.Data)
	}
	next = slices.DeleteFunc(slices.Clone(next), func(e mlsengine.Extension) bool { return slices.Contains(w.Without, e.Type) })
	if next.Equal(group.Extensions) {
		return nil, true, refuse(NothingToChange, "the group's extensions are what they are to be")
	}
	return &mlsengine.GroupContextExtensions{Extensions: next}, false, nil
}

func (s *SequencerState) wantedMember(keyPackage []byte) (p mlsengine.Proposal, done bool, refused *Error) {
	kp, err := mlsengine.ParseKeyPackage(keyPackage)
	if err != nil {
		return nil, false, refuse(Malformed, "key package: %v", err)
	}
	c := conversation.ClientOf(kp.LeafNode.Credential)
	switch {
	case conversation.HistoryClient(c):
		return nil, false, refuse(Forbidden, "%s has the name of a reader of history", c)
	case s.isMember(c):
		return nil, true, refuse(AlreadyMember, "%s", c)
	}
	if err := kp.ValidateForOthers(); err != nil {
		return nil, false, ruleBroken(err)
	}
	return &mlsengine.Add{KeyPackage: *kp}, false, nil
}

// propose makes a proposal of the service in the current epoch, with every check that the members' commit will have to pass.
func (s *SequencerState) propose(proposal mlsengine.Proposal, signer *mlsengine.SigningIdentity, nowMs uint64) (*mlsengine.Proposed, *Error) {
	made, err := s.public.ProposeExternally(proposal, nil, mlsengine.Env{
		Now: nowMs / 1000, Entropy: systemEntropy{}, Identity: signer, Identify: conversation.Identify,
	})
	if err != nil {
		return nil, ruleBroken(err)
	}
	return made, nil
}

// What becomes of a wish that a commit has settled.
const (
	outcomeDone   = "done"
	outcomeUnseen = "unseen" // the commit travelled encrypted and the group does not show what it held: asking again might do it twice
)

// settleWishes notes what a commit has made of those wishes whose fulfilment the group does not show: nothing tells afterwards whether a
// pre-shared key went in, nor, of an encrypted commit, whether it has ended the group.
func (s *SequencerState) settleWishes(e *eventsv1.OrderEntry) error {
	for i := range s.wishes {
		w := &s.wishes[i]
		if len(w.want.PSK) == 0 && w.want.Reinit == nil {
			continue
		}
		if len(e.Delta) == 0 {
			if w.number > 0 && w.epoch == e.Epoch {
				w.settled = outcomeUnseen
			}
			continue
		}
		for _, p := range e.Proposals {
			if mlsengine.ProposalType(p.Type) != mlsengine.ProposalTypePSK {
				continue
			}
			proposal, err := mlsengine.ParseProposal(p.Proposal)
			if err != nil {
				return failed(Damaged, "read an accepted proposal", err)
			}
			if psk, ok := proposal.(*mlsengine.PreSharedKey); ok && psk.PSK.Type == mlsengine.PSKTypeExternal && bytes.Equal(psk.PSK.ID, w.want.PSK) {
				w.settled = outcomeDone
			}
		}
	}
	return nil
}

func encodeExtensions(e mlsengine.Extensions) []byte {
	if len(e) == 0 {
		return nil
	}
	return mlsengine.MarshalProposal(&mlsengine.GroupContextExtensions{Extensions: e})
}

func encodeReinit(r *mlsengine.ReInit) []byte {
	if r == nil {
		return nil
	}
	return mlsengine.MarshalProposal(r)
}

// storedWant is a want as records, checkpoints and requests hold it.
type storedWant interface {
	GetRemove() []byte
	GetAdd() []byte
	GetPsk() []byte
	GetExtensions() []byte
	GetWithout() []uint32
	GetReinit() []byte
}

func wantFrom(in storedWant) (Want, error) {
	w := Want{
		Remove: ids.ClientID(in.GetRemove()), Add: bytes.Clone(in.GetAdd()), PSK: bytes.Clone(in.GetPsk()), Without: typesFrom(in.GetWithout()),
	}
	if b := in.GetExtensions(); len(b) > 0 {
		list, err := proposalOf[*mlsengine.GroupContextExtensions](b)
		if err != nil {
			return Want{}, fmt.Errorf("extensions: %w", err)
		}
		w.Extensions = list.Extensions
	}
	if b := in.GetReinit(); len(b) > 0 {
		reinit, err := proposalOf[*mlsengine.ReInit](b)
		if err != nil {
			return Want{}, fmt.Errorf("reinit: %w", err)
		}
		w.Reinit = reinit
	}
	return w, nil
}

// proposalOf reads a proposal that has to be of one type.
func proposalOf[T mlsengine.Proposal](b []byte) (T, error) {
	p, err := mlsengine.ParseProposal(b)
	of, ok := p.(T)
	if err == nil && !ok {
		err = refuse(Malformed, "a proposal of another type")
	}
	return of, err
}

func typesTo(types []mlsengine.ExtensionType) (out []uint32) {
	for _, t := range types {
		out = append(out, uint32(t))
	}
	return out
}

func typesFrom(types []uint32) (out []mlsengine.ExtensionType) {
	for _, t := range types {
		out = append(out, mlsengine.ExtensionType(t))
	}
	return out
}

func wishTo(w *standingWish) *deliveryv1.StandingWish {
	return &deliveryv1.StandingWish{
		Id: []byte(w.id), Remove: []byte(w.want.Remove), Add: w.want.Add, Psk: w.want.PSK, Extensions: encodeExtensions(w.want.Extensions),
		Without: typesTo(w.want.Without), Reinit: encodeReinit(w.want.Reinit), Reason: w.reason, Principal: w.principal, TimeMs: w.timeMs,
		Tries: w.tries, Epoch: w.epoch, Number: w.number, Settled: w.settled,
	}
}

func wishFrom(w *deliveryv1.StandingWish) (standingWish, error) {
	want, err := wantFrom(w)
	if err != nil {
		return standingWish{}, failed(Damaged, "read a checkpoint's wish", err)
	}
	return standingWish{
		id: WishID(w.Id), want: want, reason: w.Reason, principal: w.Principal, timeMs: w.TimeMs, tries: w.Tries, epoch: w.Epoch, number: w.Number,
		settled: w.Settled,
	}, nil
}
