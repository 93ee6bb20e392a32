package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"parley/events"
)

// ErrInUse is a data directory that a running node works on.
var ErrInUse = errors.New("a node is running on this data directory")

// lockName is the file a running server holds locked.
const lockName = "jetstream.lock"

// copyData copies the store of a stopped node into a temporary directory and returns it. The original is opened for reading only. It is
// held with a shared lock meanwhile, so that no node starts on it and changes files between one copy and the next.
func copyData(ctx context.Context, dir string) (string, error) {
	store := filepath.Join(dir, "jetstream")
	if info, err := os.Stat(store); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%w: %s holds no data of a node", events.ErrUnavailable, dir)
	}
	release, err := holdStill(filepath.Join(dir, lockName))
	if err != nil {
		return "", err
	}
	defer release()
	scratch, err := os.MkdirTemp("", "parley-replay-")
	if err != nil {
		return "", fmt.Errorf("copy of %s: %w", dir, err)
	}
	if err := copyTree(ctx, store, filepath.Join(scratch, "jetstream"), isConsumers); err != nil {
		os.RemoveAll(scratch)
		return "", err
	}
	return scratch, nil
}

// isConsumers tells the directory in which a stream keeps its consumers. A reader needs none of them, and a damaged one would keep the
// server from giving the stream.
func isConsumers(relative string) bool { return filepath.Base(relative) == "obs" }

// copyTree copies directories, but those to be left out, and regular files. A store has nothing else; what is not one of the two is
// refused rather than followed.
func copyTree(ctx context.Context, from, to string, leaveOut func(relative string) bool) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir() && leaveOut(relative):
			return filepath.SkipDir
		case entry.IsDir():
			err = os.MkdirAll(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(path, target)
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", path)
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		return nil
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
