package checklist_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"parley/checklist"
	"parley/mlsengine/suite"
)

// acceptance is one item of the checklist, as a test.
type acceptance struct {
	item string
	run  func(w *world)
}

// kind is what credentials the clients of a run have.
type kind string

const (
	basic kind = "basic"
	x509  kind = "x509"
)

// suites are those of CoreCrypto.
func suites() []suite.ID {
	return []suite.ID{
		suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519,
		suite.P521_AES256GCM_SHA512_P521, suite.P384_AES256GCM_SHA384_P384,
	}
}

// acceptances are all cases, chapter by chapter.
func acceptances() []acceptance {
	return slices.Concat(
		membershipCases(), messageCases(), conflictCases(), renewalCases(), bufferCases(), duplicateCases(), externalJoinCases(), proposalCases(),
		transactionCases(), identityCases(), readerCases(),
	)
}

// variant is under which suite and with which credentials a case runs.
type variant struct {
	suite suite.ID
	kind  kind
}

// variantsOf are both kinds under the first suite, and one of the two, by turns, under each of the others. With the race detector every
// second case runs under one of the others, by turns; in a soak all run under all.
func variantsOf(i int) (all []variant) {
	soak := os.Getenv("PARLEY_SOAK") != ""
	for s, id := range suites() {
		for k, kind := range []kind{basic, x509} {
			turn := (i/8+s)%2 == k && (!racing || i%2 == 0 && s == 1+i/2%4)
			if s == 0 || turn || soak {
				all = append(all, variant{id, kind})
			}
		}
	}
	return all
}

// TestChecklist runs every case through actors and a real log, whole runs side by side on the nodes that they share.
func TestChecklist(t *testing.T) {
	town := newTown(t)
	for i, c := range acceptances() {
		t.Run(c.item, func(t *testing.T) {
			t.Parallel()
			for _, v := range variantsOf(i) {
				t.Run(fmt.Sprintf("suite %d %s", v.suite, v.kind), func(t *testing.T) {
					t.Parallel()
					c.run(newWorld(t, town.house(v.suite), v.kind))
				})
			}
		})
	}
}

// TestNoItemIsForgotten compares the cases with the list of items.
func TestNoItemIsForgotten(t *testing.T) {
	cases := map[string]int{}
	for _, c := range acceptances() {
		cases[c.item]++
	}
	for _, item := range checklist.Items() {
		switch n := cases[item.Name]; {
		case n > 1:
			t.Errorf("%s has %d cases", item.Name, n)
		case n == 1 && item.Elsewhere != "":
			t.Errorf("%s has a case, and is said to be shown by %s", item.Name, item.Elsewhere)
		case n == 0 && item.Elsewhere == "":
			t.Errorf("%s has no case", item.Name)
		}
		delete(cases, item.Name)
	}
	for name := range cases {
		t.Errorf("%s is no item of the checklist", name)
	}
}
