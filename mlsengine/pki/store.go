package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"parley/internal/syntax"
)

// The bounds of a TrustStore.
const (
	AnchorsMax       = 256
	IntermediatesMax = 1024
	ListsMax         = 1024
	listsBytesMax    = 64 << 20 // of all lists together
)

var (
	// ErrFull is returned where a store has no room for another entry.
	ErrFull = errors.New("pki: the trust store is full")
	// ErrIssuerUnknown is returned for an intermediate certificate or a
	// revocation list whose issuer no anchor of the store vouches for.
	ErrIssuerUnknown = errors.New("pki: no anchor vouches for the issuer")
)

// RevocationPolicy says what to think of a certificate whose revocation list is
// not here, or past its next update.
type RevocationPolicy uint8

// The policies. Under both, a certificate that a list names is revoked, however
// old the list.
const (
	// RevocationWhereListed believes a certificate of which no list says that
	// it is revoked.
	RevocationWhereListed RevocationPolicy = iota
	// RevocationRequired asks for a list in force of every certificate that
	// names a distribution point.
	RevocationRequired
)

// TrustStore is who may vouch for certificates, and who has been revoked. It is
// immutable, and safe for concurrent use; nil and the zero value trust nobody.
type TrustStore struct {
	policy        RevocationPolicy
	anchors       []*x509.Certificate
	intermediates []*x509.Certificate
	lists         []*revocationList // by distribution point, in its order

	// The same for the standard library.
	anchorPool, intermediatePool *x509.CertPool
}

// with is a copy of the store with one part replaced.
func (t *TrustStore) with(change func(*TrustStore)) *TrustStore {
	next := &TrustStore{}
	if t != nil {
		*next = *t
	}
	change(next)
	next.anchorPool, next.intermediatePool = pool(next.anchors), pool(next.intermediates)
	return next
}

// pool is never nil: the library would take the machine's roots instead.
func pool(cs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range cs {
		p.AddCert(c)
	}
	return p
}

// orEmpty is the store, or one that trusts nobody.
func (t *TrustStore) orEmpty() *TrustStore {
	if t == nil || t.anchorPool == nil {
		return t.with(func(*TrustStore) {})
	}
	return t
}

// WithPolicy is the store under another revocation policy.
func (t *TrustStore) WithPolicy(p RevocationPolicy) *TrustStore {
	return t.with(func(next *TrustStore) { next.policy = p })
}

// WithAnchor is the store with a trust anchor more: the DER of an authority's
// certificate. The one it has already changes nothing.
func (t *TrustStore) WithAnchor(der []byte) (*TrustStore, error) {
	t = t.orEmpty()
	c, err := parseAuthority(der)
	if err != nil {
		return nil, err
	}
	if holds(t.anchors, c) {
		return t, nil
	}
	if len(t.anchors) >= AnchorsMax {
		return nil, ErrFull
	}
	return t.with(func(next *TrustStore) { next.anchors = append(slices.Clip(next.anchors), c) }), nil
}

// WithoutAnchor is the store without a trust anchor. Intermediates and lists for
// which only that anchor vouched are kept: nobody believes them on their own.
func (t *TrustStore) WithoutAnchor(f Fingerprint) *TrustStore {
	return t.with(func(next *TrustStore) {
		next.anchors = slices.DeleteFunc(slices.Clone(next.anchors), func(c *x509.Certificate) bool { return fingerprint(c) == f })
	})
}

// WithIntermediate is the store with an intermediate certificate more, which an
// anchor must vouch for now (Unix seconds). Chains need not carry it then. An
// anchor or an intermediate that the store has already changes nothing.
func (t *TrustStore) WithIntermediate(der []byte, now uint64) (*TrustStore, error) {
	t = t.orEmpty()
	c, err := parseAuthority(der)
	if err != nil {
		return nil, err
	}
	if holds(t.anchors, c) || holds(t.intermediates, c) {
		return t, nil
	}
	if len(t.intermediates) >= IntermediatesMax {
		return nil, ErrFull
	}
	if _, err := c.Verify(t.options(nil, now)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIssuerUnknown, err)
	}
	return t.with(func(next *TrustStore) { next.intermediates = append(slices.Clip(next.intermediates), c) }), nil
}

func holds(cs []*x509.Certificate, c *x509.Certificate) bool { return slices.ContainsFunc(cs, c.Equal) }

// options are what the library verifies a certificate under, with the
// intermediates that came with it.
func (t *TrustStore) options(beside []*x509.Certificate, now uint64) x509.VerifyOptions {
	intermediates := t.intermediatePool
	if len(beside) > 0 {
		intermediates = intermediates.Clone()
		for _, c := range beside {
			intermediates.AddCert(c)
		}
	}
	return x509.VerifyOptions{
		Roots: t.anchorPool, Intermediates: intermediates, CurrentTime: at(now), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
}

// Empty reports whether the store trusts nobody.
func (t *TrustStore) Empty() bool { return t == nil || len(t.anchors) == 0 }

// Anchors lists the trust anchors, as DER. The caller must not change it.
func (t *TrustStore) Anchors() [][]byte { return ders(t.orEmpty().anchors) }

// Intermediates lists the intermediate certificates, as DER. The caller must
// not change it.
func (t *TrustStore) Intermediates() [][]byte { return ders(t.orEmpty().intermediates) }

func ders(cs []*x509.Certificate) [][]byte {
	out := make([][]byte, len(cs))
	for i, c := range cs {
		out[i] = c.Raw
	}
	return out
}

// storeFormat is the first byte of an encoded store.
const storeFormat uint8 = 0

// storedStore is the encoded form of a TrustStore.
type storedStore struct {
	format, policy         uint8
	anchors, intermediates [][]byte
	lists                  []storedList
}

type storedList struct {
	point       string
	signer, der []byte
}

// Code walks the encoded form.
func (s *storedStore) Code(c *syntax.Coder) {
	syntax.Uint8(c, &s.format)
	syntax.Uint8(c, &s.policy)
	if s.format != storeFormat || RevocationPolicy(s.policy) > RevocationRequired {
		c.Fail("unknown format or policy")
	}
	syntax.VectorFunc(c, &s.anchors, syntax.Opaque[[]byte])
	syntax.VectorFunc(c, &s.intermediates, syntax.Opaque[[]byte])
	syntax.Vector(c, &s.lists)
}

// Code walks the encoded form.
func (l *storedList) Code(c *syntax.Coder) {
	point := []byte(l.point)
	syntax.Opaque(c, &point)
	l.point = string(point)
	syntax.Opaque(c, &l.signer)
	syntax.Opaque(c, &l.der)
}

// Bytes encodes the store; equal stores have equal bytes.
func (t *TrustStore) Bytes() []byte {
	t = t.orEmpty()
	s := storedStore{format: storeFormat, policy: uint8(t.policy), anchors: ders(t.anchors), intermediates: ders(t.intermediates)}
	for _, l := range t.lists {
		s.lists = append(s.lists, storedList{l.point, l.signer, l.parsed.Raw})
	}
	return syntax.Encode(&s)
}

// ErrStored is returned for bytes that no TrustStore was encoded to.
var ErrStored = errors.New("pki: not an encoded trust store")

// ParseTrustStore reads what Bytes wrote. Everything is parsed again and its
// bounds are checked; who vouched for it was checked when it was taken in.
func ParseTrustStore(b []byte) (*TrustStore, error) {
	s, err := syntax.Decode[storedStore](b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStored, err)
	}
	if len(s.anchors) > AnchorsMax || len(s.intermediates) > IntermediatesMax || len(s.lists) > ListsMax {
		return nil, fmt.Errorf("%w: %w", ErrStored, ErrFull)
	}
	next := &TrustStore{policy: RevocationPolicy(s.policy)}
	if next.anchors, err = parseAuthorities(s.anchors); err != nil {
		return nil, err
	}
	if next.intermediates, err = parseAuthorities(s.intermediates); err != nil {
		return nil, err
	}
	for i, l := range s.lists {
		list, err := parseList(l.point, l.der)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStored, err)
		}
		if i > 0 && s.lists[i-1].point >= l.point {
			return nil, fmt.Errorf("%w: lists out of order", ErrStored)
		}
		list.signer = l.signer
		next.lists = append(next.lists, list)
	}
	return next.with(func(*TrustStore) {}), nil
}

func parseAuthorities(stored [][]byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, der := range stored {
		c, err := parseAuthority(der)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStored, err)
		}
		if holds(out, c) {
			return nil, fmt.Errorf("%w: a certificate twice", ErrStored)
		}
		out = append(out, c)
	}
	return out, nil
}

// Equal reports whether two stores know the same.
func (t *TrustStore) Equal(other *TrustStore) bool { return bytes.Equal(t.Bytes(), other.Bytes()) }
