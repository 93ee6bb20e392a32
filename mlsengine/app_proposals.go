package mlsengine

import (
	"slices"

	"parley/internal/syntax"
)

// AppDataUpdate changes what the group's context holds of a component (ext.,
// Updating Application Data).
type AppDataUpdate struct {
	Component ComponentID
	Remove    bool   // the component's data is removed, or
	Update    []byte // changed by this, as the component understands it
}

// AppEphemeral tells a component something that all members hear with the same
// commit, and that changes nothing in the group (ext., Attaching Application
// Data to a Commit).
type AppEphemeral struct {
	Component ComponentID
	Data      []byte
}

// appDataOperation is the AppDataUpdateOperation enum.
type appDataOperation uint8

const (
	appDataUpdate appDataOperation = 1
	appDataRemove appDataOperation = 2
)

// ProposalType names the arm.
func (*AppDataUpdate) ProposalType() ProposalType { return ProposalTypeAppDataUpdate }

// ProposalType names the arm.
func (*AppEphemeral) ProposalType() ProposalType { return ProposalTypeAppEphemeral }

// Code walks the AppDataUpdate struct.
func (p *AppDataUpdate) Code(c *syntax.Coder) {
	p.Component.Code(c)
	op := appDataUpdate
	if p.Remove {
		op = appDataRemove
	}
	syntax.Uint8(c, &op)
	switch op {
	case appDataUpdate:
		syntax.Opaque(c, &p.Update)
	case appDataRemove:
		p.Remove = true
	default:
		c.Fail("unknown AppDataUpdateOperation")
	}
}

// Code walks the AppEphemeral struct.
func (p *AppEphemeral) Code(c *syntax.Coder) {
	p.Component.Code(c)
	syntax.Opaque(c, &p.Data)
}

// componentOf is the component that a proposal is for.
func componentOf(p Proposal) (ComponentID, bool) {
	switch p := p.(type) {
	case *AppDataUpdate:
		return p.Component, true
	case *AppEphemeral:
		return p.Component, true
	}
	return 0, false
}

// componentsKnown checks that the application knows the components that
// proposals are for.
func (l *proposalList) componentsKnown() error {
	for _, c := range l.all {
		id, forOne := componentOf(c.proposal)
		if _, known := l.components[id]; forOne && !known {
			return broken(AppComponentUnknown, "component %d", id)
		}
	}
	return nil
}

// appDataConsistent checks that each component's data is either removed, once,
// or updated.
func (l *proposalList) appDataConsistent() error {
	removed, seen := make(map[ComponentID]bool), make(map[ComponentID]bool)
	return eachProposal(l, func(p *AppDataUpdate, _ committed) error {
		if removed[p.Component] || p.Remove && seen[p.Component] {
			return broken(AppDataUpdateConflict, "component %d", p.Component)
		}
		removed[p.Component], seen[p.Component] = p.Remove, true
		return nil
	})
}

// appDataLocked checks that a group whose members all have to know AppDataUpdate
// changes application data by nothing else.
func (l *proposalList) appDataLocked() error {
	required, err := l.group.context.Extensions.RequiredCapabilities()
	if err != nil || required == nil || !slices.Contains(required.ProposalTypes, ProposalTypeAppDataUpdate) {
		return err
	}
	old, had := l.group.context.Extensions.Find(ExtensionTypeAppDataDictionary)
	return eachProposal(l, func(p *GroupContextExtensions, _ committed) error {
		data, has := p.Extensions.Find(ExtensionTypeAppDataDictionary)
		if had != has || string(old) != string(data) {
			return broken(AppDataLocked, "")
		}
		return nil
	})
}

// appRemovesPresent checks that there is something to remove.
func (l *proposalList) appRemovesPresent(d AppDataDictionary) error {
	return eachProposal(l, func(p *AppDataUpdate, _ committed) error {
		if _, present := d.Find(p.Component); p.Remove && !present {
			return broken(AppDataRemoveAbsent, "component %d", p.Component)
		}
		return nil
	})
}

// applyAppData tells the components what the commit has for them, and puts
// their new data into the context: after all other proposals.
func (st *staging) applyAppData() error {
	l := st.list
	err := eachProposal(l, func(p *AppEphemeral, _ committed) error {
		judge := l.components[p.Component].Ephemeral
		if judge == nil {
			return nil
		}
		if err := judge(p.Data); err != nil {
			return broken(AppComponentRefused, "component %d: %v", p.Component, err)
		}
		return nil
	})
	if err != nil || l.count(ProposalTypeAppDataUpdate) == 0 {
		return err
	}
	d, err := st.context.Extensions.AppData()
	if err != nil {
		return err
	}
	if err := l.appRemovesPresent(d); err != nil {
		return err
	}
	updates := make(map[ComponentID][][]byte)
	var order []ComponentID
	_ = eachProposal(l, func(p *AppDataUpdate, _ committed) error {
		if p.Remove {
			d = d.Without(p.Component)
			return nil
		}
		if updates[p.Component] == nil {
			order = append(order, p.Component)
		}
		updates[p.Component] = append(updates[p.Component], p.Update)
		return nil
	})
	for _, id := range order {
		if d, err = l.components[id].update(d, id, updates[id]); err != nil {
			return err
		}
	}
	st.context.Extensions = st.context.Extensions.WithAppData(d)
	st.effects.ContextChanged = true
	return nil
}

// update is the dictionary after the updates of one component.
func (k Component) update(d AppDataDictionary, id ComponentID, updates [][]byte) (AppDataDictionary, error) {
	next := updates[len(updates)-1]
	if k.Update != nil {
		old, present := d.Find(id)
		var err error
		if next, err = k.Update(old, present, updates); err != nil {
			return nil, broken(AppComponentRefused, "component %d: %v", id, err)
		}
	}
	return d.With(id, next), nil
}
