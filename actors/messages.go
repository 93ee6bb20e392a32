package actors

import (
	"time"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// This page is what clients and conversations understand, beside the transaction protocol of protocol.go.

// work is one input of a domain: one of the two is set. The same actor code carries both.
type work struct {
	Conversation conversation.Input
	Client       conversation.ClientInput
	Send         bool // an Encrypt whose message is to be published in the group's order under the command's id
	Look         bool // neither is set: the state is asked for, as the transaction sees it
}

// result is what an input came to.
type result struct {
	Conversation conversation.Reply
	Client       conversation.ClientReply
	Position     uint64              // of a sent message in the group's order
	Seen         *conversation.State // for Look
	SeenClient   *conversation.ClientState
	Segments     uint32 // of the transaction that the command is in: those that are durable
}

// refusal is the domain's own no: the command changed nothing.
func (r result) refusal() *conversation.CommandError {
	if r.Conversation.Err != nil {
		return r.Conversation.Err
	}
	return r.Client.Err
}

// look asks for the committed state. States are immutable, so the answer may be kept.
type look struct{}

// meta returns the command id and principal an input runs under, if it is a command.
func (w work) meta() (conversation.CommandMeta, string) {
	if c, ok := w.Conversation.(conversation.Command); ok {
		return c.Meta(), c.Name()
	}
	if c, ok := w.Client.(conversation.ClientCommand); ok {
		return c.Meta(), c.Name()
	}
	return conversation.CommandMeta{}, ""
}

// destroys reports whether the end of keys is what was asked for: then it is waited for. Elsewhere it follows the answer.
func (w work) destroys() bool {
	switch w.Conversation.(type) {
	case conversation.Wipe, conversation.AbandonJoin, conversation.Acknowledge, conversation.Checkpoint, conversation.DropLetters,
		conversation.LoseLetters, conversation.MarkRolledBack, conversation.MarkSecretsLost:
		return true
	}
	switch w.Client.(type) {
	case nil, conversation.ConsumeKeyPackage, conversation.ListConversation:
		return false
	}
	return true
}

func (w work) cause(tx ids.TransactionID) events.Cause {
	m, name := w.meta()
	return events.Cause{
		Transaction: tx, Command: name, CommandID: m.ID, Principal: m.Principal, IssuedMS: m.IssuedMs, RequestDigest: m.RequestDigest,
	}
}

// flush closes what was gathered: everything that waited in the mailbox when the first of it arrived goes into one record.
type flush struct {
	note
	looks    int       // how often it was put off
	expected int       // callers who were still expected
	since    time.Time // they were so many
}

// wake says that the group's order has grown.
type wake struct{ note }

// clientChanged brings the client's new state to its conversations: credentials or pre-shared keys have changed.
type clientChanged struct {
	note
	State conversation.ClientState
}
