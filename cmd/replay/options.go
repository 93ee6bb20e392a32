package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"parley/events"
	"parley/internal/audit"
	"parley/internal/ids"
)

// options is a parsed command line.
type options struct {
	verb   string
	help   bool
	source audit.SourceConfig
	kind   *events.Kind // KindMember stands for both conversations and clients
	client *ids.ClientID
	conv   *ids.ConversationID
	at     audit.Place
	format format
	follow bool
	out    string
	head   *audit.TrustedHead
}

// keysVerb is the one verb of two words.
const keysVerb = "keys export"

// texts holds the flags whose text is parsed after all flags are known.
type texts struct {
	kind, client, conv, at, format, head string
	json, ndjson                         bool
}

// parseOptions reads flags before and after the verb. Flags win over the environment, and any source named by a flag makes every source
// named by the environment void, so that an exported PARLEY_DATA never hides the --nats that was typed.
func parseOptions(args []string, env func(string) string) (options, error) {
	var o options
	var t texts
	fs := o.flags(&t)
	words, err := parseInterleaved(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		return options{help: true, verb: first(words)}, nil
	}
	if err != nil {
		return options{}, usagef("replay help", "%v", err)
	}
	o.verb = first(words)
	if o.verb == "keys" && len(words) > 1 && words[1] == "export" {
		o.verb, words = keysVerb, words[1:]
	}
	if len(words) > 2 || len(words) == 2 && o.source.File != "" {
		return options{}, usagef("replay help", "%q is one word too many", words[len(words)-1])
	}
	if len(words) == 2 {
		o.source.File = words[1]
	}
	if err := o.fromEnvironment(env); err != nil {
		return options{}, err
	}
	return o, o.resolve(t)
}

func (o *options) flags(t *texts) *flag.FlagSet {
	fs := flag.NewFlagSet("replay", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.source.URL, "nats", "", "")
	fs.StringVar(&o.source.Credentials, "nats-creds", "", "")
	fs.StringVar(&o.source.CA, "nats-ca", "", "")
	fs.StringVar(&o.source.Certificate, "nats-cert", "", "")
	fs.StringVar(&o.source.Key, "nats-key", "", "")
	fs.StringVar(&o.source.Namespace, "namespace", "", "")
	fs.StringVar(&o.source.Data, "data", "", "")
	fs.StringVar(&o.source.File, "file", "", "")
	fs.StringVar(&o.source.KEKFile, "kek-file", "", "")
	fs.StringVar(&o.source.ShredDir, "shred-dir", "", "")
	fs.StringVar(&o.source.KeyFile, "keys", "", "")
	fs.StringVar(&o.source.AuditorKey, "auditor-key", "", "")
	fs.StringVar(&t.kind, "kind", "", "")
	fs.StringVar(&t.client, "client", "", "")
	fs.StringVar(&t.conv, "conv", "", "")
	fs.StringVar(&t.at, "at", "", "")
	fs.StringVar(&t.format, "format", "", "")
	fs.BoolVar(&t.json, "json", false, "")
	fs.BoolVar(&t.ndjson, "ndjson", false, "")
	fs.BoolVar(&o.follow, "follow", false, "")
	fs.StringVar(&o.out, "out", "", "")
	fs.StringVar(&t.head, "head", "", "")
	return fs
}

// parseInterleaved lets flags stand on either side of words; after "--" everything is a word.
func parseInterleaved(fs *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, rest = args[:i], args[i+1:]
	}
	var words []string
	for {
		if err := fs.Parse(args); err != nil {
			return words, err
		}
		if fs.NArg() == 0 {
			return append(words, rest...), nil
		}
		words = append(words, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// fromEnvironment fills what no flag said.
func (o *options) fromEnvironment(env func(string) string) error {
	s := &o.source
	named := 0
	for _, source := range []string{s.URL, s.Data, s.File} {
		if source != "" {
			named++
		}
	}
	if named > 1 {
		return usagef("replay list --data DIR", "--nats, --data and an exported file exclude each other")
	}
	if named == 0 {
		s.URL, s.Data = env("PARLEY_NATS"), env("PARLEY_DATA")
		if s.URL != "" {
			s.Data = ""
		}
	}
	if s.KeyFile != "" && (s.KEKFile != "" || s.ShredDir != "") {
		return usagef("replay verify --keys FILE --auditor-key FILE", "--keys are instead of the keys that wrap the rings: --kek-file or --shred-dir")
	}
	for _, v := range []struct {
		field *string
		name  string
	}{
		{&s.AuditorKey, "PARLEY_AUDITOR_KEY_FILE"},
		{&s.Credentials, "PARLEY_NATS_CREDS"}, {&s.CA, "PARLEY_NATS_CA"}, {&s.Certificate, "PARLEY_NATS_CERT"}, {&s.Key, "PARLEY_NATS_KEY"},
		{&s.Namespace, "PARLEY_NAMESPACE"}, {&s.KEKFile, "PARLEY_KEK_FILE"}, {&s.ShredDir, "PARLEY_SHRED_DIR"},
	} {
		if *v.field == "" {
			*v.field = env(v.name)
		}
	}
	s.KEK = env("PARLEY_KEK")
	if s.KeyFile != "" && s.AuditorKey == "" {
		return usagef("replay verify --keys FILE --auditor-key FILE", "--keys are wrapped under the auditor's key: give --auditor-key FILE")
	}
	return nil
}

// resolve parses what has a grammar of its own.
func (o *options) resolve(t texts) error {
	if err := o.resolveKind(t.kind); err != nil {
		return err
	}
	if t.client != "" {
		id, err := ids.ParseClientID(t.client)
		if err != nil {
			return usagef("replay list", "--client: %v", err)
		}
		o.client = &id
	}
	if t.conv != "" {
		id, err := ids.ParseConversationID(t.conv)
		if err != nil {
			return usagef("replay list", "--conv: %v", err)
		}
		o.conv = &id
	}
	var err error
	if o.at, err = parsePlace(t.at); err != nil {
		return err
	}
	if o.head, err = parseHead(t.head); err != nil {
		return err
	}
	o.format, err = parseFormat(t)
	return err
}

func (o *options) resolveKind(text string) error {
	if text == "" {
		return nil
	}
	for _, kind := range []events.Kind{events.KindMember, events.KindOrder, events.KindDirectory, events.KindAuthorities} {
		if text == kind.String() {
			o.kind = &kind
			return nil
		}
	}
	return usagef("replay list --kind order", "--kind: %q is none of member, order, directory, authorities", text)
}

// parsePlace reads --at: a place in a history.
func parsePlace(text string) (audit.Place, error) {
	const try = "replay state --at epoch:7, version:120 or time:2026-01-31T12:00:00Z"
	if text == "" {
		return audit.Newest(), nil
	}
	kind, value, _ := strings.Cut(text, ":")
	switch kind {
	case "epoch", "version":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return audit.Place{}, usagef(try, "--at: %q is not a number", value)
		}
		if kind == "epoch" {
			return audit.AtEpoch(n), nil
		}
		return audit.AtVersion(n), nil
	case "time":
		when, err := time.Parse(time.RFC3339Nano, value)
		if err != nil || when.Before(time.UnixMilli(0)) {
			return audit.Place{}, usagef(try, "--at: %q is not an RFC 3339 time", value)
		}
		return audit.AtTime(uint64(when.UnixMilli())), nil
	}
	return audit.Place{}, usagef(try, "--at: %q is none of epoch:N, version:N, time:RFC3339", text)
}

// parseHead reads --head VERSION:DIGEST.
func parseHead(text string) (*audit.TrustedHead, error) {
	if text == "" {
		return nil, nil
	}
	version, digest, _ := strings.Cut(text, ":")
	head, err := audit.ParseTrustedHead(version, digest)
	if err != nil {
		return nil, usagef("replay verify --client ID --conv ID --head VERSION:DIGEST, as replay list prints them", "--head: %v", err)
	}
	return &head, nil
}

func parseFormat(t texts) (format, error) {
	chosen := []string{}
	if t.format != "" {
		chosen = append(chosen, t.format)
	}
	if t.json {
		chosen = append(chosen, "json")
	}
	if t.ndjson {
		chosen = append(chosen, "ndjson")
	}
	if len(chosen) > 1 {
		return 0, usagef("replay list --format json", "%s exclude each other", strings.Join(chosen, " and "))
	}
	if len(chosen) == 0 {
		return formatTable, nil
	}
	switch chosen[0] {
	case "table":
		return formatTable, nil
	case "json":
		return formatJSON, nil
	case "ndjson":
		return formatNDJSON, nil
	}
	return 0, usagef("replay list --format ndjson", "--format: %q is none of table, json, ndjson", chosen[0])
}

func printUsage(w io.Writer, _ options) error {
	_, err := fmt.Fprint(w, usage)
	return err
}

const usage = `replay tells, rebuilds and verifies the history of conversations from their log. It changes nothing.

usage: replay VERB [flags] [EXPORT FILE]

verbs
  list        the logs there are, with their heads
  log         the records of a log, one a line; --follow waits for more
  show        the same as sentences: who changed what, when and why
  state       a conversation's public state, rebuilt from the log
  members     who is in the group and who was, since when and by whom
  proposals   the proposals that wait for a commit
  verify      proof that the history is whole and every signature and hash in it right
  export      the stored records as one file, which every verb reads
  keys export what an auditor gets of the keys: MACs and signed bytes, no messages and no secrets

sources (one of; environment in brackets)
  --nats URL       a server [PARLEY_NATS]; --nats-creds, --nats-ca, --nats-cert, --nats-key FILE
  --data DIR       a stopped node's directory [PARLEY_DATA]; it is copied, never changed
  EXPORT FILE      what export wrote, also as --file FILE
  --namespace NAME the deployment's namespace [PARLEY_NAMESPACE]

which history
  --client ID --conv ID   ids as text or 0x hexadecimal
  --kind KIND             member (of clients and their conversations), order (of groups) or directory (of key packages)
  --at PLACE              epoch:7 (its last record), version:120 or time:2026-01-31T12:00:00Z

keys, only read; nothing they open is printed (default with --data DIR: the files in DIR.keys)
  --kek-file FILE [PARLEY_KEK_FILE, PARLEY_KEK]   --shred-dir DIR [PARLEY_SHRED_DIR]
  --keys FILE --auditor-key FILE   an auditor's instead, as keys export wrote them [PARLEY_AUDITOR_KEY_FILE]

output
  --format table|json|ndjson (or --json, --ndjson)
  --head VERSION:DIGEST   verify: a head you trust, for one log
  --out FILE              export, keys export: where to (export's default: standard output)

exit codes: 0 good, 1 bad history, 2 usage, 3 store unreachable
`
