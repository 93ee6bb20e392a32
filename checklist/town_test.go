package checklist_test

import (
	"context"
	"crypto/elliptic"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/internal/certtest"
	"parley/internal/natsd"
	"parley/mlsengine/suite"
)

// patience bounds what a run waits for.
const patience = 3 * time.Minute

// town is a server, the authority that its X.509 clients trust, and a house for each suite.
type town struct {
	authority *certtest.Authority
	houses    map[suite.ID]*house
}

// house is two nodes of one deployment that hand clients to each other. Their conversations get messages from the post alone.
type house struct {
	suite     suite.ID
	authority *certtest.Authority
	post      *post
	nodes     [2]*parley.Node

	mu     sync.Mutex
	issued int
	shares map[uint32]bool // taken: every client has one of its own, so that it moves alone
}

const shareCount = 1 << 14

func newTown(t *testing.T) *town {
	t.Helper()
	dir := t.TempDir()
	server, err := natsd.Embedded(natsd.Options{Dir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", MaxStoreBytes: 8 << 30})
	must(t, err)
	t.Cleanup(server.Shutdown)
	town := &town{authority: certtest.New(t), houses: map[suite.ID]*house{}}
	trust, err := (*parley.TrustStore)(nil).WithAnchor(town.authority.Anchor())
	must(t, err)
	for _, id := range suites() {
		h := &house{suite: id, authority: town.authority, post: newPost(), shares: map[uint32]bool{0: true}}
		o := parley.Options{
			URL: server.URL(), KeyDir: filepath.Join(dir, fmt.Sprintf("keys %d", id)), Namespace: fmt.Sprintf("suite%d", id), ShareCount: shareCount, MaxBytes: 1 << 30,
			Config: h.config(), Isolated: true, Foreign: h.post, ManualCommits: true,
			Certificates: func() *parley.TrustStore { return trust }, Limits: parley.Limits{AnchorDelay: 500 * time.Millisecond},
		}
		for i, shares := range [][]uint32{parley.Shares(shareCount)[1:], {0}} {
			o.Name, o.Shares = fmt.Sprint("node ", i), shares
			h.nodes[i] = openNode(t, o)
		}
		town.houses[id] = h
	}
	return town
}

func (t *town) house(id suite.ID) *house { return t.houses[id] }

func openNode(t *testing.T, o parley.Options) *parley.Node {
	t.Helper()
	node, err := parley.Open(t.Context(), o)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return node
}

func (h *house) config() parley.Config {
	config := parley.DefaultConfig()
	config.CipherSuite, config.Transport = h.suite, parley.ForeignTransport
	return config
}

// name draws an id for a client whose share is its own, so that it can move to the other node alone.
func (h *house) name(whose string) parley.ClientID {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		h.issued++
		id := parley.ClientID(fmt.Sprint(whose, "-", h.issued))
		if share := parley.ShareOf("client/"+string(id), shareCount); !h.shares[share] {
			h.shares[share] = true
			return id
		}
	}
}

// group draws an id for a conversation.
func (h *house) group() parley.ConversationID {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.issued++
	return parley.ConversationID(fmt.Sprint("conversation ", h.issued))
}

// curve is what the clients of a suite sign with; nil: Ed25519.
func curve(id suite.ID) elliptic.Curve {
	switch id {
	case suite.P256_AES128GCM_SHA256_P256:
		return elliptic.P256()
	case suite.P384_AES256GCM_SHA384_P384:
		return elliptic.P384()
	case suite.P521_AES256GCM_SHA512_P521:
		return elliptic.P521()
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
