package actors

import (
	"context"
	"fmt"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// Epoch is one epoch of a conversation as replay finds it in the log.
type Epoch struct {
	Number        uint64
	Version       uint64 // of the record that began it
	TimeMs        uint64
	Fingerprint   []byte // recorded in the open
	Authenticator []byte // recomputed from sealed parts; nil outside of the retention window
	Digest        ids.Digest
}

// History replays a conversation's log from its first record, without its actor and without changing anything: it reads the log and
// the live keys of its ring, as the recovery of another node would. It returns the state at the end and every epoch on the way.
func (n *Node) History(ctx context.Context, client ids.ClientID, id ids.ConversationID) (conversation.State, []Epoch, error) {
	if err := ConversationIdentity(client, id).check(); err != nil {
		return conversation.State{}, nil, err
	}
	log := events.ConversationLog(client, id)
	keys, err := events.LoadKeys(ctx, n.stores.Rings, n.vault, log)
	if err != nil {
		return conversation.State{}, nil, err
	}
	state := conversation.NewState(client, id)
	var epochs []Epoch
	audit := events.OpenAudit(n.stores.Log, log, keys, events.AuditOptions{})
	err = audit.Replay(ctx, events.Head{}, func(r *events.Record) error {
		next, err := conversation.Fold(state, r)
		if err != nil {
			return &CorruptError{Log: log.String(), Err: fmt.Errorf("record %d: %w", r.Version, err)}
		}
		state = next
		for _, e := range r.Events {
			epoch, ok := epochBegun(e)
			if !ok {
				continue
			}
			epoch.Version, epoch.TimeMs, epoch.Digest = r.Version, r.TimeMS, state.Digest()
			if epoch.Authenticator == nil && epoch.Number == uint64(state.Epoch()) {
				epoch.Authenticator = state.EpochAuthenticator()
			}
			epochs = append(epochs, epoch)
		}
		return nil
	})
	return state, epochs, err
}

// epochBegun reads the epoch that an event begins.
func epochBegun(e events.Event) (Epoch, bool) {
	var facts *eventsv1.EpochFacts
	switch body := e.Body.(type) {
	case *eventsv1.ConversationCreated:
		facts = body.GetFacts()
	case *eventsv1.ConversationJoined:
		facts = body.GetFacts()
	case *eventsv1.EpochAdvanced:
		facts = body.GetFacts()
	default:
		return Epoch{}, false
	}
	out := Epoch{Number: facts.GetEpoch(), Fingerprint: facts.GetAuthenticatorFingerprint()}
	if plain, ok := e.Secret(events.ClassVerification); ok {
		if authenticator, _, err := conversation.DecodeVerification(plain.Expose()); err == nil {
			out.Authenticator = authenticator
		}
	}
	return out, true
}
