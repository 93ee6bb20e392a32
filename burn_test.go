package parley_test

import (
	"path/filepath"
	"testing"

	"parley"
	"parley/internal/natsd"
)

// TestGenerationsThatOnlyTheAnchorSpeaksForAreGivenUp lets a node die between the anchor of a block of generations and the record that
// reserves them, which go out together. The other node gives the block up in the log before it serves anybody, and takes the next one.
func TestGenerationsThatOnlyTheAnchorSpeaksForAreGivenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0"})
	ok(t, err)
	defer server.Shutdown()
	fate := &dying{at: "events.append", before: true, died: make(chan struct{})}
	keys := filepath.Join(dir, "keys")
	first := openNode(t, parley.Options{URL: server.URL(), KeyDir: keys, Isolated: true, Hooks: fate.hooks()})
	defer first.Close(t.Context())
	ada, err := first.Client(t.Context(), "ada")
	ok(t, err)
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	tea, err := ada.Create(t.Context(), "tea", config)
	ok(t, err)
	before, err := tea.Status(t.Context())
	ok(t, err)
	fate.armed.Store(true)
	if _, err := tea.Encrypt(t.Context(), []byte("never heard"), nil); err == nil {
		t.Fatal("it was encrypted without a record")
	}
	<-fate.died

	second := openNode(t, parley.Options{URL: server.URL(), KeyDir: keys, Isolated: true, Name: "second"})
	defer closeNode(t, second)
	heir := second.Bare("ada").Conversation("tea")
	status, err := heir.Status(t.Context())
	ok(t, err)
	if status.Version != before.Version+1 {
		t.Errorf("version %d after %d: the block was not given up by one record", status.Version, before.Version)
	}
	_, err = heir.Encrypt(t.Context(), []byte("heard"), nil)
	ok(t, err)
	if status, err = heir.Status(t.Context()); err != nil || status.Version != before.Version+2 || status.Lifecycle != "active" {
		t.Errorf("%s at version %d, %v", status.Lifecycle, status.Version, err)
	}
}
