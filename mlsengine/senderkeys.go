package mlsengine

import (
	"bytes"
	"sync"

	"parley/mlsengine/suite"
)

// senderKeysMax bounds how many senders' keys a group keeps prepared, at about
// 1.6 KB each.
const senderKeysMax = 8

// verifier checks signatures: a suite, or what remembers its keys.
type verifier interface {
	VerifyPartsWithLabel(key suite.SignaturePublicKey, label string, signature []byte, content ...[]byte) error
}

// senderKeys remembers who signed last and keeps their keys prepared: a key
// that comes again is likely to come often. It is the one thing that the epochs
// of a group share and change. No result depends on it, only how long it takes.
type senderKeys struct {
	suite  *suite.Suite
	mu     sync.Mutex
	recent []senderKey // the last one first
}

type senderKey struct {
	key      suite.SignaturePublicKey
	prepared *suite.VerificationKey // nil after the first signature
	used     int                    // signatures under prepared, up to tableAfter
}

// VerifyPartsWithLabel checks a signature (§5.1.2) of somebody who may sign
// again.
func (c *senderKeys) VerifyPartsWithLabel(key suite.SignaturePublicKey, label string, signature []byte, content ...[]byte) error {
	return tabledKeys{c, nil}.VerifyPartsWithLabel(key, label, signature, content...)
}

// tabledKeys are senderKeys with the tables that groups share; nil: there are
// none.
type tabledKeys struct {
	*senderKeys
	tables *KeyTables
}

// VerifyPartsWithLabel checks a signature (§5.1.2) of somebody who is likely to
// sign very often.
func (c tabledKeys) VerifyPartsWithLabel(key suite.SignaturePublicKey, label string, signature []byte, content ...[]byte) error {
	prepared, often := c.prepared(key)
	if often && c.tables != nil {
		if table := c.tables.of(c.suite, key); table != nil {
			prepared = table
		}
	}
	if prepared != nil {
		return prepared.VerifyPartsWithLabel(label, signature, content...)
	}
	return c.suite.VerifyPartsWithLabel(key, label, signature, content...)
}

// prepared moves a key to the front. It is nil for a key that was not there;
// often says that a table of it pays.
func (c *senderKeys) prepared(key suite.SignaturePublicKey) (prepared *suite.VerificationKey, often bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := len(c.recent)
	for i := range c.recent {
		if bytes.Equal(c.recent[i].key, key) {
			at = i
			break
		}
	}
	entry := senderKey{key: key}
	switch {
	case at < len(c.recent):
		if entry = c.recent[at]; entry.prepared == nil {
			entry.prepared = c.suite.PrepareVerification(key)
		}
		entry.used = min(entry.used+1, tableAfter)
	case at < senderKeysMax:
		c.recent = append(c.recent, senderKey{})
	default:
		at--
	}
	copy(c.recent[1:], c.recent[:at])
	c.recent[0] = entry
	return entry.prepared, entry.used == tableAfter
}
