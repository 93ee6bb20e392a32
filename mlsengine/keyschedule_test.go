package mlsengine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/internal/secret"
)

func testEpochSecrets(t *testing.T) epochSecrets {
	t.Helper()
	secrets, _ := deriveEpochSecrets(mustSuite(t, 1), epochSecret{secret.New(newSeededEntropy("epoch").Draw("epoch", 32))})
	return secrets
}

func TestExportsAreBoundToLabelContextAndLength(t *testing.T) {
	s, x := mustSuite(t, 1), testEpochSecrets(t).exporter
	seen := map[string]bool{}
	for _, c := range []struct {
		label, context string
		n              int
	}{{"a", "", 32}, {"b", "", 32}, {"a", "x", 32}, {"a", "", 31}} {
		out, err := x.export(s, c.label, []byte(c.context), c.n)
		if err != nil || out.Len() != c.n {
			t.Fatalf("%+v: %d bytes, %v", c, out.Len(), err)
		}
		prefix := string(out.Expose()[:31])
		if seen[prefix] {
			t.Errorf("%+v gives what another gave", c)
		}
		seen[prefix] = true
	}
	for _, n := range []int{-1, 255*32 + 1, 1 << 30} {
		if _, err := x.export(s, "a", nil, n); !errors.Is(err, ErrExportLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, n := range []int{0, 255 * 32} {
		if out, err := x.export(s, "a", nil, n); err != nil || out.Len() != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestARetiredEpochKeepsNothingThatLeadsOn(t *testing.T) {
	e := testEpochSecrets(t)
	r := e.retire()
	if !r.init.IsZero() || !r.exporter.IsZero() || !r.external.IsZero() || !r.membership.IsZero() {
		t.Error("a past epoch keeps a secret that it does not need")
	}
	if r.senderData.IsZero() || r.resumption.IsZero() || r.confirmation.IsZero() || r.authenticator.IsZero() {
		t.Error("a past epoch lost a secret that it needs")
	}
}

func TestSecretsOfAnEpochAreAllDifferentAndDoNotPrint(t *testing.T) {
	e := testEpochSecrets(t)
	seen := map[string]bool{}
	for _, s := range []secret.Bytes{e.init.Bytes, e.senderData.Bytes, e.exporter.Bytes, e.external.Bytes, e.confirmation.Bytes, e.membership.Bytes, e.resumption.Bytes, e.authenticator.Bytes} {
		if seen[string(s.Expose())] || s.Len() != 32 {
			t.Error("two secrets are one, or of another length")
		}
		seen[string(s.Expose())] = true
	}
	keys, tree := mustConsume(t, testTree(t, 2), 0, ContentTypeApplication, 3, wide)
	printed := fmt.Sprintf("%v %+v %#v %v", e, e, e, &e) + fmt.Sprintf("%v %+v %#v", keys, keys, keys) + fmt.Sprintf("%+v", *tree.root)
	for s := range seen {
		if strings.Contains(printed, fmt.Sprintf("%x", s)) || strings.Contains(printed, s) || strings.Contains(printed, strings.Trim(fmt.Sprint([]byte(s)), "[]")) {
			t.Error("a secret printed itself")
		}
	}
	if hex := fmt.Sprintf("%x", keys.key.Expose()); strings.Contains(printed, hex) {
		t.Error("a message key printed itself")
	}
}

func TestAGroupWithoutKeysAddsZeroes(t *testing.T) {
	none, err := derivePSKSecret(mustSuite(t, 7), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "psk secret", none.Expose(), make([]byte, 48))
	wantBytes(t, "commit secret", zeroCommitSecret(mustSuite(t, 7)).Expose(), make([]byte, 48))
}
