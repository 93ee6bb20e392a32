package main

import (
	"context"
	"fmt"
	"io"

	"parley/events"
)

// exportKeys writes what an auditor gets of the keys of the chosen logs: enough to check every MAC and every signed byte, and nothing that
// opens a message or a secret.
func exportKeys(ctx context.Context, s *session) error {
	const try = "replay keys export --data DIR --client ID --conv ID --auditor-key FILE --out FILE"
	o := s.options
	switch {
	case o.out == "" || o.out == "-":
		return usagef(try, "keys are written to a file: give --out FILE")
	case o.source.AuditorKey == "":
		return usagef(try, "the keys are wrapped under a key of the auditor's: give --auditor-key FILE, which is made if there is none")
	case o.source.AuditorKey == o.out:
		return usagef(try, "--out and --auditor-key name the same file")
	}
	logs, err := s.logs(ctx)
	if err != nil {
		return err
	}
	auditor, err := events.CreateStaticKEK(o.source.AuditorKey)
	if err != nil {
		return usagef(try, "--auditor-key: %v", err)
	}
	if err := s.writeFile(func(w io.Writer) error { return s.history.ExportKeys(ctx, w, logs, auditor) }); err != nil {
		return err
	}
	return document(s, exported{File: o.out, Logs: len(logs)}, func(w io.Writer, e exported) error {
		_, err := fmt.Fprintf(w, "MAC and audit keys of %d logs exported to %s; hand %s over by another way\n", e.Logs, e.File, o.source.AuditorKey)
		return err
	})
}
