package httptransport

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"parley/delivery"
	"parley/mlsengine"
)

// The bodies of requests and answers; encoding/json writes bytes as base64.
type (
	bundleBody struct {
		Client           []byte   `json:"client"`
		Epoch            uint64   `json:"epoch"`
		Commit           []byte   `json:"commit"`
		Welcome          []byte   `json:"welcome,omitempty"`
		GroupInfo        []byte   `json:"group_info"`
		EncryptedMessage []byte   `json:"encrypted_message,omitempty"`
		Proposals        [][]byte `json:"proposals,omitempty"`
	}
	proposalBody struct {
		Client   []byte `json:"client"`
		Proposal []byte `json:"proposal"`
	}
	messagesBody struct {
		Client   []byte        `json:"client"`
		Messages []messageBody `json:"messages"`
	}
	messageBody struct {
		ID      string `json:"id"`
		Message []byte `json:"message"`
	}
	positionAnswer struct {
		Position uint64 `json:"position"`
	}
	messagesAnswer struct {
		Receipts []receiptAnswer `json:"receipts"`
	}
	receiptAnswer struct {
		Position uint64 `json:"position"`
		problem
	}
	// problem is a refusal: the members of RFC 9457 that are looked at, and two of our own.
	problem struct {
		Title  string  `json:"title"`
		Detail string  `json:"detail"`
		Code   string  `json:"code"`
		Epoch  *uint64 `json:"epoch"`
	}
)

// SendCommitBundle implements delivery.Transport: 2xx is Success, 409 and 429 are Retry, any other refusal is Abort. An error means that
// the outcome is unknown.
func (t *Transport) SendCommitBundle(ctx context.Context, b delivery.Bundle) (delivery.Answer, error) {
	m, err := mlsengine.ParseMessage(b.Commit)
	if err != nil {
		return nil, &delivery.Error{Code: delivery.Malformed, Detail: err.Error()}
	}
	epoch := uint64(m.Epoch())
	got, err := t.post(ctx, b.Group, "commits", b.IdempotencyKey(), bundleBody{
		Client: []byte(b.Origin.Client), Epoch: epoch, Commit: b.Commit, Welcome: b.Welcome, GroupInfo: b.GroupInfo,
		EncryptedMessage: b.EncryptedMessage, Proposals: b.Proposals,
	})
	if err != nil {
		return nil, err
	}
	if got.status < 300 {
		var answer positionAnswer
		if err := decode(got.body, &answer); err != nil {
			return nil, err
		}
		return delivery.Success{Position: answer.Position}, nil
	}
	p := problemOf(got)
	switch got.status {
	case http.StatusConflict:
		if p.Epoch == nil {
			return nil, unknown("409 without the group's epoch")
		}
		return delivery.Retry{Epoch: *p.Epoch}, nil
	case http.StatusTooManyRequests, http.StatusTooEarly:
		return delivery.Retry{Epoch: epoch}, nil
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		// Our credentials are at fault, not the commit: with better ones the same bytes may win.
		return nil, &delivery.Error{Code: delivery.Unavailable, Detail: p.text()}
	}
	return delivery.Abort{Reason: p.text()}, nil
}

// SendProposal implements delivery.Transport. The number is 0 where the service gives none.
func (t *Transport) SendProposal(ctx context.Context, p delivery.Proposal) (uint64, error) {
	got, err := t.post(ctx, p.Group, "proposals", "proposal-"+identity(p.Origin, p.Message),
		proposalBody{Client: []byte(p.Origin.Client), Proposal: p.Message})
	if err != nil {
		return 0, err
	}
	if got.status >= 300 {
		return 0, refusal(got)
	}
	var answer positionAnswer
	err = decode(got.body, &answer)
	return answer.Position, err
}

// SendMessages implements delivery.Transport: one request for all of them, each with an id of its own, so that a service may take some and
// refuse others.
func (t *Transport) SendMessages(ctx context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	body := messagesBody{Client: []byte(ms[0].Origin.Client), Messages: make([]messageBody, len(ms))}
	all := sha256.New()
	for i, m := range ms {
		if m.Group != ms[0].Group || m.Origin.Client != ms[0].Origin.Client {
			return nil, &delivery.Error{Code: delivery.Malformed, Detail: "messages of several groups or clients"}
		}
		body.Messages[i] = messageBody{ID: identity(m.Origin, m.Bytes), Message: m.Bytes}
		all.Write([]byte(body.Messages[i].ID))
	}
	got, err := t.post(ctx, ms[0].Group, "messages", "messages-"+hex.EncodeToString(all.Sum(nil)), body)
	if err != nil {
		return nil, err
	}
	if got.status >= 300 {
		return nil, refusal(got)
	}
	var answer messagesAnswer
	if err := decode(got.body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Receipts) != len(ms) {
		return nil, unknown("%d receipts for %d messages", len(answer.Receipts), len(ms))
	}
	receipts := make([]delivery.Receipt, len(ms))
	for i, r := range answer.Receipts {
		receipts[i].Position = r.Position
		if r.Code != "" {
			receipts[i].Err = &delivery.Error{Code: delivery.Forbidden, Detail: r.text()}
		}
	}
	return receipts, nil
}

// post encodes and sends.
func (t *Transport) post(ctx context.Context, group delivery.GroupID, kind, key string, body any) (response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return response{}, &delivery.Error{Code: delivery.Malformed, Detail: err.Error()}
	}
	return t.send(ctx, request{group: group, kind: kind, key: key, body: encoded})
}

// identity names one submission for ever: its client and command id; without a command id, its bytes.
func identity(o delivery.Origin, message []byte) string {
	h := sha256.New()
	name := []byte(o.CommandID)
	if len(name) == 0 {
		digest := sha256.Sum256(message)
		name = digest[:]
	}
	for _, part := range [][]byte{[]byte(o.Client), name} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// token is how a group stands in a path: base64url without padding, of any length.
func token(g delivery.GroupID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(g))
}

// problemOf reads a refusal, whatever its form.
func problemOf(r response) problem {
	var p problem
	if json.Unmarshal(r.body, &p) != nil {
		p = problem{}
	}
	if p.Code == "" {
		p.Code = "http-" + http.StatusText(r.status)
	}
	return p
}

// text is the code, then the detail.
func (p problem) text() string {
	detail := p.Detail
	if detail == "" {
		detail = p.Title
	}
	if detail == "" {
		return bounded(p.Code)
	}
	return bounded(p.Code + ": " + detail)
}

// refusal is the typed error of a proposal or messages that were not taken.
func refusal(r response) error {
	p := problemOf(r)
	code := delivery.Forbidden
	switch r.status {
	case http.StatusConflict:
		code = delivery.WrongEpoch
	case http.StatusTooManyRequests, http.StatusTooEarly:
		code = delivery.Busy
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		code = delivery.Unavailable
	case http.StatusNotFound:
		code = delivery.UnknownGroup
	case http.StatusRequestEntityTooLarge:
		code = delivery.TooLarge
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		code = delivery.Invalid
	}
	e := &delivery.Error{Code: code, Detail: p.text()}
	if p.Epoch != nil {
		e.Epoch = *p.Epoch
	}
	return e
}
