package httptransport_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/delivery"
	"parley/delivery/httptransport"
)

// script is a delivery service that answers one request after another; what it was asked is kept.
type script struct {
	mu      sync.Mutex
	answers []answer
	asked   []asked
}

type answer struct {
	status int
	kind   string // content type; empty: application/json
	body   string
	after  string // Retry-After
	hang   bool   // the connection breaks instead
}

type asked struct {
	path, key, auth, body string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, asked{r.URL.Path, r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), string(body)})
	a := answer{status: http.StatusInternalServerError}
	if len(s.answers) > 0 {
		a, s.answers = s.answers[0], s.answers[1:]
	}
	s.mu.Unlock()
	if a.hang {
		panic(http.ErrAbortHandler)
	}
	if a.kind == "" {
		a.kind = "application/json"
	}
	w.Header().Set("Content-Type", a.kind)
	if a.after != "" {
		w.Header().Set("Retry-After", a.after)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func service(t *testing.T, answers ...answer) (*script, *httptransport.Transport) {
	t.Helper()
	s := &script{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := server.Client()
	transport, err := httptransport.New(httptransport.Config{
		BaseURL: server.URL + "/mls/v1", Client: client, Attempts: 3,
		Authorize: func(r *http.Request) error { r.Header.Set("Authorization", "Bearer t"); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, transport
}

// commitOfEpoch7 is the beginning of a PrivateMessage: enough for whoever looks for its epoch.
func commitOfEpoch7(t testing.TB) []byte {
	t.Helper()
	m := []byte{0, 1, 0, 2, 1, 'g'}
	m = append(m, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0, 1, 0)
	return append(m, 1, 0)
}

func bundle(t *testing.T) delivery.Bundle {
	return delivery.Bundle{Group: "g", Origin: delivery.Origin{Client: "ann"}, Commit: commitOfEpoch7(t), GroupInfo: []byte("info")}
}

func TestAnswersToACommit(t *testing.T) {
	cases := []struct {
		name    string
		answers []answer
		want    delivery.Answer
		code    delivery.Code // of the error instead
		asks    int
	}{
		{"accepted", []answer{{status: 200, body: `{"position":12}`}}, delivery.Success{Position: 12}, 0, 1},
		{"accepted without a body", []answer{{status: 204}}, delivery.Success{}, 0, 1},
		{"behind", []answer{{status: 409, body: `{"code":"behind","epoch":9}`}}, delivery.Retry{Epoch: 9}, 0, 1},
		{"conflict that names no epoch", []answer{{status: 409}}, nil, delivery.Unknown, 1},
		{"refused", []answer{{status: 422, body: `{"code":"invalid","detail":"bad tree"}`}}, delivery.Abort{Reason: "invalid: bad tree"}, 0, 1},
		{"refused in plain text", []answer{{status: 403, kind: "text/plain", body: "no"}}, delivery.Abort{Reason: "http-Forbidden"}, 0, 1},
		{"our token is stale", []answer{{status: 401, body: `{"code":"token"}`}}, nil, delivery.Unavailable, 1},
		{"slow down, then accepted", []answer{{status: 429}, {status: 200}}, delivery.Success{}, 0, 2},
		{"slow down for good", []answer{{status: 429}, {status: 429}, {status: 429}}, delivery.Retry{Epoch: 7}, 0, 3},
		{"answer lost, then the first outcome", []answer{{hang: true}, {status: 200, body: `{"position":3}`}}, delivery.Success{Position: 3}, 0, 2},
		{"down", []answer{{status: 503}, {status: 502}, {status: 500}}, nil, delivery.Unknown, 3},
		{"a portal on the way", []answer{{status: 200, kind: "text/html", body: "<html>"}, {status: 200, kind: "text/html", body: "x"}, {status: 502}},
			nil, delivery.Unknown, 3},
		{"redirected", []answer{{status: 302}}, nil, delivery.Unknown, 1},
		{"garbage where the position stands", []answer{{status: 200, body: `{"position":"x"}`}}, nil, delivery.Unknown, 1},
		{"an answer without end", []answer{{status: 200, body: strings.Repeat("x", 2<<20)}, {status: 204}}, delivery.Success{}, 0, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, transport := service(t, c.answers...)
			got, err := transport.SendCommitBundle(t.Context(), bundle(t))
			if got != c.want || delivery.CodeOf(err) != c.code {
				t.Errorf("got %#v, %v; want %#v, %v", got, err, c.want, c.code)
			}
			if len(s.asked) != c.asks {
				t.Fatalf("asked %d times, want %d", len(s.asked), c.asks)
			}
			for _, a := range s.asked {
				if a != s.asked[0] {
					t.Errorf("a repetition differs: %+v and %+v", a, s.asked[0])
				}
			}
			if a := s.asked[0]; a.path != "/mls/v1/groups/Zw/commits" || len(a.key) < 64 || a.auth != "Bearer t" {
				t.Errorf("asked %+v", a)
			}
		})
	}
}

func TestMessagesAreJudgedOneByOne(t *testing.T) {
	s, transport := service(t, answer{status: 200, body: `{"receipts":[{"position":4},{"code":"too-old"}]}`}, answer{status: 200, body: `{"receipts":[]}`})
	ms := []delivery.Message{
		{Group: "g", Origin: delivery.Origin{Client: "ann", CommandID: "1"}, Bytes: []byte("a")},
		{Group: "g", Origin: delivery.Origin{Client: "ann", CommandID: "2"}, Bytes: []byte("b")},
	}
	got, err := transport.SendMessages(t.Context(), ms)
	if err != nil || got[0].Position != 4 || got[0].Err != nil || !errors.Is(got[1].Err, delivery.Forbidden) {
		t.Fatalf("got %+v, %v", got, err)
	}
	// A retry encrypts anew: other bytes under the same command are the same submission.
	ms[0].Bytes = []byte("c")
	if _, err := transport.SendMessages(t.Context(), ms); !errors.Is(err, delivery.Unknown) {
		t.Errorf("receipts are missing, and the answer is %v", err)
	}
	if s.asked[0].key != s.asked[1].key {
		t.Error("a repeated command has another key")
	}
	var body struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.asked[0].body), &body); err != nil || len(body.Messages) != 2 || body.Messages[0].ID == body.Messages[1].ID {
		t.Errorf("messages have no names of their own: %s", s.asked[0].body)
	}
}

func TestProposalsAreRefusedWithTypes(t *testing.T) {
	cases := map[int]delivery.Code{
		200: 0, 409: delivery.WrongEpoch, 404: delivery.UnknownGroup, 413: delivery.TooLarge, 422: delivery.Invalid, 403: delivery.Forbidden, 401: delivery.Unavailable,
	}
	for status, want := range cases {
		_, transport := service(t, answer{status: status, body: `{"position":5,"epoch":8}`})
		position, err := transport.SendProposal(t.Context(), delivery.Proposal{Group: "g", Origin: delivery.Origin{Client: "ann"}, Message: []byte("p")})
		if delivery.CodeOf(err) != want || want == 0 && position != 5 {
			t.Errorf("%d: %d, %v; want %v", status, position, err, want)
		}
	}
}

func TestNothingIsSentWithoutCredentials(t *testing.T) {
	s := &script{}
	server := httptest.NewServer(s)
	defer server.Close()
	transport, err := httptransport.New(httptransport.Config{BaseURL: server.URL, Client: server.Client(),
		Authorize: func(*http.Request) error { return errors.New("no token") }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.SendCommitBundle(t.Context(), bundle(t)); delivery.CodeOf(err) != delivery.Unavailable || len(s.asked) != 0 {
		t.Errorf("%v, asked %d times", err, len(s.asked))
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	_, transport := service(t, answer{status: 503, after: "3600"}, answer{status: 503, after: "3600"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := transport.SendCommitBundle(ctx, bundle(t)); delivery.CodeOf(err) != delivery.Unknown {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	for _, c := range []httptransport.Config{
		{}, {BaseURL: "http://ds.example"}, {BaseURL: "ftp://127.0.0.1"}, {BaseURL: "https://"}, {BaseURL: "https://a/?q=1"},
		{BaseURL: "https://a", Attempts: 11}, {BaseURL: "https://a", Timeout: -1}, {BaseURL: "https://a b"},
	} {
		if _, err := httptransport.New(c); !errors.Is(err, httptransport.ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := httptransport.New(httptransport.Config{BaseURL: "http://127.0.0.1:8080"}); err != nil {
		t.Error(err)
	}
}
