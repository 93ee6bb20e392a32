package actors

import (
	"fmt"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// Kind is what serves an identity.
type Kind uint8

// The kinds of virtual actors.
const (
	KindClient Kind = iota + 1
	KindConversation
	KindGroup
	KindTransaction
)

// Identity addresses one virtual actor, wherever it lives and whether or not it is active.
type Identity struct {
	Kind         Kind
	Client       ids.ClientID
	Conversation ids.ConversationID // the group for KindGroup
	Transaction  ids.TransactionID
}

// ClientIdentity addresses a client's own actor: credentials, key packages, pre-shared keys.
func ClientIdentity(c ids.ClientID) Identity { return Identity{Kind: KindClient, Client: c} }

// ConversationIdentity addresses one conversation of one client.
func ConversationIdentity(c ids.ClientID, conv ids.ConversationID) Identity {
	return Identity{Kind: KindConversation, Client: c, Conversation: conv}
}

// GroupIdentity addresses the sequencer of a group's order.
func GroupIdentity(group ids.ConversationID) Identity {
	return Identity{Kind: KindGroup, Conversation: group}
}

// transactionIdentity addresses the coordinator of an open transaction. It lives where it was begun and is never moved.
func transactionIdentity(c ids.ClientID, t ids.TransactionID) Identity {
	return Identity{Kind: KindTransaction, Client: c, Transaction: t}
}

// check refuses an identity that has no log: an empty id would name another one's.
func (i Identity) check() error {
	switch {
	case i.Kind != KindGroup && (i.Client == "" || len(i.Client) > ids.BytesMax):
		return badID("client", len(i.Client))
	case (i.Kind == KindConversation || i.Kind == KindGroup) && (i.Conversation == "" || len(i.Conversation) > ids.BytesMax):
		return badID("conversation", len(i.Conversation))
	}
	return nil
}

func badID(whose string, bytes int) error {
	return &conversation.CommandError{
		Code: conversation.InvalidID, Advice: conversation.GiveUp, Detail: fmt.Sprintf("a %s's id has 1 to %d bytes, not %d", whose, ids.BytesMax, bytes),
	}
}

// Key is what placement hashes. Everything of one client has one key, so that its conversations and transactions share a node
// and a stream; a group's key is its own.
func (i Identity) Key() string {
	if i.Kind == KindGroup {
		return "group/" + string(i.Conversation)
	}
	return "client/" + string(i.Client)
}

// String prints the identity for logs and errors.
func (i Identity) String() string {
	switch i.Kind {
	case KindClient:
		return "client/" + i.Client.String()
	case KindConversation:
		return "conversation/" + i.Client.String() + "/" + i.Conversation.String()
	case KindGroup:
		return "group/" + i.Conversation.String()
	case KindTransaction:
		return "transaction/" + i.Client.String() + "/" + i.Transaction.String()
	}
	return "identity"
}

// actorName is the deterministic name of the identity's actor, unambiguous whatever bytes the ids hold.
func (i Identity) actorName() string {
	name := string('a' + rune(i.Kind))
	for _, part := range []string{string(i.Client), string(i.Conversation), string(i.Transaction)} {
		name += "." + ids.Token(part)
	}
	return name
}

// log names the log that the identity's actor writes.
func (i Identity) log() events.LogID {
	switch i.Kind {
	case KindGroup:
		return events.OrderLog(i.Conversation)
	case KindConversation:
		return events.ConversationLog(i.Client, i.Conversation)
	default:
		return events.ClientLog(i.Client)
	}
}
