package pki

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// ListBytesMax bounds one revocation list.
const ListBytesMax = 8 << 20

var (
	// ErrList is returned for a revocation list that does not parse, whose
	// signature does not verify, or that says what this package does not
	// understand and may not overlook: a delta, somebody else's certificates,
	// some reasons only.
	ErrList = errors.New("pki: not a revocation list that can be used")
	// ErrListExpired is returned for a revocation list past its next update, or
	// not in force yet.
	ErrListExpired = errors.New("pki: the revocation list is not in force")
	// ErrListOlder is returned for a revocation list older than the one held:
	// taking it would forget who was revoked since.
	ErrListOlder = errors.New("pki: the revocation list is older than the one held")
)

// revocationList is a list with what it is looked up by.
type revocationList struct {
	point     string
	parsed    *x509.RevocationList
	signer    []byte              // SubjectPublicKeyInfo of the key that signed it
	revoked   map[string]struct{} // serial numbers
	users     bool                // it covers end entities
	authority bool                // it covers authorities
}

// issuingDistributionPoint is §5.2.5.
type issuingDistributionPoint struct {
	Point          asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyAuthority  bool           `asn1:"optional,tag:2"`
	OnlyReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

// parseList parses a list of a distribution point.
func parseList(point string, der []byte) (*revocationList, error) {
	if len(der) > ListBytesMax || len(point) == 0 || len(point) > pointBytesMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrList, len(der))
	}
	parsed, err := x509.ParseRevocationList(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	if parsed.NextUpdate.IsZero() {
		return nil, fmt.Errorf("%w: it names no next update", ErrList)
	}
	l := &revocationList{point: point, parsed: parsed, users: true, authority: true}
	if err := l.readExtensions(); err != nil {
		return nil, err
	}
	l.revoked = make(map[string]struct{}, len(parsed.RevokedCertificateEntries))
	for i := range parsed.RevokedCertificateEntries {
		entry := &parsed.RevokedCertificateEntries[i]
		for _, e := range entry.Extensions {
			if e.Critical {
				return nil, fmt.Errorf("%w: critical extension %v of entry %d", ErrList, e.Id, i+1)
			}
		}
		l.revoked[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	return l, nil
}

// readExtensions reads the scope of the list, and refuses critical extensions
// that are not understood (§5.2).
func (l *revocationList) readExtensions() error {
	known := []asn1.ObjectIdentifier{{2, 5, 29, 20}, {2, 5, 29, 35}} // number, authority key: the library's
	for _, e := range l.parsed.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) {
			var scope issuingDistributionPoint
			rest, err := asn1.Unmarshal(e.Value, &scope)
			if err != nil || len(rest) > 0 || scope.Indirect || scope.OnlyAttributes || scope.OnlyReasons.BitLength > 0 {
				return fmt.Errorf("%w: its scope", ErrList)
			}
			l.users, l.authority = !scope.OnlyAuthority, !scope.OnlyUsers
			continue
		}
		isKnown := slices.ContainsFunc(known, e.Id.Equal)
		if e.Critical && !isKnown {
			return fmt.Errorf("%w: critical extension %v", ErrList, e.Id)
		}
	}
	return nil
}

// olderThan compares two lists of one issuer (§5.2.3).
func (l *revocationList) olderThan(other *revocationList) bool {
	if l.parsed.Number != nil && other.parsed.Number != nil && l.parsed.Number.Cmp(other.parsed.Number) < 0 {
		return true
	}
	return l.parsed.ThisUpdate.Before(other.parsed.ThisUpdate)
}

// inForce reports whether a time lies between the list's two updates.
func (l *revocationList) inForce(now uint64) bool {
	return !at(now).Before(l.parsed.ThisUpdate) && !at(now).After(l.parsed.NextUpdate)
}

// isOf reports whether the list is that of an issuer: of its name and key, in
// whichever certificate. The signature was checked when the list was taken in.
func (l *revocationList) isOf(issuer *x509.Certificate) bool {
	return bytes.Equal(l.parsed.RawIssuer, issuer.RawSubject) && bytes.Equal(l.signer, issuer.RawSubjectPublicKeyInfo)
}

// signedBy finds who signed the list, and may (§4.2.1.3).
func (l *revocationList) signedBy(authorities []*x509.Certificate) bool {
	for _, c := range authorities {
		if bytes.Equal(l.parsed.RawIssuer, c.RawSubject) && l.parsed.CheckSignatureFrom(c) == nil {
			l.signer = c.RawSubjectPublicKeyInfo
			return true
		}
	}
	return false
}

// ListUpdate tells what became of a registered revocation list.
type ListUpdate struct {
	Expires uint64 // its next update, in Unix seconds
	Changed bool   // it revokes other certificates than the list held before
}

// WithRevocationList is the store with the list of a distribution point, in
// place of an older one. It must be in force now (Unix seconds), and signed by
// an anchor or an intermediate of the store that may sign lists.
func (t *TrustStore) WithRevocationList(point string, der []byte, now uint64) (*TrustStore, ListUpdate, error) {
	t = t.orEmpty()
	list, err := parseList(point, der)
	if err != nil {
		return nil, ListUpdate{}, err
	}
	if !list.signedBy(slices.Concat(t.anchors, t.intermediates)) {
		return nil, ListUpdate{}, fmt.Errorf("%w: of the list at %s", ErrIssuerUnknown, point)
	}
	if !list.inForce(now) {
		return nil, ListUpdate{}, fmt.Errorf("%w: %v to %v", ErrListExpired, list.parsed.ThisUpdate, list.parsed.NextUpdate)
	}
	i, held := slices.BinarySearchFunc(t.lists, point, func(l *revocationList, p string) int { return cmp.Compare(l.point, p) })
	update := ListUpdate{Expires: seconds(list.parsed.NextUpdate), Changed: len(list.revoked) > 0}
	lists := slices.Clone(t.lists)
	if held {
		old := t.lists[i]
		if bytes.Equal(old.signer, list.signer) && list.olderThan(old) {
			return nil, ListUpdate{}, fmt.Errorf("%w: %s", ErrListOlder, point)
		}
		update.Changed = !sameSerials(old.revoked, list.revoked)
		lists[i] = list
	} else {
		lists = slices.Insert(lists, i, list)
	}
	total := 0
	for _, l := range lists {
		total += len(l.parsed.Raw)
	}
	if len(lists) > ListsMax || total > listsBytesMax {
		return nil, ListUpdate{}, ErrFull
	}
	return t.with(func(next *TrustStore) { next.lists = lists }), update, nil
}

func sameSerials(a, b map[string]struct{}) bool {
	if len(a) != len(b) {
		return false
	}
	for serial := range a {
		if _, ok := b[serial]; !ok {
			return false
		}
	}
	return true
}

// Points lists the distribution points whose lists are held, in order.
func (t *TrustStore) Points() []string {
	var out []string
	for _, l := range t.orEmpty().lists {
		out = append(out, l.point)
	}
	return out
}

// DistributionPoints lists, each once, the distribution points that the
// certificates of a chain name and whose lists are not held: where to look for
// them (§4.2.1.13). The chain need not be valid; one that does not parse has none.
func (t *TrustStore) DistributionPoints(chain [][]byte) []string {
	certificates, err := parseChain(chain)
	if err != nil {
		return nil
	}
	return t.orEmpty().missing(certificates)
}

// PointsOf lists the distribution points that one certificate, an authority's
// too, names and whose lists are not held.
func (t *TrustStore) PointsOf(der []byte) []string {
	c, err := parseCertificate(der)
	if err != nil {
		return nil
	}
	return t.orEmpty().missing([]*x509.Certificate{c})
}

func (t *TrustStore) missing(certificates []*x509.Certificate) []string {
	out := []string{}
	for _, c := range certificates {
		if holds(t.anchors, c) {
			continue
		}
		for _, p := range points(c) {
			_, held := slices.BinarySearchFunc(t.lists, p, func(l *revocationList, p string) int { return cmp.Compare(l.point, p) })
			if !held && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// revocation judges a chain from the end entity to an anchor: Valid, Revoked
// or, where the policy asks for more than is known, RevocationUnknown.
func (t *TrustStore) revocation(chain []*x509.Certificate, now uint64) (Status, string) {
	status, detail := Valid, ""
	for i := 0; i+1 < len(chain); i++ {
		c, issuer := chain[i], chain[i+1]
		named := points(c)
		covered := len(named) == 0
		for _, l := range t.lists {
			_, revoked := l.revoked[string(c.SerialNumber.Bytes())]
			covers := l.inForce(now) && slices.Contains(named, l.point) && (i == 0 && l.users || i > 0 && l.authority)
			if !revoked && (!covers || covered) || !l.isOf(issuer) {
				continue
			}
			if revoked {
				return Revoked, "serial number " + c.SerialNumber.String()
			}
			covered = true
		}
		if !covered && t.policy == RevocationRequired {
			status, detail = RevocationUnknown, "serial number "+c.SerialNumber.String()
		}
	}
	return status, detail
}
