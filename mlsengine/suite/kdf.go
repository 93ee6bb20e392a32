package suite

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"

	"parley/internal/syntax"
)

// labelPrefix stands before every label of the protocol (§5.1.2, §8).
const labelPrefix = "MLS 1.0 "

// hashAlgorithm is the suite's hash, which is also the hash of its KDF and of
// its KEM in every registered suite.
type hashAlgorithm uint8

const (
	sha2_256 hashAlgorithm = iota
	sha2_384
	sha2_512
)

// hashSizeMax and blockSizeMax bound the buffers below.
const (
	hashSizeMax  = sha512.Size
	blockSizeMax = sha512.BlockSize
)

func (h hashAlgorithm) size() int {
	switch h {
	case sha2_256:
		return sha256.Size
	case sha2_384:
		return sha512.Size384
	case sha2_512:
		return sha512.Size
	}
	panic("suite: unknown hash")
}

func (h hashAlgorithm) blockSize() int {
	if h == sha2_256 {
		return sha256.BlockSize
	}
	return sha512.BlockSize
}

func (h hashAlgorithm) crypto() crypto.Hash {
	switch h {
	case sha2_256:
		return crypto.SHA256
	case sha2_384:
		return crypto.SHA384
	case sha2_512:
		return crypto.SHA512
	}
	panic("suite: unknown hash")
}

// sum hashes data into the front of out, without touching the heap.
func (h hashAlgorithm) sum(out *[hashSizeMax]byte, data []byte) {
	switch h {
	case sha2_256:
		*(*[sha256.Size]byte)(out[:]) = sha256.Sum256(data)
	case sha2_384:
		*(*[sha512.Size384]byte)(out[:]) = sha512.Sum384(data)
	case sha2_512:
		*out = sha512.Sum512(data)
	}
}

// HashSize is KDF.Nh, the size of hashes, MACs and derived secrets.
func (s *Suite) HashSize() int { return s.hash.size() }

// Hash hashes the concatenation of the parts.
func (s *Suite) Hash(parts ...[]byte) []byte {
	if len(parts) == 1 {
		var out [hashSizeMax]byte
		s.hash.sum(&out, parts[0])
		return append(make([]byte, 0, s.HashSize()), out[:s.HashSize()]...)
	}
	h := s.hash.crypto().New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(make([]byte, 0, s.HashSize()))
}

// MAC is HMAC with the suite's hash (§5.1) of the concatenation of the parts.
func (s *Suite) MAC(key []byte, parts ...[]byte) []byte {
	h := hmac.New(s.hash.crypto().New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(make([]byte, 0, s.HashSize()))
}

// VerifyMAC compares in constant time.
func (s *Suite) VerifyMAC(key, data, tag []byte) bool {
	return subtle.ConstantTimeCompare(s.MAC(key, data), tag) == 1
}

// Extract is KDF.Extract, HKDF-Extract with the suite's hash.
func (s *Suite) Extract(salt, ikm []byte) []byte {
	var out [hashSizeMax]byte
	s.hash.hmac(&out, salt, ikm)
	extracted := append(make([]byte, 0, s.HashSize()), out[:s.HashSize()]...)
	clear(out[:])
	return extracted
}

// ExpandWithLabel is the labelled expansion of §8. It panics when n is more
// than 255 hashes; lengths that a peer chooses must be checked before.
func (s *Suite) ExpandWithLabel(secret []byte, label string, context []byte, n int) []byte {
	out := make([]byte, n)
	s.ExpandWithLabelInto(out, secret, label, context)
	return out
}

// ExpandWithLabelInto is ExpandWithLabel without garbage: it fills out.
func (s *Suite) ExpandWithLabelInto(out, secret []byte, label string, context []byte) {
	var stack [shortMessageMax]byte
	info := binary.BigEndian.AppendUint16(stack[:0], uint16(len(out)))
	info = syntax.AppendLength(info, len(labelPrefix)+len(label))
	info = append(append(info, labelPrefix...), label...)
	info = syntax.AppendLength(info, len(context))
	info = append(info, context...)
	s.hash.expand(out, secret, info)
}

// DeriveSecret is ExpandWithLabel to one hash under an empty context (§8).
func (s *Suite) DeriveSecret(secret []byte, label string) []byte {
	return s.ExpandWithLabel(secret, label, nil, s.HashSize())
}

// DeriveTreeSecret is the expansion of the secret tree (§9).
func (s *Suite) DeriveTreeSecret(secret []byte, label string, generation uint32, n int) []byte {
	out := make([]byte, n)
	s.DeriveTreeSecretInto(out, secret, label, generation)
	return out
}

// DeriveTreeSecretInto is DeriveTreeSecret without garbage: it fills out.
func (s *Suite) DeriveTreeSecretInto(out, secret []byte, label string, generation uint32) {
	var context [4]byte
	binary.BigEndian.PutUint32(context[:], generation)
	s.ExpandWithLabelInto(out, secret, label, context[:])
}

// RefHash names a value by a labelled hash (§5.2). The label is the whole one;
// the prefix of the other functions is part of it by its definition.
func (s *Suite) RefHash(label string, value []byte) []byte {
	input := make([]byte, 0, len(label)+len(value)+8)
	input = syntax.AppendLength(input, len(label))
	input = append(input, label...)
	input = syntax.AppendLength(input, len(value))
	return s.Hash(append(input, value...))
}

// shortMessageMax bounds what hmacShort takes; every KDF label of the
// protocol with a hash as its context is below it.
const shortMessageMax = 224

// expand is HKDF-Expand (RFC 5869) into out.
func (h hashAlgorithm) expand(out, prk, info []byte) {
	size := h.size()
	if len(out) > 255*size {
		panic("suite: expansion longer than 255 hashes")
	}
	var block [hashSizeMax]byte
	for i := 0; i*size < len(out); i++ {
		previous := block[:0]
		if i > 0 {
			previous = block[:size]
		}
		var stack [shortMessageMax + hashSizeMax + 1]byte
		message := append(append(append(stack[:0], previous...), info...), byte(i+1))
		h.hmac(&block, prk, message)
		copy(out[i*size:], block[:size])
	}
}

// hmac is HMAC into out. Short messages under short keys, which is what key
// derivation has, are hashed on the stack; the library's HMAC allocates two
// hash states each time.
func (h hashAlgorithm) hmac(out *[hashSizeMax]byte, key, message []byte) {
	const messageMax = shortMessageMax + hashSizeMax + 1
	size, blockSize := h.size(), h.blockSize()
	if len(key) > blockSize || len(message) > messageMax {
		// Copies, so that the arguments of the short path stay off the heap.
		m := hmac.New(h.crypto().New, bytes.Clone(key))
		m.Write(bytes.Clone(message))
		copy(out[:], m.Sum(nil))
		return
	}
	var inner [blockSizeMax + messageMax]byte
	var outer [blockSizeMax + hashSizeMax]byte
	for i := 0; i < blockSize; i += 8 {
		binary.NativeEndian.PutUint64(inner[i:], 0x3636363636363636)
		binary.NativeEndian.PutUint64(outer[i:], 0x5c5c5c5c5c5c5c5c)
	}
	subtle.XORBytes(inner[:], inner[:len(key)], key)
	subtle.XORBytes(outer[:], outer[:len(key)], key)
	n := blockSize + copy(inner[blockSize:], message)
	var digest [hashSizeMax]byte
	h.sum(&digest, inner[:n])
	copy(outer[blockSize:], digest[:size])
	h.sum(out, outer[:blockSize+size])
}
