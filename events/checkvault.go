package events

import (
	"context"
	"errors"
	"fmt"
)

// vaultProofs is how many rings are tried.
const vaultProofs = 16

// CheckVault is ErrKeyMissing where the store has rings and the vault opens no key in them: they were made with another one. A key that it
// opens is proof enough; a damaged ring is the trouble of its own log.
func CheckVault(ctx context.Context, rings RingStore, vault KeyVault) error {
	logs, err := rings.List(ctx)
	if err != nil {
		return fmt.Errorf("list the key rings: %w", err)
	}
	var refused error
	for _, id := range logs[:min(len(logs), vaultProofs)] {
		data, _, err := rings.Load(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the key ring of %s: %w", id, err)
		}
		fits, err := opensAny(ctx, vault, id, data)
		if fits {
			return nil
		}
		if err != nil {
			refused = err
		}
	}
	if refused == nil {
		return nil
	}
	return fmt.Errorf("%w: %d key rings were made with another one: %w", ErrKeyMissing, len(logs), refused)
}

// opensAny reports whether the vault opens a key of the ring, and else what the last one failed with; nothing where the ring does not even
// parse.
func opensAny(ctx context.Context, vault KeyVault, id LogID, data []byte) (fits bool, err error) {
	message, parseErr := parseRing(data)
	if parseErr != nil {
		return false, nil
	}
	for _, wrapped := range message.Keys {
		if _, err = unwrapKey(ctx, vault, &ring{log: id, shredVersion: message.ShredVersion}, wrapped); err == nil {
			return true, nil
		}
	}
	return false, err
}
