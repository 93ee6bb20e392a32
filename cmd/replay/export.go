package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// export writes the chosen logs as one file.
func export(ctx context.Context, s *session) error {
	logs, err := s.logs(ctx)
	if err != nil {
		return err
	}
	if s.options.out == "" || s.options.out == "-" {
		return explain(s.history.Export(ctx, s.out, logs, s.options.at))
	}
	if err := s.writeFile(func(w io.Writer) error { return s.history.Export(ctx, w, logs, s.options.at) }); err != nil {
		return err
	}
	return document(s, exported{File: s.options.out, Logs: len(logs)}, func(w io.Writer, e exported) error {
		_, err := fmt.Fprintf(w, "%d logs exported to %s\n", e.Logs, e.File)
		return err
	})
}

// writeFile fills the file of --out. It appears whole or not at all, readable by its owner only: a reader never meets one that is still
// being written.
func (s *session) writeFile(fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(s.options.out), ".export-*") // mode 0600
	if err != nil {
		return usagef("replay "+s.options.verb+" --out FILE in a directory that can be written", "%v", err)
	}
	defer os.Remove(f.Name())
	if err := errors.Join(fill(f), f.Sync(), f.Close()); err != nil {
		return explain(err)
	}
	if err := os.Rename(f.Name(), s.options.out); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

type exported struct {
	File string `json:"file"`
	Logs int    `json:"logs"`
}
