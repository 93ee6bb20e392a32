package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
)

const apiPrefix = "$JS.API."

// Error codes of nats-server's JetStream.
const (
	codeAccountResources     jetstream.ErrorCode = 10002
	codeNoSuitablePeers      jetstream.ErrorCode = 10005
	codeNotAvailable         jetstream.ErrorCode = 10008
	codeNotLeader            jetstream.ErrorCode = 10009
	codeInsufficient         jetstream.ErrorCode = 10023
	codeMessageNotFound      jetstream.ErrorCode = 10037
	codeSequenceNotFound     jetstream.ErrorCode = 10043
	codeStorage              jetstream.ErrorCode = 10047
	codeMessageTooLarge      jetstream.ErrorCode = 10054
	codeNameInUse            jetstream.ErrorCode = 10058
	codeStreamNotFound       jetstream.ErrorCode = 10059
	codeWrongLastSequence    jetstream.ErrorCode = 10071 // the winner is stored
	codeNotEnabled           jetstream.ErrorCode = 10076
	codeStoreFailed          jetstream.ErrorCode = 10077 // a limit of the stream
	codeStreamOffline        jetstream.ErrorCode = 10118
	codeExpectationBusy      jetstream.ErrorCode = 10163
	codeWrongLastSequenceTo  jetstream.ErrorCode = 10164 // the winner is in flight
	codeTooManyRequests      jetstream.ErrorCode = 10167
	codeBatchIncomplete      jetstream.ErrorCode = 10176
	codeStreamOfflineReason  jetstream.ErrorCode = 10194
	codeBatchTooLarge        jetstream.ErrorCode = 10199
	codeBatchTooManyInFlight jetstream.ErrorCode = 10210
)

// lostRace is the one predicate for a refused expectation. A single server answers 10071, or 10164 inside a batch; a replicated
// stream answers either, by whether the rival write is stored or still in flight.
func lostRace(code jetstream.ErrorCode) bool {
	return code == codeWrongLastSequence || code == codeWrongLastSequenceTo
}

// refused translates a definite refusal by the server: nothing was stored.
func refused(err *jetstream.APIError) error {
	switch code := err.ErrorCode; {
	case lostRace(code):
		return fmt.Errorf("%w: %w", events.ErrFenced, err)
	case code == codeStoreFailed, code == codeInsufficient, code == codeStorage, code == codeAccountResources:
		return fmt.Errorf("%w: %w", events.ErrFull, err)
	case code == codeMessageTooLarge, code == codeBatchTooLarge:
		return fmt.Errorf("%w: %w", events.ErrTooLarge, err)
	case code == codeMessageNotFound, code == codeSequenceNotFound:
		return fmt.Errorf("%w: %w", events.ErrNotFound, err)
	case code == codeNotAvailable, code == codeNotLeader, code == codeNotEnabled, code == codeStreamOffline, code == codeStreamOfflineReason,
		code == codeExpectationBusy, code == codeTooManyRequests, code == codeBatchIncomplete, code == codeBatchTooManyInFlight,
		code == codeNoSuitablePeers, code == codeStreamNotFound:
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return fmt.Errorf("refused by the store: %w", err)
}

// hasCode reports whether err is the server's refusal with that code.
func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// call asks the JetStream API for something that may be asked again. Any failure to get an answer is ErrUnavailable.
func (s *Store) call(ctx context.Context, subject string, request, response any) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.awaitConnection(ctx); err != nil {
		return err
	}
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return fmt.Errorf("jetlog: %w", err)
		}
	}
	msg, err := s.nc.RequestWithContext(ctx, apiPrefix+subject, body)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", events.ErrUnavailable, subject, err)
	}
	var failure struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failure); err != nil {
		return fmt.Errorf("%w: %s: %w", events.ErrUnavailable, subject, err)
	}
	if failure.Error != nil {
		return refused(failure.Error)
	}
	if err := json.Unmarshal(msg.Data, response); err != nil {
		return fmt.Errorf("%w: %s: %w", events.ErrUnavailable, subject, err)
	}
	return nil
}

// bound gives a context without a deadline the store's patience.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.config.Patience)
}

// awaitConnection returns when there is a connection: a write handed to the client library while there is none would be lost or,
// worse, buffered. It is ErrUnavailable where ctx ends first; nothing was sent then.
func (s *Store) awaitConnection(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	if s.nc.Status() == nats.CONNECTED {
		return nil
	}
	changes := s.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer s.nc.RemoveStatusListener(changes)
	for {
		switch s.nc.Status() {
		case nats.CONNECTED:
			return nil
		case nats.CLOSED:
			return fmt.Errorf("%w: %w", events.ErrUnavailable, nats.ErrConnectionClosed)
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("%w: no connection: %w", events.ErrUnavailable, ctx.Err())
		}
	}
}

// streamInfo is what a stream's leader says of it.
type streamInfo struct {
	Config json.RawMessage `json:"config"`
	State  struct {
		Messages uint64                    `json:"messages"`
		FirstSeq uint64                    `json:"first_seq"`
		LastSeq  uint64                    `json:"last_seq"`
		Deleted  uint64                    `json:"num_deleted"`
		Subjects map[string]uint64         `json:"subjects"`
		Lost     *jetstream.LostStreamData `json:"lost"`
	} `json:"state"`
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

type infoRequest struct {
	DeletedDetails bool   `json:"deleted_details,omitempty"`
	SubjectsFilter string `json:"subjects_filter,omitempty"`
	Offset         int    `json:"offset,omitempty"`
}

func (s *Store) info(ctx context.Context, stream string) (streamInfo, error) {
	var info streamInfo
	err := s.call(ctx, "STREAM.INFO."+stream, infoRequest{}, &info)
	return info, err
}

// subjects calls fn with every subject of a stream that matches the filter and how many messages it has.
func (s *Store) subjects(ctx context.Context, stream, filter string, fn func(subject string, messages uint64)) error {
	for offset := 0; ; {
		var page streamInfo
		err := s.call(ctx, "STREAM.INFO."+stream, infoRequest{SubjectsFilter: filter, Offset: offset}, &page)
		if err != nil {
			return err
		}
		for subject, messages := range page.State.Subjects {
			fn(subject, messages)
		}
		offset += len(page.State.Subjects)
		if len(page.State.Subjects) == 0 || offset >= page.Total {
			return nil
		}
	}
}

// count is how many messages the leader's index has for a subject.
func (s *Store) count(ctx context.Context, p place) (messages uint64, err error) {
	if s.gone[p.stream] {
		return 0, nil
	}
	err = s.subjects(ctx, p.stream, p.subject, func(_ string, n uint64) { messages += n })
	return messages, err
}

// getRequest asks a stream's leader for one message.
type getRequest struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
}

// get is a raw read from the leader.
func (s *Store) get(ctx context.Context, stream string, request getRequest) (events.Message, nats.Header, error) {
	var response struct {
		Message struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
			Time     string `json:"time"`
		} `json:"message"`
	}
	if s.gone[stream] {
		return events.Message{}, nil, fmt.Errorf("%w: stream %s is gone", events.ErrNotFound, stream)
	}
	if err := s.call(ctx, "STREAM.MSG.GET."+stream, request, &response); err != nil {
		return events.Message{}, nil, err
	}
	m := response.Message
	at, err := parseTime(m.Time)
	if err != nil {
		return events.Message{}, nil, err
	}
	var header nats.Header
	if len(m.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return events.Message{}, nil, fmt.Errorf("%w: header of message %d: %w", events.ErrUnavailable, m.Sequence, err)
		}
	}
	return events.Message{Sequence: m.Sequence, Data: m.Data, Time: at}, header, nil
}
