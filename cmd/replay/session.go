package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"parley/events"
	"parley/internal/audit"
	"parley/projections"
)

// session is one run: the options, where output goes, and the history that was opened.
type session struct {
	options options
	out     io.Writer
	history *audit.History
}

func openSession(ctx context.Context, o options, out io.Writer) (*session, error) {
	if o.source.URL == "" && o.source.Data == "" && o.source.File == "" {
		return nil, usagef("replay "+o.verb+" --data DIR", "no history is named: give --nats URL, --data DIR or an exported file")
	}
	o.source.Remains = o.verb == "list"
	h, err := audit.Open(ctx, o.source)
	if err != nil {
		return nil, explain(err)
	}
	return &session{options: o, out: out, history: h}, nil
}

func (s *session) close() { s.history.Close() }

// explain turns what a caller did wrong into a usage error, and leaves the world's failures as they are.
func explain(err error) error {
	var missing *audit.NotThereError
	switch {
	case errors.Is(err, audit.ErrInUse):
		return fmt.Errorf("%w; stop it, or read its server with --nats", err)
	case errors.As(err, &missing):
		return usagef("replay log, which shows versions, epochs and times", "%v", err)
	case errors.Is(err, audit.ErrBadKeys):
		return usagef("replay without keys: everything but secrets can be read", "%v", err)
	}
	return err
}

// logs are the logs that --kind, --client and --conv leave.
func (s *session) logs(ctx context.Context) ([]events.LogID, error) {
	return s.chosen(s.history.Logs(ctx))
}

func (s *session) chosen(all []events.LogID, err error) ([]events.LogID, error) {
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(all, func(id events.LogID) bool { return !s.options.wants(id) })
	if len(chosen) == 0 && s.options.filters() {
		return nil, usagef("replay list, which shows every log there is", "no log matches %s", s.options.filterText())
	}
	return chosen, nil
}

// conversation is the one conversation the command is about.
func (s *session) conversation(ctx context.Context) (events.LogID, error) {
	all, err := s.logs(ctx)
	if err != nil {
		return events.LogID{}, err
	}
	all = slices.DeleteFunc(all, func(id events.LogID) bool { return id.Kind != events.KindMember || id.Conversation == "" })
	switch len(all) {
	case 0:
		return events.LogID{}, usagef("replay list", "there is no conversation of a client here")
	case 1:
		return all[0], nil
	}
	names := make([]string, 0, 4)
	for _, id := range all[:min(len(all), 4)] {
		names = append(names, id.String())
	}
	if len(all) > len(names) {
		names = append(names, "…")
	}
	return events.LogID{}, usagef(fmt.Sprintf("replay %s --client %s --conv %s", s.options.verb, all[0].Client, all[0].Conversation),
		"%d conversations match (%s); name one", len(all), strings.Join(names, ", "))
}

// records walks the chosen logs up to --at.
func (s *session) records(ctx context.Context, fn func(events.LogID, *events.Record) error) error {
	all, err := s.logs(ctx)
	if err != nil {
		return err
	}
	for _, id := range all {
		err := s.history.Records(ctx, id, s.options.at, func(r *events.Record) error { return fn(id, r) })
		var missing *audit.NotThereError
		if errors.As(err, &missing) && len(all) > 1 {
			continue // of several logs, those without the place have nothing to show
		}
		if err != nil {
			return explain(err)
		}
	}
	return nil
}

func (o options) wants(id events.LogID) bool {
	return (o.kind == nil || id.Kind == *o.kind) &&
		(o.client == nil || id.Client == *o.client && id.Kind != events.KindOrder) &&
		(o.conv == nil || id.Conversation == *o.conv)
}

func (o options) filters() bool { return o.kind != nil || o.client != nil || o.conv != nil }

func (o options) filterText() string {
	var parts []string
	if o.kind != nil {
		parts = append(parts, "--kind "+o.kind.String())
	}
	if o.client != nil {
		parts = append(parts, "--client "+o.client.String())
	}
	if o.conv != nil {
		parts = append(parts, "--conv "+o.conv.String())
	}
	return strings.Join(parts, " ")
}

// logName is how a log appears in every row.
type logName struct {
	Kind         string `json:"kind"`
	Client       string `json:"client,omitempty"`
	Conversation string `json:"conversation,omitempty"`
}

func nameOf(id events.LogID) logName {
	return logName{Kind: kindName(id), Client: id.Client.String(), Conversation: id.Conversation.String()}
}

// kindName tells the two kinds of member logs apart.
func kindName(id events.LogID) string {
	switch {
	case id.IsClient():
		return "client"
	case id.Kind == events.KindMember:
		return "conversation"
	}
	return id.Kind.String()
}

func logColumns[T any](of func(T) logName) []column[T] {
	return []column[T]{
		{"KIND", func(v T) string { return of(v).Kind }},
		{"CLIENT", func(v T) string { return of(v).Client }},
		{"CONVERSATION", func(v T) string { return of(v).Conversation }},
	}
}

func timeOf(ms uint64) string { return projections.Timestamp(ms) }
