//go:build !unix

package natsd

import (
	"errors"
	"os"
)

// lockDir has no lock to take on this system: the operator keeps a second server out.
func lockDir(string) (*os.File, error) { return nil, nil }

func unlockDir(*os.File) {}

func limitFileSize(uint64) error {
	return errors.New("natsd: this system has no file size limit")
}
