package conversation

import (
	"parley/internal/ids"
	"parley/mlsengine"
)

// Memo keeps what a step has verified for its repetition on the same state and input, when the authentication service has given verdicts that
// the step missed: signatures are most of what adding and joining cost. The zero value is empty. It belongs to one goroutine and one input.
type Memo struct {
	packages map[ids.Digest]*mlsengine.KeyPackage // that were found good
	joined   *joinedEpoch
}

// joinedEpoch is an epoch entered by the input's Welcome, and the GroupInfo that was inside.
type joinedEpoch struct {
	group *mlsengine.Group
	info  []byte
}

// good returns a key package that was verified before, or nil.
func (m *Memo) good(encoded []byte) *mlsengine.KeyPackage {
	if m == nil || m.packages == nil {
		return nil
	}
	return m.packages[ids.DigestOf(encoded)]
}

func (m *Memo) keepPackage(encoded []byte, kp *mlsengine.KeyPackage) {
	if m == nil {
		return
	}
	if m.packages == nil {
		m.packages = map[ids.Digest]*mlsengine.KeyPackage{}
	}
	m.packages[ids.DigestOf(encoded)] = kp
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
