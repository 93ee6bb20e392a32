package interop

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/secret"
	"parley/mlsengine"
)

const (
	// keysMax bounds the pre-shared keys of one client.
	keysMax = 4096
	// resumptionEpochs is for how many epochs a client remembers its resumption keys.
	resumptionEpochs = 1024
)

// client is one appearance of an identity: in one group, about to join one, or beside it. It holds the pre-shared keys that it was given
// and the resumption keys of the epochs it was in.
type client struct {
	identity string

	mu   sync.Mutex
	keys map[string]secret.Bytes
	used time.Time // when somebody last asked for it; guarded by the table's mutex
}

func newClient(identity []byte) *client {
	return &client{identity: string(identity), keys: make(map[string]secret.Bytes)}
}

// keyName is how a key is filed: usage and nonce do not matter.
func keyName(id mlsengine.PreSharedKeyID) string {
	if id.Type == mlsengine.PSKTypeExternal {
		return "external " + string(id.ID)
	}
	return resumptionName(id.Group, id.Epoch)
}

func resumptionName(group mlsengine.GroupID, epoch mlsengine.Epoch) string {
	return fmt.Sprintf("resumption %d %s", epoch, group)
}

// store files an external key.
func (c *client) store(id, key []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := keyName(mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: id})
	if _, known := c.keys[name]; !known && len(c.keys) >= keysMax {
		return status.Errorf(codes.ResourceExhausted, "the client has %d pre-shared keys", len(c.keys))
	}
	c.keys[name] = secret.Clone(key)
	return nil
}

// remember files the resumption key of an epoch that the client is in.
func (c *client) remember(g *mlsengine.Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[resumptionName(g.GroupID(), g.Epoch())] = g.ResumptionPSK()
	if g.Epoch() >= resumptionEpochs {
		delete(c.keys, resumptionName(g.GroupID(), g.Epoch()-resumptionEpochs))
	}
}

func (c *client) key(name string) (secret.Bytes, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, known := c.keys[name]
	return key, known
}

// pskStore is what one client can find: what it holds itself, then what its other appearances hold, since a client that comes back to a
// group is given keys, and remembers them, under its earlier state.
type pskStore struct {
	own   *client
	table *table
}

// PSK implements mlsengine.PSKStore.
func (s pskStore) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) {
	name := keyName(id)
	if key, known := s.own.key(name); known {
		return key.Expose(), true
	}
	for _, other := range s.table.appearances(s.own.identity) {
		if key, known := other.key(name); known {
			return key.Expose(), true
		}
	}
	return nil, false
}
