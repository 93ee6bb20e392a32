package main

import (
	"testing"

	"parley/internal/audit"
)

func TestFlagsStandOnEitherSideOfTheVerb(t *testing.T) {
	env := func(string) string { return "" }
	for _, args := range [][]string{
		{"state", "--data", "d", "--client", "0x00ff", "--conv", "team", "--at", "epoch:7", "--json"},
		{"--data", "d", "--client=0x00ff", "--json", "state", "--conv", "team", "--at", "epoch:7"},
		{"--json", "-data=d", "--at", "epoch:7", "--conv", "team", "--client", "0x00ff", "state"},
	} {
		o, err := parseOptions(args, env)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		if o.verb != "state" || o.source.Data != "d" || *o.client != "\x00\xff" || *o.conv != "team" || o.at != audit.AtEpoch(7) || o.format != formatJSON {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

func TestATypedSourceMakesTheEnvironmentVoid(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"PARLEY_DATA": "from-env", "PARLEY_NATS": "nats://env", "PARLEY_NAMESPACE": "env"}[name]
	}
	o, err := parseOptions([]string{"list", "export-file"}, env)
	if err != nil || o.source.File != "export-file" || o.source.Data != "" || o.source.URL != "" || o.source.Namespace != "env" {
		t.Errorf("%+v, %v", o.source, err)
	}
	o, err = parseOptions([]string{"list"}, env)
	if err != nil || o.source.URL != "nats://env" || o.source.Data != "" {
		t.Errorf("%+v, %v", o.source, err)
	}
}

func TestTimesAreMilliseconds(t *testing.T) {
	o, err := parseOptions([]string{"list", "--at", "time:2026-01-31T12:00:00.5Z"}, func(string) string { return "" })
	if err != nil || o.at != audit.AtTime(1769860800500) {
		t.Errorf("%v, %v", o.at, err)
	}
	if o.at.String() != "time:2026-01-31T12:00:00.500Z" {
		t.Error(o.at)
	}
}
