package projections

import (
	"fmt"

	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// authorities words whom a deployment trusts to certify clients.
func authorities(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.AuthorityRegistered:
		what := "intermediate certificate"
		if b.GetAnchor() {
			what = "trust anchor"
		}
		f := ids.DigestOf(b.GetCertificate())
		return fmt.Sprintf("the %s %s was registered", what, short(f[:]))
	case *eventsv1.AuthorityRemoved:
		return fmt.Sprintf("the trust anchor %s was removed", short(b.GetFingerprint()))
	case *eventsv1.RevocationListRegistered:
		change := "which revokes what the one before did"
		if b.GetChanged() {
			change = "which revokes other certificates than the one before"
		}
		return fmt.Sprintf("a revocation list of %s was registered, %s", printable([]byte(b.GetPoint())), change)
	case *eventsv1.RevocationPolicySet:
		if b.GetPolicy() == 0 {
			return "certificates are believed unless a list revokes them"
		}
		return "certificates are believed only while a revocation list in force is held"
	}
	return ""
}
