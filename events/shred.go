package events

import (
	"context"
	"errors"
	"fmt"
)

// Shred is one rotation of the shred key: every ring is wrapped under a new
// version and the old ones are destroyed, and with them every copy of every
// ring that a disk may still hold.
type Shred struct {
	Rings RingStore
	Vault KeyVault
	Hooks Hooks
	// Resume finishes a rotation that was begun and not finished, where there is one, and begins another only where there is none.
	Resume bool
	// Await returns once no writer can still store a ring wrapped under another version: every live node names this one in its
	// lease, and no older ring write is unresolved. Nil where the caller is the only writer.
	Await func(ctx context.Context, version string) error
}

// ShredReport says what a rotation did.
type ShredReport struct {
	Version   string   // the new one
	Rings     int      // how many were wrapped anew
	Destroyed []string // the old ones
}

const (
	shredRounds = 8
	shredTries  = 32
)

// Run does the rotation. It may be repeated after an error or a crash at any
// point: no version is destroyed while a ring is found under it, and none that
// is later than this rotation's. Only one rotation may run at a time; whoever
// loses the right to it ends ctx.
func (s Shred) Run(ctx context.Context) (ShredReport, error) {
	report := ShredReport{}
	if !s.Vault.Erases() {
		return report, ErrNoErasure
	}
	version, err := s.version(ctx)
	if err != nil {
		return report, err
	}
	report.Version = version
	if report.Rings, err = s.rewrapAll(ctx, version); err != nil {
		return report, err
	}
	if s.Await != nil {
		if err := s.Await(ctx, version); err != nil {
			return report, fmt.Errorf("wait for every node to wrap under %s: %w", version, err)
		}
	}
	if err := s.none(ctx, &report); err != nil {
		return report, err
	}
	return report, s.destroyOthers(ctx, &report)
}

// version is the one that everything is going to be wrapped under.
func (s Shred) version(ctx context.Context) (string, error) {
	if s.Resume {
		versions, err := s.Vault.Versions(ctx)
		if err != nil {
			return "", fmt.Errorf("list the shred keys: %w", err)
		}
		if len(versions) > 1 {
			return versions[len(versions)-1], nil
		}
	}
	if err := s.Hooks.before(ctx, StepShredVersion, LogID{}); err != nil {
		return "", err
	}
	version, err := s.Vault.NewVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("make a shred key: %w", err)
	}
	// A crash here leaves two versions. Whoever resumes goes on with the newest; another rotation destroys both.
	return version, s.Hooks.after(ctx, StepShredVersion, LogID{})
}

// none scans until a whole scan finds no ring under another version.
func (s Shred) none(ctx context.Context, report *ShredReport) error {
	for range shredRounds {
		found, err := s.rewrapAll(ctx, report.Version)
		if err != nil {
			return err
		}
		if found == 0 {
			return nil
		}
		report.Rings += found
	}
	return fmt.Errorf("rings under old shred keys keep appearing: nothing was destroyed")
}

func (s Shred) rewrapAll(ctx context.Context, version string) (int, error) {
	logs, err := s.Rings.List(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the key rings: %w", err)
	}
	n := 0
	for _, id := range logs {
		changed, err := s.rewrap(ctx, id, version)
		if err != nil {
			return n, fmt.Errorf("wrap the key ring of %s under %s: %w", id, version, err)
		}
		if changed {
			n++
		}
	}
	return n, nil
}

// rewrap wraps one ring under the version. A journal that writes the ring at
// the same time wraps it under the current version itself.
func (s Shred) rewrap(ctx context.Context, id LogID, version string) (changed bool, err error) {
	for range shredTries {
		data, revision, err := s.Rings.Load(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r, err := decodeRing(ctx, s.Vault, id, data)
		if errors.Is(err, ErrKeyMissing) && ringVersion(data) < version {
			return false, nil // of no use to anybody: it arrived after its version was destroyed
		}
		if err != nil {
			return false, err
		}
		if r.shredVersion == version {
			return false, nil
		}
		if data, err = r.encode(ctx, s.Vault); err != nil {
			return false, err
		}
		if r.shredVersion != version {
			return false, fmt.Errorf("%s is current already", r.shredVersion)
		}
		if err := s.Hooks.before(ctx, StepRewrap, id); err != nil {
			return false, err
		}
		_, err = s.Rings.Store(ctx, id, data, revision)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return false, err
		}
		// A crash here is clean: rings under either version can be read, and the old one still exists.
		return true, s.Hooks.after(ctx, StepRewrap, id)
	}
	return false, ErrConflict
}

func (s Shred) destroyOthers(ctx context.Context, report *ShredReport) error {
	versions, err := s.Vault.Versions(ctx)
	if err != nil {
		return fmt.Errorf("list the shred keys: %w", err)
	}
	for _, old := range versions {
		if old >= report.Version {
			continue // of another rotation
		}
		if err := context.Cause(ctx); err != nil {
			return err // whoever lost the right to rotate destroys nothing
		}
		if err := s.Hooks.before(ctx, StepShredDestroy, LogID{}); err != nil {
			return err
		}
		if err := s.Vault.Destroy(ctx, old); err != nil {
			return fmt.Errorf("destroy shred key %s: %w", old, err)
		}
		// A crash here is clean: what was wrapped under the version is gone for good, and nothing that lives was.
		report.Destroyed = append(report.Destroyed, old)
		if err := s.Hooks.after(ctx, StepShredDestroy, LogID{}); err != nil {
			return err
		}
	}
	return nil
}
