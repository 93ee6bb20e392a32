package audit

import (
	"context"
	"errors"
	"fmt"
	"os"

	"parley/events"
)

// openKeys finds the keys that wrap the rings: the ones that are named, else the directory beside a data directory where a node puts
// them. They are only read. No keys at all is no error.
func (h *History) openKeys(_ context.Context, c SourceConfig) error {
	if c.KeyFile != "" {
		return h.openKeyFile(c)
	}
	if h.rings == nil {
		if c.KEKFile != "" || c.ShredDir != "" {
			return fmt.Errorf("%w: an exported file has no rings that they could open", ErrBadKeys)
		}
		return nil
	}
	vault, err := openVault(c)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadKeys, err)
	}
	h.vault = vault
	return nil
}

// openKeyFile takes an auditor's keys instead of the rings that there may be.
func (h *History) openKeyFile(c SourceConfig) error {
	file, err := readKeyFile(c.KeyFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadKeys, err)
	}
	if file.namespace != h.config.Namespace {
		return fmt.Errorf("%w: %s is of the deployment %q, and the history of %q", ErrBadKeys, c.KeyFile, file.namespace, h.config.Namespace)
	}
	if h.vault, err = vaultOrError(events.ReadStaticKEK(c.AuditorKey)); err != nil {
		return fmt.Errorf("%w: %w", ErrBadKeys, err)
	}
	h.rings, h.some = file, true
	return nil
}

func openVault(c SourceConfig) (events.KeyVault, error) {
	switch {
	case c.KEKFile != "":
		return vaultOrError(events.ReadStaticKEK(c.KEKFile))
	case c.ShredDir != "":
		return vaultOrError(events.ReadKeyDir(c.ShredDir))
	case c.KEK != "":
		return vaultOrError(events.NewStaticKEK(c.KEK))
	case c.Data != "":
		dir := c.Data + ".keys"
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return vaultOrError(events.ReadKeyDir(dir))
	}
	return nil, nil
}

// vaultOrError keeps a nil pointer from becoming an interface that is not nil.
func vaultOrError[V events.KeyVault](v V, err error) (events.KeyVault, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}
