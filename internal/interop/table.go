package interop

import (
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// idle is how long nobody must have asked for a client before it may make room for others. The callers wait two minutes at most.
const idle = 10 * time.Minute

// entry is what an id names.
type entry interface {
	// kind is what it is called in an error.
	kind() string
	// owner is the client whose it is.
	owner() *client
}

// table gives out ids and finds what they name. No id is given out again until all others were; 0 names nothing.
type table struct {
	max int

	mu      sync.Mutex
	entries map[uint32]entry
	last    uint32
}

func newTable(entriesMax int) *table {
	return &table{max: entriesMax, entries: make(map[uint32]entry)}
}

// add names an entry, if there is room for one more.
func (t *table) add(e entry) (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.entries) >= t.max {
		maps.DeleteFunc(t.entries, func(_ uint32, e entry) bool { return now.Sub(e.owner().used) > idle })
	}
	if len(t.entries) >= t.max {
		return 0, status.Errorf(codes.ResourceExhausted, "%d states and pending joins are in use; Free some", len(t.entries))
	}
	for t.last++; t.last == 0 || t.entries[t.last] != nil; t.last++ {
	}
	t.entries[t.last] = e
	e.owner().used = now
	return t.last, nil
}

// drop forgets ids.
func (t *table) drop(ids ...uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		delete(t.entries, id)
	}
}

// get finds an entry of any kind.
func (t *table) get(id uint32) (entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, found := t.entries[id]
	if !found {
		return nil, status.Errorf(codes.NotFound, "nothing has the id %d", id)
	}
	e.owner().used = time.Now()
	return e, nil
}

// find finds an entry of one kind.
func find[E entry](t *table, id uint32) (E, error) {
	var wanted E
	e, err := t.get(id)
	if err != nil {
		return wanted, err
	}
	wanted, ok := e.(E)
	if !ok {
		return wanted, status.Errorf(codes.NotFound, "id %d is %s", id, e.kind())
	}
	return wanted, nil
}

// appearances lists the clients of one identity.
func (t *table) appearances(identity string) []*client {
	t.mu.Lock()
	defer t.mu.Unlock()
	var clients []*client
	seen := make(map[*client]struct{})
	for _, e := range t.entries {
		c := e.owner()
		if _, twice := seen[c]; !twice && c.identity == identity {
			seen[c] = struct{}{}
			clients = append(clients, c)
		}
	}
	return clients
}
