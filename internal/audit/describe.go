package audit

import (
	"fmt"

	"parley/conversation"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// DescribeProposal says what a Proposal struct asks for, with the names of members where a leaf is meant.
func DescribeProposal(raw []byte, members map[uint32]ids.ClientID) string {
	p, err := mlsengine.ParseProposal(raw)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	switch p := p.(type) {
	case *mlsengine.Add:
		return "add " + conversation.ClientOf(p.KeyPackage.LeafNode.Credential).String()
	case *mlsengine.Update:
		return "renew the keys of " + conversation.ClientOf(p.LeafNode.Credential).String()
	case *mlsengine.Remove:
		return "remove " + leafName(uint32(p.Removed), members)
	case *mlsengine.PreSharedKey:
		return "mix in a pre-shared key"
	case *mlsengine.ReInit:
		return fmt.Sprintf("close the group for %s with cipher suite %d", ids.ConversationID(p.GroupID), p.CipherSuite)
	case *mlsengine.ExternalInit:
		return "join from outside"
	case *mlsengine.GroupContextExtensions:
		return fmt.Sprintf("replace the group's extensions by %d others", len(p.Extensions))
	}
	return fmt.Sprintf("type %d", p.ProposalType())
}

// SenderName says who sent a proposal (§6).
func SenderName(t uint8, index uint32, members map[uint32]ids.ClientID) string {
	switch mlsengine.SenderType(t) {
	case mlsengine.SenderTypeMember:
		return leafName(index, members)
	case mlsengine.SenderTypeExternal:
		return fmt.Sprintf("external sender %d", index)
	case mlsengine.SenderTypeNewMemberProposal:
		return "a client asking to be added"
	case mlsengine.SenderTypeNewMemberCommit:
		return "a client joining from outside"
	}
	return "unknown"
}

func leafName(leaf uint32, members map[uint32]ids.ClientID) string {
	if name, ok := members[leaf]; ok {
		return name.String()
	}
	return fmt.Sprintf("leaf %d", leaf)
}

// compareProposal holds what is told of a proposal against its struct: its type, and whom it is about.
func compareProposal(group *mlsengine.PublicGroup, told *eventsv1.ProposalFacts) error {
	p, err := mlsengine.ParseProposal(told.GetProposal())
	if err != nil {
		return flawed(CheckCommit, "proposal %x: %v", told.GetRef(), err)
	}
	if uint32(p.ProposalType()) != told.GetType() {
		return flawed(CheckCommit, "proposal %x is of type %d and recorded as type %d", told.GetRef(), p.ProposalType(), told.GetType())
	}
	if about := subject(group, p, told.GetSenderIndex()); about != ids.ClientID(told.GetClient()) {
		return flawed(CheckRoster, "proposal %x is about %s and recorded as about %s", told.GetRef(), about, ids.ClientID(told.GetClient()))
	}
	return nil
}

// subject is whom a proposal is about; nobody where it is not about one client.
func subject(group *mlsengine.PublicGroup, p mlsengine.Proposal, senderIndex uint32) ids.ClientID {
	leaf := mlsengine.LeafIndex(senderIndex)
	switch p := p.(type) {
	case *mlsengine.Add:
		return conversation.ClientOf(p.KeyPackage.LeafNode.Credential)
	case *mlsengine.Remove:
		leaf = p.Removed
	case *mlsengine.Update:
	default:
		return ""
	}
	if m, ok := group.Member(leaf); ok {
		return conversation.ClientOf(m.Credential)
	}
	return ""
}

// sameSender compares a sender with how it is told: a member by its leaf, an external sender by its index (§6).
func sameSender(s mlsengine.Sender, told *eventsv1.ProposalFacts) bool {
	index := s.Index
	if s.Type == mlsengine.SenderTypeMember {
		index = uint32(s.Leaf)
	}
	return uint32(s.Type) == told.GetSenderType() && index == told.GetSenderIndex()
}
