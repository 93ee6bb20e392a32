package mlsengine

import (
	"parley/internal/syntax"
)

// Proposal is one change to a group (§12.1). Its arms are *Add, *Update,
// *Remove, *PreSharedKey, *ReInit, *ExternalInit and *GroupContextExtensions,
// of draft-ietf-mls-extensions *AppDataUpdate, *AppEphemeral and *SelfRemove,
// and *CustomProposal for every other type.
// A proposal must not be changed.
type Proposal interface {
	ProposalType() ProposalType
	syntax.Codable
}

// Add asks to add a client (§12.1.1).
type Add struct{ KeyPackage KeyPackage }

// Update asks to replace the sender's leaf (§12.1.2).
type Update struct{ LeafNode LeafNode }

// Remove asks to remove a member (§12.1.3).
type Remove struct{ Removed LeafIndex }

// PreSharedKey asks to mix a pre-shared key into the next epoch (§12.1.4).
type PreSharedKey struct{ PSK PreSharedKeyID }

// ReInit asks to close the group in favour of a new one (§12.1.5).
type ReInit struct {
	GroupID     GroupID
	Version     ProtocolVersion
	CipherSuite CipherSuite
	Extensions  Extensions
}

// ExternalInit carries the KEM output of an external joiner (§12.1.6).
type ExternalInit struct{ KEMOutput []byte }

// GroupContextExtensions asks to replace the group's extensions (§12.1.7).
type GroupContextExtensions struct{ Extensions Extensions }

// ProposalType names the arm.
func (*Add) ProposalType() ProposalType { return ProposalTypeAdd }

// ProposalType names the arm.
func (*Update) ProposalType() ProposalType { return ProposalTypeUpdate }

// ProposalType names the arm.
func (*Remove) ProposalType() ProposalType { return ProposalTypeRemove }

// ProposalType names the arm.
func (*PreSharedKey) ProposalType() ProposalType { return ProposalTypePSK }

// ProposalType names the arm.
func (*ReInit) ProposalType() ProposalType { return ProposalTypeReInit }

// ProposalType names the arm.
func (*ExternalInit) ProposalType() ProposalType { return ProposalTypeExternalInit }

// ProposalType names the arm.
func (*GroupContextExtensions) ProposalType() ProposalType {
	return ProposalTypeGroupContextExtensions
}

// Code walks the Add struct of §12.1.1.
func (p *Add) Code(c *syntax.Coder) { p.KeyPackage.Code(c) }

// Code walks the Update struct of §12.1.2.
func (p *Update) Code(c *syntax.Coder) { p.LeafNode.Code(c) }

// Code walks the Remove struct of §12.1.3.
func (p *Remove) Code(c *syntax.Coder) { syntax.Uint32(c, &p.Removed) }

// Code walks the PreSharedKey struct of §12.1.4.
func (p *PreSharedKey) Code(c *syntax.Coder) { p.PSK.Code(c) }

// Code walks the ReInit struct of §12.1.5.
func (p *ReInit) Code(c *syntax.Coder) {
	syntax.Opaque(c, &p.GroupID)
	syntax.Uint16(c, &p.Version)
	syntax.Uint16(c, &p.CipherSuite)
	p.Extensions.Code(c)
}

// Code walks the ExternalInit struct of §12.1.6.
func (p *ExternalInit) Code(c *syntax.Coder) { syntax.Opaque(c, &p.KEMOutput) }

// Code walks the GroupContextExtensions struct of §12.1.7.
func (p *GroupContextExtensions) Code(c *syntax.Coder) { p.Extensions.Code(c) }

// codeProposal walks the Proposal struct of §12.1: the type, then that arm.
func codeProposal(c *syntax.Coder, p *Proposal) {
	var kind ProposalType
	if !c.Reading() {
		kind = (*p).ProposalType()
	}
	syntax.Uint16(c, &kind)
	if c.Reading() {
		*p = emptyProposal(kind)
	}
	if *p == nil {
		c.Fail("unknown proposal_type")
		return
	}
	(*p).Code(c)
}

func emptyProposal(kind ProposalType) Proposal {
	switch kind {
	case ProposalTypeAdd:
		return new(Add)
	case ProposalTypeUpdate:
		return new(Update)
	case ProposalTypeRemove:
		return new(Remove)
	case ProposalTypePSK:
		return new(PreSharedKey)
	case ProposalTypeReInit:
		return new(ReInit)
	case ProposalTypeExternalInit:
		return new(ExternalInit)
	case ProposalTypeGroupContextExtensions:
		return new(GroupContextExtensions)
	case ProposalTypeAppDataUpdate:
		return new(AppDataUpdate)
	case ProposalTypeAppEphemeral:
		return new(AppEphemeral)
	case ProposalTypeSelfRemove:
		return new(SelfRemove)
	}
	if kind == 0 {
		return nil // reserved
	}
	return &CustomProposal{Type: kind}
}

// codedProposal makes a proposal a Codable of its own.
type codedProposal struct{ Proposal Proposal }

// Code walks the Proposal struct of §12.1.
func (p *codedProposal) Code(c *syntax.Coder) { codeProposal(c, &p.Proposal) }

// MarshalProposal encodes a proposal.
func MarshalProposal(p Proposal) []byte { return syntax.Encode(&codedProposal{p}) }

// ParseProposal reads a proposal. It has not been validated.
func ParseProposal(b []byte) (Proposal, error) {
	p, err := parse[codedProposal](b)
	if err != nil {
		return nil, err
	}
	return p.Proposal, nil
}

// pathRequired reports whether a commit with such a proposal must have a path
// (§12.4).
func pathRequired(kind ProposalType) bool {
	switch kind {
	case ProposalTypeAdd, ProposalTypePSK, ProposalTypeReInit, ProposalTypeAppDataUpdate, ProposalTypeAppEphemeral:
		return false
	}
	return true
}

// proposalOrRefType is the tag of §12.4.
type proposalOrRefType uint8

const (
	proposalByValue     proposalOrRefType = 1
	proposalByReference proposalOrRefType = 2
)

// ProposalOrRef is a proposal inside a commit: the proposal itself, or the
// reference of one that was sent before (§12.4).
type ProposalOrRef struct {
	Proposal Proposal    // by value, or
	Ref      ProposalRef // by reference
}

// Code walks the ProposalOrRef struct of §12.4.
func (p *ProposalOrRef) Code(c *syntax.Coder) {
	kind := proposalByReference
	if p.Proposal != nil {
		kind = proposalByValue
	}
	syntax.Uint8(c, &kind)
	switch kind {
	case proposalByValue:
		codeProposal(c, &p.Proposal)
	case proposalByReference:
		syntax.Opaque(c, &p.Ref)
	default:
		c.Fail("unknown ProposalOrRef type")
	}
}

// Commit moves a group to its next epoch (§12.4). A commit must not be changed.
type Commit struct {
	Proposals []ProposalOrRef
	Path      *UpdatePath
}

// Code walks the Commit struct of §12.4.
func (m *Commit) Code(c *syntax.Coder) {
	syntax.Vector(c, &m.Proposals)
	syntax.Optional(c, &m.Path)
}

// ProposalRefs lists the proposals included by reference, in order.
func (m *Commit) ProposalRefs() []ProposalRef {
	var refs []ProposalRef
	for i := range m.Proposals {
		if m.Proposals[i].Proposal == nil {
			refs = append(refs, m.Proposals[i].Ref)
		}
	}
	return refs
}
