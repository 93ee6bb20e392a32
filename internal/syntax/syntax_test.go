package syntax

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

type id []byte

type inner struct {
	A uint8
	B id
}

func (i *inner) Code(c *Coder) {
	Uint8(c, &i.A)
	Opaque(c, &i.B)
}

type outer struct {
	U16  uint16
	U32  uint32
	U64  uint64
	Hash [4]byte
	Maybe,
	Never *inner
	List    []inner
	Numbers []uint16
}

func (o *outer) Code(c *Coder) {
	Uint16(c, &o.U16)
	Uint32(c, &o.U32)
	Uint64(c, &o.U64)
	Fixed(c, o.Hash[:])
	Optional(c, &o.Maybe)
	Optional(c, &o.Never)
	Vector(c, &o.List)
	VectorFunc(c, &o.Numbers, Uint16[uint16])
}

type hollow struct{}

func (*hollow) Code(*Coder) {}

type hollows struct{ list []hollow }

func (h *hollows) Code(c *Coder) { Vector(c, &h.list) }

func sample(listed int) outer {
	o := outer{
		U16: 0x0102, U32: 0x03040506, U64: 0x0708090a0b0c0d0e, Hash: [4]byte{1, 2, 3, 4},
		Maybe: &inner{A: 7, B: id("maybe")}, List: []inner{}, Numbers: []uint16{0xffff, 1},
	}
	for i := range listed {
		o.List = append(o.List, inner{A: uint8(i), B: bytes.Repeat([]byte{byte(i)}, i%100)})
	}
	return o
}

func TestWhatIsWrittenReadsBack(t *testing.T) {
	for _, listed := range []int{0, 1, 5, 20, 300, 2000} {
		want := sample(listed)
		b := Append([]byte("before"), &want)
		got, err := Decode[outer](b[len("before"):])
		if err != nil {
			t.Fatalf("%d elements: %v", listed, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d elements: read back %+v", listed, got)
		}
	}
}

func TestEncodingIsTheOneOfTheRFC(t *testing.T) {
	o := sample(1)
	want := "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x01\x02\x03\x04" +
		"\x01\x07\x05maybe\x00\x02\x00\x00\x04\xff\xff\x00\x01"
	if got := Encode(&o); string(got) != want {
		t.Errorf("encoded %x, want %x", got, want)
	}
}

func TestEveryTruncationIsMalformed(t *testing.T) {
	o := sample(20)
	b := Encode(&o)
	for n := range b {
		_, err := Decode[outer](b[:n])
		var where *Error
		if !errors.Is(err, ErrMalformed) || !errors.As(err, &where) || where.Offset > n {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := Decode[outer](append(b, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
	if _, rest, err := DecodePrefix[outer](append(b, 1, 2)); err != nil || !bytes.Equal(rest, []byte{1, 2}) {
		t.Errorf("prefix: rest %x, %v", rest, err)
	}
}

func TestDecodedValuesDoNotShareTheInput(t *testing.T) {
	b := Encode(&inner{A: 1, B: id("abc")})
	got, err := Decode[inner](b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if string(got.B) != "abc" {
		t.Error("decoded field changed with the input")
	}
	if grown := append(got.B, 'x'); &grown[0] == &got.B[0] {
		t.Error("decoded field can grow into its neighbour")
	}
}

func TestHeadersThatAreNotMinimalAreMalformed(t *testing.T) {
	for _, c := range []struct{ name, bytes, reason string }{
		{"two bytes for one", "\x40\x01a", "minimal"},
		{"four bytes for two", "\x80\x00\x00\x01a", "minimal"},
		{"reserved prefix", "\xc0\x00\x00\x00\x00\x00\x00\x00", "reserved"},
		{"longer than the input", "\x05ab", "left"},
		{"a gigabyte", "\xbf\xff\xff\xff", "left"},
		{"header cut", "\x40", "truncated"},
	} {
		_, err := Decode[inner]([]byte("\x00" + c.bytes))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestPresenceByteIsZeroOrOne(t *testing.T) {
	o := sample(0)
	b := Encode(&o)
	b[18] = 2
	if _, err := Decode[outer](b); !errors.Is(err, ErrMalformed) {
		t.Errorf("presence byte 2: %v", err)
	}
}

func TestElementsWithoutBytesAreMalformed(t *testing.T) {
	if _, err := Decode[hollows]([]byte{1, 0}); !errors.Is(err, ErrMalformed) {
		t.Errorf("hollow element: %v", err)
	}
}

func TestElementsMayNotLeaveTheirVector(t *testing.T) {
	if _, err := Decode[outer](append(make([]byte, 20), 3, 1, 5, 'a', 'b', 'c', 'd', 'e', 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("element beyond its vector: %v", err)
	}
}

// armed is a sum of one arm behind a preset field, and padding.
type armed struct {
	preset bool
	arm    *inner
	pad    int
	clean  bool
}

func (a *armed) Code(c *Coder) {
	if !a.preset {
		c.Fail("the preset field is lost")
	}
	Arm(c, &a.arm)
	a.clean = Zeros(c, &a.pad)
}

func TestDecodeOwnedKeepsPresetFields(t *testing.T) {
	b := Encode(&armed{preset: true, arm: &inner{A: 3, B: id("abc")}, pad: 5})
	got := armed{preset: true}
	if err := DecodeOwned(b, &got); err != nil || got.pad != 5 || !got.clean || got.arm.A != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if &got.arm.B[0] != &b[2] {
		t.Error("DecodeOwned copied its input")
	}
	b[len(b)-1] = 1
	if err := DecodeOwned(b, &got); err != nil || got.clean {
		t.Errorf("padding that is not zero: clean %v, %v", got.clean, err)
	}
	if err := DecodeOwned(b, &armed{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("without the preset field: %v", err)
	}
	if err := DecodeOwned([]byte{1, 1, 'a', 0}, &inner{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
}

func TestWritingAnAbsentArmPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Encode(&armed{preset: true})
}

type unwritable struct{}

func (*unwritable) Code(c *Coder) { c.Fail("unknown arm") }

func TestWritingAnImpossibleValuePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Encode(&unwritable{})
}

func TestWritingDoesNotAllocatePerField(t *testing.T) {
	o := sample(40)
	dst := make([]byte, 0, 1<<14)
	if n := testing.AllocsPerRun(100, func() { Append(dst, &o) }); n > 2 {
		t.Errorf("%v allocations for one value", n)
	}
}

func FuzzDecodeIsCanonical(f *testing.F) {
	for _, n := range []int{0, 3, 70} {
		o := sample(n)
		f.Add(Encode(&o))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Decode[outer](b); err == nil && !bytes.Equal(Encode(&v), b) {
			t.Error("malleable")
		}
	})
}
