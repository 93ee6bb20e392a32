package mlsengine

import (
	"cmp"
	"slices"

	"parley/internal/syntax"
)

// What draft-ietf-mls-extensions adds to RFC 9420 stands in this file and in
// app_proposals.go, self_remove.go, safe_export.go and app_framing.go;
// docs/extensions.md says which parts of the draft are here. "ext." is that draft.
const (
	// ExtensionTypeAppDataDictionary holds data of application components, in
	// the group's context, in leaves, key packages and GroupInfos.
	ExtensionTypeAppDataDictionary ExtensionType = 6

	ProposalTypeAppDataUpdate ProposalType = 8
	ProposalTypeAppEphemeral  ProposalType = 9
	ProposalTypeSelfRemove    ProposalType = 10
)

// ComponentID names a part of an application that uses a group (ext.,
// Component IDs).
type ComponentID uint16

// The components that the draft itself defines.
const (
	ComponentAppComponents        ComponentID = 1
	ComponentSafeAAD              ComponentID = 2
	ComponentContentMediaTypes    ComponentID = 3
	ComponentLastResortKeyPackage ComponentID = 4
	ComponentAppAck               ComponentID = 5
	ComponentPrivateUse           ComponentID = 0x8000 // from here on
	componentBaseLabel                        = "MLS Component"
	componentCount                            = 1 << 16
)

// Code walks the two bytes.
func (id *ComponentID) Code(c *syntax.Coder) { syntax.Uint16(c, id) }

// ComponentLabel is the label under which a component signs and encrypts: with
// SigningIdentity.Sign, suite.VerifyWithLabel, EncryptWithLabel and
// DecryptWithLabel it makes the safe functions of the draft. No two components,
// and no component and MLS itself, ever use one label.
func ComponentLabel(id ComponentID, label string) string {
	return string(syntax.Encode(&componentLabel{[]byte(componentBaseLabel), id, []byte(label)}))
}

// componentLabel is the ComponentOperationLabel struct.
type componentLabel struct {
	base  []byte
	id    ComponentID
	label []byte
}

// Code walks the struct.
func (l *componentLabel) Code(c *syntax.Coder) {
	syntax.Opaque(c, &l.base)
	l.id.Code(c)
	syntax.Opaque(c, &l.label)
}

// ComponentData is what a component keeps in an AppDataDictionary.
type ComponentData struct {
	Component ComponentID
	Data      []byte
}

// Code walks the struct; SafeAADItem has the same fields.
func (d *ComponentData) Code(c *syntax.Coder) {
	d.Component.Code(c)
	syntax.Opaque(c, &d.Data)
}

// AppDataDictionary is data of components, one entry for each, in the order of
// their ids. It is the content of the app_data_dictionary extension, and as
// SafeAAD the authenticated data of a message.
type AppDataDictionary []ComponentData

// Code walks the vector. Entries that are out of order or double have no
// encoding.
func (d *AppDataDictionary) Code(c *syntax.Coder) {
	syntax.Vector(c, (*[]ComponentData)(d))
	for i := 1; i < len(*d); i++ {
		if (*d)[i-1].Component >= (*d)[i].Component {
			c.Fail("components out of order")
			return
		}
	}
}

func (d AppDataDictionary) search(id ComponentID) (int, bool) {
	return slices.BinarySearchFunc(d, id, func(e ComponentData, id ComponentID) int { return cmp.Compare(e.Component, id) })
}

// Find gives the data of a component.
func (d AppDataDictionary) Find(id ComponentID) ([]byte, bool) {
	i, found := d.search(id)
	if !found {
		return nil, false
	}
	return d[i].Data, true
}

// With is the dictionary in which a component has this data.
func (d AppDataDictionary) With(id ComponentID, data []byte) AppDataDictionary {
	i, found := d.search(id)
	next := slices.Clone(d)
	if found {
		next[i].Data = data
		return next
	}
	return slices.Insert(next, i, ComponentData{id, data})
}

// Without is the dictionary without a component.
func (d AppDataDictionary) Without(id ComponentID) AppDataDictionary {
	return slices.DeleteFunc(slices.Clone(d), func(e ComponentData) bool { return e.Component == id })
}

// Components reads the list of components that one of the draft's own
// components holds: ComponentAppComponents or ComponentSafeAAD, supported ones in
// a leaf, required ones in the group's context. It is nil when the entry is absent.
func (d AppDataDictionary) Components(id ComponentID) ([]ComponentID, error) {
	data, found := d.Find(id)
	if !found {
		return nil, nil
	}
	list, err := syntax.Decode[componentsList](data)
	if err != nil {
		return nil, broken(MalformedExtension, "component %d: %v", id, err)
	}
	return list.ids, nil
}

// WithComponents is the dictionary in which one of those lists is this one.
func (d AppDataDictionary) WithComponents(id ComponentID, listed ...ComponentID) AppDataDictionary {
	return d.With(id, syntax.Encode(&componentsList{listed}))
}

// componentsList is the ComponentsList struct.
type componentsList struct{ ids []ComponentID }

// Code walks the struct.
func (l *componentsList) Code(c *syntax.Coder) { syntax.Vector(c, &l.ids) }

// AppData gives the app_data_dictionary extension, empty when it is absent.
func (e Extensions) AppData() (AppDataDictionary, error) {
	d, err := findExtension[AppDataDictionary](e, ExtensionTypeAppDataDictionary)
	if err != nil || d == nil {
		return nil, err
	}
	return *d, nil
}

// WithAppData gives a list with this dictionary: in the old one's place, or at
// the end. It panics where the components are out of order.
func (e Extensions) WithAppData(d AppDataDictionary) Extensions {
	return e.With(ExtensionTypeAppDataDictionary, syntax.Encode(&d))
}

// Component is what a part of the application does with its proposals. Members
// must come to the same results, always.
type Component struct {
	// Update computes the component's data from the old one and the updates of
	// a commit, in its order. An error makes the commit invalid. Nil means that
	// the last update is the data.
	Update func(old []byte, present bool, updates [][]byte) ([]byte, error)
	// Ephemeral judges the data of an AppEphemeral proposal. Nil means that any
	// will do.
	Ephemeral func(data []byte) error
}

// Components are the components that the application knows. Proposals for
// others are invalid.
type Components map[ComponentID]Component
