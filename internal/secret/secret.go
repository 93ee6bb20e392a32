// Package secret holds key material in a type that does not print itself.
//
// Types for particular secrets embed Bytes:
//
//	type joinerSecret struct{ secret.Bytes }
//
// Embedding keeps the redacting methods; defining (type joinerSecret
// secret.Bytes) would drop them silently.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
)

// redacted is all that a secret ever prints of itself.
const redacted = "[secret]"

// ErrRedacted is returned to an encoder that would have written a secret.
var ErrRedacted = errors.New("secret: refusing to marshal key material")

// recorder sees every secret that is made; tests search files for them.
var recorder atomic.Pointer[func([]byte)]

// SetRecorder installs a function that is shown every secret made from now
// on, or none. It exists for tests which prove that no secret reached a disk.
// The function must copy what it wants to keep.
func SetRecorder(record func([]byte)) {
	if record == nil {
		recorder.Store(nil)
		return
	}
	recorder.Store(&record)
}

// Bytes is an immutable holder of key material. Copies share the memory, so
// Wipe reaches all of them. The zero value holds nothing.
//
// The material stands behind two pointers because package fmt does not call
// the methods of unexported fields: of a secret inside a printed struct it
// would show the bytes, and one pointer it follows under a wrong verb. Of a
// pointer to a pointer it shows the address.
type Bytes struct{ m **material }

type material struct{ b []byte }

// cell is a material and the pointer to it, in one allocation.
type cell struct {
	self *material
	material
}

// New takes ownership of b; the caller must not touch it again. Nothing and
// zeroes, which some inputs of the key schedule are, are not reported to the
// recorder: everybody knows them.
func New(b []byte) Bytes {
	if record := recorder.Load(); record != nil && !zeroes(b) {
		(*record)(b)
	}
	c := &cell{material: material{b}}
	c.self = &c.material
	return Bytes{&c.self}
}

func zeroes(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Clone is New over a copy of b.
func Clone(b []byte) Bytes {
	return New(append(make([]byte, 0, len(b)), b...))
}

// Expose gives the key material itself, not a copy. The caller must neither
// change nor keep it.
func (s Bytes) Expose() []byte {
	if s.m == nil {
		return nil
	}
	return (*s.m).b
}

// Len is the length in bytes.
func (s Bytes) Len() int { return len(s.Expose()) }

// IsZero reports whether the holder holds nothing.
func (s Bytes) IsZero() bool { return s.Len() == 0 }

// Equal compares in constant time for equal lengths.
func (s Bytes) Equal(other Bytes) bool {
	return subtle.ConstantTimeCompare(s.Expose(), other.Expose()) == 1
}

// Wipe overwrites the key material in this holder and all its copies.
func (s Bytes) Wipe() { clear(s.Expose()) }

// Format implements fmt.Formatter: every verb prints the redaction.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (Bytes) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Bytes) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Bytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements json.Marshaler; a secret inside a printed struct
// shows as the redaction instead of breaking the print.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary refuses, so that gob and its like cannot carry a secret away.
func (Bytes) MarshalBinary() ([]byte, error) { return nil, ErrRedacted }
