package mlsengine

import "parley/internal/syntax"

// CustomProposal is a proposal of a type that the engine does not know (§13.2).
// RFC 9420 gives a proposal no length, so that its body must be one opaque
// vector to be carried by those who do not understand it. It changes nothing in
// the group: its meaning is the application's, which finds it in
// Effects.Proposals.
type CustomProposal struct {
	Type ProposalType
	Body []byte
}

// ProposalType is the proposal's own.
func (p *CustomProposal) ProposalType() ProposalType { return p.Type }

// Code walks the body.
func (p *CustomProposal) Code(c *syntax.Coder) { syntax.Opaque(c, &p.Body) }

// PathRule says whether a commit with a proposal of some type needs a path
// (§12.4).
type PathRule uint8

// The two rules.
const (
	PathRequired PathRule = iota
	PathOptional
)

// CustomProposals are the types of proposals beyond the engine's own that an
// application understands. It must list them in its leaf's capabilities too. A
// member neither commits nor accepts proposals of others; an outsider, who
// cannot understand them, lets them through where all members list their type.
type CustomProposals map[ProposalType]PathRule

// checkUnderstood checks that we know what every proposal of a commit means.
func (l *proposalList) checkUnderstood() error {
	return eachProposal(l, func(p *CustomProposal, _ committed) error {
		_, understood := l.custom[p.Type]
		if _, custom := emptyProposal(p.Type).(*CustomProposal); !understood || !custom {
			return broken(ProposalUnsupported, "type %d is not registered here", p.Type)
		}
		return nil
	})
}

// typesSupported checks that every member who processes the commit knows the
// types of its proposals (§12.2): those whom it adds or removes need not.
func (l *proposalList) typesSupported() error {
	var types []ProposalType
	for _, c := range l.all {
		types = append(types, c.proposal.ProposalType())
	}
	if types = distinct(types, ProposalType.isDefault); len(types) == 0 {
		return nil
	}
	if l.external() {
		if t, found := lacking(types, l.path.LeafNode.Capabilities.Proposals); found {
			return broken(ProposalUnsupported, "the joiner does not support type %d", t)
		}
	}
	removed := make(map[LeafIndex]struct{})
	for i := range l.all {
		if leaf, removes := l.all[i].removes(); removes {
			removed[leaf] = struct{}{}
		}
	}
	for i, leaf := range l.group.tree.Members {
		if _, leaves := removed[i]; leaves {
			continue
		}
		if t, found := lacking(types, leaf.Capabilities.Proposals); found {
			return broken(ProposalUnsupported, "leaf %d does not support type %d", i, t)
		}
	}
	return nil
}
