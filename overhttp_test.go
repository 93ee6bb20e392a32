package parley_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"parley"
	"parley/delivery/httptransport"
)

// fault is what goes wrong with one request.
type fault int

const (
	noFault     fault = iota
	unavailable       // 503, and nothing was done
	slowDown          // 429
	answerGone        // it was done, and the connection breaks
)

// httpService is a delivery service as docs/http-transport.md asks for it. What it fans out waits in order.
type httpService struct {
	mu      sync.Mutex
	epoch   uint64
	order   [][]byte
	welcome []byte
	settled map[string]string // answers by key
	taken   map[string]uint64 // positions of messages by their names
	faults  []fault           // of the requests that come next
	down    bool
	keys    []string // of the commits that came
	behind  chan struct{}
	strange []string // what it did not expect
	once    sync.Once
}

func (s *httpService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := noFault
	if len(s.faults) > 0 {
		next, s.faults = s.faults[0], s.faults[1:]
	}
	key := r.Header.Get("Idempotency-Key")
	switch {
	case err != nil || r.Method != http.MethodPost || key == "" || r.Header.Get("Authorization") != "Bearer good" || path.Dir(r.URL.Path) != "/mls/v1/groups/dGVh":
		s.strange = append(s.strange, r.Method+" "+r.URL.Path+" "+key)
	case s.down || next == unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case next == slowDown:
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	answer, known := s.settled[key]
	if !known {
		var status int
		if status, answer = s.do(path.Base(r.URL.Path), key, body); status == http.StatusConflict {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer)
			s.once.Do(func() { close(s.behind) })
			return
		}
		s.settled[key] = answer
	}
	if next == answerGone {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, answer)
}

// do carries a request out.
func (s *httpService) do(kind, key string, body []byte) (status int, answer string) {
	var in struct {
		Epoch            uint64
		Commit, Welcome  []byte
		GroupInfo        []byte `json:"group_info"`
		Client, Proposal []byte
		EncryptedMessage []byte   `json:"encrypted_message"`
		Proposals        [][]byte `json:"proposals"`
		Messages         []struct {
			ID      string
			Message []byte
		}
	}
	strict := json.NewDecoder(strings.NewReader(string(body)))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&in); err != nil {
		s.strange = append(s.strange, err.Error())
	}
	switch kind {
	case "commits":
		s.keys = append(s.keys, strings.Trim(key, `"`))
		if in.Epoch != s.epoch {
			return http.StatusConflict, fmt.Sprintf(`{"code":"behind","epoch":%d}`, s.epoch)
		}
		s.epoch++
		s.order = append(append(s.order, in.Proposals...), in.Commit)
		if len(in.Welcome) > 0 {
			s.welcome = in.Welcome
		}
	case "proposals":
		s.order = append(s.order, in.Proposal)
	case "messages":
		var receipts []string
		for _, m := range in.Messages {
			if s.taken[m.ID] == 0 {
				s.order = append(s.order, m.Message)
				s.taken[m.ID] = uint64(len(s.order))
			}
			receipts = append(receipts, fmt.Sprintf(`{"position":%d}`, s.taken[m.ID]))
		}
		return http.StatusOK, `{"receipts":[` + strings.Join(receipts, ",") + `]}`
	}
	return http.StatusOK, fmt.Sprintf(`{"position":%d}`, len(s.order))
}

// fail says what goes wrong with the requests that come next.
func (s *httpService) fail(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

func (s *httpService) shut(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// fanOut hands everything from a place in the order on to a member, and returns the texts that it read.
func (s *httpService) fanOut(t *testing.T, from int, to *parley.Conversation) (texts []string) {
	t.Helper()
	s.mu.Lock()
	order := slices.Clone(s.order[from:])
	s.mu.Unlock()
	for _, m := range order {
		got, err := to.Decrypt(t.Context(), m)
		if ok(t, err); got.Message != nil {
			texts = append(texts, string(got.Message.Text))
		}
	}
	return texts
}

func overHTTP(t *testing.T) (*httpService, *parley.Node) {
	t.Helper()
	s := &httpService{settled: map[string]string{}, taken: map[string]uint64{}, behind: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	transport, err := httptransport.New(httptransport.Config{
		BaseURL: server.URL + "/mls/v1", Client: server.Client(), Attempts: 2,
		Authorize: func(r *http.Request) error { r.Header.Set("Authorization", "Bearer good"); return nil },
	})
	ok(t, err)
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	return s, openNode(t, parley.Options{Config: config, Foreign: transport, Isolated: true})
}

// TestAConversationOverHTTP: two members whose service is asked over HTTP add, race, lose answers and the service itself, and end in one epoch
// with every message read once.
func TestAConversationOverHTTP(t *testing.T) {
	ctx := t.Context()
	s, node := overHTTP(t)
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	hers, err := ada.Create(ctx, "tea")
	ok(t, err)
	s.fail(answerGone) // the second request gets the first one's answer
	ok(t, hers.AddKeyPackages(ctx, packages...))
	his, err := bob.Join(ctx, parley.Invitation{Welcome: s.welcome})
	ok(t, err)

	ok(t, his.UpdateKeys(ctx))
	updated := make(chan error, 1)
	go func() { updated <- hers.UpdateKeys(ctx) }()
	<-s.behind // 409: she has to hear of his commit first
	s.fanOut(t, 1, hers)
	ok(t, <-updated)
	s.fanOut(t, 2, his)
	agree(t, hers, his)

	s.shut(true)
	failure(t, "update", hers.UpdateKeys(ctx), parley.TransportError, parley.Retry, "tea")
	status, err := hers.Status(ctx)
	if ok(t, err); len(status.Unresolved) != 1 || status.Epoch != 3 {
		t.Fatalf("%+v", status)
	}
	_, err = hers.Encrypt(ctx, []byte("hello?"), nil)
	failure(t, "encrypt", err, parley.PendingCommit, parley.Decide, "tea")
	s.shut(false)
	s.fail(slowDown, unavailable)
	ok(t, hers.Resolve(ctx, status.Unresolved[0].Bundle, parley.OfferAgain))
	if last := s.keys[len(s.keys)-1]; last != status.Unresolved[0].Key {
		t.Errorf("the service knows the commit as %s, the status says %s", last, status.Unresolved[0].Key)
	}
	s.fanOut(t, 3, his)
	agree(t, hers, his)

	s.fail(answerGone)
	named := parley.WithCommandID(ctx, "hello")
	first, err := hers.Send(named, []byte("hello"))
	ok(t, err)
	again, err := hers.Send(named, []byte("hello")) // encrypted anew, and the same submission
	ok(t, err)
	if texts := s.fanOut(t, 4, his); first != 5 || again != first || !slices.Equal(texts, []string{"hello"}) {
		t.Errorf("positions %d and %d, he read %q", first, again, texts)
	}
	ok(t, node.Insist(ctx, func(ctx context.Context) error { return his.Remove(ctx, "ada") }))
	s.fanOut(t, 5, hers)
	if exists, err := hers.Exists(ctx); err != nil || exists || len(s.strange) > 0 {
		t.Errorf("she is a member: %v, %v; the service wonders about %q", exists, err, s.strange)
	}
}
