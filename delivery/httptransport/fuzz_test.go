package httptransport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"parley/delivery"
	"parley/delivery/httptransport"
)

// oneAnswer is a delivery service that says the same to everybody.
type oneAnswer struct {
	status int
	header http.Header
	body   []byte
}

func (a oneAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

// FuzzAnswers: whatever a foreign service says, a call ends in an outcome that fits the status or in an error with a code, and what goes on from
// there is bounded text.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"position": 7}`, `{"receipts": [{"position": 3}, {"code": "too-large", "detail": "x"}]}`, `{"code": "stale", "epoch": 9}`,
		`{"title": "no", "detail": "é"}`, `[]`, ``, `{"position": -1}`, `<html>`,
		`{"code": "x", "detail": "` + strings.Repeat("é", 1000) + `"}`,
	} {
		for _, status := range []uint16{200, 204, 302, 400, 409, 429, 500} {
			f.Add(status, "application/json", "1", []byte(body))
		}
	}
	commit := commitOfEpoch7(f)
	f.Fuzz(func(t *testing.T, status uint16, kind, after string, body []byte) {
		header := http.Header{"Content-Type": {kind}, "Retry-After": {after}}
		client := &http.Client{Transport: oneAnswer{status: int(status), header: header, body: body}}
		transport, err := httptransport.New(httptransport.Config{BaseURL: "https://ds.example/v1", Client: client, Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, origin := context.Background(), delivery.Origin{Client: "ada", CommandID: "1"}
		answer, err := transport.SendCommitBundle(ctx, delivery.Bundle{Group: "tea", Origin: origin, Commit: commit})
		judge(t, err)
		switch answer := answer.(type) {
		case delivery.Success:
			if status < 200 || status >= 300 {
				t.Errorf("status %d is a success", status)
			}
		case delivery.Abort:
			text(t, answer.Reason)
		case nil:
			if err == nil {
				t.Error("neither an answer nor an error")
			}
		}
		_, err = transport.SendProposal(ctx, delivery.Proposal{Group: "tea", Origin: origin, Message: []byte("proposal")})
		judge(t, err)
		messages := []delivery.Message{{Group: "tea", Origin: origin, Bytes: []byte("one")}, {Group: "tea", Origin: origin, Bytes: []byte("two")}}
		receipts, err := transport.SendMessages(ctx, messages)
		judge(t, err)
		if err == nil && len(receipts) != len(messages) {
			t.Errorf("%d receipts for %d messages", len(receipts), len(messages))
		}
		for _, r := range receipts {
			judge(t, r.Err)
		}
	})
}

func judge(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var e *delivery.Error
	if !errors.As(err, &e) || e.Code == 0 {
		t.Fatalf("an error without a code: %v", err)
	}
	text(t, e.Detail)
}

func text(t *testing.T, s string) {
	t.Helper()
	if len(s) > 1<<10 || !utf8.ValidString(s) {
		t.Errorf("%d bytes %q", len(s), s)
	}
}
