package mlsengine

import (
	"parley/internal/syntax"
)

// SafeAAD is the authenticated data of a message in a group whose context has
// the component ComponentSafeAAD: an item for each component that has something
// to say (ext., Safe Additional Authenticated Data).
type SafeAAD = AppDataDictionary

// Bytes encodes the dictionary: as a message's authenticated data, or as the
// extension's. It panics where the components are out of order.
func (d AppDataDictionary) Bytes() []byte { return syntax.Encode(&d) }

// ParseAppData reads what Bytes wrote.
func ParseAppData(b []byte) (AppDataDictionary, error) { return parse[AppDataDictionary](b) }

// framesAAD reports whether a group asks for SafeAAD. Extensions that do not
// parse are not accepted elsewhere.
func (e Extensions) framesAAD() bool {
	d, err := e.AppData()
	if err != nil {
		return false
	}
	_, present := d.Find(ComponentSafeAAD)
	return present
}

// checkAAD checks the authenticated data of a message against what the group
// asks for.
func (gc *GroupContext) checkAAD(aad []byte) error {
	if !gc.Extensions.Has(ExtensionTypeAppDataDictionary) || !gc.Extensions.framesAAD() {
		return nil
	}
	if _, err := ParseAppData(aad); err != nil {
		return broken(SafeAADMalformed, "%d bytes", len(aad))
	}
	return nil
}

// MediaParameter is a parameter of a media type, unquoted.
type MediaParameter struct{ Name, Value []byte }

// Code walks the Parameter struct.
func (p *MediaParameter) Code(c *syntax.Coder) {
	syntax.Opaque(c, &p.Name)
	syntax.Opaque(c, &p.Value)
}

// MediaType is a media type such as image/png with its parameters (ext.,
// Content Advertisement).
type MediaType struct {
	Type       []byte
	Parameters []MediaParameter
}

// Code walks the MediaType struct.
func (m *MediaType) Code(c *syntax.Coder) {
	syntax.Opaque(c, &m.Type)
	syntax.Vector(c, &m.Parameters)
}

// MediaTypes is what the component ComponentContentMediaTypes holds: at least
// one type, supported ones in a leaf, required ones in the group's context. A
// group that has it frames its application data by ApplicationFraming; that,
// and whether the members support the types, is for the application to see to.
type MediaTypes []MediaType

// Code walks the MediaTypeList struct.
func (m *MediaTypes) Code(c *syntax.Coder) {
	syntax.Vector(c, (*[]MediaType)(m))
	if len(*m) == 0 {
		c.Fail("no media type")
	}
}

// Bytes encodes the list. It panics where it is empty.
func (m MediaTypes) Bytes() []byte { return syntax.Encode(&m) }

// ParseMediaTypes reads what Bytes wrote.
func ParseMediaTypes(b []byte) (MediaTypes, error) { return parse[MediaTypes](b) }

// ApplicationFraming says of application data what type it is (ext., Framing of
// application_data). An empty type is the first one of the group's context.
type ApplicationFraming struct {
	MediaType MediaType
	Content   []byte
}

// Code walks the ApplicationFraming struct.
func (f *ApplicationFraming) Code(c *syntax.Coder) {
	f.MediaType.Code(c)
	syntax.Opaque(c, &f.Content)
}

// Bytes encodes the framing.
func (f *ApplicationFraming) Bytes() []byte { return syntax.Encode(f) }

// ParseApplicationFraming reads what Bytes wrote.
func ParseApplicationFraming(b []byte) (*ApplicationFraming, error) {
	f, err := parse[ApplicationFraming](b)
	if err != nil {
		return nil, err
	}
	return &f, nil
}
