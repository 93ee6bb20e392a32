// Package httptransport speaks to a foreign delivery service over HTTP. What it asks of that service is written down in
// docs/http-transport.md: three requests, each of them safe to repeat under its Idempotency-Key.
package httptransport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"parley/delivery"
)

// Defaults and bounds of a Config.
const (
	DefaultTimeout  = 10 * time.Second // of one request
	DefaultAttempts = 4                // of one call
	attemptsMax     = 10
	answerBytesMax  = 1 << 20
	detailBytesMax  = 1 << 10
	pauseMost       = 5 * time.Second // that a Retry-After may hold one call up
)

// ErrConfig is returned by New for a configuration that cannot work.
var ErrConfig = errors.New("httptransport: configuration")

// Config says where the delivery service is and how it is asked.
type Config struct {
	// BaseURL is the root of the service, such as https://ds.example/mls/v1. Plain http is taken for loopback addresses only.
	BaseURL string
	// Client makes the requests; nil: one of its own. Certificates of either side belong into its transport. It never follows redirects.
	Client *http.Client
	// Authorize is called for each request, to add its credentials; may be nil. An error of it ends the call: nothing was sent.
	Authorize func(*http.Request) error
	// Timeout bounds one request, its answer included; 0: DefaultTimeout.
	Timeout time.Duration
	// Attempts is how often a call asks at most while the outcome may still become known, 1 to 10; 0: DefaultAttempts. All attempts carry
	// identical bytes under one Idempotency-Key.
	Attempts int
}

// Transport carries a node's commits, proposals and messages to a foreign delivery service. It is safe for concurrent use and keeps nothing
// between calls.
type Transport struct {
	base      *url.URL
	client    *http.Client
	authorize func(*http.Request) error
	timeout   time.Duration
	attempts  int
}

var _ delivery.Transport = (*Transport)(nil)

// New checks a configuration. It does not connect.
func New(c Config) (*Transport, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	case base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())):
		return nil, fmt.Errorf("%w: %q is neither https nor http to this machine", ErrConfig, base.Redacted())
	case base.Host == "" || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("%w: %q is no root of a service", ErrConfig, base.Redacted())
	case c.Timeout < 0 || c.Attempts < 0 || c.Attempts > attemptsMax:
		return nil, fmt.Errorf("%w: timeout %v, attempts %d", ErrConfig, c.Timeout, c.Attempts)
	}
	client := http.Client{}
	if c.Client != nil {
		client = *c.Client
	}
	// A redirected POST might lose its body or its credentials, or hand either to a stranger.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t := &Transport{base: base, client: &client, authorize: c.Authorize, timeout: c.Timeout, attempts: c.Attempts}
	if t.timeout == 0 {
		t.timeout = DefaultTimeout
	}
	if t.attempts == 0 {
		t.attempts = DefaultAttempts
	}
	return t, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// request is one submission: the same bytes under the same key in each attempt.
type request struct {
	group delivery.GroupID
	kind  string // last element of the path
	key   string
	body  []byte
}

// response is what the service said: a status below 300 with its body, or a refusal.
type response struct {
	status int
	body   []byte
	pause  time.Duration // Retry-After
}

// send asks until there is an answer that settles the request, the attempts are over, or ctx ends. After an error nobody knows the outcome.
func (t *Transport) send(ctx context.Context, r request) (response, error) {
	var got response
	var err error
	for i := range t.attempts {
		if got, err = t.ask(ctx, r); err == nil && !passing(got.status) || errors.Is(err, errUnsent) {
			break
		}
		if i == t.attempts-1 || !pause(ctx, got.pause, i) {
			break
		}
	}
	if errors.Is(err, errUnsent) {
		return got, &delivery.Error{Code: delivery.Unavailable, Detail: bounded(err.Error())}
	}
	if err != nil {
		return got, err
	}
	if got.status >= 500 || got.status == http.StatusRequestTimeout || got.status < 200 || got.status >= 300 && got.status < 400 {
		return got, unknown("the delivery service answers %d", got.status)
	}
	return got, nil
}

// errUnsent tells failures before the first byte left.
var errUnsent = errors.New("httptransport: not sent")

// passing are statuses behind which the identical request may find another answer.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// pause waits before a repetition, at least as long as the service asked for.
func pause(ctx context.Context, asked time.Duration, attempt int) bool {
	if asked > 0 {
		timer := time.NewTimer(min(asked, pauseMost))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	return delivery.Backoff(ctx, attempt)
}

// ask is one attempt.
func (t *Transport) ask(ctx context.Context, r request) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	target := t.base.JoinPath("groups", token(r.group), r.kind)
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return response{}, fmt.Errorf("%w: %w", errUnsent, err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json, application/problem+json")
	q.Header.Set("Idempotency-Key", `"`+r.key+`"`)
	if t.authorize != nil {
		if err := t.authorize(q); err != nil {
			return response{}, fmt.Errorf("%w: authorize: %w", errUnsent, err)
		}
	}
	answer, err := t.client.Do(q)
	if err != nil {
		return response{}, unknown("%v", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax+1))
	switch {
	case err != nil:
		return response{}, unknown("read the answer: %v", err)
	case len(body) > answerBytesMax:
		return response{}, unknown("the answer is longer than %d bytes", answerBytesMax)
	}
	return response{status: answer.StatusCode, body: body, pause: retryAfter(answer.Header)}, jsonOnly(answer, body)
}

// jsonOnly refuses a success that something else than the service must have said, such as a portal on the way.
func jsonOnly(answer *http.Response, body []byte) error {
	if answer.StatusCode >= 300 || len(body) == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return unknown("the answer is %q, not application/json", answer.Header.Get("Content-Type"))
	}
	return nil
}

// retryAfter reads the header of that name; only its form in seconds, since a date needs the other side's clock.
func retryAfter(h http.Header) time.Duration {
	seconds, err := time.ParseDuration(h.Get("Retry-After") + "s")
	if err != nil || seconds < 0 {
		return 0
	}
	return seconds
}

func unknown(format string, args ...any) error {
	return &delivery.Error{Code: delivery.Unknown, Detail: bounded(fmt.Sprintf(format, args...))}
}

// bounded makes what a service says fit for the log: short, and text at all.
func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), detailBytesMax)], "")
}

// decode reads a successful answer. One that cannot be read leaves the outcome unknown: the service has done something.
func decode(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return unknown("the answer does not parse: %v", err)
	}
	return nil
}
