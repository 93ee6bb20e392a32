package actors

import (
	"hash/fnv"
	"sync"
)

// Share is a slice of the identities. A node serves whole shares.
type Share uint32

// Placement says which identities this node serves. The log's fence is what keeps two nodes apart; placement keeps
// them from wasting each other's work.
type Placement interface {
	// Owns reports whether this node serves the share at this moment. It is asked before every activation and before
	// work that appends nothing, so it must be cheap.
	Owns(Share) bool
	// Count is the number of shares in the deployment.
	Count() uint32
	// ShareOf maps an identity's key to its share.
	ShareOf(key string) Share
	// Watch calls changed after every change of what is owned, until the returned function is called.
	Watch(changed func()) (stop func())
}

// Static is the placement of a node that is told its shares. Handing one over is an explicit call on both sides.
type Static struct {
	count uint32

	mu       sync.RWMutex
	owned    map[Share]bool
	watchers map[int]func()
	next     int
}

// DefaultShares is how many shares identities are spread over when nobody says otherwise.
const DefaultShares = 16

// NewStatic returns a placement of count shares that owns the given ones; with none given it owns all of them.
func NewStatic(count uint32, owned ...Share) *Static {
	if count == 0 {
		count = DefaultShares
	}
	s := &Static{count: count, owned: map[Share]bool{}, watchers: map[int]func(){}}
	for _, share := range owned {
		s.owned[share] = true
	}
	if len(owned) == 0 {
		for share := range Share(count) {
			s.owned[share] = true
		}
	}
	return s
}

// Count is the number of shares in the deployment.
func (s *Static) Count() uint32 { return s.count }

// ShareOf maps a key to its share: FNV-1a over the key, mixed, modulo the count.
func (s *Static) ShareOf(key string) Share {
	h := fnv.New64a()
	h.Write([]byte(key))
	return Share(mix(h.Sum64()) % uint64(s.count))
}

// mix is the finalizer of splitmix64: FNV alone leaves neighbouring keys in neighbouring shares.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Owns reports whether the share is served here.
func (s *Static) Owns(share Share) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.owned[share]
}

// Take makes this node serve the shares: the explicit hand-over after their node died or released them.
func (s *Static) Take(shares ...Share) { s.change(true, shares) }

// Release stops serving the shares. Actors of a released share are passivated by the node that watches.
func (s *Static) Release(shares ...Share) { s.change(false, shares) }

func (s *Static) change(own bool, shares []Share) {
	s.mu.Lock()
	for _, share := range shares {
		s.owned[share] = own
	}
	calls := make([]func(), 0, len(s.watchers))
	for _, w := range s.watchers {
		calls = append(calls, w)
	}
	s.mu.Unlock()
	for _, changed := range calls {
		changed()
	}
}

// Watch calls changed after every Take and Release.
func (s *Static) Watch(changed func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.watchers[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, id)
	}
}
