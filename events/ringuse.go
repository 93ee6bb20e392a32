package events

import (
	"io"
	"slices"
)

// How much one shared key covers.
const (
	spoolItems       = 1000
	spoolAgeMS       = 10 * 60 * 1000
	spoolBacklog     = 256 // a spool key covers at least 1/256 of what waits
	spoolRing        = 320 // and whatever comes once a ring has this many keys: a slow reader must not fill it
	verificationSpan = 64  // epochs under one verification key
)

// sealing is one part of a record to be: what is sealed and under which key.
type sealing struct {
	id    keyID
	key   ringSecret
	class Class
	label string
	plain []byte
}

// planner chooses the keys of a draft on the ring that its record will leave.
type planner struct {
	ring    *ring // changed
	random  io.Reader
	version uint64
	timeMS  uint64
	missing int // keys that are due and for which there is no spare
	parts   []sealing
}

// plan walks the events in order, the way a reader of the record will: it
// chooses keys for secrets, and applies what is forgotten.
func (p *planner) plan(events []Event) error {
	superseded := supersededParts(events)
	throwaway := sealing{}
	ordinal := 0
	for _, e := range events {
		for _, s := range e.Secrets {
			part := sealing{class: s.Class, label: s.Label, plain: s.Plain.Expose()}
			var err error
			switch {
			case superseded[ordinal] && (s.Class == ClassPrivateState || s.Class == ClassData):
				// A later part of this record replaces this one: its key never reaches the ring.
				throwaway, err = p.throwawayKey()
				part.id, part.key = throwaway.id, throwaway.key
			case superseded[ordinal]:
				part.id, part.key = throwaway.id, throwaway.key
			default:
				part.id, part.key, err = p.keyFor(s)
				p.observe(part.id, s.Class, s.Label)
			}
			if err != nil {
				return err
			}
			p.parts = append(p.parts, part)
			ordinal++
		}
		for _, entry := range e.Forget {
			f, err := parseForget(entry)
			if err != nil {
				return err
			}
			p.ring.forget(f, p.timeMS)
		}
	}
	return nil
}

// supersededParts marks, by their running number, private states that another
// one in the same record replaces, and the consumption that belongs to them;
// and data that other data in the same record replaces.
func supersededParts(events []Event) map[int]bool {
	last, ordinal := -1, 0
	data := map[string]int{} // the newest of each label
	for _, e := range events {
		for _, s := range e.Secrets {
			switch s.Class {
			case ClassPrivateState:
				last = ordinal
			case ClassData:
				data[s.Label] = ordinal
			}
			ordinal++
		}
	}
	marked, inside := map[int]bool{}, false
	ordinal = 0
	for _, e := range events {
		for _, s := range e.Secrets {
			if s.Class == ClassData && ordinal < data[s.Label] {
				marked[ordinal] = true
			}
			inside = (inside || s.Class == ClassPrivateState) && ordinal < last
			if inside && (s.Class == ClassPrivateState || s.Class == ClassConsumption) {
				marked[ordinal] = true
			}
			ordinal++
		}
	}
	return marked
}

func (p *planner) throwawayKey() (sealing, error) {
	k, err := newRingKey(p.random, ClassPrivateState)
	return sealing{id: k.id, key: k.key}, err
}

// keyFor is the key that a secret of a draft is sealed under.
func (p *planner) keyFor(s Secret) (keyID, ringSecret, error) {
	switch {
	case s.Class.lasting() && s.Class != classMAC:
		id, key := p.ring.lasting(s.Class)
		if key.IsZero() {
			return id, key, badDraft("%s log has no key for class %s", p.ring.log.Kind, s.Class)
		}
		return id, key, nil
	case s.Class == ClassConsumption:
		k := p.ring.privateState()
		if k == nil {
			return keyID{}, ringSecret{}, badDraft("consumption without a private state to belong to")
		}
		return k.id, k.key, nil
	case s.Class == ClassPrivateState, s.Class.labelled():
		return p.takeSpare()
	case s.Class.shared():
		stream, number, err := parseItem(s.Label)
		if err != nil {
			return keyID{}, ringSecret{}, err
		}
		if k := p.ring.openShared(s.Class, stream); k != nil && !p.ring.full(*k, number, p.timeMS) {
			return k.id, k.key, nil
		}
		return p.takeSpare()
	}
	return keyID{}, ringSecret{}, badDraft("a secret of %s", s.Class)
}

// takeSpare takes a key made ahead. Where none is left it stands in a fresh
// one and counts it as missing, so that one pass finds how many are due.
func (p *planner) takeSpare() (keyID, ringSecret, error) {
	for _, k := range p.ring.keys {
		if k.class == 0 && k.proven {
			return k.id, k.key, nil
		}
	}
	p.missing++
	k, err := newRingKey(p.random, 0)
	if err != nil {
		return keyID{}, ringSecret{}, err
	}
	p.ring.keys = append(p.ring.keys, k)
	return k.id, k.key, nil
}

func (p *planner) observe(id keyID, class Class, label string) {
	p.ring.observe(id, class, label, place{p.version, p.timeMS})
}

// usedPart is a sealed part as a reader sees it without its key.
type usedPart struct {
	id    keyID
	class Class
	label string
}

// apply takes note of a durable record: it walks its events as the planner did.
func (r *ring) apply(events []Event, parts []usedPart, at place) {
	for _, e := range events {
		for range e.Secrets {
			r.observe(parts[0].id, parts[0].class, parts[0].label, at)
			parts = parts[1:]
		}
		for _, entry := range e.Forget {
			if f, err := parseForget(entry); err == nil { // an entry of a later build names a class that this one has no keys of
				r.forget(f, at.timeMS)
			}
		}
	}
}

// place is when a key was used: version and time of the record.
type place struct{ version, timeMS uint64 }

// observe takes note of a sealed part of a durable record, or of one that is
// about to be: which key is used for what, and which keys that supersedes. It
// is the one description of key use, for the writer as for replay.
func (r *ring) observe(id keyID, class Class, label string, at place) {
	k := r.find(id)
	if k == nil {
		return // dead already, or it never was in the ring
	}
	stream, number := label, uint64(0)
	if class.shared() {
		var err error
		if stream, number, err = parseItem(label); err != nil {
			return
		}
	}
	if k.class == 0 && class != ClassConsumption {
		k.class, k.label, k.madeAt, k.sinceMS, k.first = class, stream, at.version, at.timeMS, number
	}
	if k.class != class {
		return
	}
	switch {
	case class == ClassPrivateState:
		r.kill(func(old ringKey) bool { return old.class == class && old.id != id })
	case class.labelled():
		r.kill(func(old ringKey) bool { return old.class == class && old.label == label && old.id != id })
	case class.shared():
		k.items++
		k.first, k.last = min(k.first, number), max(k.last, number)
	}
}

// privateState is the key of the current private state.
func (r *ring) privateState() *ringKey {
	var newest *ringKey
	for i := range r.keys {
		k := &r.keys[i]
		if k.class == ClassPrivateState && (newest == nil || k.madeAt >= newest.madeAt) {
			newest = k
		}
	}
	return newest
}

// openShared is the newest key of a stream: the one that takes further items.
func (r *ring) openShared(class Class, stream string) *ringKey {
	var newest *ringKey
	for i := range r.keys {
		k := &r.keys[i]
		if k.class == class && k.label == stream && (newest == nil || k.last >= newest.last && k.madeAt >= newest.madeAt) {
			newest = k
		}
	}
	return newest
}

// full tells whether a shared key takes no further item.
func (r *ring) full(k ringKey, number, nowMS uint64) bool {
	if k.class == ClassVerification {
		return number >= k.first+verificationSpan
	}
	return len(r.keys) < spoolRing && k.aged(nowMS) && k.items >= spoolItems && uint64(k.items)*spoolBacklog >= r.backlog(k.label)
}

func (k ringKey) aged(nowMS uint64) bool { return nowMS >= k.sinceMS+spoolAgeMS }

// backlog is how many items of a spool stream are under keys that live.
func (r *ring) backlog(stream string) uint64 {
	n := uint64(0)
	for _, k := range r.keys {
		if k.class == ClassSpool && k.label == stream {
			n += uint64(k.items)
		}
	}
	return n
}

// forget applies one entry.
func (r *ring) forget(f forgetting, nowMS uint64) {
	switch {
	case f.all:
		r.kill(func(k ringKey) bool { return k.class != 0 && !k.class.lasting() })
	case f.class.labelled():
		r.kill(func(k ringKey) bool { return k.class == f.class && k.label == f.label })
	case f.class.shared():
		for i := range r.keys {
			if k := &r.keys[i]; k.class == f.class && k.label == f.label {
				k.forgottenBelow = max(k.forgottenBelow, f.below)
			}
		}
		r.sweep(nowMS)
	}
}

// sweep kills the shared keys of which nothing is needed any more. One that
// still takes items waits until it has covered what a key covers at least, so
// that a prompt reader does not cost a key for each message.
func (r *ring) sweep(nowMS uint64) {
	var open []keyID
	for _, k := range r.keys {
		if !k.class.shared() {
			continue
		}
		if newest := r.openShared(k.class, k.label); newest.id == k.id {
			young := k.class == ClassVerification && k.forgottenBelow < k.first+verificationSpan
			young = young || k.class == ClassSpool && !k.aged(nowMS) && k.items < spoolItems
			if young {
				open = append(open, k.id)
			}
		}
	}
	r.kill(func(k ringKey) bool {
		return k.class.shared() && k.forgottenBelow > k.last && !slices.Contains(open, k.id)
	})
}
