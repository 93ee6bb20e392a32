package parley_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/events"
	"parley/internal/secret"
)

// secretBytesMin is the shortest secret that is looked for: shorter ones are found by chance.
const secretBytesMin = 12

// needles are all secrets that were made, in every form in which they might have been written.
type needles struct {
	mu     sync.Mutex
	seen   map[string]bool
	byHead map[uint64][]needle
}

type needle struct {
	form string
	text []byte
}

// record is given to package secret.
func (n *needles) record(b []byte) {
	if len(b) < secretBytesMin {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[string(b)] {
		return
	}
	n.seen[string(b)] = true
	n.add("raw", slices.Clone(b))
	n.add("hex", []byte(hex.EncodeToString(b)))
	n.add("upper case hex", []byte(strings.ToUpper(hex.EncodeToString(b))))
	for shift := range 3 {
		// Inside a longer text a secret begins at any of three places of a group; what surrounds it changes the ends.
		padded := append(make([]byte, shift), b...)
		for form, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := []byte(encoding.EncodeToString(padded))
			n.add(form, text[4*min(shift, 1):len(text)-3])
		}
	}
}

func (n *needles) add(form string, text []byte) {
	head := binary.LittleEndian.Uint64(text)
	n.byHead[head] = append(n.byHead[head], needle{form, text})
}

// in lists the secrets that a text holds.
func (n *needles) in(text []byte) (found []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := 0; i+8 <= len(text); i++ {
		for _, needle := range n.byHead[binary.LittleEndian.Uint64(text[i:])] {
			if bytes.HasPrefix(text[i:], needle.text) {
				found = append(found, fmt.Sprintf("%d bytes as %s at %d: %.16x...", len(needle.text), needle.form, i, needle.text))
			}
		}
	}
	return found
}

// recordSecrets records every secret until the test ends.
func recordSecrets(t *testing.T) *needles {
	n := &needles{seen: map[string]bool{}, byHead: map[uint64][]needle{}}
	secret.SetRecorder(n.record)
	t.Cleanup(func() { secret.SetRecorder(nil) })
	return n
}

// check searches every file under a directory, again where the server has just replaced one by another.
func (n *needles) check(t *testing.T, when, dir string) (files, size int) {
	t.Helper()
	for range 100 {
		files, size, err := n.search(t, when, dir)
		if err == nil {
			return files, size
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s never holds still", dir)
	return 0, 0
}

func (n *needles) search(t *testing.T, when, dir string) (files, size int, err error) {
	t.Helper()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, size = files+1, size+len(text)
		for _, found := range n.in(append([]byte(path+"\n"), text...)) {
			t.Errorf("%s: %s holds a secret: %s", when, strings.TrimPrefix(path, dir), found)
		}
		return nil
	})
	return files, size, err
}

// lockedBuffer collects logs of many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.b.Bytes())
}

// story is what the search for secrets is run over: logs and errors of everything that was done.
type story struct {
	t       *testing.T
	logs    lockedBuffer
	errors  lockedBuffer
	secrets *needles
	died    atomic.Bool
}

// options are those of a node that tells everything it does, and whose hooks stop all writing once the story says that it died.
func (s *story) options() parley.Options {
	gone := errors.New("the process is gone")
	hook := func(context.Context, parley.Step, events.LogID) error {
		if s.died.Load() {
			return gone
		}
		return nil
	}
	return parley.Options{
		Logger: slog.New(slog.NewTextHandler(&s.logs, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})),
		Hooks:  parley.Hooks{Before: hook, After: hook},
		Limits: parley.Limits{SnapshotEvery: 4},
	}
}

// fails takes down an error that was to come.
func (s *story) fails(what string, err error) {
	s.t.Helper()
	if err == nil {
		s.t.Errorf("%s did not fail", what)
		return
	}
	fmt.Fprintf(&s.errors, "%v\n%+v\n%#v\n", err, err, err)
}

// TestNoSecretReachesADisk lets conversations live a whole life: adds, updates, removals, messages both ways, proposals, transactions,
// pre-shared keys, imported key packages, snapshots, checkpoints, a node that dies and one that takes over, erasure. Afterwards no file
// of the data directory, no log line and no error holds any secret that was ever made, the messages' text included.
func TestNoSecretReachesADisk(t *testing.T) {
	secrets := recordSecrets(t)
	s := &story{t: t, secrets: secrets}
	d := deploy(t)
	node := d.node(t, s.options())
	s.before(node)
	s.died.Store(true)
	closeQuietly(t, node)
	secrets.check(t, "after the death of a node", d.data)
	s.died.Store(false)
	node = d.node(t, s.options())
	s.after(node)
	closeNode(t, node)
	s.imported(d)
	files, size := secrets.check(t, "at the end", d.data)
	for name, text := range map[string][]byte{"the logs": s.logs.bytes(), "the errors": s.errors.bytes()} {
		for _, found := range secrets.in(text) {
			t.Errorf("%s hold a secret: %s", name, found)
		}
	}
	if files < 10 || size < 1<<16 || len(secrets.seen) < 500 || len(s.logs.bytes()) == 0 || len(s.errors.bytes()) == 0 {
		t.Errorf("searched %d files, %d bytes, %d bytes of logs and %d of errors for %d secrets: that is not what was meant",
			files, size, len(s.logs.bytes()), len(s.errors.bytes()), len(secrets.seen))
	}
	t.Logf("%d files, %d bytes, %d secrets", files, size, len(secrets.seen))
}

// closeQuietly closes a node that cannot write any more.
func closeQuietly(t *testing.T, node *parley.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	_ = node.Close(ctx) // it could not save what it was about to
}

// whisper is a text nobody writes by chance.
func (s *story) whisper(what string, i int) []byte {
	text := fmt.Appendf(nil, "whispered %s number %d: sixteen bytes and more", what, i)
	s.secrets.record(text)
	return text
}

// share lets history be read in another conversation, where nothing is acknowledged.
func (s *story) share(node *parley.Node) {
	t, ctx := s.t, s.t.Context()
	shared, err := node.Bare("ada").Create(ctx, "shared")
	ok(t, err)
	ok(t, shared.Add(ctx, "bob", "eve"))
	ok(t, shared.EnableHistorySharing(ctx))
	_, err = shared.Send(ctx, s.whisper("to a reader", 0))
	ok(t, err)
	ok(t, shared.Remove(ctx, "eve"))
	ok(t, shared.DisableHistorySharing(ctx))
	s.fails("a reader's name", second(node.Client(ctx, "history-client:0")))
}

// before is the life until the node dies.
func (s *story) before(node *parley.Node) {
	t, ctx := s.t, s.t.Context()
	ada, bob, eve := takeBot(t, node, "ada"), takeBot(t, node, "bob"), takeBot(t, node, "eve")
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, tea.Add(ctx, "bob", "eve"))
	joined := bob.await(t, "the welcome", inEpoch(1))
	eve.await(t, "the welcome", inEpoch(1))
	for i := range 20 {
		_, err := tea.Send(ctx, s.whisper("tea", i))
		ok(t, err)
	}
	last := bob.await(t, "the last message", text(string(s.whisper("tea", 19))))
	ok(t, last.Ack(ctx))
	ok(t, joined.Conversation.UpdateKeys(ctx))
	ada.await(t, "epoch 2", inEpoch(2))
	s.share(node)
	for i := range 5 {
		_, err := joined.Conversation.Send(ctx, s.whisper("back", i))
		ok(t, err)
	}
	answer := ada.await(t, "the answer", text(string(s.whisper("back", 4))))
	ok(t, answer.Fail(ctx, string(s.whisper("failure", 0)))) // not acknowledged: it waits to be handed over again when the node dies
	s.refusals(node, tea)
	psk := s.whisper("psk", 0)
	for _, client := range []*parley.Client{ada.Client, bob.Client} {
		ok(t, client.AddPSK(ctx, []byte("a psk"), slices.Clone(psk)))
	}
	s.fails("an aborted transaction", ada.Transact(ctx, func(tx *parley.Transaction) error {
		_, err := tx.Conversation("tea").Send(ctx, s.whisper("abort", 0))
		return errors.Join(err, errors.New("no"))
	}))
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		_, one := tx.Conversation("tea").Send(ctx, s.whisper("transaction", 0))
		_, two := tx.Conversation("tea").ProposeUpdate(ctx)
		return errors.Join(one, two)
	}))
	exported, err := tea.ExportSecret(ctx, "label", []byte("context"), 32)
	ok(t, err)
	s.secrets.record(exported)
}

// refusals are errors of every kind that have something to do with secrets.
func (s *story) refusals(node *parley.Node, tea *parley.Conversation) {
	ctx, client := s.t.Context(), tea.Client()
	_, err := client.Create(ctx, "tea")
	s.fails("creating it again", err)
	secretKey := s.whisper("imported key", 0)
	s.fails("importing nonsense", client.ImportKeyPackage(ctx, parley.KeyPackageImport{
		KeyPackage: []byte("nonsense"), InitKey: slices.Clone(secretKey), LeafKey: slices.Clone(secretKey), SignatureKey: slices.Clone(secretKey),
	}))
	_, err = client.Join(ctx, parley.Invitation{Welcome: []byte("nonsense")})
	s.fails("joining nonsense", err)
	_, err = tea.Send(parley.WithCommandID(ctx, "twice"), s.whisper("twice", 0))
	ok(s.t, err)
	_, err = tea.Send(parley.WithCommandID(ctx, "twice"), s.whisper("twice", 1))
	s.fails("another text under the same id", err)
	_, err = tea.ExportSecret(ctx, "label", nil, 1<<20)
	s.fails("exporting too much", err)
	s.fails("adding a stranger", tea.Add(ctx, "nobody"))
	_, err = node.Bare("stranger").Conversation("tea").Send(ctx, s.whisper("stranger", 0))
	s.fails("sending as a stranger", err)
}

// after is the life on the node that takes over.
func (s *story) after(node *parley.Node) {
	t, ctx := s.t, s.t.Context()
	ada, bob := takeBot(t, node, "ada"), takeBot(t, node, "bob")
	tea := ada.Conversation("tea")
	answer := ada.await(t, "the answer once more", text(string(s.whisper("back", 4))))
	ok(t, answer.Fail(ctx, string(s.whisper("failure", 1))))
	ok(t, tea.Requeue(ctx, answer.Message.Number))
	ok(t, ada.await(t, "the answer anew", text(string(s.whisper("back", 4)))).Ack(ctx))
	ok(t, node.Insist(ctx, func(ctx context.Context) error { return tea.CommitPending(ctx) }))
	ok(t, node.Insist(ctx, func(ctx context.Context) error { return tea.Remove(ctx, "eve") }))
	for i := range 10 {
		_, err := tea.Send(ctx, s.whisper("after", i))
		ok(t, err)
	}
	ok(t, bob.await(t, "the last message", text(string(s.whisper("after", 9)))).Ack(ctx))
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	cake, err := ada.Create(ctx, "cake")
	ok(t, err)
	ok(t, cake.AddKeyPackages(ctx, packages...))
	ok(t, cake.Wipe(ctx))
	ok(t, ada.RemovePSK(ctx, []byte("a psk")))
}

// clockAt stands still.
type clockAt struct {
	parley.Clock
	now time.Time
}

func (c clockAt) Now() time.Time { return c.now }

// imported joins with key packages whose private keys were made elsewhere.
func (s *story) imported(d deployment) {
	t := s.t
	joined := 0
	for i, v := range vectorFile(t, "passive-client-welcome.json.gz") {
		if v.CipherSuite == 1 && joined < 4 {
			joined++
			s.importCase(d, parley.ClientID(fmt.Sprintf("case %d", i)), v)
		}
	}
	if joined == 0 {
		t.Error("no case was imported")
	}
}

func (s *story) importCase(d deployment, id parley.ClientID, v passiveCase) {
	t, ctx := s.t, s.t.Context()
	notBefore, _, err := parley.KeyPackageLifetime(v.KeyPackage)
	ok(t, err)
	o := s.options()
	o.Isolated, o.Clock = true, clockAt{parley.SystemClock(), time.Unix(int64(notBefore)+1, 0)}
	node := d.node(t, o)
	defer closeNode(t, node)
	client := node.Bare(id)
	for _, key := range []hexBytes{v.InitPriv, v.EncryptionPriv, v.SignaturePriv} {
		s.secrets.record(key)
	}
	ok(t, client.ImportKeyPackage(ctx, parley.KeyPackageImport{
		KeyPackage: v.KeyPackage, InitKey: slices.Clone(v.InitPriv), LeafKey: slices.Clone(v.EncryptionPriv), SignatureKey: slices.Clone(v.SignaturePriv),
	}))
	for _, psk := range v.PSKs {
		s.secrets.record(psk.PSK)
		ok(t, client.AddPSK(ctx, psk.ID, slices.Clone(psk.PSK)))
	}
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	conv, err := client.Join(ctx, parley.Invitation{Welcome: v.Welcome, Tree: v.RatchetTree, Config: &config})
	ok(t, err)
	got, err := conv.Decrypt(ctx, []byte("nonsense"))
	ok(t, err)
	fmt.Fprintf(&s.errors, "%+v", got)
}

// TestSearchFindsWhatIsThere plants secrets in every form: a search that finds nothing is worth what it would have found.
func TestSearchFindsWhatIsThere(t *testing.T) {
	n := &needles{seen: map[string]bool{}, byHead: map[uint64][]needle{}}
	planted := []byte("sixteen bytes +/")
	n.record(planted)
	forms := map[string]string{
		"raw": "ab" + string(planted) + "c", "hex": "0" + hex.EncodeToString(planted), "HEX": strings.ToUpper(hex.EncodeToString(planted)) + "0",
	}
	for before := range 3 {
		for after := range 3 {
			inside := append(append(bytes.Repeat([]byte{0xa5}, before), planted...), bytes.Repeat([]byte{0x5a}, after)...)
			forms[fmt.Sprintf("base64 between %d and %d bytes", before, after)] = base64.StdEncoding.EncodeToString(inside)
			forms[fmt.Sprintf("base64url between %d and %d bytes", before, after)] = base64.RawURLEncoding.EncodeToString(inside)
		}
	}
	for form, text := range forms {
		if len(n.in([]byte(text))) == 0 {
			t.Errorf("%s is not found in %q", form, text)
		}
	}
	if found := n.in([]byte("sixteen bytes +- and nothing else")); len(found) > 0 {
		t.Errorf("found %v where there is nothing", found)
	}
}
