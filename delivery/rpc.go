package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
)

// A request that is larger than one message travels in parts, on one connection and so in order; the last part asks for the answer.
const (
	headerRequest = "Parley-Request"
	headerPart    = "Parley-Part"
	headerParts   = "Parley-Parts"

	partBytes     = 512 << 10
	partsMax      = 128
	partsAge      = 30 * time.Second
	requestsAtOne = 256 // requests one share's server works on at a time
)

// rpcSubject is where a share's submissions go.
func rpcSubject(namespace string, share uint32) string {
	return namespace + ".rpc." + strconv.FormatUint(uint64(share), 10)
}

// remote submits to the node that serves a group's share.
type remote struct {
	nc        *nats.Conn
	namespace string
	node      string
	timeout   time.Duration
}

// submit makes one attempt. An error matching Unavailable or NotHere says that nothing was done; Unknown that nobody can say.
func (r *remote) submit(ctx context.Context, share uint32, g GroupID, subs []Submission) ([]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	request := requestTo(g, subs, r.node)
	if deadline, ok := ctx.Deadline(); ok {
		request.TimeoutMs = uint64(max(time.Until(deadline).Milliseconds(), 1))
	}
	encoded, err := proto.Marshal(request)
	if err != nil {
		return nil, failed(Malformed, "encode a request", err)
	}
	msg, err := r.send(ctx, rpcSubject(r.namespace, share), encoded)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, refuse(Unavailable, "no node serves share %d", share)
	case err != nil:
		return nil, failed(Unknown, fmt.Sprintf("ask share %d", share), err)
	}
	response := &deliveryv1.Response{}
	if err := proto.Unmarshal(msg.Data, response); err != nil {
		return nil, failed(Unknown, "read an answer", err)
	}
	return outcomesFrom(response, len(subs))
}

func (r *remote) send(ctx context.Context, subject string, encoded []byte) (*nats.Msg, error) {
	parts := (len(encoded) + partBytes - 1) / partBytes
	if parts > partsMax {
		return nil, refuse(TooLarge, "%d bytes", len(encoded))
	}
	id := rand.Text()
	for i := 0; ; i++ {
		msg := nats.NewMsg(subject)
		msg.Header.Set(headerRequest, id)
		msg.Header.Set(headerPart, strconv.Itoa(i))
		msg.Header.Set(headerParts, strconv.Itoa(max(parts, 1)))
		msg.Data = encoded[min(i*partBytes, len(encoded)):min((i+1)*partBytes, len(encoded))]
		if i >= parts-1 {
			return r.nc.RequestMsgWithContext(ctx, msg)
		}
		if err := r.nc.PublishMsg(msg); err != nil {
			return nil, err
		}
	}
}

// shareServer answers the requests of one share. It belongs to the service; close ends every request it works on.
type shareServer struct {
	host  Host
	clock func() time.Time
	limit int // of unfinished multi-part requests

	ctx    context.Context
	cancel context.CancelFunc
	sub    *nats.Subscription
	work   sync.WaitGroup
	slots  chan struct{}

	parts map[string]*partial // owned by the subscription's goroutine
}

// partial is a request of which not all parts have come.
type partial struct {
	next  int
	data  []byte
	since time.Time
}

func serveShare(nc *nats.Conn, subject string, host Host, c *Config) (*shareServer, error) {
	s := &shareServer{
		host: host, clock: c.Clock, limit: c.Limits.RemoteParts, slots: make(chan struct{}, requestsAtOne), parts: map[string]*partial{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sub, err := nc.Subscribe(subject, s.receive)
	if err != nil {
		s.cancel()
		return nil, failed(Unavailable, "serve a share", err)
	}
	s.sub = sub
	if err := nc.Flush(); err != nil { // requests find us from here on
		s.close()
		return nil, failed(Unavailable, "serve a share", err)
	}
	return s, nil
}

// close stops taking requests, ends those in work and waits for them.
func (s *shareServer) close() {
	_ = s.sub.Unsubscribe() // an unsubscribed or closed connection has the same effect
	s.cancel()
	s.work.Wait()
}

func (s *shareServer) receive(msg *nats.Msg) {
	encoded, whole := s.collect(msg)
	if !whole {
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		respond(msg, &deliveryv1.Response{Failure: failureTo(refuse(Busy, "%d requests in work", requestsAtOne))})
		return
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer func() { <-s.slots }()
		respond(msg, s.answer(encoded))
	}()
}

// collect puts the parts of a request together; out of order or beyond a bound they are dropped, and their sender times out.
func (s *shareServer) collect(msg *nats.Msg) ([]byte, bool) {
	id := msg.Header.Get(headerRequest)
	part, err := strconv.Atoi(msg.Header.Get(headerPart))
	parts, err2 := strconv.Atoi(msg.Header.Get(headerParts))
	if err != nil || err2 != nil || id == "" || parts < 1 || parts > partsMax || part < 0 || part >= parts {
		return nil, false
	}
	if parts == 1 {
		return msg.Data, true
	}
	p := s.parts[id]
	if part == 0 {
		s.forgetOld()
		if len(s.parts) >= s.limit {
			return nil, false
		}
		p = &partial{since: s.clock()}
		s.parts[id] = p
	}
	if p == nil || p.next != part {
		delete(s.parts, id)
		return nil, false
	}
	p.data = append(p.data, msg.Data...)
	p.next++
	if p.next < parts {
		return nil, false
	}
	delete(s.parts, id)
	return p.data, true
}

func (s *shareServer) forgetOld() {
	for id, p := range s.parts {
		if s.clock().Sub(p.since) > partsAge {
			delete(s.parts, id)
		}
	}
}

func (s *shareServer) answer(encoded []byte) *deliveryv1.Response {
	request := &deliveryv1.Request{}
	if err := proto.Unmarshal(encoded, request); err != nil {
		return &deliveryv1.Response{Failure: failureTo(failed(Malformed, "read a request", err))}
	}
	subs, refused := submissionsFrom(request)
	if refused != nil {
		return &deliveryv1.Response{Failure: failureTo(refused)}
	}
	const waitMsMax = 60_000
	ctx, cancel := context.WithTimeout(s.ctx, time.Duration(min(request.TimeoutMs, waitMsMax))*time.Millisecond)
	defer cancel()
	outcomes, err := s.host.Submit(ctx, GroupID(request.Group), subs)
	if err != nil {
		return &deliveryv1.Response{Failure: failureTo(err)}
	}
	return responseTo(outcomes)
}

// respond answers; an answer that is lost makes the sender ask again, and the same outcome comes out.
func respond(msg *nats.Msg, r *deliveryv1.Response) {
	encoded, err := proto.Marshal(r)
	if err != nil {
		return
	}
	_ = msg.Respond(encoded)
}
