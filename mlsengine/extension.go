package mlsengine

import (
	"bytes"
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// ExtensionType names an extension (§17.3).
type ExtensionType uint16

// The extensions that the engine itself understands.
const (
	ExtensionTypeApplicationID        ExtensionType = 1
	ExtensionTypeRatchetTree          ExtensionType = 2
	ExtensionTypeRequiredCapabilities ExtensionType = 3
	ExtensionTypeExternalPub          ExtensionType = 4
	ExtensionTypeExternalSenders      ExtensionType = 5
	// ExtensionTypeLastResort marks a key package that may be used more than
	// once. Its number is the one that deployed clients use; it is not of RFC 9420.
	ExtensionTypeLastResort ExtensionType = 10
)

// Code walks the two bytes.
func (t *ExtensionType) Code(c *syntax.Coder) { syntax.Uint16(c, t) }

// isDefault reports whether every client knows the type without saying so
// (§7.2).
func (t ExtensionType) isDefault() bool {
	return t >= ExtensionTypeApplicationID && t <= ExtensionTypeExternalSenders
}

// ProposalType names a kind of proposal (§17.4).
type ProposalType uint16

// The proposals of RFC 9420.
const (
	ProposalTypeAdd                    ProposalType = 1
	ProposalTypeUpdate                 ProposalType = 2
	ProposalTypeRemove                 ProposalType = 3
	ProposalTypePSK                    ProposalType = 4
	ProposalTypeReInit                 ProposalType = 5
	ProposalTypeExternalInit           ProposalType = 6
	ProposalTypeGroupContextExtensions ProposalType = 7
)

// Code walks the two bytes.
func (t *ProposalType) Code(c *syntax.Coder) { syntax.Uint16(c, t) }

// isDefault reports whether every client knows the type without saying so
// (§7.2).
func (t ProposalType) isDefault() bool {
	return t >= ProposalTypeAdd && t <= ProposalTypeGroupContextExtensions
}

// isExternal reports whether an external sender may propose it (§12.1.8).
func (t ProposalType) isExternal() bool {
	switch t {
	case ProposalTypeAdd, ProposalTypeRemove, ProposalTypePSK, ProposalTypeReInit, ProposalTypeGroupContextExtensions,
		ProposalTypeAppDataUpdate, ProposalTypeAppEphemeral:
		return true
	case ProposalTypeUpdate, ProposalTypeExternalInit, ProposalTypeSelfRemove:
	}
	return false
}

// Extension is data of a type, which the engine may or may not know (§13.4).
type Extension struct {
	Type ExtensionType
	Data []byte
}

// Code walks the Extension struct of §7.2.
func (e *Extension) Code(c *syntax.Coder) {
	e.Type.Code(c)
	syntax.Opaque(c, &e.Data)
}

// Extensions is a list of them, in the order they came.
type Extensions []Extension

// Code walks the vector.
func (e *Extensions) Code(c *syntax.Coder) { syntax.Vector(c, (*[]Extension)(e)) }

// Find gives the data of the first extension of a type.
func (e Extensions) Find(t ExtensionType) ([]byte, bool) {
	for i := range e {
		if e[i].Type == t {
			return e[i].Data, true
		}
	}
	return nil, false
}

// Has reports whether the list has an extension of a type.
func (e Extensions) Has(t ExtensionType) bool {
	_, ok := e.Find(t)
	return ok
}

// With gives a list in which the type has this data: in its old place if it
// had one, at the end otherwise.
func (e Extensions) With(t ExtensionType, data []byte) Extensions {
	next := slices.Clone(e)
	for i := range next {
		if next[i].Type == t {
			next[i].Data = data
			return next
		}
	}
	return append(next, Extension{Type: t, Data: data})
}

// Equal reports whether two lists have one encoding.
func (e Extensions) Equal(other Extensions) bool {
	return slices.EqualFunc(e, other, func(a, b Extension) bool {
		return a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	})
}

// validateUnique checks that no type stands twice (§13.4).
func (e Extensions) validateUnique() error {
	seen := make(map[ExtensionType]struct{}, len(e))
	for i := range e {
		if _, twice := seen[e[i].Type]; twice {
			return broken(DuplicateExtension, "type %d", e[i].Type)
		}
		seen[e[i].Type] = struct{}{}
	}
	return nil
}

// findExtension parses the extension of a type; nil means that it is absent.
func findExtension[T any, P interface {
	*T
	syntax.Codable
}](e Extensions, t ExtensionType) (*T, error) {
	data, ok := e.Find(t)
	if !ok {
		return nil, nil
	}
	v, err := syntax.Decode[T, P](data)
	if err != nil {
		return nil, broken(MalformedExtension, "type %d: %v", t, err)
	}
	return &v, nil
}

// RequiredCapabilities is what every member must support (§11.1).
type RequiredCapabilities struct {
	ExtensionTypes  []ExtensionType
	ProposalTypes   []ProposalType
	CredentialTypes []CredentialType
}

// Code walks the RequiredCapabilities struct of §11.1.
func (r *RequiredCapabilities) Code(c *syntax.Coder) {
	syntax.Vector(c, &r.ExtensionTypes)
	syntax.Vector(c, &r.ProposalTypes)
	syntax.Vector(c, &r.CredentialTypes)
}

// RequiredCapabilities gives that extension, or nil when it is absent.
func (e Extensions) RequiredCapabilities() (*RequiredCapabilities, error) {
	return findExtension[RequiredCapabilities](e, ExtensionTypeRequiredCapabilities)
}

// ExternalSender may send proposals without being a member (§12.1.8.1).
type ExternalSender struct {
	SignatureKey suite.SignaturePublicKey
	Credential   Credential
}

// Code walks the ExternalSender struct of §12.1.8.1.
func (s *ExternalSender) Code(c *syntax.Coder) {
	syntax.Opaque(c, &s.SignatureKey)
	s.Credential.Code(c)
}

// ExternalSenders is the external_senders extension; a sender is named by its
// index in it.
type ExternalSenders []ExternalSender

// Code walks the vector.
func (s *ExternalSenders) Code(c *syntax.Coder) { syntax.Vector(c, (*[]ExternalSender)(s)) }

// ExternalSenders gives that extension, empty when it is absent.
func (e Extensions) ExternalSenders() (ExternalSenders, error) {
	senders, err := findExtension[ExternalSenders](e, ExtensionTypeExternalSenders)
	if err != nil || senders == nil {
		return nil, err
	}
	return *senders, nil
}

// externalPub is the key to which a joiner encapsulates its init secret
// (§12.4.3.2).
type externalPub struct{ Key suite.HPKEPublicKey }

// Code walks the ExternalPub struct of §12.4.3.2.
func (p *externalPub) Code(c *syntax.Coder) { syntax.Opaque(c, &p.Key) }

// externalPub gives that extension, or nil when it is absent.
func (e Extensions) externalPub() (*externalPub, error) {
	return findExtension[externalPub](e, ExtensionTypeExternalPub)
}

// ApplicationID is an identifier that the application gave a leaf (§5.3.3).
// Nothing vouches for it.
type ApplicationID struct{ ID []byte }

// Code walks the struct of §5.3.3.
func (a *ApplicationID) Code(c *syntax.Coder) { syntax.Opaque(c, &a.ID) }

// ApplicationID gives that extension, or nil when it is absent.
func (e Extensions) ApplicationID() (*ApplicationID, error) {
	return findExtension[ApplicationID](e, ExtensionTypeApplicationID)
}

// extension makes an Extension from a struct.
func extension(t ExtensionType, v syntax.Codable) Extension {
	return Extension{Type: t, Data: syntax.Encode(v)}
}

// validateData checks that the group context extensions known to the engine
// parse; of others only their support by the members can be checked (§13.4).
func (e Extensions) validateData() error {
	if _, err := e.RequiredCapabilities(); err != nil {
		return err
	}
	if _, err := e.ExternalSenders(); err != nil {
		return err
	}
	_, err := e.AppData()
	return err
}
