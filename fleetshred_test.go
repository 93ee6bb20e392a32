package parley_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/events"
	"parley/events/jetlog"
	"parley/internal/natsd"
)

// fleet is two nodes on a server in a process of its own, with one key directory. Each serves one half of the shares: ada lives at the
// one, bob at the other.
type fleet struct {
	server   *natsd.Process
	options  parley.Options
	one, two *parley.Node
	ada, bob *bot
	tea      *parley.Conversation
}

func newFleet(t *testing.T, hooks parley.Hooks) *fleet {
	t.Helper()
	f := &fleet{}
	f.server, f.options = process(t, 0)
	f.one = f.node(t, "one", hooks)
	f.two = f.node(t, "two", parley.Hooks{})
	return f
}

// node opens one of the two.
func (f *fleet) node(t *testing.T, name string, hooks parley.Hooks) *parley.Node {
	t.Helper()
	o := f.options
	o.Name, o.Hooks, o.ShredInterval = name, hooks, -1
	for _, share := range parley.Shares(16) {
		if (share < 8) == (name == "one") {
			o.Shares = append(o.Shares, share)
		}
	}
	return openNode(t, o)
}

// resident names a client that a node serves.
func resident(t *testing.T, node *parley.Node, name string) parley.ClientID {
	t.Helper()
	for i := range 1000 {
		id := fmt.Sprint(name, i)
		for _, share := range node.Shares() {
			if parley.ShareOf("client/"+id, 16) == share {
				return parley.ClientID(id)
			}
		}
	}
	t.Fatal("nobody lives there")
	return ""
}

func (f *fleet) meet(t *testing.T) {
	t.Helper()
	f.ada, f.bob = takeBot(t, f.one, resident(t, f.one, "ada")), takeBot(t, f.two, resident(t, f.two, "bob"))
	tea, err := f.ada.Create(t.Context(), "tea")
	ok(t, err)
	f.tea = tea
	ok(t, tea.Add(t.Context(), f.bob.ID()))
	f.bob.await(t, "the welcome", inEpoch(1))
}

func (f *fleet) say(t *testing.T, words string) {
	t.Helper()
	_, err := f.tea.Send(t.Context(), []byte(words))
	ok(t, err)
	f.bob.await(t, words, text(words))
}

func (f *fleet) close(t *testing.T) {
	t.Helper()
	f.ada.stop()
	f.bob.stop()
	closeNode(t, f.one)
	closeNode(t, f.two)
}

// versions are the shred keys that there are.
func (f *fleet) versions(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir(f.options.KeyDir)
	ok(t, err)
	for _, file := range files {
		if name, isKey := strings.CutPrefix(file.Name(), "shred-"); isKey {
			names = append(names, strings.TrimSuffix(name, ".key"))
		}
	}
	return names
}

// nodes is an operator's view of the leases.
func (f *fleet) nodes(t *testing.T) *jetlog.Nodes {
	t.Helper()
	nc, err := jetlog.Connect(f.server.URL(), jetlog.ConnectOptions{})
	ok(t, err)
	t.Cleanup(nc.Close)
	store, err := jetlog.OpenReadOnly(t.Context(), nc, jetlog.Config{})
	ok(t, err)
	nodes, err := store.Nodes(t.Context())
	ok(t, err)
	return nodes
}

// copyLive copies the directory of a server that runs: what it replaces meanwhile is not there any more when its turn comes.
func copyLive(t *testing.T, to, from string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from))
	for range 100 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		ok(t, os.RemoveAll(to))
		err = os.CopyFS(to, os.DirFS(from))
	}
	ok(t, err)
}

// TestAFleetRotatesItsShredKey has both nodes, and an operator's program beside them, rotate the key at the same time while the two work.
// One does it after another; nobody notices; and a copy of the server's directory from before opens nothing with the key that is left.
func TestAFleetRotatesItsShredKey(t *testing.T) {
	t.Parallel()
	f := newFleet(t, parley.Hooks{})
	f.meet(t)
	f.say(t, "before")
	stolen := filepath.Join(t.TempDir(), "stolen")
	copyLive(t, stolen, f.server.Dir())
	var work sync.WaitGroup
	for _, rotate := range []func(context.Context) error{f.one.Shred, f.two.Shred, func(ctx context.Context) error {
		report, err := parley.Shred(ctx, f.options)
		if err == nil && len(report.Destroyed) == 0 {
			err = errors.New("it destroyed nothing")
		}
		return err
	}} {
		work.Go(func() {
			if err := rotate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 10 {
		f.say(t, fmt.Sprint("meanwhile ", i))
		ok(t, f.tea.UpdateKeys(t.Context()))
	}
	work.Wait()
	if left := f.versions(t); len(left) != 1 || left[0] != "0000000004" {
		t.Errorf("the keys are %v", left)
	}
	f.say(t, "after")
	f.close(t)
	thief, err := parley.Open(t.Context(), parley.Options{Data: stolen, KeyDir: f.options.KeyDir})
	if err == nil {
		closeNode(t, thief)
	}
	if err == nil || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("the copy: %v", err)
	}
	node := openNode(t, f.options)
	defer closeNode(t, node)
	agree(t, node.Bare(f.ada.ID()).Conversation("tea"), node.Bare(f.bob.ID()).Conversation("tea"))
}

// TestNothingIsDestroyedBeforeEveryNodeAgrees has a node that lives and still writes under the old key: nothing is destroyed. When it is
// gone another node finishes.
func TestNothingIsDestroyedBeforeEveryNodeAgrees(t *testing.T) {
	t.Parallel()
	f := newFleet(t, parley.Hooks{})
	f.meet(t)
	defer f.close(t)
	nodes := f.nodes(t)
	ok(t, nodes.Renew(t.Context(), "slow1", jetlog.NodeLease{Node: "slow", Version: "0000000001"}))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := f.one.Shred(ctx); err == nil || !strings.Contains(err.Error(), "node slow writes under 0000000001") {
		t.Errorf("while one is behind: %v", err)
	}
	if left := f.versions(t); len(left) != 2 {
		t.Errorf("the keys are %v", left)
	}
	f.say(t, "between two keys")
	ok(t, nodes.Remove(t.Context(), "slow1"))
	o := f.options
	o.Name, o.Shares, o.ShredInterval = "three", []uint32{}, time.Second
	three := openNode(t, o)
	defer closeNode(t, three)
	for deadline := time.Now().Add(time.Minute); f.versions(t)[0] == "0000000001"; pause(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatal("nobody finishes the rotation")
		}
	}
	f.say(t, "under a new key")
}

// TestARotationThatDiedIsFinishedByAnother has a node die at each step of a rotation. Another one rotates, and everything can be read.
func TestARotationThatDiedIsFinishedByAnother(t *testing.T) {
	t.Parallel()
	for _, step := range []parley.Step{events.StepShredVersion, events.StepRewrap, events.StepShredDestroy} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%t", step, before), func(t *testing.T) {
				fate := &dying{at: step, before: before, died: make(chan struct{})}
				f := newFleet(t, fate.hooks())
				f.meet(t)
				fate.armed.Store(true)
				if err := f.one.Shred(t.Context()); !errors.Is(err, errDead) {
					t.Errorf("the rotation of a node that died: %v", err)
				}
				f.two.TakeShares(f.one.Shares()...)
				ok(t, f.two.Shred(t.Context()))
				if left := f.versions(t); len(left) != 1 {
					t.Errorf("the keys are %v", left)
				}
				f.tea = f.two.Bare(f.ada.ID()).Conversation("tea")
				ok(t, f.two.Insist(t.Context(), f.tea.UpdateKeys))
				f.say(t, "after")
				agree(t, f.tea, f.bob.Conversation("tea"))
				f.close(t)
			})
		}
	}
}

// TestADeadNodeHoldsARotationUpForOneLease kills a node as a power cut would, and has an instance die that had the right to rotate.
// Neither gives back what it has; the server forgets it.
func TestADeadNodeHoldsARotationUpForOneLease(t *testing.T) {
	t.Parallel()
	f := &fleet{}
	f.server, f.options = process(t, 0)
	f.one = openNode(t, f.options)
	defer closeNode(t, f.one)
	bob := takeBot(t, f.one, "bob")
	startTalker(t, talkerOptions{URL: f.server.URL(), KeyDir: f.options.KeyDir}, 3)
	nodes := f.nodes(t)
	_, err := nodes.Rotate(t.Context(), "dead")
	ok(t, err)
	leases, err := nodes.List(t.Context())
	if err != nil || len(leases) != 2 {
		t.Fatalf("the leases: %v, %v", leases, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*jetlog.LeaseTime)
	defer cancel()
	ok(t, f.one.Shred(ctx))
	if left := f.versions(t); len(left) != 1 || left[0] != "0000000002" {
		t.Errorf("the keys are %v", left)
	}
	tea := f.one.Bare("ada").Conversation("tea")
	ok(t, f.one.Insist(t.Context(), tea.UpdateKeys))
	agree(t, tea, bob.Conversation("tea"))
}

// TestNodesWithDifferentKeysDoNotMeet starts a second node with a key directory of its own on a log that is still empty, where no ring
// tells that it is the wrong one.
func TestNodesWithDifferentKeysDoNotMeet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, parley.Hooks{})
	defer closeNode(t, f.one)
	defer closeNode(t, f.two)
	o := f.options
	o.Name, o.KeyDir = "stranger", filepath.Join(t.TempDir(), "keys")
	stranger, err := parley.Open(t.Context(), o)
	if err == nil {
		closeNode(t, stranger)
	}
	if !errors.Is(err, events.ErrKeyMissing) || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("it is let in: %v", err)
	}
	leases, err := f.nodes(t).List(t.Context())
	if err != nil || len(leases) != 2 {
		t.Errorf("the leases: %v, %v", leases, err)
	}
}
