package events

import (
	"fmt"
	"strings"

	"parley/internal/ids"
)

// Kind says what a log is the history of.
type Kind uint32

// The kinds of logs. The zero kind is a member's: a conversation of a client,
// or the client itself where no conversation is named.
const (
	KindMember    Kind = 0
	KindOrder     Kind = 1 // the order of a group in the delivery service
	KindDirectory Kind = 2 // the key packages a client has published
	// KindAuthorities is whom a deployment trusts to certify clients. There is one such log.
	KindAuthorities Kind = 3
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case KindMember:
		return "member"
	case KindOrder:
		return "order"
	case KindDirectory:
		return "directory"
	case KindAuthorities:
		return "authorities"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// LogID names a log. It is comparable.
type LogID struct {
	Kind         Kind
	Client       ids.ClientID       // empty for an order and for the authorities
	Conversation ids.ConversationID // empty for a client's own log, for a directory and for the authorities
}

// ConversationLog is the log of one conversation of a client.
func ConversationLog(client ids.ClientID, conversation ids.ConversationID) LogID {
	return LogID{Client: client, Conversation: conversation}
}

// ClientLog is the client's own log.
func ClientLog(client ids.ClientID) LogID { return LogID{Client: client} }

// OrderLog is the order of a group.
func OrderLog(group ids.ConversationID) LogID {
	return LogID{Kind: KindOrder, Conversation: group}
}

// DirectoryLog is the list of key packages that a client has published.
func DirectoryLog(client ids.ClientID) LogID {
	return LogID{Kind: KindDirectory, Client: client}
}

// AuthoritiesLog is whom the deployment trusts to certify clients.
func AuthoritiesLog() LogID { return LogID{Kind: KindAuthorities} }

// IsClient reports whether it is a client's own log.
func (id LogID) IsClient() bool { return id.Kind == KindMember && id.Conversation == "" }

// Validate refuses an id that names no log.
func (id LogID) Validate() error {
	switch {
	case id.Kind == KindMember && id.Client != "",
		id.Kind == KindOrder && id.Client == "" && id.Conversation != "",
		id.Kind == KindDirectory && id.Client != "" && id.Conversation == "",
		id.Kind == KindAuthorities && id.Client == "" && id.Conversation == "":
		return nil
	}
	return fmt.Errorf("%w: %s log of client %q, conversation %q", ErrBadLog, id.Kind, id.Client, id.Conversation)
}

// String prints the id for people.
func (id LogID) String() string {
	parts := []string{}
	if id.Kind != KindMember {
		parts = append(parts, id.Kind.String())
	}
	if id.Client != "" {
		parts = append(parts, id.Client.String())
	}
	if id.Conversation != "" {
		parts = append(parts, id.Conversation.String())
	}
	return strings.Join(parts, "/")
}

// Incarnation names one life of a log; a restore or a detected loss starts
// another, so that numbers which come round again are not taken for the old.
type Incarnation [16]byte

// Head is a place in a log: number and digest of the record that stands there.
// The zero Head is the empty log.
type Head struct {
	Version     uint64
	Digest      ids.Digest
	Sequence    uint64 // stream sequence of the record: what the next append expects to be the newest
	Incarnation Incarnation
}

// String prints the head as VERSION:DIGEST.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Version, h.Digest) }
