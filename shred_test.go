package parley_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"parley"
)

// TestShreddedCopyOpensNothing copies the data directory of a running node, and has the shred key rotated. The copy with all keys that
// are left is worth nothing; the node goes on, at once and after a restart.
func TestShreddedCopyOpensNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, keys, stolen := filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "stolen")
	node := openNode(t, parley.Options{Data: data, KeyDir: keys})
	c := newCouple(t, node)
	ok(t, c.say("before")(t.Context()))
	copyLive(t, stolen, data)
	ok(t, node.Shred(t.Context()))
	ok(t, c.tea.UpdateKeys(t.Context()))
	ok(t, c.say("after")(t.Context()))
	c.bob.await(t, "what was said after", text("after"))
	agree(t, c.tea, c.bob.Conversation("tea"))
	c.ada.stop()
	c.bob.stop()
	closeNode(t, node)

	thief, err := parley.Open(t.Context(), parley.Options{Data: stolen, KeyDir: keys})
	if err == nil {
		closeNode(t, thief)
	}
	if err == nil || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("the copy: %v", err)
	}
	node = openNode(t, parley.Options{Data: data, KeyDir: keys})
	defer closeNode(t, node)
	agree(t, node.Bare("ada").Conversation("tea"), node.Bare("bob").Conversation("tea"))
}

// TestShredKeysAreReplacedInTime lets a shred key become too old.
func TestShredKeysAreReplacedInTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	node := openNode(t, parley.Options{Data: filepath.Join(dir, "data"), KeyDir: keys, ShredInterval: 100 * time.Millisecond})
	defer closeNode(t, node)
	first := filepath.Join(keys, "shred-0000000001.key")
	if _, err := os.Stat(first); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; pause(t.Context()) {
		if _, err := os.Stat(first); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the first key is still there")
		}
	}
}
