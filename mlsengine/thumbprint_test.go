package mlsengine

import (
	"encoding/base64"
	"testing"
)

// TestThumbprints: the key of RFC 8037 appendix A.3; and that what is no key of a suite has none.
func TestThumbprints(t *testing.T) {
	key, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got := Thumbprint(1, key); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("thumbprint %s", got)
	}
	for _, id := range []CipherSuite{0, 2, 5, 7} {
		if got := Thumbprint(id, key); got != "" {
			t.Errorf("suite %d: %s", id, got)
		}
	}
	seen := map[string]bool{}
	for _, id := range []CipherSuite{1, 2, 3, 4, 5, 6, 7} {
		c := newTestClient(t, id, "ada")
		print := Thumbprint(id, c.identity.Public)
		size := map[CipherSuite]int{5: 64, 4: 64, 6: 64, 7: 48}[id]
		if raw, err := base64.RawURLEncoding.DecodeString(print); err != nil || len(raw) != max(size, 32) || seen[print] {
			t.Errorf("suite %d: thumbprint %s", id, print)
		}
		seen[print] = true
	}
}
