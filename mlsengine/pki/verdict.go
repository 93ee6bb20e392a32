package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"

	"parley/mlsengine/suite"
)

// Status is what a TrustStore thinks of a chain. As an error it is what
// errors.Is(err, Revoked) asks for.
type Status uint8

// The statuses, from the best to the worst: an end entity that is not valid now
// has a chain to an anchor all the same, one that is revoked or worse is not to
// be believed at any time.
const (
	Valid Status = iota
	Expired
	NotYetValid
	RevocationUnknown // RevocationRequired, and a list is missing or not in force
	Revoked
	Untrusted   // no chain leads to an anchor
	KeyMismatch // the certificate's key is not the leaf node's, or not of its cipher suite
	Malformed
)

var statusTexts = [...]string{
	"valid", "the certificate has expired", "the certificate is not valid yet", "no revocation list in force is held",
	"the certificate is revoked", "no chain leads to a trust anchor", "the certificate's key is not the leaf node's", "the chain is malformed",
}

// String says what the status means.
func (s Status) String() string {
	if int(s) < len(statusTexts) {
		return statusTexts[s]
	}
	return "unknown status"
}

// Error makes a Status a target of errors.Is.
func (s Status) Error() string { return "pki: " + s.String() }

// Error is why a chain is not to be believed.
type Error struct {
	Status Status
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Status.Error()
	}
	return e.Status.Error() + ": " + e.Detail
}

// Is makes errors.Is(err, Revoked) hold.
func (e *Error) Is(target error) bool {
	s, ok := target.(Status)
	return ok && s == e.Status
}

// Claim is what an X.509 credential in a leaf node claims.
type Claim struct {
	Chain [][]byte // of the credential, the end entity's certificate first
	Key   suite.SignaturePublicKey
	Suite suite.ID // zero: any whose signature scheme the certificate's key is of
}

// ClaimOf is what a chain claims together with a raw private key of a suite. It
// is KeyMismatch where that is no such key.
func ClaimOf(chain [][]byte, id suite.ID, private []byte) (Claim, error) {
	s, err := suite.Get(id)
	if err != nil {
		return Claim{}, &Error{KeyMismatch, err.Error()}
	}
	key, err := s.ParseSignaturePrivateKey(private)
	if err != nil {
		return Claim{}, &Error{KeyMismatch, "the private key does not parse"}
	}
	public, err := s.PublicSignatureKey(key)
	if err != nil {
		return Claim{}, &Error{KeyMismatch, "the private key does not parse"}
	}
	return Claim{Chain: chain, Key: public, Suite: id}, nil
}

// Verdict is what a TrustStore thinks of a claim.
type Verdict struct {
	Status      Status
	Detail      string      // for people; empty for Valid
	Certificate Certificate // the end entity's; zero when Malformed
	Missing     []string    // distribution points whose lists are not held
}

// Err is nil for a valid chain and an *Error otherwise.
func (v Verdict) Err() error {
	if v.Status == Valid {
		return nil
	}
	return &Error{v.Status, v.Detail}
}

// Verify judges a claim at a time, in Unix seconds (§6).
func (t *TrustStore) Verify(claim Claim, now uint64) Verdict {
	t = t.orEmpty()
	chain, err := parseChain(claim.Chain)
	if err != nil {
		return Verdict{Status: Malformed, Detail: err.Error()}
	}
	v := Verdict{Certificate: describe(chain[0]), Missing: t.missing(chain)}
	v.Status, v.Detail = t.judge(chain, claim, now)
	return v
}

func (t *TrustStore) judge(chain []*x509.Certificate, claim Claim, now uint64) (Status, string) {
	if !claim.fits(chain[0]) {
		return KeyMismatch, ""
	}
	paths, status, detail := t.paths(chain, now)
	if status != Valid && status != Expired && status != NotYetValid {
		return status, detail
	}
	// One path that nobody on it was revoked from is enough; of several that
	// fall short the best one speaks.
	worst, why := Untrusted, "no path"
	for _, path := range paths {
		if r, text := t.revocation(path, now); r < worst {
			worst, why = r, text
		}
	}
	if worst > status {
		return worst, why
	}
	return status, detail
}

// fits reports whether the certificate holds the key that is claimed, as one of
// the suite.
func (claim *Claim) fits(c *x509.Certificate) bool {
	suites := []suite.ID{claim.Suite}
	if claim.Suite == 0 {
		suites = []suite.ID{
			suite.X25519_AES128GCM_SHA256_Ed25519, suite.X448_AES256GCM_SHA512_Ed448,
			suite.P256_AES128GCM_SHA256_P256, suite.P384_AES256GCM_SHA384_P384, suite.P521_AES256GCM_SHA512_P521,
		}
	}
	return slices.ContainsFunc(suites, func(id suite.ID) bool {
		s, err := suite.Get(id)
		if err != nil {
			return false
		}
		key, err := s.CertifiedKey(c.RawSubjectPublicKeyInfo)
		return err == nil && bytes.Equal(key, claim.Key)
	})
}

// paths finds the ways from the end entity to an anchor, at the given time or,
// where time alone is what is wrong, at one when its certificate was valid.
func (t *TrustStore) paths(chain []*x509.Certificate, now uint64) ([][]*x509.Certificate, Status, string) {
	options := t.options(chain[1:], now)
	paths, err := chain[0].Verify(options)
	if err == nil {
		return paths, Valid, ""
	}
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return nil, Untrusted, err.Error()
	}
	status := Expired
	if invalid.Cert.NotBefore.After(options.CurrentTime) {
		status = NotYetValid
	}
	for _, then := range []uint64{seconds(chain[0].NotAfter), seconds(chain[0].NotBefore)} {
		options.CurrentTime = at(then)
		if paths, earlier := chain[0].Verify(options); earlier == nil {
			return paths, status, err.Error()
		}
	}
	return nil, Untrusted, err.Error()
}
