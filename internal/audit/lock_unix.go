//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"parley/events"
)

// holdStill takes a shared lock on the file that a running server holds exclusively. A directory without that file was never served and
// has nothing to hold.
func holdStill(path string) (release func(), err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() {
		// A process that is being started holds a copy of f for a moment: the lock is given back by word, not by closing f.
		syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}
