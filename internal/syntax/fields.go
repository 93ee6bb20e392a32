package syntax

import (
	"encoding/binary"
	"slices"
)

// LengthMax is the largest length a vector header can carry (30 bits).
const LengthMax = 1<<30 - 1

// Uint8 codes one byte.
func Uint8[T ~uint8](c *Coder, v *T) {
	if !c.reading {
		c.buf = append(c.buf, byte(*v))
		return
	}
	if b := c.take(1); b != nil {
		*v = T(b[0])
	}
}

// Uint16 codes two bytes, big endian.
func Uint16[T ~uint16](c *Coder, v *T) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(*v))
		return
	}
	if b := c.take(2); b != nil {
		*v = T(binary.BigEndian.Uint16(b))
	}
}

// Uint32 codes four bytes, big endian.
func Uint32[T ~uint32](c *Coder, v *T) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(*v))
		return
	}
	if b := c.take(4); b != nil {
		*v = T(binary.BigEndian.Uint32(b))
	}
}

// Uint64 codes eight bytes, big endian.
func Uint64[T ~uint64](c *Coder, v *T) {
	if !c.reading {
		c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(*v))
		return
	}
	if b := c.take(8); b != nil {
		*v = T(binary.BigEndian.Uint64(b))
	}
}

// Fixed codes exactly len(v) bytes.
func Fixed(c *Coder, v []byte) {
	if !c.reading {
		c.buf = append(c.buf, v...)
		return
	}
	copy(v, c.take(len(v)))
}

// Opaque codes opaque<V>: a length header and that many bytes. An empty field
// decodes to an empty slice, not to nil.
func Opaque[T ~[]byte](c *Coder, v *T) {
	if !c.reading {
		if len(*v) > LengthMax {
			c.Fail("opaque field too long")
			return
		}
		c.buf = append(appendLength(c.buf, len(*v)), *v...)
		return
	}
	*v = T(c.take(c.readLength()))
}

// Optional codes optional<T>: a presence byte and then the value, if any.
func Optional[T any, P interface {
	*T
	Codable
}](c *Coder, v **T) {
	var present uint8
	if !c.reading && *v != nil {
		present = 1
	}
	Uint8(c, &present)
	if c.err != nil {
		return
	}
	switch present {
	case 0:
		if c.reading {
			*v = nil
		}
	case 1:
		if c.reading {
			*v = new(T)
		}
		P(*v).Code(c)
	default:
		c.Fail("presence byte is neither 0 nor 1")
	}
}

// Arm codes the chosen arm of a sum: it makes the value when reading and walks
// it. Writing an arm that is absent fails.
func Arm[T any, P interface {
	*T
	Codable
}](c *Coder, v **T) {
	if c.reading {
		*v = new(T)
	} else if *v == nil {
		c.Fail("the chosen arm is absent")
		return
	}
	P(*v).Code(c)
}

// Zeros codes padding that fills the rest: writing appends n zero bytes,
// reading takes all that is left and sets n to its length. It reports whether
// all the bytes are zero.
func Zeros(c *Coder, n *int) bool {
	if !c.reading {
		start := len(c.buf)
		c.buf = slices.Grow(c.buf, *n)[:start+*n]
		clear(c.buf[start:])
		return true
	}
	padding := c.take(c.Remaining())
	*n = len(padding)
	var sum byte
	for _, b := range padding {
		sum |= b
	}
	return sum == 0
}

// Vector codes T<V>: a length header in bytes, then the elements.
func Vector[T any, P interface {
	*T
	Codable
}](c *Coder, v *[]T) {
	VectorFunc(c, v, func(c *Coder, e *T) { P(e).Code(c) })
}

// VectorFunc is Vector for elements without a Code method of their own.
func VectorFunc[T any](c *Coder, v *[]T, code func(*Coder, *T)) {
	if c.reading {
		readVector(c, v, code)
		return
	}
	start := len(c.buf)
	c.buf = append(c.buf, 0)
	for i := range *v {
		code(c, &(*v)[i])
	}
	c.closeVector(start)
}

func readVector[T any](c *Coder, v *[]T, code func(*Coder, *T)) {
	n := c.readLength()
	if c.err != nil {
		return
	}
	outer := c.end
	c.end = c.pos + n
	elements := []T{}
	for c.err == nil && c.pos < c.end {
		before := c.pos
		if len(elements) == cap(elements) {
			elements = grow(elements, c.end-c.pos, n)
		}
		elements = append(elements, *new(T))
		code(c, &elements[len(elements)-1])
		if c.err == nil && c.pos == before {
			c.Fail("vector element without bytes")
		}
	}
	c.end = outer
	*v = elements
}

// grow makes room in a vector of n bytes of which some are left to read: for
// one element, then for as many as fit if they are as long as those before, and
// at least for twice as many, since append's slower growth would copy oftener.
func grow[T any](elements []T, left, n int) []T {
	size := 1
	if read := len(elements); read > 0 {
		each := max(1, (n-left)/read)
		size = max(2*read, read+(left+each-1)/each)
	}
	grown := make([]T, len(elements), size)
	copy(grown, elements)
	return grown
}

// closeVector turns the byte reserved at start into the header of what was
// written since. Most vectors fit the one byte; longer ones shift by the rest.
func (c *Coder) closeVector(start int) {
	n := len(c.buf) - start - 1
	if n > LengthMax {
		c.Fail("vector too long")
		return
	}
	var header [4]byte
	h := appendLength(header[:0], n)
	if len(h) > 1 {
		c.buf = append(c.buf, header[:len(h)-1]...)
		copy(c.buf[start+len(h):], c.buf[start+1:start+1+n])
	}
	copy(c.buf[start:], h)
}

// AppendLength writes the variable-size length header of section 2.1.2 in its
// minimal form. It panics above LengthMax.
func AppendLength(dst []byte, n int) []byte {
	if n < 0 || n > LengthMax {
		panic("syntax: length out of range")
	}
	return appendLength(dst, n)
}

func appendLength(dst []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, 1<<6|byte(n>>8), byte(n))
	default:
		return append(dst, 2<<6|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// readLength reads a length header and checks it against what is left, before
// anybody allocates for it. Longer than minimal headers are malformed: they
// would give one value two encodings.
func (c *Coder) readLength() int {
	first := c.take(1)
	if first == nil {
		return 0
	}
	n := int(first[0] & 0x3f)
	switch first[0] >> 6 {
	case 0:
	case 1:
		if b := c.take(1); b != nil {
			n = n<<8 | int(b[0])
		}
		if c.err == nil && n < 1<<6 {
			c.Fail("length header is not minimal")
		}
	case 2:
		if b := c.take(3); b != nil {
			n = n<<24 | int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		}
		if c.err == nil && n < 1<<14 {
			c.Fail("length header is not minimal")
		}
	default:
		c.Fail("length header with reserved prefix")
	}
	if c.err == nil && n > c.end-c.pos {
		c.Fail("length exceeds what is left")
	}
	if c.err != nil {
		return 0
	}
	return n
}
