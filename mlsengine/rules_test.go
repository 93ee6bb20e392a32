package mlsengine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// wantRule fails the test unless err says that exactly this rule was broken.
func wantRule(t *testing.T, want Rule, err error) {
	t.Helper()
	var e *RuleError
	switch {
	case err == nil:
		t.Errorf("accepted what breaks %s", want.Code())
	case !errors.As(err, &e):
		t.Errorf("%v is not a rule error; want %s", err, want.Code())
	case e.Rule != want:
		t.Errorf("broke %s (%v), want %s", e.Rule.Code(), err, want.Code())
	case !errors.Is(err, want):
		t.Errorf("%v is not %s", err, want.Code())
	}
}

// ruleCase breaks one rule and gives the error.
type ruleCase func(*testing.T) error

// ruleCases lists the negative cases of all rules; each part of the engine has
// its own table.
func ruleCases() map[Rule]ruleCase {
	all := coreRuleCases()
	for _, part := range []map[Rule]ruleCase{
		leafRuleCases(), leafInGroupRuleCases(), leafKeyRuleCases(), treeRuleCases(), treeNodeRuleCases(), pathRuleCases(), keyPackageRuleCases(), proposalRuleCases(),
		externalRuleCases(), commitRuleCases(), commitListRuleCases(), welcomeRuleCases(), groupInfoRuleCases(), heirRuleCases(), customRuleCases(), sentLeafRuleCases(), componentRuleCases(),
	} {
		maps.Copy(all, part)
	}
	return all
}

func TestEveryCaseBreaksItsRule(t *testing.T) {
	cases := ruleCases()
	for _, r := range Rules() {
		breakIt, listed := cases[r]
		if !listed {
			t.Errorf("no case breaks %s", r.Code())
			continue
		}
		t.Run(r.Code(), func(t *testing.T) { wantRule(t, r, breakIt(t)) })
	}
}

func TestRuleTableIsCompleteAndUnambiguous(t *testing.T) {
	codes := map[string]Rule{}
	for _, r := range Rules() {
		if r.Code() == "" || r.Section() == "" || r.Text() == "" {
			t.Errorf("rule %d has an empty row", r)
		}
		if other, twice := codes[r.Code()]; twice {
			t.Errorf("rules %d and %d have the code %s", r, other, r.Code())
		}
		codes[r.Code()] = r
	}
	if Rule(ruleCount).Code() != "unknown_rule" {
		t.Error("a rule that is not in the table has a code")
	}
}

// TestRulesDocument keeps docs/rules.md what the table says; -update writes it.
func TestRulesDocument(t *testing.T) {
	var want bytes.Buffer
	want.WriteString("# Validation rules\n\nWhat a peer's input can break, with the section of RFC 9420 that asks for it, or of draft-ietf-mls-extensions (ext.). The codes are stable:\n" +
		"events, metrics and errors use them. This page is generated from `mlsengine/rules.go`.\n\n| code | section | the rule is broken when |\n| --- | --- | --- |\n")
	for _, r := range Rules() {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", r.Code(), r.Section(), r.Text())
	}
	path := filepath.Join("..", "docs", "rules.md")
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/rules.md is not what the table says; run go test ./mlsengine -run RulesDocument -update")
	}
}

func TestRuleErrorIsOnlyItsRule(t *testing.T) {
	err := broken(WrongEpoch, "epoch %d", 7)
	if !errors.Is(err, WrongEpoch) || errors.Is(err, WrongGroup) || errors.Is(err, errors.New("x")) {
		t.Error("errors.Is confuses rules")
	}
	if err.Error() != "the epoch is not the group's epoch (§12.4.2): epoch 7" {
		t.Errorf("reads %q", err)
	}
	if broken(WrongEpoch, "").Error() != WrongEpoch.Error() {
		t.Error("an empty detail shows")
	}
}
