package events

import "context"

// KeyVault holds the shred keys: versioned keys, kept outside the store and
// its data directory, that wrap every ring. Destroying a version destroys
// every ring that was wrapped under it alone.
//
// Versions are ordered: of two, the one made later compares greater as a
// string.
type KeyVault interface {
	// Current names the version to wrap under now.
	Current(ctx context.Context) (version string, err error)
	// Wrap seals a key under a version, bound to aad.
	Wrap(ctx context.Context, version string, aad, key []byte) ([]byte, error)
	// Unwrap opens what Wrap sealed; ErrKeyMissing where there is no such version.
	Unwrap(ctx context.Context, version string, aad, blob []byte) ([]byte, error)
	// NewVersion makes another version and makes it current; ErrNoErasure where that is impossible.
	NewVersion(ctx context.Context) (version string, err error)
	// Versions names all versions that exist, oldest first.
	Versions(ctx context.Context) ([]string, error)
	// Destroy destroys a version that is not current, for ever.
	Destroy(ctx context.Context, version string) error
	// Erases reports whether Destroy erases anything; a node says so at start where it does not.
	Erases() bool
}
