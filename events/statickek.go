package events

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"parley/internal/secret"
)

// StaticKEK is a single key that wraps every ring and never changes. It gives
// no erasure: whoever has it opens every copy of every ring there ever was.
type StaticKEK struct {
	key     shredKey
	version string
}

// NewStaticKEK makes a vault of the text of a key: 32 bytes in hexadecimal or
// base64.
func NewStaticKEK(text string) (*StaticKEK, error) {
	text = strings.TrimSpace(text)
	var raw []byte
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if b, err := decode(text); err == nil && len(b) == keyBytes {
			raw = b
			break
		}
	}
	if raw == nil {
		return nil, fmt.Errorf("a key-encryption key is %d bytes in hexadecimal or base64", keyBytes)
	}
	id := sha256.Sum256(append([]byte("parley static key 0"), raw...))
	return &StaticKEK{key: shredKey{secret.New(raw)}, version: "static-" + hex.EncodeToString(id[:8])}, nil
}

// ReadStaticKEK reads the key from a file that only its owner may read.
func ReadStaticKEK(path string) (*StaticKEK, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("key file %s has mode %04o: others can read it; make it 0600", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	k, err := NewStaticKEK(string(text))
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// PrepareStaticKEK reads the key from its file, and makes one if, and only if,
// there is no file and the stores are empty: a log whose key is gone is never
// given another one.
func PrepareStaticKEK(ctx context.Context, stores Stores, path string) (*StaticKEK, error) {
	k, err := ReadStaticKEK(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := needsNoKey(ctx, stores); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return CreateStaticKEK(path)
}

// CreateStaticKEK makes a key and its file, and reads the key that is there
// where there is one.
func CreateStaticKEK(path string) (*StaticKEK, error) {
	// Whoever loses the race for the file reads the winner's key.
	if err := createKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the key-encryption key: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return ReadStaticKEK(path)
}

// Current implements KeyVault.
func (k *StaticKEK) Current(context.Context) (string, error) { return k.version, nil }

// Versions implements KeyVault.
func (k *StaticKEK) Versions(context.Context) ([]string, error) { return []string{k.version}, nil }

// Erases implements KeyVault: it does not.
func (k *StaticKEK) Erases() bool { return false }

// Wrap implements KeyVault.
func (k *StaticKEK) Wrap(_ context.Context, version string, aad, key []byte) ([]byte, error) {
	if version != k.version {
		return nil, fmt.Errorf("key %q: %w", version, ErrKeyMissing)
	}
	return wrapKey(k.key, aad, key)
}

// Unwrap implements KeyVault.
func (k *StaticKEK) Unwrap(_ context.Context, version string, aad, blob []byte) ([]byte, error) {
	if version != k.version {
		return nil, fmt.Errorf("key %q: %w", version, ErrKeyMissing)
	}
	return unwrapBlob(k.key, aad, blob)
}

// NewVersion implements KeyVault: there is none.
func (k *StaticKEK) NewVersion(context.Context) (string, error) { return "", ErrNoErasure }

// Destroy implements KeyVault: it cannot.
func (k *StaticKEK) Destroy(context.Context, string) error { return ErrNoErasure }
