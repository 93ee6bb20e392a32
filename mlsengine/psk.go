package mlsengine

import (
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// PSKType says where a pre-shared key comes from (§8.4).
type PSKType uint8

// The kinds of pre-shared keys.
const (
	PSKTypeExternal   PSKType = 1
	PSKTypeResumption PSKType = 2
	// PSKTypeApplication is a key of an application component (ext., Pre-Shared
	// Keys). Clients that do not know the draft cannot read a commit with it.
	PSKTypeApplication PSKType = 3
)

// ResumptionPSKUsage says what for a key of an earlier epoch is used (§8.4).
type ResumptionPSKUsage uint8

// The uses of resumption keys.
const (
	ResumptionPSKUsageApplication ResumptionPSKUsage = 1
	ResumptionPSKUsageReInit      ResumptionPSKUsage = 2
	ResumptionPSKUsageBranch      ResumptionPSKUsage = 3
)

// PreSharedKeyID names a pre-shared key (§8.4).
type PreSharedKeyID struct {
	Type      PSKType
	ID        []byte             // external, application: the application's name for it
	Component ComponentID        // application: whose it is
	Usage     ResumptionPSKUsage // resumption: what for,
	Group     GroupID            // of which group
	Epoch     Epoch              // and of which of its epochs
	Nonce     []byte             // makes each use of one key different
}

// Code walks the PreSharedKeyID struct of §8.4.
func (p *PreSharedKeyID) Code(c *syntax.Coder) {
	syntax.Uint8(c, &p.Type)
	switch p.Type {
	case PSKTypeExternal:
		syntax.Opaque(c, &p.ID)
	case PSKTypeResumption:
		syntax.Uint8(c, &p.Usage)
		if p.Usage < ResumptionPSKUsageApplication || p.Usage > ResumptionPSKUsageBranch {
			c.Fail("unknown resumption usage")
		}
		syntax.Opaque(c, &p.Group)
		syntax.Uint64(c, &p.Epoch)
	case PSKTypeApplication:
		p.Component.Code(c)
		syntax.Opaque(c, &p.ID)
	default:
		c.Fail("unknown type of pre-shared key")
	}
	syntax.Opaque(c, &p.Nonce)
}

// PSKStore finds pre-shared keys by their ids; the nonce does not matter. A
// group finds the resumption keys of its own past epochs by itself.
type PSKStore interface {
	PSK(id PreSharedKeyID) ([]byte, bool)
}

// validateNonce checks what §12.1.4 asks of the nonce.
func (p *PreSharedKeyID) validateNonce(s *suite.Suite) error {
	if len(p.Nonce) != s.HashSize() {
		return broken(PSKNonceLength, "%d bytes", len(p.Nonce))
	}
	return nil
}

// pskSecret is what the pre-shared keys of a commit add to its epoch (§8.4).
type pskSecret struct{ secret.Bytes }

// pskLabel is the PSKLabel struct of §8.4.
type pskLabel struct {
	id           PreSharedKeyID
	index, count uint16
}

func (l *pskLabel) Code(c *syntax.Coder) {
	l.id.Code(c)
	syntax.Uint16(c, &l.index)
	syntax.Uint16(c, &l.count)
}

// pskCountMax is what the label's counter can count.
const pskCountMax = 1<<16 - 1

// derivePSKSecret chains the keys in their order; none give zeroes (§8.4).
// There is one key for each id.
func derivePSKSecret(s *suite.Suite, ids []PreSharedKeyID, keys [][]byte) (pskSecret, error) {
	if len(ids) != len(keys) {
		panic("mlsengine: pre-shared key ids without keys")
	}
	if len(ids) > pskCountMax {
		return pskSecret{}, broken(PSKTooMany, "%d keys", len(ids))
	}
	chained := make([]byte, s.HashSize())
	zero := make([]byte, s.HashSize())
	for i := range ids {
		extracted := s.Extract(zero, keys[i])
		label := syntax.Encode(&pskLabel{id: ids[i], index: uint16(i), count: uint16(len(ids))})
		input := s.ExpandWithLabel(extracted, "derived psk", label, s.HashSize())
		next := s.Extract(input, chained)
		clear(extracted)
		clear(input)
		clear(chained)
		chained = next
	}
	return pskSecret{secret.New(chained)}, nil
}

// withNonce is the proposal with a nonce drawn for it where it has none
// (§12.1.4); other proposals stay as they are.
func withNonce(p Proposal, s *suite.Suite, env Env) Proposal {
	psk, ok := p.(*PreSharedKey)
	if !ok || len(psk.PSK.Nonce) > 0 {
		return p
	}
	fresh := *psk
	fresh.PSK.Nonce = env.draw("psk_nonce", s.HashSize())
	return &fresh
}
