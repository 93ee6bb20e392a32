package mlsengine

import (
	"errors"
	"slices"
	"testing"
)

// TestAChangedKeyPackageIsVerifiedAgain changes a key package after it was found valid: what was verified then says nothing about it.
func TestAChangedKeyPackageIsVerifiedAgain(t *testing.T) {
	c := newTestClient(t, benchSuite, "carol")
	valid := must(ParseKeyPackage(c.keyPackage(t).Bytes()))(t)
	if err := valid.Validate(c.env); err != nil {
		t.Fatal(err)
	}
	if err := valid.validate(c.suite); err != nil {
		t.Error("unchanged:", err)
	}
	flipped := func(b []byte) []byte {
		b = slices.Clone(b)
		b[0] ^= 1
		return b
	}
	changed := *valid
	changed.Signature = flipped(valid.Signature)
	if err := changed.validate(c.suite); !errors.Is(err, KeyPackageSignature) {
		t.Error("another signature:", err)
	}
	changed = *valid
	changed.LeafNode.Signature = flipped(valid.LeafNode.Signature)
	if err := changed.validate(c.suite); !errors.Is(err, LeafSignature) {
		t.Error("another signature of the leaf:", err)
	}
	changed = *valid
	changed.InitKey = flipped(valid.InitKey)
	if err := changed.validate(c.suite); !errors.Is(err, KeyPackageSignature) {
		t.Error("another init key:", err)
	}
}
