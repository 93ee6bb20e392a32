package conversation

import (
	"parley/internal/ids"
	"parley/mlsengine"
)

// Memo keeps what a step has verified for its repetition on the same state and input, when the authentication service has given verdicts that
// the step missed: signatures are most of what adding and joining cost. The zero value is empty. It belongs to one goroutine and one input.
type Memo struct {
	packages map[ids.Digest]*mlsengine.KeyPackage // as read
	joined   *joinedEpoch
}

// joinedEpoch is an epoch entered by the input's Welcome, and the GroupInfo that was inside.
type joinedEpoch struct {
	group *mlsengine.Group
	info  []byte
}

// keyPackage reads a key package, or gives the one that was read before: it knows whether its signatures were found good.
func (m *Memo) keyPackage(encoded []byte) (*mlsengine.KeyPackage, error) {
	if m == nil {
		return mlsengine.ParseKeyPackage(encoded)
	}
	digest := ids.DigestOf(encoded)
	if kp := m.packages[digest]; kp != nil {
		return kp, nil
	}
	kp, err := mlsengine.ParseKeyPackage(encoded)
	if err != nil {
		return nil, err
	}
	if m.packages == nil {
		m.packages = map[ids.Digest]*mlsengine.KeyPackage{}
	}
	m.packages[digest] = kp
	return kp, nil
}

// welcome returns the epoch that was entered before, or nil.
func (m *Memo) welcome() *joinedEpoch {
	if m == nil {
		return nil
	}
	return m.joined
}

func (m *Memo) keepWelcome(o *joinedEpoch) {
	if m != nil {
		m.joined = o
	}
}
