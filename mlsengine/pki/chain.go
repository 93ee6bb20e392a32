package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The bounds of a chain. A longer one is malformed: no public hierarchy is
// half as deep, and every certificate may cost signature checks.
const (
	ChainMax       = 8
	CertificateMax = 32 << 10 // bytes
	pointsMax      = 16       // distribution points of a certificate
	pointBytesMax  = 1 << 10
)

// Fingerprint is the SHA-256 of a certificate's DER.
type Fingerprint [sha256.Size]byte

func fingerprint(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.Raw) }

// FingerprintOf is the fingerprint of a certificate's DER.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// ErrCertificate is returned for a certificate that does not parse, is too
// large, or is not one of an authority where an authority's is needed.
var ErrCertificate = errors.New("pki: not a certificate that can stand here")

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > CertificateMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrCertificate, len(der))
	}
	c, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return c, nil
}

// parseAuthority parses a certificate that may sign others (§4.2.1.3, §4.2.1.9).
func parseAuthority(der []byte) (*x509.Certificate, error) {
	c, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%w: it is no authority's", ErrCertificate)
	}
	return c, nil
}

// parseChain parses a chain, the end entity's certificate first, and checks its
// shape: each one names the next as its issuer (RFC 9420 section 5.3).
func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) == 0 || len(chain) > ChainMax {
		return nil, fmt.Errorf("%w: a chain of %d certificates", ErrCertificate, len(chain))
	}
	out := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		c, err := parseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		if i > 0 && !bytes.Equal(out[i-1].RawIssuer, c.RawSubject) {
			return nil, fmt.Errorf("certificate %d: %w: it is not the issuer of the one before", i+1, ErrCertificate)
		}
		out[i] = c
	}
	if c := out[0]; c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, fmt.Errorf("%w: the end entity's key is not for signing messages", ErrCertificate)
	}
	return out, nil
}

// Certificate tells what a certificate says of its holder. Nobody has vouched
// for it unless a Verdict says so.
type Certificate struct {
	Fingerprint  Fingerprint
	CommonName   string // of the subject
	Organization string // of the subject; the first one
	URIs         []string
	Serial       string // decimal
	SerialHex    string // the same, two digits a byte
	NotBefore    uint64 // Unix seconds; 0 for times before 1970
	NotAfter     uint64
}

// Describe tells what the end entity's certificate of a chain says. Nobody need
// vouch for it, and it need not be valid at any time.
func Describe(chain [][]byte) (Certificate, error) {
	certificates, err := parseChain(chain)
	if err != nil {
		return Certificate{}, err
	}
	return describe(certificates[0]), nil
}

func describe(c *x509.Certificate) Certificate {
	out := Certificate{
		Fingerprint: fingerprint(c), CommonName: c.Subject.CommonName, Serial: c.SerialNumber.String(),
		SerialHex: hex.EncodeToString(c.SerialNumber.Bytes()),
		NotBefore: seconds(c.NotBefore), NotAfter: seconds(c.NotAfter),
	}
	if len(c.Subject.Organization) > 0 {
		out.Organization = c.Subject.Organization[0]
	}
	for _, u := range c.URIs {
		out.URIs = append(out.URIs, u.String())
	}
	return out
}

func seconds(t time.Time) uint64 { return uint64(max(0, t.Unix())) }

// timeMax is the last second of the year 9999, the end of certificates' time
// (§4.1.2.5).
const timeMax = 253402300799

func at(now uint64) time.Time { return time.Unix(int64(min(now, timeMax)), 0) }

// points lists where a certificate says that its revocation lists are
// (§4.2.1.13).
func points(c *x509.Certificate) []string {
	var out []string
	for _, p := range c.CRLDistributionPoints {
		if len(out) == pointsMax {
			break
		}
		if len(p) > 0 && len(p) <= pointBytesMax && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
