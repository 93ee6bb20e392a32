package conversation

import (
	"slices"

	"parley/mlsengine"
)

// selection says which pending proposals a commit of ours includes by
// reference, and which of the wanted ones remain to be included by value.
// Everything pending is meant to go in. What the rules do not allow together is
// chosen as RFC 9420 recommends (§12.2); what somebody proposed that no commit
// could hold is left out, so that nobody can keep us from committing; and so is
// whoever the authentication service does not vouch for: it is we who would let
// them in.
func (w *work) selection(wanted []mlsengine.Proposal) ([]*mlsengine.Content, []mlsengine.Proposal, error) {
	pending, err := w.pendingContents()
	if err != nil {
		return nil, nil, err
	}
	pending, wanted = w.byValue(pending, wanted)
	pending = slices.DeleteFunc(pending, func(c *mlsengine.Content) bool {
		return !w.isOwn(c.Sender()) && (len(w.proposalDoubts(c)) > 0 || !w.mayAdd(c))
	})
	c := newChooser(w.s.OwnLeaf)
	refs, inline, err := c.choose(pending, wanted)
	if err != nil {
		return nil, nil, err
	}
	group := w.s.Private.Group
	check := func(list []*mlsengine.Content) error {
		return group.CheckProposals(list, inline, w.env.PSKs, w.env.engine())
	}
	if check(refs) == nil {
		return refs, inline, nil
	}
	// Something has to stay out. What we were asked for must not be among it, so it goes in by value whoever else proposed it.
	c = newChooser(w.s.OwnLeaf)
	c.insist(wanted)
	if refs, inline, err = c.choose(pending, wanted); err != nil {
		return nil, nil, err
	}
	if err := check(nil); err != nil {
		return nil, nil, commitFault(err)
	}
	refs = slices.DeleteFunc(slices.Clone(refs), func(c *mlsengine.Content) bool {
		return group.CheckProposal(c, w.env.engine()) != nil
	})
	a := admission{check: check, effort: effortMax}
	return a.admit(nil, refs), inline, nil
}

// mayAdd reports whether an Add, if it is one, brings somebody whom we would add
// ourselves: whoever commits it answers for it to members that are stricter.
func (w *work) mayAdd(c *mlsengine.Content) bool {
	add, ok := c.Proposal().(*mlsengine.Add)
	return !ok || add.KeyPackage.ValidateForOthers() == nil && w.s.Config.admits(ClientOf(add.KeyPackage.LeafNode.Credential)) == nil
}

// byValue moves own proposals that were made anew into the commit itself, where
// nobody but their owner can have sent them to the others: whoever gets the
// commit must be able to apply it. In our own service they travel before it.
func (w *work) byValue(pending []*mlsengine.Content, wanted []mlsengine.Proposal) ([]*mlsengine.Content, []mlsengine.Proposal) {
	if w.s.Config.Transport == TransportBuiltIn {
		return pending, wanted
	}
	refs := make([]*mlsengine.Content, 0, len(pending))
	values := slices.Clone(wanted)
	for i, content := range pending {
		q := w.s.Pending[i]
		kind := content.Proposal().ProposalType()
		if q.Own && q.Renewed > 0 && (kind == mlsengine.ProposalTypeAdd || kind == mlsengine.ProposalTypeRemove) {
			values = append(values, content.Proposal())
			continue
		}
		refs = append(refs, content)
	}
	return refs, values
}

// effortMax is how many proposals are looked at, each as often as it is, to
// find out which of them go together.
const effortMax = 8 * PendingMax

// admission adds to a list whatever the check lets in.
type admission struct {
	check  func([]*mlsengine.Content) error
	effort int // what is left of effortMax
}

// admit halves what the check refuses: few bad ones cost few checks. Many of
// them, made to be bad only together, cost no more than the effort; what was
// not looked at by then stays out.
func (a *admission) admit(list, more []*mlsengine.Content) []*mlsengine.Content {
	if len(more) == 0 || a.effort <= 0 {
		return list
	}
	all := append(list[:len(list):len(list)], more...)
	a.effort -= len(all)
	if a.check(all) == nil {
		return all
	}
	if len(more) == 1 {
		return list
	}
	half := len(more) / 2
	return a.admit(a.admit(list, more[:half]), more[half:])
}

// pendingContents reads the pending proposals.
func (w *work) pendingContents() ([]*mlsengine.Content, error) { return w.contents(w.s.Pending) }

// knownContents reads everything that a commit of this epoch may refer to.
func (w *work) knownContents() ([]*mlsengine.Content, error) {
	return w.contents(slices.Concat(w.s.Pending, w.s.Cleared))
}

func (w *work) contents(proposals []PendingProposal) ([]*mlsengine.Content, error) {
	contents := make([]*mlsengine.Content, 0, len(proposals))
	for _, q := range proposals {
		b, ok := w.s.Private.content(q)
		if !ok {
			return nil, brokenf("proposal %x has no content", []byte(q.Ref))
		}
		c, err := mlsengine.ParseContent(b)
		if err != nil {
			return nil, brokenf("proposal %x: %v", []byte(q.Ref), err)
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// chooser picks among proposals that exclude each other.
type chooser struct {
	own     mlsengine.LeafIndex
	removed map[mlsengine.LeafIndex]bool // leaves that the commit removes
	insists bool
}

func newChooser(own mlsengine.LeafIndex) chooser {
	return chooser{own: own, removed: map[mlsengine.LeafIndex]bool{}}
}

// insist prefers our own removals to those that others proposed.
func (c *chooser) insist(wanted []mlsengine.Proposal) {
	c.insists = true
	for _, p := range wanted {
		if r, ok := p.(*mlsengine.Remove); ok {
			c.removed[r.Removed] = true
		}
	}
}

func (c *chooser) choose(pending []*mlsengine.Content, wanted []mlsengine.Proposal) ([]*mlsengine.Content, []mlsengine.Proposal, error) {
	kept, err := c.removes(pending)
	if err != nil {
		return nil, nil, err
	}
	inline := make([]mlsengine.Proposal, 0, len(wanted))
	for _, p := range wanted {
		if r, ok := p.(*mlsengine.Remove); ok {
			if c.removed[r.Removed] && !c.insists {
				continue // somebody proposed it already
			}
			c.removed[r.Removed] = true
		}
		inline = append(inline, p)
	}
	kept = c.lastChanges(kept)
	return withoutReInit(kept, len(inline)), inline, nil
}

// removes notes who is removed, once each. We cannot commit our own removal,
// and must not escape it by committing something else.
func (c *chooser) removes(pending []*mlsengine.Content) ([]*mlsengine.Content, error) {
	kept := make([]*mlsengine.Content, 0, len(pending))
	for _, content := range pending {
		if r, ok := content.Proposal().(*mlsengine.Remove); ok {
			if r.Removed == c.own {
				return nil, refuse(CannotRemoveSelf, GiveUp, "a pending proposal removes us")
			}
			if c.removed[r.Removed] {
				continue
			}
			c.removed[r.Removed] = true
		}
		kept = append(kept, content)
	}
	return kept, nil
}

// lastChanges keeps of the Updates of a leaf the last, none of ourselves (our
// path replaces the leaf) or of a leaf that is removed; of the context
// extensions the last; and nothing that only an external commit may hold.
func (c *chooser) lastChanges(pending []*mlsengine.Content) []*mlsengine.Content {
	updated := map[mlsengine.LeafIndex]bool{}
	context := false
	keep := make([]bool, len(pending))
	for i := len(pending) - 1; i >= 0; i-- {
		switch pending[i].Proposal().(type) {
		case *mlsengine.Update:
			leaf := pending[i].Sender().Leaf
			keep[i] = leaf != c.own && !c.removed[leaf] && !updated[leaf]
			updated[leaf] = true
		case *mlsengine.GroupContextExtensions:
			keep[i] = !context
			context = true
		case *mlsengine.ExternalInit:
		default:
			keep[i] = true
		}
	}
	kept := make([]*mlsengine.Content, 0, len(pending))
	for i, content := range pending {
		if keep[i] {
			kept = append(kept, content)
		}
	}
	return kept
}

// withoutReInit prefers everything else to a ReInit, which must be alone.
func withoutReInit(pending []*mlsengine.Content, inline int) []*mlsengine.Content {
	others := make([]*mlsengine.Content, 0, len(pending))
	var reinit *mlsengine.Content
	for _, content := range pending {
		if _, ok := content.Proposal().(*mlsengine.ReInit); ok {
			reinit = content
			continue
		}
		others = append(others, content)
	}
	if reinit != nil && len(others) == 0 && inline == 0 {
		return []*mlsengine.Content{reinit}
	}
	return others
}
