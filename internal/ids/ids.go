// Package ids holds the nouns that every layer shares: who a client is, which
// conversation is meant, what a digest is.
//
// Client and conversation ids are arbitrary bytes. They print as text where
// they are plain printable text, else as 0x and hexadecimal, and both forms
// parse back.
package ids

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// BytesMax bounds an id: nothing that names a log is longer.
const BytesMax = 1024

// tokenBytesMax is the longest id that stands in a subject as itself.
const tokenBytesMax = 64

// ErrBadID is returned for text that is no id.
var ErrBadID = errors.New("not an id")

// ClientID names a client of the fleet: the identity of its credential.
type ClientID string

// ConversationID names a conversation: the id of its MLS group.
type ConversationID string

// HistoryPrefix begins the id of a client that only reads, and was added so
// that others may read later what was said.
const HistoryPrefix = "history-client"

// ReadsHistory reports whether the client is such a reader.
func (c ClientID) ReadsHistory() bool { return strings.HasPrefix(string(c), HistoryPrefix) }

// CommandID is chosen by a caller; a command repeated under its id runs once.
type CommandID string

// TransactionID names a transaction over one or several conversations.
type TransactionID string

// ParseClientID reads the printed form of a client id.
func ParseClientID(text string) (ClientID, error) {
	raw, err := parse(text)
	return ClientID(raw), err
}

// ParseConversationID reads the printed form of a conversation id.
func ParseConversationID(text string) (ConversationID, error) {
	raw, err := parse(text)
	return ConversationID(raw), err
}

// String prints the id as text or 0x hexadecimal.
func (c ClientID) String() string { return format(string(c)) }

// Text is the id itself where it is text, else as it is printed: for places that hold nothing but text.
func (c ClientID) Text() string {
	if utf8.ValidString(string(c)) {
		return string(c)
	}
	return c.String()
}

// String prints the id as text or 0x hexadecimal.
func (c ConversationID) String() string { return format(string(c)) }

// String prints the id as text or 0x hexadecimal.
func (c CommandID) String() string { return format(string(c)) }

// String prints the id as text or 0x hexadecimal.
func (t TransactionID) String() string { return format(string(t)) }

func format(raw string) string {
	if raw == "" {
		return ""
	}
	if strings.HasPrefix(raw, "0x") || !plain(raw) {
		return "0x" + hex.EncodeToString([]byte(raw))
	}
	return raw
}

// plain tells whether an id can stand in a line of text and be read back.
func plain(raw string) bool {
	if !utf8.ValidString(raw) {
		return false
	}
	for _, r := range raw {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

func parse(text string) (string, error) {
	raw := text
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			return "", fmt.Errorf("%w: %q is not hexadecimal", ErrBadID, text)
		}
		raw = string(b)
	}
	if raw == "" {
		return "", fmt.Errorf("%w: it is empty", ErrBadID)
	}
	if len(raw) > BytesMax {
		return "", fmt.Errorf("%w: %d bytes are more than %d", ErrBadID, len(raw), BytesMax)
	}
	return raw, nil
}

// Token is how an id stands in a subject: base64url without padding or, for an
// id of more than 64 bytes, "~" and the base64url of its SHA-256. The names of
// subjects are frozen, and so is this function.
func Token(id string) string {
	if len(id) > tokenBytesMax {
		sum := sha256.Sum256([]byte(id))
		return "~" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return base64.RawURLEncoding.EncodeToString([]byte(id))
}

// FromToken gives back the id that stands in a subject as itself; ok is false
// for the token of a long id, which cannot be turned back.
func FromToken(token string) (id string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) == 0 || len(raw) > tokenBytesMax {
		return "", false
	}
	return string(raw), true
}

// Digest is a SHA-256 digest.
type Digest [sha256.Size]byte

// DigestOf is the digest of the parts, one after another.
func DigestOf(parts ...[]byte) Digest {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return Digest(h.Sum(nil))
}

// ParseDigest reads 64 hexadecimal digits, with or without 0x before them.
func ParseDigest(text string) (Digest, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(b) != sha256.Size {
		return Digest{}, fmt.Errorf("%w: %q is not a SHA-256 digest", ErrBadID, text)
	}
	return Digest(b), nil
}

// String is the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short is enough of the digest to tell neighbours apart in a table.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// IsZero reports the digest of nothing: no record before the first.
func (d Digest) IsZero() bool { return d == Digest{} }

// Equal compares in constant time.
func (d Digest) Equal(other Digest) bool {
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}
