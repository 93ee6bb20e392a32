package parley

import (
	"context"
	"time"

	"parley/conversation"
	"parley/mlsengine"
)

// Proposal is a proposal we made: it waits for a commit, and goes out to the group meanwhile. With a foreign delivery service that has no
// Options.Foreign the owner sends Message to the group.
type Proposal struct {
	Ref                []byte
	Message            []byte   // MLSMessage
	DistributionPoints []string // see Conversation.DistributionPoints: in the credential that it brings in
}

func (c *Conversation) propose(ctx context.Context, in conversation.Input) (Proposal, error) {
	reply, err := c.do(ctx, "propose", in)
	if err != nil || reply.Proposal == nil {
		return Proposal{}, err
	}
	return Proposal{Ref: reply.Proposal.Ref, Message: reply.Proposal.Message, DistributionPoints: reply.Proposal.DistributionPoints}, nil
}

// Pending is a proposal of the epoch that is not committed yet.
type Pending struct {
	Ref        []byte // what ClearProposal wants
	Type       mlsengine.ProposalType
	SenderType mlsengine.SenderType // a member, an external sender of the group, a client that asks to be added
	Sender     ClientID             // who made it; empty for an external sender
	Client     ClientID             // who is added, removed or renewed by it; empty for other types
	Own        bool
	Message    []byte    // MLSMessage; of own ones only
	Position   uint64    // in the group's order; 0: it has not been seen there
	Since      time.Time // when it was made or came
}

func proposalsOf(s conversation.State) (list []Pending) {
	for _, q := range s.PendingProposals() {
		sender, client := s.Parties(q)
		list = append(list, Pending{
			Ref: q.Ref, Type: q.Type, SenderType: q.SenderType, Sender: sender, Client: client, Own: q.Own, Message: q.Message, Position: q.Position,
			Since: timeOf(q.TimeMs),
		})
	}
	return list
}

// Addition says whom to add: clients by key packages that they have published, and key packages that were obtained otherwise.
type Addition struct {
	Clients     []ClientID
	KeyPackages [][]byte
}

// AddMembers commits the addition, and everything that is pending with it. It returns when the commit was accepted and the own state has
// followed it, with the revocation lists that the new members' credentials name: see DistributionPoints.
func (c *Conversation) AddMembers(ctx context.Context, a Addition) ([]string, error) {
	packages := a.KeyPackages
	if len(a.Clients) > 0 {
		claimed, err := c.claim(ctx, a.Clients)
		if err != nil {
			return nil, c.wrap("add", err)
		}
		packages = append(claimed, packages...)
	}
	err := c.change(ctx, "add", conversation.AddMembers{CommandMeta: c.client.meta(ctx, "add", packages...), KeyPackages: packages})
	if err != nil {
		return nil, err
	}
	return c.client.node.distributionPoints(credentialsIn(packages)), nil
}

// DistributionPoints lists revocation lists that the members' credentials name and nobody has registered with the trust store: whoever joins
// a group has to look at them. nil: no member presents an X.509 credential; empty: all are known.
func (c *Conversation) DistributionPoints(ctx context.Context) ([]string, error) {
	s, err := c.joined(ctx)
	if err != nil {
		return nil, c.wrap("distribution points", err)
	}
	return c.client.node.distributionPoints(s.Credentials()), nil
}

func (n *Node) distributionPoints(credentials []mlsengine.Credential) []string {
	return conversation.DistributionPoints(n.trust(), credentials)
}

func credentialsIn(keyPackages [][]byte) (list []mlsengine.Credential) {
	for _, b := range keyPackages {
		if kp, err := mlsengine.ParseKeyPackage(b); err == nil {
			list = append(list, kp.LeafNode.Credential)
		}
	}
	return list
}
