package audit

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"parley/internal/ids"
	"parley/projections"
)

type placeKind int

const (
	placeNewest placeKind = iota
	placeEpoch
	placeVersion
	placeTime
)

// Place is where in a history to stop. The zero Place is the newest record.
type Place struct {
	kind  placeKind
	value uint64
}

// Newest is the end of a history.
func Newest() Place { return Place{} }

// AtEpoch is the last record of an epoch.
func AtEpoch(n uint64) Place { return Place{placeEpoch, n} }

// AtVersion is a record by its number.
func AtVersion(n uint64) Place { return Place{placeVersion, n} }

// AtTime is the last record that is not later than a time in Unix milliseconds.
func AtTime(ms uint64) Place { return Place{placeTime, ms} }

// String prints the place as the command line has it.
func (p Place) String() string {
	switch p.kind {
	case placeEpoch:
		return fmt.Sprintf("epoch:%d", p.value)
	case placeVersion:
		return fmt.Sprintf("version:%d", p.value)
	case placeTime:
		return "time:" + projections.Timestamp(p.value)
	}
	return "newest"
}

// IsNewest reports whether the place is the end, wherever that is.
func (p Place) IsNewest() bool { return p.kind == placeNewest }

// TrustedHead is a version and the digest that a reader knows from elsewhere to stand there.
type TrustedHead struct {
	Version uint64
	Digest  ids.Digest
}

// ParseTrustedHead reads the two halves of VERSION:DIGEST.
func ParseTrustedHead(version, digest string) (TrustedHead, error) {
	var h TrustedHead
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil || n == 0 {
		return h, fmt.Errorf("%q is not the version of a record", version)
	}
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != len(h.Digest) {
		return h, fmt.Errorf("%q is not a digest of %d hexadecimal digits", digest, 2*len(h.Digest))
	}
	h.Version = n
	copy(h.Digest[:], raw)
	return h, nil
}
