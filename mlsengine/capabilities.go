package mlsengine

import "slices"

// requirements is what a group asks of every member's capabilities: each type
// once, and none that every client supports anyway. It is made once for all
// the leaves that it is held against.
type requirements struct {
	inUse       []ExtensionType // extensions of the group (§13.4)
	extensions  []ExtensionType // of required_capabilities (§11.1), like the next two
	proposals   []ProposalType
	credentials []CredentialType
}

// requirements reads what a list of group context extensions asks of members.
func (e Extensions) requirements() (*requirements, error) {
	required, err := e.RequiredCapabilities()
	if err != nil {
		return nil, err
	}
	r := &requirements{inUse: e.types()}
	if required != nil {
		r.extensions = distinct(required.ExtensionTypes, ExtensionType.isDefault)
		r.proposals = distinct(required.ProposalTypes, ProposalType.isDefault)
		r.credentials = distinct(required.CredentialTypes, CredentialType.isDefault)
	}
	return r, nil
}

// types lists the types of the extensions that a client has to list to support
// them.
func (e Extensions) types() []ExtensionType {
	types := make([]ExtensionType, len(e))
	for i := range e {
		types[i] = e[i].Type
	}
	return distinct(types, ExtensionType.isDefault)
}

// distinct lists the types once each, in their order, without the default ones.
func distinct[T ~uint16](types []T, isDefault func(T) bool) []T {
	seen := make(map[T]struct{})
	return slices.DeleteFunc(slices.Clone(types), func(t T) bool {
		_, twice := seen[t]
		seen[t] = struct{}{}
		return twice || isDefault(t)
	})
}

// comparisonsMax is how many comparisons are cheaper than a set.
const comparisonsMax = 1 << 10

// lacking finds the first of the needed types that is not listed. Both lists
// are a peer's and as long as a message may be, so their product does not count.
func lacking[T ~uint16](needed, listed []T) (t T, found bool) {
	if len(needed)*len(listed) <= comparisonsMax {
		i := slices.IndexFunc(needed, func(t T) bool { return !slices.Contains(listed, t) })
		if i < 0 {
			return 0, false
		}
		return needed[i], true
	}
	set := make(map[T]struct{})
	for _, t := range listed {
		set[t] = struct{}{}
	}
	for _, t := range needed {
		if _, ok := set[t]; !ok {
			return t, true
		}
	}
	return 0, false
}

// validateInGroup checks a leaf against what its group asks (§7.3, §13.4).
func (l *LeafNode) validateInGroup(r *requirements) error {
	if t, found := lacking(r.inUse, l.Capabilities.Extensions); found {
		return broken(LeafGroupExtension, "extension type %d", t)
	}
	if t, found := lacking(r.extensions, l.Capabilities.Extensions); found {
		return broken(LeafRequiredCapabilities, "extension type %d", t)
	}
	if t, found := lacking(r.proposals, l.Capabilities.Proposals); found {
		return broken(LeafRequiredCapabilities, "proposal type %d", t)
	}
	if t, found := lacking(r.credentials, l.Capabilities.Credentials); found {
		return broken(LeafRequiredCapabilities, "credential type %d", t)
	}
	return nil
}
