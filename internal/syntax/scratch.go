package syntax

import "slices"

// Scratch writes values into one buffer, over and over: what is hashed and
// forgotten need not be garbage. It serves one goroutine.
type Scratch struct{ c Coder }

// Encode is the package's Encode into the buffer: the bytes are good until the
// next call.
func (s *Scratch) Encode(v Codable) []byte {
	s.c.buf = s.c.buf[:0]
	v.Code(&s.c)
	if s.c.err != nil {
		panic("syntax: value without an encoding: " + s.c.err.Reason)
	}
	return s.c.buf
}

// Grow makes room for n bytes.
func (s *Scratch) Grow(n int) { s.c.buf = slices.Grow(s.c.buf[:0], n) }
