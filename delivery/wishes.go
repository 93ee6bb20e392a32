package delivery

import (
	"context"
	"time"

	"parley/conversation"
	deliveryv1 "parley/delivery/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// StandingWish tells of something that the service wants of a group, and that is not done.
type StandingWish struct {
	ID          WishID
	Type        mlsengine.ProposalType
	Client      ids.ClientID              // who is to go or to come
	PSK         []byte                    // its id
	With        []mlsengine.ExtensionType // that the group's context is to have
	Without     []mlsengine.ExtensionType // and to have no more
	Successor   GroupID                   // of a ReInit
	CipherSuite mlsengine.CipherSuite     // of a ReInit
	Principal   string                    // who asked for it
	Reason      string
	Since       time.Time
	Tries       uint32 // epochs in which it was proposed
	Epoch       uint64 // of its newest proposal
	Number      uint64 // and its entry; 0: none yet
	Pending     bool   // that proposal waits for a commit; else it is made again as soon as the group's order grows
}

// listed is what an operator is told of the wishes, oldest first.
func (s *SequencerState) listed() (list []StandingWish) {
	for i := range s.wishes {
		w := &s.wishes[i]
		row := StandingWish{
			ID: w.id, PSK: w.want.PSK, Without: w.want.Without, Principal: w.principal, Reason: w.reason, Since: time.UnixMilli(int64(w.timeMs)),
			Tries: w.tries, Epoch: w.epoch, Number: w.number, Pending: w.number > 0 && w.epoch == s.Epoch() && s.successor == "",
		}
		switch {
		case w.want.Remove != "":
			row.Type, row.Client = mlsengine.ProposalTypeRemove, w.want.Remove
		case len(w.want.Add) > 0:
			row.Type = mlsengine.ProposalTypeAdd
			if kp, err := mlsengine.ParseKeyPackage(w.want.Add); err == nil {
				row.Client = conversation.ClientOf(kp.LeafNode.Credential)
			}
		case len(w.want.PSK) > 0:
			row.Type = mlsengine.ProposalTypePSK
		case w.want.Reinit != nil:
			row.Type, row.Successor, row.CipherSuite = mlsengine.ProposalTypeReInit, GroupID(w.want.Reinit.GroupID), w.want.Reinit.CipherSuite
		default:
			row.Type = mlsengine.ProposalTypeGroupContextExtensions
			for _, e := range w.want.Extensions {
				row.With = append(row.With, e.Type)
			}
		}
		list = append(list, row)
	}
	return list
}

// Wishes lists what the service wants of a group and is not done, oldest first. Asker is on whose behalf it is asked.
func (s *Service) Wishes(ctx context.Context, g GroupID, asker ids.ClientID) ([]StandingWish, error) {
	standing, err := s.lookup(ctx, &Lookup{Group: g, Origin: Origin{Client: asker}, Wishes: true})
	return standing.Wishes, err
}

func listedTo(list []StandingWish) (out []*deliveryv1.ListedWish) {
	for _, w := range list {
		out = append(out, &deliveryv1.ListedWish{
			Id: []byte(w.ID), Type: uint32(w.Type), Client: []byte(w.Client), Psk: w.PSK, With: typesTo(w.With), Without: typesTo(w.Without),
			Successor: []byte(w.Successor), CipherSuite: uint32(w.CipherSuite), Principal: w.Principal, Reason: w.Reason,
			SinceMs: uint64(w.Since.UnixMilli()), Tries: w.Tries, Epoch: w.Epoch, Number: w.Number, Pending: w.Pending,
		})
	}
	return out
}

func listedFrom(list []*deliveryv1.ListedWish) (out []StandingWish) {
	for _, w := range list {
		out = append(out, StandingWish{
			ID: WishID(w.GetId()), Type: mlsengine.ProposalType(w.GetType()), Client: ids.ClientID(w.GetClient()), PSK: w.GetPsk(),
			With: typesFrom(w.GetWith()), Without: typesFrom(w.GetWithout()), Successor: GroupID(w.GetSuccessor()),
			CipherSuite: mlsengine.CipherSuite(w.GetCipherSuite()), Principal: w.GetPrincipal(), Reason: w.GetReason(),
			Since: time.UnixMilli(int64(w.GetSinceMs())), Tries: w.GetTries(), Epoch: w.GetEpoch(), Number: w.GetNumber(), Pending: w.GetPending(),
		})
	}
	return out
}
