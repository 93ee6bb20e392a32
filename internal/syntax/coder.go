// Package syntax is the TLS presentation language as MLS uses it (RFC 9420
// section 2.1). A struct lists its fields once, in a method Code; the same
// walk reads or writes:
//
//	func (gc *GroupContext) Code(c *syntax.Coder) {
//		syntax.Uint16(c, &gc.Version)
//		syntax.Opaque(c, &gc.GroupID)
//		syntax.Vector(c, &gc.Extensions)
//	}
//
// The encoding is canonical: what decodes encodes to the same bytes. Decoding
// never panics and allocates no more than a small multiple of its input.
package syntax

import (
	"errors"
	"fmt"
)

// ErrMalformed is what every decoding error is.
var ErrMalformed = errors.New("malformed encoding")

// Error says where decoding stopped and why.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.Reason) }

// Is makes errors.Is(err, ErrMalformed) hold.
func (e *Error) Is(target error) bool { return target == ErrMalformed }

// Codable is a struct that walks its own fields.
type Codable interface{ Code(*Coder) }

// Coder reads or writes, never both. Its first error sticks; after it every
// read yields zero values and no bytes, so that walks need not check.
type Coder struct {
	buf     []byte // reading: the whole input; writing: the output so far
	pos     int    // reading: offset of the next byte
	end     int    // reading: where the innermost vector ends
	err     *Error
	reading bool
}

// Reading reports the direction of the walk.
func (c *Coder) Reading() bool { return c.reading }

// Err is the first error, or nil.
func (c *Coder) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// Fail stops the walk. When writing, it means that the program made a value
// which has no encoding, and Encode panics.
func (c *Coder) Fail(reason string) {
	if c.err == nil {
		c.err = &Error{Offset: c.offset(), Reason: reason}
	}
}

// Remaining is the number of bytes left in the innermost vector when reading,
// and zero when writing.
func (c *Coder) Remaining() int {
	if !c.reading || c.err != nil {
		return 0
	}
	return c.end - c.pos
}

// Mark is a place in the encoding, for Since.
func (c *Coder) Mark() int { return c.offset() }

// Since is what was read since a mark. It shares the memory of the opaque
// fields; nil after an error.
func (c *Coder) Since(mark int) []byte {
	if !c.reading || c.err != nil {
		return nil
	}
	return c.buf[mark:c.pos:c.pos]
}

func (c *Coder) offset() int {
	if c.reading {
		return c.pos
	}
	return len(c.buf)
}

// take consumes n bytes of the input. The result aliases the Coder's own copy
// of the input and cannot grow into what follows.
func (c *Coder) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > c.end-c.pos {
		c.Fail("truncated")
		return nil
	}
	b := c.buf[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return b
}

// Encode writes v. It panics when v has no encoding, which is a bug of the
// program and not reachable from input.
func Encode(v Codable) []byte { return Append(nil, v) }

// Append writes v after dst.
func Append(dst []byte, v Codable) []byte {
	c := Coder{buf: dst}
	v.Code(&c)
	if c.err != nil {
		panic("syntax: value without an encoding: " + c.err.Reason)
	}
	return c.buf
}

// Decode reads a T that fills b to the last byte. It works on a copy of b:
// opaque fields of the result share that copy, never b.
func Decode[T any, P interface {
	*T
	Codable
}](b []byte) (T, error) {
	v, rest, err := DecodePrefix[T, P](b)
	if err == nil && len(rest) > 0 {
		err = &Error{Offset: len(b) - len(rest), Reason: "trailing bytes"}
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// DecodePrefix reads a T from the front of b and returns what follows it.
func DecodePrefix[T any, P interface {
	*T
	Codable
}](b []byte) (v T, rest []byte, err error) {
	c := Coder{buf: append(make([]byte, 0, len(b)), b...), end: len(b), reading: true}
	P(&v).Code(&c)
	if c.err != nil {
		var zero T
		return zero, nil, c.err
	}
	return v, b[c.pos:], nil
}

// DecodeOwned reads b, to the last byte, into a v of which the caller has set
// what the encoding leaves out. It takes ownership of b: opaque fields of v
// share its memory.
func DecodeOwned(b []byte, v Codable) error {
	c := Coder{buf: b, end: len(b), reading: true}
	v.Code(&c)
	if c.err == nil && c.pos < c.end {
		c.Fail("trailing bytes")
	}
	return c.Err()
}
