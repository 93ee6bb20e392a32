//go:build parley_sim

package sim

import (
	"crypto/sha256"

	"parley/internal/ids"
	"parley/mlsengine"
)

// ledger is what the laws remember.
type ledger struct {
	authenticators map[mlsengine.Epoch]string
	spent          map[[32]byte]bool // key and nonce of encryptions whose outcome may have left a process
	open           [][32]byte        // of the step under way
	said           map[string]saying
	heardBy        map[string]map[ids.ClientID]int
	holders        map[ids.ClientID]map[ids.ClientID]bool // who has the secret of a reader
}

// saying is a message and whom it is for.
type saying struct {
	sender   ids.ClientID
	epoch    mlsengine.Epoch
	audience map[ids.ClientID]bool
}

func newLedger() ledger {
	return ledger{
		authenticators: map[mlsengine.Epoch]string{}, spent: map[[32]byte]bool{}, said: map[string]saying{}, heardBy: map[string]map[ids.ClientID]int{},
		holders: map[ids.ClientID]map[ids.ClientID]bool{},
	}
}

// heard notes an encryption of the step under way.
func (l *ledger) heard(key, nonce []byte) {
	h := sha256.New()
	h.Write(key)
	h.Write(nonce)
	l.open = append(l.open, [32]byte(h.Sum(nil)))
}

// left says that what the step encrypted is durable or may have been seen. It returns whether any key had been used before.
func (l *ledger) left() (again bool) {
	for _, k := range l.open {
		again = again || l.spent[k]
		l.spent[k] = true
	}
	l.open = l.open[:0]
	return again
}

// void says that the step never happened: nothing of it left the process, and nobody will ever see it.
func (l *ledger) void() { l.open = l.open[:0] }
