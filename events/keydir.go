package events

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/internal/secret"
)

const (
	keyFilePrefix = "shred-"
	keyFileSuffix = ".key"
	keyFileDigits = 10
)

// KeyDir keeps shred keys as files in a directory of its own, one for each
// version, readable by their owner only. The directory belongs outside the
// data directory: whoever copies the one must not get the other. It is safe
// for concurrent use, by several processes too.
type KeyDir struct {
	dir      string
	readOnly bool
	mu       sync.Mutex
	cache    map[string]shredKey
}

type shredKey struct{ secret.Bytes }

// OpenKeyDir opens a directory that has keys. It never makes the first one:
// ErrKeyMissing where there is none.
func OpenKeyDir(dir string) (*KeyDir, error) {
	k := &KeyDir{dir: dir, cache: map[string]shredKey{}}
	versions, err := k.list()
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("key directory %s: %w", dir, ErrKeyMissing)
	}
	return k, nil
}

// ReadKeyDir opens a directory for one who only unwraps: nothing is made,
// wrapped or destroyed.
func ReadKeyDir(dir string) (*KeyDir, error) {
	k, err := OpenKeyDir(dir)
	if err != nil {
		return nil, err
	}
	k.readOnly = true
	return k, nil
}

// PrepareKeyDir opens a directory, and makes its first key if, and only if,
// the stores are empty: a log whose key is gone is never given another one.
func PrepareKeyDir(ctx context.Context, stores Stores, dir string) (*KeyDir, error) {
	k, err := OpenKeyDir(dir)
	if err == nil || !errors.Is(err, ErrKeyMissing) {
		return k, err
	}
	if err := needsNoKey(ctx, stores); err != nil {
		return nil, fmt.Errorf("key directory %s: %w", dir, err)
	}
	return CreateKeyDir(dir)
}

// needsNoKey is ErrKeyMissing where the stores hold anything: it needs the key it was made with, and no other will do.
func needsNoKey(ctx context.Context, stores Stores) error {
	rings, err := stores.Rings.List(ctx)
	if err != nil {
		return fmt.Errorf("list the key rings: %w", err)
	}
	logs, err := stores.Log.List(ctx, "")
	if err != nil {
		return fmt.Errorf("list the logs: %w", err)
	}
	if len(rings)+len(logs) > 0 {
		return fmt.Errorf("%w: the store has %d logs and %d rings that need it", ErrKeyMissing, len(logs), len(rings))
	}
	return nil
}

// CreateKeyDir makes the directory and its first key. A directory that has
// keys is opened as it is.
func CreateKeyDir(dir string) (*KeyDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	k := &KeyDir{dir: dir, cache: map[string]shredKey{}}
	versions, err := k.list()
	if err != nil || len(versions) > 0 {
		return k, err
	}
	if err := k.create(versionName(1)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return k, nil
}

func versionName(n uint64) string { return fmt.Sprintf("%0*d", keyFileDigits, n) }

func (k *KeyDir) path(version string) string {
	return filepath.Join(k.dir, keyFilePrefix+version+keyFileSuffix)
}

// list names the versions, oldest first.
func (k *KeyDir) list() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the key directory: %w", err)
	}
	var versions []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), keyFilePrefix)
		if name, ok2 := strings.CutSuffix(name, keyFileSuffix); ok && ok2 && len(name) == keyFileDigits {
			if _, err := strconv.ParseUint(name, 10, 64); err == nil {
				versions = append(versions, name)
			}
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// Versions implements KeyVault.
func (k *KeyDir) Versions(context.Context) ([]string, error) { return k.list() }

// Erases implements KeyVault.
func (k *KeyDir) Erases() bool { return true }

// Current implements KeyVault: the newest version.
func (k *KeyDir) Current(context.Context) (string, error) {
	versions, err := k.list()
	if err != nil {
		return "", err
	}
	if len(versions) == 0 {
		return "", fmt.Errorf("key directory %s: %w", k.dir, ErrKeyMissing)
	}
	return versions[len(versions)-1], nil
}

// Made tells when the current version was made.
func (k *KeyDir) Made() (time.Time, error) {
	version, err := k.Current(context.Background())
	if err != nil {
		return time.Time{}, err
	}
	info, err := os.Stat(k.path(version))
	if err != nil {
		return time.Time{}, fmt.Errorf("read shred key %s: %w", version, err)
	}
	return info.ModTime(), nil
}

// Wrap implements KeyVault.
func (k *KeyDir) Wrap(_ context.Context, version string, aad, key []byte) ([]byte, error) {
	if k.readOnly {
		return nil, fmt.Errorf("key directory %s: %w", k.dir, ErrReadOnly)
	}
	k.mu.Lock() // held while the key is used: Destroy wipes it
	defer k.mu.Unlock()
	shred, err := k.load(version)
	if err != nil {
		return nil, err
	}
	return wrapKey(shred, aad, key)
}

// Unwrap implements KeyVault.
func (k *KeyDir) Unwrap(_ context.Context, version string, aad, blob []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	shred, err := k.load(version)
	if err != nil {
		return nil, err
	}
	return unwrapBlob(shred, aad, blob)
}

// wrapKey is salt, then box.
func wrapKey(shred shredKey, aad, key []byte) ([]byte, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("draw a salt: %w", err)
	}
	box, err := sealBox(ringSecret(shred), salt, aad, key)
	if err != nil {
		return nil, err
	}
	return append(salt, box...), nil
}

func unwrapBlob(shred shredKey, aad, blob []byte) ([]byte, error) {
	if len(blob) < saltBytes {
		return nil, ErrUnopened
	}
	return openBox(ringSecret(shred), blob[:saltBytes], aad, blob[saltBytes:])
}

// load reads the key of a version. A key whose file is gone is forgotten, even
// when another process destroyed it.
func (k *KeyDir) load(version string) (shredKey, error) {
	info, err := os.Stat(k.path(version))
	if errors.Is(err, fs.ErrNotExist) {
		k.cache[version].Wipe()
		delete(k.cache, version)
		return shredKey{}, fmt.Errorf("shred key %q: %w", version, ErrKeyMissing)
	}
	if err != nil {
		return shredKey{}, fmt.Errorf("read shred key %s: %w", version, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return shredKey{}, fmt.Errorf("shred key file %s has mode %04o: others can read it; make it 0600", k.path(version), mode)
	}
	if key, ok := k.cache[version]; ok {
		return key, nil
	}
	text, err := os.ReadFile(k.path(version))
	if err != nil {
		return shredKey{}, fmt.Errorf("read shred key %s: %w", version, err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != keyBytes {
		return shredKey{}, fmt.Errorf("shred key file %s is damaged: %w", k.path(version), ErrKeyMissing)
	}
	key := shredKey{secret.New(raw)}
	k.cache[version] = key
	return key, nil
}

// NewVersion implements KeyVault.
func (k *KeyDir) NewVersion(context.Context) (string, error) {
	if k.readOnly {
		return "", fmt.Errorf("key directory %s: %w", k.dir, ErrReadOnly)
	}
	for {
		versions, err := k.list()
		if err != nil {
			return "", err
		}
		if len(versions) == 0 {
			return "", fmt.Errorf("key directory %s: %w", k.dir, ErrKeyMissing)
		}
		newest, err := strconv.ParseUint(versions[len(versions)-1], 10, 64)
		if err != nil {
			return "", fmt.Errorf("key directory %s: %w", k.dir, err)
		}
		next := versionName(newest + 1)
		if err := k.create(next); !errors.Is(err, fs.ErrExist) {
			return next, err
		}
	}
}

// create makes the file of a version, never in place of another.
func (k *KeyDir) create(version string) error {
	if err := createKeyFile(k.path(version)); err != nil {
		return fmt.Errorf("make shred key %s: %w", version, err)
	}
	return k.sync()
}

// createKeyFile draws a key and makes its file, whole or not at all, readable
// by its owner only, and never in place of another.
func createKeyFile(path string) error {
	raw := make([]byte, keyBytes)
	if _, err := rand.Read(raw); err != nil {
		return fmt.Errorf("draw a key: %w", err)
	}
	defer clear(raw)
	temporary, err := os.CreateTemp(filepath.Dir(path), "new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make a key file: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(hex.EncodeToString(raw) + "\n")
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("write a key file: %w", err)
	}
	return os.Link(temporary.Name(), path)
}

// Destroy implements KeyVault: the file is overwritten, synced and unlinked.
func (k *KeyDir) Destroy(ctx context.Context, version string) error {
	if k.readOnly {
		return fmt.Errorf("key directory %s: %w", k.dir, ErrReadOnly)
	}
	current, err := k.Current(ctx)
	if err != nil {
		return err
	}
	if version == current {
		return fmt.Errorf("shred key %s is current and stays", version)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cache[version].Wipe()
	delete(k.cache, version)
	file, err := os.OpenFile(k.path(version), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else did
	}
	if err != nil {
		return fmt.Errorf("destroy shred key %s: %w", version, err)
	}
	_, err = file.Write([]byte(strings.Repeat("0", hex.EncodedLen(keyBytes)) + "\n"))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("destroy shred key %s: %w", version, err)
	}
	if err := os.Remove(k.path(version)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroy shred key %s: %w", version, err)
	}
	return k.sync()
}

// sync makes what was made or removed in the directory last.
func (k *KeyDir) sync() error { return syncDir(k.dir) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the key directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the key directory: %w", err)
	}
	return nil
}
