package checklist_test

import (
	"context"
	"crypto/elliptic"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	trust     atomic.Pointer[parley.TrustStore]

	mu      sync.Mutex
	revoked []int64
}

// revoke takes the certificate of a serial number back.
func (t *town) revoke(w *world, serial int64) {
	w.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revoked = append(t.revoked, serial)
	next, _, err := t.trust.Load().WithRevocationList(certtest.ListPoint, t.authority.Revoke(w.T, t.revoked...), uint64(time.Now().Unix()))
	w.must(err)
	t.trust.Store(next)
}

// house is two nodes of one deployment that hand clients to each other. Their conversations get messages from the post alone.
type house struct {
	town    *town
	suite   suite.ID
	options parley.Options // of its nodes
	post    *post
	nodes   [2]*parley.Node

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
	town.trust.Store(trust)
	for _, id := range suites() {
		h := &house{town: town, suite: id, post: newPost(), shares: map[uint32]bool{0: true}}
		h.options = parley.Options{
			URL: server.URL(), KeyDir: filepath.Join(dir, fmt.Sprintf("keys %d", id)), Namespace: fmt.Sprintf("suite%d", id), ShareCount: shareCount, MaxBytes: 1 << 30,
			Config: h.config(), Isolated: true, Foreign: h.post, ManualCommits: true,
			Certificates: town.trust.Load, Limits: parley.Limits{AnchorDelay: 500 * time.Millisecond},
		}
		for i, shares := range [][]uint32{parley.Shares(shareCount)[1:], {0}} {
			o := h.options
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
	return h.draw(func(n int) parley.ClientID { return parley.ClientID(fmt.Sprint(whose, "-", n)) })
}

// device draws an id for a device of a user, as deployed clients form it.
func (h *house) device(user parley.ClientID) parley.ClientID {
	return h.draw(func(n int) parley.ClientID { return parley.ClientID(fmt.Sprintf("%s:%x@example.com", user, n)) })
}

func (h *house) draw(form func(n int) parley.ClientID) parley.ClientID {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		h.issued++
		id := form(h.issued)
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
