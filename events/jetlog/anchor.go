package jetlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
)

// LoadAnchor reads the anchor beside a ring from the leader.
func (r *Rings) LoadAnchor(ctx context.Context, id events.LogID) (data []byte, revision uint64, err error) {
	at, err := r.s.names.beside(StreamAnchors, id)
	if err != nil {
		return nil, 0, err
	}
	m, _, err := r.s.get(ctx, at.stream, getRequest{LastFor: at.subject})
	return m.Data, m.Sequence, err
}

// StoreAnchors replaces the anchors of several logs, all or none. They live in one stream: logs whose clients, or groups, share a
// partition. The stream keeps one message of each subject.
func (r *Rings) StoreAnchors(ctx context.Context, as []events.AnchorWrite) (revisions []uint64, err error) {
	msgs, stream, err := r.anchors(as)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.s.bound(ctx)
	defer cancel()
	if err := r.s.awaitConnection(ctx); err != nil {
		return nil, err
	}
	var last uint64
	if len(msgs) == 1 {
		last, err = r.s.publish(ctx, msgs[0], stream)
	} else {
		last, err = r.s.publishBatch(ctx, msgs, stream)
	}
	if errors.Is(err, events.ErrFenced) {
		return nil, fmt.Errorf("%w: %w", events.ErrConflict, err)
	}
	if err != nil {
		return nil, err
	}
	revisions = make([]uint64, len(as))
	for i := range revisions {
		revisions[i] = last - uint64(len(as)-1-i)
	}
	return revisions, nil
}

func (r *Rings) anchors(as []events.AnchorWrite) (msgs []*nats.Msg, stream string, err error) {
	if len(as) == 0 {
		return nil, "", errEmptyAppend
	}
	if len(as) > batchMessagesMax {
		return nil, "", fmt.Errorf("%w: %d anchors in one batch, at most %d", events.ErrTooLarge, len(as), batchMessagesMax)
	}
	seen := make(map[string]bool, len(as))
	for _, a := range as {
		at, err := r.s.names.beside(StreamAnchors, a.Log)
		if err != nil {
			return nil, "", err
		}
		switch {
		case stream != "" && at.stream != stream:
			return nil, "", fmt.Errorf("jetlog: the anchor of %s is in stream %s, the batch in %s", a.Log, at.stream, stream)
		case seen[at.subject]:
			return nil, "", fmt.Errorf("jetlog: the anchor of %s is in the batch twice", a.Log)
		}
		seen[at.subject], stream = true, at.stream
		msg := &nats.Msg{Subject: at.subject, Header: at.header(), Data: a.Data}
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(a.Expect, 10))
		msgs = append(msgs, msg)
	}
	return msgs, stream, r.s.fits(msgs)
}

// deleteAnchor removes the anchor beside a ring; one that does not exist is no error.
func (r *Rings) deleteAnchor(ctx context.Context, id events.LogID) error {
	_, revision, err := r.LoadAnchor(ctx, id)
	if errors.Is(err, events.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := r.s.names.beside(StreamAnchors, id)
	if err != nil {
		return err
	}
	request := struct {
		Sequence uint64 `json:"seq"`
		NoErase  bool   `json:"no_erase"`
	}{revision, true}
	err = r.s.call(ctx, "STREAM.MSG.DELETE."+at.stream, request, &struct{}{})
	if errors.Is(err, events.ErrNotFound) {
		return nil
	}
	return err
}
