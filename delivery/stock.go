package delivery

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// StockKind says what the owner of key packages is to know.
type StockKind uint8

// The kinds of notices, numbered for ever.
const (
	StockLow          StockKind = 1 // few are left beside the one of last resort
	LastResortUsed    StockKind = 2 // somebody was given the one of last resort: whoever joins by it shares its keys
	LastResortExpires StockKind = 3 // the one of last resort lasts less than a week
	StockOut          StockKind = 4 // nothing is left: nobody can add the client
)

var stockNames = [...]string{StockLow: "low", LastResortUsed: "last resort used", LastResortExpires: "last resort expires", StockOut: "out"}

// String names the kind.
func (k StockKind) String() string {
	if int(k) < len(stockNames) {
		return stockNames[k]
	}
	return "unknown"
}

// StockNotice tells the owner of key packages that it has to publish new ones. It comes again until it is acknowledged, and then not before
// others were published, however many are claimed.
type StockNotice struct {
	Client  ids.ClientID
	Suite   uint16 // cipher suite
	Kind    StockKind
	Left    int       // claimable, those of last resort not counted
	Expires time.Time // of the one of last resort; zero: there is none
	ref     []byte
}

// ID names the notice: the same one has the same name on whatever node.
func (n StockNotice) ID() string {
	return fmt.Sprintf("key packages/%d/%d/%s", n.Suite, n.Kind, hex.EncodeToString(n.ref))
}

// lastResortSoon is how long before its end the owner of a key package of last resort is told.
const lastResortSoon = 7 * 24 * time.Hour

// noticedKept bounds the acknowledged notices a directory remembers. Those about what is on offer now are among the newest.
const noticedKept = 64

type newest struct {
	suite uint16
	ref   []byte
}

type noticed struct {
	kind StockKind
	ref  string
}

func (s *directoryState) published(suite uint16, ref []byte) {
	for i := range s.newest {
		if s.newest[i].suite == suite {
			s.newest[i].ref = ref
			return
		}
	}
	s.newest = append(s.newest, newest{suite: suite, ref: ref})
}

func (s *directoryState) acknowledged(n noticed) {
	s.noticed = append(s.noticed, n)
	if extra := len(s.noticed) - noticedKept; extra > 0 {
		s.noticed = slices.Delete(s.noticed, 0, extra)
	}
}

// notices is what the owner does not know yet. Few are left where no more than low are.
func (s *directoryState) notices(low int, nowMs uint64) (out []StockNotice) {
	for _, n := range s.newest {
		left := s.count(n.suite, nowMs)
		last := s.lastResort(n.suite, nowMs)
		about := StockNotice{Client: s.client, Suite: n.suite, Left: left}
		if last != nil {
			about.Expires = time.Unix(int64(min(last.notAfter, 1<<40)), 0)
		}
		add := func(kind StockKind, ref []byte) {
			about.Kind, about.ref = kind, ref
			if !slices.Contains(s.noticed, noticed{kind: kind, ref: string(ref)}) {
				out = append(out, about)
			}
		}
		switch {
		case left == 0 && last == nil:
			add(StockOut, n.ref)
		case left <= low:
			add(StockLow, n.ref)
		}
		if last == nil {
			continue
		}
		if last.used {
			add(LastResortUsed, last.ref)
		}
		if last.notAfter < (nowMs+uint64(lastResortSoon.Milliseconds()))/1000 {
			add(LastResortExpires, last.ref)
		}
	}
	return out
}

// lastResort is the newest of last resort, nil where there is none.
func (s *directoryState) lastResort(suite uint16, nowMs uint64) *offered {
	for i := len(s.offered) - 1; i >= 0; i-- {
		if o := &s.offered[i]; o.lastResort && o.suite == suite && o.notAfter >= nowMs/1000 {
			return o
		}
	}
	return nil
}

// StockNotices lists what the owner of a client's key packages is to know and has not acknowledged. Few are left where no more than low are. A
// client that has never published any has none.
func (s *Service) StockNotices(ctx context.Context, c ids.ClientID, low int) (out []StockNotice, err error) {
	err = s.directories.with(ctx, c, events.Cause{}, func(d *directoryState) ([]events.Event, error) {
		out = d.notices(low, s.nowMs())
		return nil, nil
	})
	return out, err
}

// AcknowledgeStock says that the owner has a notice. It returns when that is durable.
func (s *Service) AcknowledgeStock(ctx context.Context, n StockNotice) error {
	cause := events.Cause{Command: "acknowledge-stock", Principal: n.Client.Text()}
	return s.directories.with(ctx, n.Client, cause, func(d *directoryState) ([]events.Event, error) {
		if slices.Contains(d.noticed, noticed{kind: n.Kind, ref: string(n.ref)}) {
			return nil, nil
		}
		return []events.Event{{Body: &eventsv1.StockNoticed{Kind: uint32(n.Kind), Ref: n.ref}}}, nil
	})
}

// stockSubject is where nodes hear of clients whose key packages were claimed.
func stockSubject(namespace string) string { return namespace + ".stock" }

// claimed tells the nodes that a client's stock has shrunk. It is a hint: whoever misses it looks now and then.
func (s *Service) claimed(c ids.ClientID) {
	_ = s.config.Conn.Publish(stockSubject(s.config.Namespace), []byte(c))
}

// WatchStock calls fn for clients whose key packages were claimed, on whatever node, until stop is called. It is a hint, at most once for each
// claim; fn must not block.
func (s *Service) WatchStock(fn func(ids.ClientID)) (stop func(), err error) {
	sub, err := s.config.Conn.Subscribe(stockSubject(s.config.Namespace), func(m *nats.Msg) {
		if len(m.Data) <= identityBytesMax {
			fn(ids.ClientID(m.Data))
		}
	})
	if err != nil {
		return nil, failed(Unavailable, "watch the key packages", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // a closed connection has the same effect
}
