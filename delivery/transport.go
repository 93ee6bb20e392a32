package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"parley/conversation"
	"parley/internal/ids"
)

// GroupID names a group; a conversation and its group share their name.
type GroupID = ids.ConversationID

// Transport is the contract towards a delivery service, the built-in one or a foreign one.
//
// Everything sent through it was made durable by its sender before (a staged commit, a reserved generation), so sending the identical
// bytes again is always safe and, under the same command id or bundle digest, has no further effect.
type Transport interface {
	// SendCommitBundle offers a commit for its epoch. An error means that the outcome is unknown: the commit stays staged.
	SendCommitBundle(ctx context.Context, b Bundle) (Answer, error)
	// SendProposal fans a proposal out and returns its number in the order.
	SendProposal(ctx context.Context, p Proposal) (uint64, error)
	// SendMessages fans application messages out, all of one group; receipts stand in the order of the messages.
	SendMessages(ctx context.Context, ms []Message) ([]Receipt, error)
}

// Answer is a delivery service's verdict on a commit bundle: Success, Retry or Abort.
type Answer interface{ isAnswer() }

// Success says that the commit won its epoch.
type Success struct {
	Position uint64 // number of the bundle's entry in the group's order; 0 where a foreign service has none
}

// Retry says that the commit is not in the order and may be right later: the submitter is behind, or asked too often.
type Retry struct {
	Epoch uint64 // the group's epoch at that moment; above the commit's own: follow the order, then make a new commit
}

// Abort says that the commit is refused for good.
type Abort struct {
	Reason string // begins with a stable code, then ": " and the detail
}

func (Success) isAnswer() {}
func (Retry) isAnswer()   {}
func (Abort) isAnswer()   {}

// Origin says on whose behalf and under which command something is submitted. The node that submits has authenticated Client.
type Origin struct {
	Client    ids.ClientID
	CommandID ids.CommandID // unique per client; a retry under the same id is answered as the first time
	IssuedMs  uint64        // when the command was issued; outside the remembered window it is refused, never run again
	Request   ids.Digest    // what the command asked for. A retry may carry other bytes (encrypted anew) for the same request; zero: the bytes are the request
}

// Bundle is a commit with everything that enters the order together with it.
type Bundle struct {
	Group            GroupID
	Origin           Origin
	Commit           []byte   // MLSMessage
	Welcome          []byte   // MLSMessage; empty where nobody is added
	GroupInfo        []byte   // MLSMessage of the new epoch, with the ratchet tree
	EncryptedMessage []byte   // for the new epoch; empty as a rule
	Proposals        [][]byte // own proposals the commit refers to that are not yet in the order, in its order
	Changes          []Change // what an encrypted commit does, so that its new tree can be judged; ignored for one in the open
	Generation       uint32   // of an encrypted commit; see Message
}

// BundleOf is a member's own commit on its way to the group.
func BundleOf(g GroupID, o Origin, b conversation.SendBundle) Bundle {
	out := Bundle{
		Group: g, Origin: o, Commit: b.Commit, Welcome: b.Welcome, GroupInfo: b.GroupInfo, EncryptedMessage: b.EncryptedMessage,
		Proposals: b.Proposals, Generation: b.Generation,
	}
	list := func(kind ChangeKind, members []conversation.Member) {
		for _, m := range members {
			out.Changes = append(out.Changes, Change{Kind: kind, Leaf: uint32(m.Leaf), Client: m.Client})
		}
	}
	list(ChangeAdded, b.Added)
	list(ChangeRemoved, b.Removed)
	list(ChangeUpdated, b.Updated)
	if b.ContextChanged {
		out.Changes = append(out.Changes, Change{Kind: ChangeContext})
	}
	return out
}

// ChangeKind says what happened to a leaf or to the group's context.
type ChangeKind uint8

// The kinds of Change.
const (
	ChangeAdded ChangeKind = iota + 1
	ChangeRemoved
	ChangeUpdated
	ChangeContext
)

// Change is one effect of an encrypted commit as its committer lists it. The committer's own leaf needs no listing.
type Change struct {
	Kind   ChangeKind
	Leaf   uint32
	Client ids.ClientID
}

// Digest is the identity of the bundle's bytes: the same bundle again is the same submission, whoever carries it. Its proposals do not
// count: the commit refers to them by their hashes, and one that has reached the order meanwhile need not travel again.
func (b *Bundle) Digest() ids.Digest {
	h := sha256.New()
	part := func(p []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	h.Write([]byte("parley bundle"))
	part([]byte(b.Group))
	part(b.Commit)
	part(b.Welcome)
	part(b.GroupInfo)
	part(b.EncryptedMessage)
	var d ids.Digest
	h.Sum(d[:0])
	return d
}

// IdempotencyKey names the bundle's bytes towards a foreign service.
func (b *Bundle) IdempotencyKey() string { return "bundle-" + b.Digest().String() }

// Proposal is a proposal on its way to the group.
type Proposal struct {
	Group      GroupID
	Origin     Origin
	Message    []byte // MLSMessage
	Generation uint32 // of an encrypted one; see Message
}

// Message is an application message on its way to the group.
type Message struct {
	Group      GroupID
	Origin     Origin
	Bytes      []byte // MLSMessage: PrivateMessage
	Generation uint32 // the sender's generation: lets the sender's own log be checked against what it has sent
}

// Receipt is the outcome of one message: its number in the order, or a typed error.
type Receipt struct {
	Position uint64
	Err      error
}

// Registration opens the order of a group its creator made.
type Registration struct {
	Group     GroupID
	Origin    Origin
	GroupInfo []byte // MLSMessage of epoch 0 or later, with the ratchet tree
}
