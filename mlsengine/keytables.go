package mlsengine

import (
	"container/list"
	"sync"

	"parley/mlsengine/suite"
)

const (
	// keyTablesMax bounds how many tables there are, at about 40 KB each.
	keyTablesMax = 256
	// tableAfter is how many signatures of a sender a group has seen when it asks
	// for a table, which costs as much as three verifications and saves a third of
	// each.
	tableAfter = 8
	// replaceAfter is how many signatures pass between a table and one that takes
	// the place of another: more senders than there are tables must not pay
	// for tables that they do not keep.
	replaceAfter = 64
)

// KeyTables are tables of the keys that sign most, shared by the groups of
// whoever opens messages with them: one sender is in many groups. They are safe
// for concurrent use. No result depends on them, only how long it takes. The
// zero value is ready for use.
type KeyTables struct {
	mu     sync.Mutex
	recent list.List // of *keyTable, the last used first
	places map[string]*list.Element
	since  int // uses since a table was made
}

// keyTable is one table. Keys of one length and algorithm are the same in every
// suite, so that its key is all its name.
type keyTable struct {
	key  string
	keys *suite.VerificationKey
}

// of is the table of a key, which is made if there is room for it. It is nil
// where there is none.
func (t *KeyTables) of(s *suite.Suite, key suite.SignaturePublicKey) *suite.VerificationKey {
	t.mu.Lock()
	t.since++
	if at := t.places[string(key)]; at != nil {
		t.recent.MoveToFront(at)
		t.mu.Unlock()
		return at.Value.(*keyTable).keys
	}
	if len(t.places) == keyTablesMax && t.since < replaceAfter {
		t.mu.Unlock()
		return nil
	}
	t.since = 0
	t.mu.Unlock()
	made := s.TabulateVerification(append(suite.SignaturePublicKey(nil), key...)) // meanwhile others verify
	if made == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.places[string(key)] != nil {
		return made // somebody else was as quick
	}
	if t.places == nil {
		t.places = map[string]*list.Element{}
	}
	if len(t.places) >= keyTablesMax {
		delete(t.places, t.recent.Remove(t.recent.Back()).(*keyTable).key)
	}
	t.places[string(key)] = t.recent.PushFront(&keyTable{string(key), made})
	return made
}
