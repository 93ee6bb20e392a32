package delivery

import (
	"parley/conversation"
	"parley/internal/ids"
)

// EntryKind says what an entry of an order is.
type EntryKind uint8

// The kinds of Entry, numbered as in the record schema.
const (
	KindGroup       EntryKind = 1 // the group is registered with its first GroupInfo
	KindCommit      EntryKind = 2
	KindProposal    EntryKind = 3
	KindApplication EntryKind = 4
	KindRestarted   EntryKind = 5 // the group is closed; its successor is named
)

// Entry is one place in a group's order. Entries are final.
type Entry struct {
	Group            GroupID
	Number           uint64 // running number in the group, from 1, without gaps
	Kind             EntryKind
	Epoch            uint64 // the epoch the message belongs to; a commit's is the one it ended
	Message          []byte // MLSMessage
	Welcome          []byte // commits that add somebody
	GroupInfo        []byte // registrations and commits: of the epoch that begins here, with the tree
	EncryptedMessage []byte
	Proposals        [][]byte     // commits: the committer's own proposals, to be processed before the commit
	Sender           ids.ClientID // the authenticated submitter
	CommandID        ids.CommandID
	Digest           ids.Digest // commits: the bundle's; registrations: of the GroupInfo; else zero
	Added, Removed   []Member   // commits
	Encrypted        bool       // commits: it travelled as PrivateMessage
	Generation       uint32
	TimeMs           uint64
	Successor        GroupID // restarts
}

// ForMember is the entry as a member's own state takes it.
func (e *Entry) ForMember() conversation.Entry {
	out := conversation.Entry{
		Number: e.Number, Kind: conversation.EntryKind(e.Kind), Message: e.Message, Proposals: e.Proposals, EncryptedMessage: e.EncryptedMessage,
		Sender: e.Sender, Generation: e.Generation, TimeMs: e.TimeMs,
	}
	if e.Kind == KindRestarted {
		out.Message = []byte(e.Successor)
	}
	return out
}

// Member names a member by leaf and identity.
type Member struct {
	Leaf         uint32
	Client       ids.ClientID
	SignatureKey []byte
}

// LastEntry is the newest entry of one client in a group's order: its own log is measured against it when it is activated.
type LastEntry struct {
	Number     uint64
	Epoch      uint64
	Kind       EntryKind
	Generation uint32
}
