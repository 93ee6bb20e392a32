package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
)

// MarkClientLost says that a client's own log came back shorter than its anchor says, or that its key ring is gone. Either ends the client:
// what it would make with what is left may have been made before. Its conversations go on as far as their own logs and the keys that are left
// carry them.
type MarkClientLost struct {
	Code          Code // ClientRolledBack or ClientSecretsLost
	AnchorVersion uint64
	FoundVersion  uint64
	Reason        string
}

func (MarkClientLost) isClientInput() {}

func (w *clientWork) markLost(in MarkClientLost) error {
	if w.s.Lost != "" {
		return nil
	}
	if in.Code == ClientSecretsLost {
		return w.emit(events.Event{Body: &v1.SecretsLost{Reason: bounded(in.Reason)}})
	}
	return w.emit(events.Event{Body: &v1.LogRolledBack{
		AnchorVersion: in.AnchorVersion, FoundVersion: in.FoundVersion, Reason: bounded(in.Reason),
	}})
}

// Loss refuses what a client that has lost its log's end or its keys can no longer do; nil while it has lost nothing.
func (p ClientPublic) Loss() *CommandError {
	switch p.Lost {
	case ClientRolledBack:
		return refuse(ClientRolledBack, GiveUp, "the log of client %s lost its end: take a new client and have it added", p.Client)
	case ClientSecretsLost:
		return refuse(ClientSecretsLost, GiveUp, "the keys of client %s are gone: take a new client and have it added", p.Client)
	}
	return nil
}

// living refuses commands of a client that is lost. What it has done before is still answered.
func (w *clientWork) living(in ClientInput) error {
	if _, command := in.(ClientCommand); !command {
		return nil
	}
	if loss := w.s.Loss(); loss != nil {
		return loss
	}
	return nil
}
