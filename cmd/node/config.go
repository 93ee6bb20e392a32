package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"parley"
)

// config is a node's configuration: flags over environment over defaults.
type config struct {
	data      string // directory of the embedded store
	nats      string // server or cluster instead of the embedded store
	creds     string
	ca        string
	cert      string
	key       string
	replicas  int
	namespace string
	kekFile   string        // static key that wraps the rings
	kek       string        // the same as text, from the environment only: a flag would show in the list of processes
	shredDir  string        // directory of versioned keys that wrap the rings; empty: data + ".keys"
	interval  time.Duration // of the shred keys' rotation; 0: the default
	retention time.Duration // of orders; 0: the default
	json      bool          // demo: one object a line
	keep      bool          // demo: leave the data directory
	trust     trustChanges
	wish      wishFlags
}

// usageError is a command line or environment that cannot be carried out as it stands.
type usageError struct {
	message string
	try     string
}

func (e *usageError) Error() string { return e.message }

func usagef(try, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), try: try}
}

// setting is one flag that the environment can give too.
type setting struct {
	field *string
	flag  string
	env   string
}

func (c *config) settings() []setting {
	return []setting{
		{&c.data, "data", "PARLEY_DATA"},
		{&c.nats, "nats", "PARLEY_NATS"},
		{&c.creds, "nats-creds", "PARLEY_NATS_CREDS"},
		{&c.ca, "nats-ca", "PARLEY_NATS_CA"},
		{&c.cert, "nats-cert", "PARLEY_NATS_CERT"},
		{&c.key, "nats-key", "PARLEY_NATS_KEY"},
		{&c.namespace, "namespace", "PARLEY_NAMESPACE"},
		{&c.kekFile, "kek-file", "PARLEY_KEK_FILE"},
		{&c.shredDir, "shred-dir", "PARLEY_SHRED_DIR"},
	}
}

// parseConfig reads flags and, for what they leave open, the environment.
func parseConfig(verb string, args []string, env func(string) string) (config, error) {
	var c config
	var replicas, interval, retention string
	settings := append(c.settings(), setting{&replicas, "replicas", "PARLEY_REPLICAS"}, setting{&interval, "shred-interval", "PARLEY_SHRED_INTERVAL"},
		setting{&retention, "retention", "PARLEY_RETENTION"})
	fs := flag.NewFlagSet("node "+verb, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, s := range settings {
		fs.StringVar(s.field, s.flag, "", "")
	}
	if verb == "demo" {
		fs.BoolVar(&c.json, "json", false, "")
		fs.BoolVar(&c.keep, "keep", false, "")
	}
	if verb == "trust" {
		c.trust.flags(fs)
	}
	if isWish(verb) {
		c.wish.flags(fs, verb)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return c, err
		}
		return c, usagef("node help", "%v", err)
	}
	if fs.NArg() > 0 {
		return c, usagef("node help", "%q is one word too many", fs.Arg(0))
	}
	c.fromEnvironment(fs, settings, env)
	if replicas != "" {
		n, err := strconv.Atoi(replicas)
		if err != nil || n < 1 {
			return c, usagef("node run --replicas 3", "--replicas: %q is not a number of servers", replicas)
		}
		c.replicas = n
	}
	var err error
	if c.interval, err = parseSpan(interval, time.Minute, math.MaxInt64); err != nil {
		return c, usagef("node run --data DIR --shred-interval 24h", "--shred-interval: %v", err)
	}
	if c.retention, err = parseSpan(retention, parley.RetentionMin, parley.RetentionMax); err != nil {
		return c, usagef("node run --data DIR --retention 30d", "--retention: %v", err)
	}
	return c, c.validate(verb)
}

// parseSpan reads a time such as 90m, 12h or 30d, within bounds; 0 where there is none.
func parseSpan(text string, least, most time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a time such as 90m, 12h or 30d", text)
	case d < least:
		return 0, fmt.Errorf("%q is less than %s", text, least)
	case d > most:
		return 0, fmt.Errorf("%q is more than %s", text, most)
	}
	return d, nil
}

// fromEnvironment fills what no flag set. A --nats that was typed makes an exported PARLEY_DATA void, and the other way round: the two
// exclude each other, and what was typed is what is meant.
func (c *config) fromEnvironment(fs *flag.FlagSet, settings []setting, env func(string) string) {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, s := range settings {
		other := map[string]string{"data": "nats", "nats": "data"}[s.flag]
		if !given[s.flag] && !given[other] {
			*s.field = env(s.env)
		}
	}
	c.kek = env("PARLEY_KEK")
	if given["kek-file"] || given["shred-dir"] {
		c.kek = ""
	}
}

func (c *config) validate(verb string) error {
	switch {
	case c.data != "" && c.nats != "":
		return usagef("node run --data DIR", "--data is an embedded store and --nats is another one: they exclude each other")
	case c.nats == "" && (c.creds != "" || c.ca != "" || c.cert != "" || c.key != ""):
		return usagef("node run --nats URL --nats-creds FILE", "credentials and certificates are for --nats")
	case (c.cert == "") != (c.key == ""):
		return usagef("node run --nats URL --nats-cert FILE --nats-key FILE", "a certificate needs its key, and a key its certificate")
	case c.kekFile != "" && c.kek != "":
		return usagef("unset PARLEY_KEK", "PARLEY_KEK and a key file exclude each other")
	case c.shredDir != "" && (c.kekFile != "" || c.kek != ""):
		return usagef("node run --shred-dir DIR", "a static key and a directory of keys exclude each other")
	case verb == "demo" && c.nats != "":
		return usagef("node demo", "the demo hosts its own store")
	case verb == "demo" && c.keep && c.data == "":
		return usagef("node demo --data DIR --keep", "--keep needs a directory to keep: give --data DIR")
	case verb == "demo" && c.data != "" && !c.keep:
		return usagef("node demo --data "+c.data+" --keep", "a demo in a directory of yours is kept: say --keep")
	case verb != "demo" && c.data == "" && c.nats == "":
		return usagef("node "+verb+" --data DIR", "no store is named: give --data DIR for an embedded one or --nats URL")
	case verb != "demo" && !isWish(verb) && c.nats != "" && c.shredDir == "" && c.kekFile == "" && c.kek == "":
		return usagef("node "+verb+" --nats URL --shred-dir DIR", "with --nats a place for the keys is needed: --shred-dir DIR, or a static key with --kek-file FILE")
	case c.data != "" && c.replicas > 1:
		return usagef("node run --nats URL --replicas 3", "an embedded store is one server; replicas need a cluster")
	}
	return nil
}

// shredDirectory is where the versioned keys are: beside the data, never in it, so that a copy of the data is no copy of the keys.
func (c *config) shredDirectory() string {
	switch {
	case c.shredDir != "":
		return c.shredDir
	case c.kekFile != "" || c.kek != "":
		return ""
	}
	return c.data + ".keys"
}
