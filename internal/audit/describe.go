package audit

import (
	"fmt"

	"parley/conversation"
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
