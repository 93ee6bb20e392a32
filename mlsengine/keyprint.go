package mlsengine

import (
	"encoding/binary"

	"parley/mlsengine/treemath"
)

// keyPrint is a part of a public key. Keys with different prints differ, so a
// tree can be searched for a key without touching its nodes; equal prints say
// nothing, whoever made the keys may have wanted them.
type keyPrint uint32

// printOf takes the last bytes: the first ones of some encodings are the same
// in all keys.
func printOf(key []byte) keyPrint {
	if len(key) < 4 {
		return 0
	}
	return keyPrint(binary.LittleEndian.Uint32(key[len(key)-4:]))
}

// keySet is a set of keys, each with the leaf it stands for, and a bitmap of
// their prints which most other keys miss.
type keySet struct {
	keys map[string]LeafIndex
	bits []uint64 // a power of two of them
}

func newKeySet(n int) *keySet {
	words := 1
	for words < n {
		words *= 2
	}
	return &keySet{make(map[string]LeafIndex, n), make([]uint64, words)}
}

// add puts a key into the set and returns whose it was before, if any.
func (s *keySet) add(key []byte, leaf LeafIndex) (other LeafIndex, twice bool) {
	if other, twice = s.keys[string(key)]; !twice {
		s.keys[string(key)] = leaf
		p := printOf(key)
		s.bits[s.word(p)] |= 1 << (p % 64)
	}
	return other, twice
}

func (s *keySet) word(p keyPrint) int { return int(p/64) & (len(s.bits) - 1) }

// mayHold reports false only for prints of keys that are not in the set.
func (s *keySet) mayHold(p keyPrint) bool { return s.bits[s.word(p)]>>(p%64)&1 != 0 }

// find returns the leaf that a key of the set stands for.
func (s *keySet) find(key []byte) (LeafIndex, bool) {
	leaf, found := s.keys[string(key)]
	return leaf, found
}

// eachWithEncryptionKey calls yield for the nodes that have an encryption key
// of the set, in order, until it returns an error.
func (t *slots) eachWithEncryptionKey(s *keySet, yield func(treemath.NodeIndex, LeafIndex) error) error {
	for k, c := range t.chunks {
		for i := range chunkSize {
			x := treemath.NodeIndex(k<<(chunkBits+1) + 2*i)
			if s.mayHold(c.leafPrints[i]) && c.leaves[i] != nil {
				if leaf, found := s.find(c.leaves[i].EncryptionKey); found {
					if err := yield(x, leaf); err != nil {
						return err
					}
				}
			}
			if s.mayHold(c.parentPrints[i]) && c.parents[i] != nil {
				if leaf, found := s.find(c.parents[i].EncryptionKey); found {
					if err := yield(x+1, leaf); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// eachWithSignatureKey calls yield for the leaves that have a signature key of
// the set, in order, until it returns an error.
func (t *slots) eachWithSignatureKey(s *keySet, yield func(at, leaf LeafIndex) error) error {
	for k, c := range t.chunks {
		for i := range chunkSize {
			if !s.mayHold(c.signaturePrints[i]) || c.leaves[i] == nil {
				continue
			}
			if leaf, found := s.find(c.leaves[i].SignatureKey); found {
				if err := yield(LeafIndex(k*chunkSize+i), leaf); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
