package events

import "context"

// noteAhead is an anchor on its way beside the record whose generations it speaks for. It stands at the head before that record: it
// says which generations are taken, and nothing of the record, which may yet fail.
type noteAhead struct {
	journal *Journal
	anchor  Anchor
	done    chan noteAnswer
}

type noteAnswer struct {
	revision uint64
	err      error
}

// lacks tells whether b speaks for generations that a does not speak for.
func (a Anchor) lacks(b Anchor) bool {
	if a.Epoch != b.Epoch {
		return b.ApplicationReserved > 0 || b.HandshakeReserved > 0
	}
	return b.ApplicationReserved > a.ApplicationReserved || b.HandshakeReserved > a.HandshakeReserved
}

// speak begins to store, for a swift record, the anchor that speaks for its generations; nil where it has none that are new, and where
// the anchor cannot stand before the record: then Commit stores it. Whoever made something with these generations waits for both.
func (p *Prepared) speak(ctx context.Context) (*noteAhead, error) {
	j := p.journal
	if !p.swift || p.anchor == nil || j.head.Version == 0 || p.anchor.Epoch != j.ring.anchor.Epoch || !j.ring.anchor.lacks(*p.anchor) ||
		j.mustSync || !j.reached || j.head.Incarnation != j.ring.incarnation || restarts(p.record.Events) {
		return nil, nil
	}
	if err := j.options.Hooks.before(ctx, StepAnchor, j.id); err != nil {
		return nil, err
	}
	anchor := j.ring.anchor
	anchor.Version, anchor.Digest = j.head.Version, j.head.Digest
	anchor.ApplicationReserved = max(anchor.ApplicationReserved, p.anchor.ApplicationReserved)
	anchor.HandshakeReserved = max(anchor.HandshakeReserved, p.anchor.HandshakeReserved)
	data, err := j.ring.encodeNote(anchor)
	if err != nil {
		return nil, err
	}
	n := &noteAhead{journal: j, anchor: anchor, done: make(chan noteAnswer, 1)}
	rings, write := j.stores.Rings, AnchorWrite{Log: j.id, Data: data, Expect: j.ring.note}
	go func() {
		revisions, err := rings.StoreAnchors(ctx, []AnchorWrite{write})
		if err == nil && len(revisions) != 1 {
			err = ErrUnknownOutcome
		}
		if err != nil {
			n.done <- noteAnswer{err: err}
			return
		}
		n.done <- noteAnswer{revision: revisions[0]}
	}()
	return n, nil
}

// wait returns when the anchor has its answer, and tells whether it is stored. Where it is not, or nobody knows, Commit stores it again.
func (n *noteAhead) wait() bool {
	if n == nil {
		return false
	}
	got := <-n.done
	if got.err != nil {
		return false
	}
	n.journal.ring.anchor, n.journal.ring.note = n.anchor, got.revision
	return true
}
