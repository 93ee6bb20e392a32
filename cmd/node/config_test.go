package main

import (
	"errors"
	"testing"
	"time"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	env := environment(map[string]string{"PARLEY_DATA": "/from/env", "PARLEY_NAMESPACE": "env", "PARLEY_REPLICAS": "3", "PARLEY_SHRED_DIR": "/keys"})
	c, err := parseConfig("run", []string{"--nats", "nats://x", "--namespace", "flag"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if c.data != "" || c.nats != "nats://x" || c.namespace != "flag" || c.replicas != 3 || c.shredDirectory() != "/keys" {
		t.Errorf("%+v", c)
	}
}

func TestKeysStandBesideTheDataByDefault(t *testing.T) {
	c, err := parseConfig("run", []string{"--data", "/var/parley"}, environment(nil))
	if err != nil || c.shredDirectory() != "/var/parley.keys" {
		t.Errorf("%q, %v", c.shredDirectory(), err)
	}
	c, err = parseConfig("run", []string{"--data", "/var/parley"}, environment(map[string]string{"PARLEY_KEK": "secret"}))
	if err != nil || c.shredDirectory() != "" || c.kek != "secret" {
		t.Errorf("%q, %v", c.shredDirectory(), err)
	}
	c, err = parseConfig("run", []string{"--data", "/var/parley", "--shred-dir", "/k"}, environment(map[string]string{"PARLEY_KEK": "secret"}))
	if err != nil || c.shredDirectory() != "/k" || c.kek != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestTimesMayBeInDays(t *testing.T) {
	env := environment(map[string]string{"PARLEY_RETENTION": "90d", "PARLEY_SHRED_INTERVAL": "90m"})
	c, err := parseConfig("run", []string{"--data", "a"}, env)
	if err != nil || c.retention != 90*24*time.Hour || c.interval != 90*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = parseConfig("run", []string{"--data", "a", "--retention", "12h"}, env); err != nil || c.retention != 12*time.Hour {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestContradictionsAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"run"},
		{"run", "--data", "a", "--nats", "b"},
		{"run", "--data", "a", "--nats-creds", "b"},
		{"run", "--nats", "a"},
		{"run", "--nats", "a", "--shred-dir", "k", "--nats-cert", "c"},
		{"run", "--data", "a", "--kek-file", "f", "--shred-dir", "d"},
		{"run", "--data", "a", "--replicas", "3"},
		{"run", "--data", "a", "--replicas", "many"},
		{"run", "--data", "a", "--retention", "59m"},
		{"run", "--data", "a", "--retention", "99999d"},
		{"run", "--data", "a", "--retention", "-1d"},
		{"run", "--data", "a", "--retention", "forever"},
		{"run", "--data", "a", "--shred-interval", "59s"},
		{"run", "--data", "a", "b"},
		{"run", "--data", "a", "--json"},
		{"demo", "--keep"},
		{"demo", "--data", "a"},
		{"demo", "--nats", "a"},
	} {
		_, err := parseConfig(args[0], args[1:], environment(nil))
		var usage *usageError
		if !errors.As(err, &usage) || usage.try == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestCommandsToTryCanBeTyped(t *testing.T) {
	for self, want := range map[string]string{
		"/tmp/go-build12/b001/exe/node": "go run ./cmd/replay",
		"/usr/local/bin/node":           "replay",
		"node":                          "replay",
	} {
		if got := program("replay", self); got != want {
			t.Errorf("called as %s: %q, want %q", self, got, want)
		}
	}
}
