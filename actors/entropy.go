package actors

import "crypto/rand"

// SystemEntropy draws from the operating system. The label names the purpose and is not mixed in.
type SystemEntropy struct{}

// Draw returns n fresh bytes.
func (SystemEntropy) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: the runtime ends the process where the system has no randomness
	return b
}
