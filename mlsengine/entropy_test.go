package mlsengine

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

// seededEntropy draws by label: the n-th draw under a label depends on the
// seed, the label and n only.
type seededEntropy struct {
	seed  string
	draws map[string]uint64
}

func newSeededEntropy(seed string) *seededEntropy {
	return &seededEntropy{seed: seed, draws: map[string]uint64{}}
}

func (e *seededEntropy) Draw(label string, n int) []byte {
	e.draws[label]++
	input := binary.BigEndian.AppendUint64([]byte(e.seed+"\x00"+label+"\x00"), e.draws[label])
	out := make([]byte, 0, n+sha256.Size)
	for block := uint32(0); len(out) < n; block++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(input, block))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func TestSeededEntropyIsStablePerLabel(t *testing.T) {
	a, b := newSeededEntropy("seed"), newSeededEntropy("seed")
	b.Draw("other", 5)
	first := a.Draw("label", 40)
	wantBytes(t, "draw", b.Draw("label", 40), first)
	if string(a.Draw("label", 40)) == string(first) {
		t.Error("a draw repeated itself")
	}
}

type shortEntropy struct{}

func (shortEntropy) Draw(string, int) []byte { return nil }

func TestShortEntropyIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Env{Entropy: shortEntropy{}}.draw("label", 1)
}
