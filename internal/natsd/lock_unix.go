//go:build unix

package natsd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir keeps a second server out of a data directory: nats-server itself does not, and two writers would destroy its files. The
// kernel gives the lock up with the process, however that ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "jetstream.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("natsd: %s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("natsd: lock %s: %w", path, err)
	}
	return f, nil
}

// unlockDir gives a lock back. Closing the file alone would not do: a process that is being started at this moment holds a copy of it until
// it runs its own program, and the lock with it.
func unlockDir(f *os.File) {
	syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	f.Close()
}

// limitFileSize bounds every file this process writes, as `ulimit -f` does; a write beyond it fails.
func limitFileSize(bytes uint64) error {
	limit := syscall.Rlimit{Cur: bytes, Max: bytes}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return fmt.Errorf("natsd: file size limit: %w", err)
	}
	return nil
}
