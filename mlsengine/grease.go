package mlsengine

import "slices"

// GREASE says whether leaves, key packages and GroupInfos that we make hold
// values which mean nothing and which others must ignore (§13.5).
type GREASE bool

// The two ways to make them.
const (
	WithoutGREASE GREASE = false
	WithGREASE    GREASE = true
)

// greaseCount is how many values are reserved in each registry: 0x0A0A, 0x1A1A
// and so on to 0xEAEA.
const greaseCount = 15

// grease is the value that a random byte chooses.
func grease[T ~uint16](choice byte) T { return T(0x0a0a + uint16(choice%greaseCount)*0x1010) }

// isGREASE reports whether a value is one of those that mean nothing.
func isGREASE[T ~uint16](t T) bool {
	return t&0x0f0f == 0x0a0a && t>>8 == t&0xff && t>>12 < greaseCount
}

// greased puts a value into a list at a place that a random byte chooses.
func greased[T ~uint16](list []T, choice, place byte) []T {
	return slices.Insert(slices.Clone(list), int(place)%(len(list)+1), grease[T](choice))
}

// greaseLeaf puts meaningless values into what a new leaf lists, and a
// meaningless extension with it. The lists are complete without them.
func (e Env) greaseLeaf(p leafParams) leafParams {
	if e.GREASE == WithoutGREASE {
		return p
	}
	b := e.draw("grease", 8)
	cap := &p.capabilities
	cap.CipherSuites = greased(cap.CipherSuites, b[0], b[1])
	cap.Extensions = greased(cap.Extensions, b[2], b[3])
	cap.Proposals = greased(cap.Proposals, b[4], b[5])
	cap.Credentials = greased(cap.Credentials, b[6], b[7])
	p.extensions = e.greaseExtension(p.extensions, grease[ExtensionType](b[2]))
	return p
}

// greaseExtensions adds a meaningless extension where nobody lists its type.
func (e Env) greaseExtensions(list Extensions) Extensions {
	if e.GREASE == WithoutGREASE {
		return list
	}
	return e.greaseExtension(list, grease[ExtensionType](e.draw("grease", 1)[0]))
}

// greaseExtension adds an extension of a type with meaningless data.
func (e Env) greaseExtension(list Extensions, t ExtensionType) Extensions {
	if list.Has(t) {
		return list
	}
	size := 1 + e.draw("grease", 1)[0]%32
	return append(slices.Clone(list), Extension{Type: t, Data: e.draw("grease", int(size))})
}

// supported are the extensions that a client really supports: what it lists,
// without what means nothing (§13.5).
func (cap *Capabilities) supported() []ExtensionType {
	return slices.DeleteFunc(slices.Clone(cap.Extensions), isGREASE[ExtensionType])
}

// withoutGREASE checks that group extensions hold nothing meaningless, which
// members could not ignore there (§13.5). Only a sender asks.
func (e Extensions) withoutGREASE() error {
	for i := range e {
		if isGREASE(e[i].Type) {
			return broken(GREASEMisplaced, "extension type %d of a group", e[i].Type)
		}
	}
	return nil
}

// proposalWithoutGREASE is withoutGREASE for a proposal.
func proposalWithoutGREASE(p Proposal) error {
	switch p := p.(type) {
	case *GroupContextExtensions:
		return p.Extensions.withoutGREASE()
	case *ReInit:
		return p.Extensions.withoutGREASE()
	case *CustomProposal:
		if isGREASE(p.Type) {
			return broken(GREASEMisplaced, "proposal type %d", p.Type)
		}
	}
	return nil
}
