package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"parley/events"
	"parley/internal/ids"
)

// readers are the orders this node has open for following.
type readers struct {
	service *Service

	mu   sync.Mutex
	open map[GroupID]*orderReader
}

func newReaders(s *Service) *readers { return &readers{service: s, open: map[GroupID]*orderReader{}} }

func (rs *readers) of(g GroupID) *orderReader {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.open[g]; r != nil {
		return r
	}
	if len(rs.open) >= rs.service.config.Limits.Readers {
		for other := range rs.open { // any: it is read again when it is asked for
			delete(rs.open, other)
			break
		}
	}
	r := &orderReader{service: rs.service, group: g}
	rs.open[g] = r
	return r
}

// orderReader reads one group's order for all who follow it on this node. It keeps a window of verified entries that ends where it has
// read to; whoever asks for something else is served from the log.
type orderReader struct {
	service *Service
	group   GroupID

	mu     sync.Mutex
	keys   *events.Keys // nil: not loaded
	head   events.Head  // newest record read; zero: none
	next   uint64       // number that follows the window
	window []placed
	bytes  int

	// fed says that the group's sequencer is on this node and hands every record over; known is the newest stream sequence at which
	// a record is known to stand. Where the window reaches that far it ends where the order does, and nobody needs to look.
	fed   atomic.Bool
	known atomic.Uint64
}

// grew gives followers on this node a record that its sequencer has just made durable, where their reader stands right before it: nobody
// needs to read back and verify what was written here. A reader that is busy, or stands elsewhere, reads it from the log.
func (rs *readers) grew(g GroupID, rec *events.Record) {
	rs.mu.Lock()
	r := rs.open[g]
	rs.mu.Unlock()
	if r == nil {
		return
	}
	r.learn(rec.Sequence)
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if r.head.Version == 0 || rec.Version != r.head.Version+1 || rec.Previous != r.head.Digest || rec.Incarnation != r.head.Incarnation {
		return
	}
	entries := EntriesOf(g, rec)
	for i, e := range entries {
		if e.Number != r.next+uint64(i) {
			return
		}
	}
	for _, e := range entries {
		r.push(e, rec.Sequence)
	}
	r.head = rec.Head
	r.trim(r.next)
	r.fed.Store(true)
}

// doubt makes followers look into the log again: nobody on this node knows any more where the order ends.
func (rs *readers) doubt(g GroupID) {
	rs.mu.Lock()
	r := rs.open[g]
	rs.mu.Unlock()
	if r != nil {
		r.fed.Store(false)
	}
}

// heard notes that a record stands at a stream sequence.
func (rs *readers) heard(g GroupID, sequence uint64) {
	rs.mu.Lock()
	r := rs.open[g]
	rs.mu.Unlock()
	if r != nil {
		r.learn(sequence)
	}
}

func (r *orderReader) learn(sequence uint64) {
	for known := r.known.Load(); sequence > known && !r.known.CompareAndSwap(known, sequence); known = r.known.Load() {
	}
}

// upToDate reports whether the window ends where the order does.
func (r *orderReader) upToDate() bool {
	return r.fed.Load() && r.head.Version > 0 && r.head.Sequence >= r.known.Load()
}

// placed is an entry and the stream sequence of its record.
type placed struct {
	entry    Entry
	sequence uint64
}

// errEnough ends a walk that has found what it wanted.
var errEnough = errors.New("enough")

// leader reads from the leader of the stream instead of any replica.
type leader struct{ events.Log }

// Read implements events.Source.
func (l leader) Read(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	return l.Scan(ctx, id, from, fn)
}

// walk gives verified records from a place on; members act on nothing whose MAC they have not checked. It returns the last place given.
func (r *orderReader) walk(ctx context.Context, source events.Source, from events.Head, fn func(*events.Record) error) (events.Head, error) {
	if r.keys == nil {
		keys, err := events.LoadKeys(ctx, r.service.stores.Rings, r.service.config.Vault, events.OrderLog(r.group))
		if errors.Is(err, events.ErrNotFound) {
			return events.Head{}, refuse(UnknownGroup, "%s", r.group)
		}
		if err != nil {
			return events.Head{}, coded(err)
		}
		r.keys = &keys
	}
	audit := events.OpenAudit(source, events.OrderLog(r.group), *r.keys, events.AuditOptions{})
	err := audit.Replay(ctx, from, fn)
	if err != nil && !errors.Is(err, errEnough) {
		return events.Head{}, coded(err)
	}
	return audit.Head(), nil
}

// follow returns up to limit entries from a number on, and fewer only where the order ends.
func (r *orderReader) follow(ctx context.Context, from uint64, limit int) ([]Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from = max(from, 1)
	if found := r.cached(from, limit); len(found) == limit || found != nil && r.upToDate() {
		return found, nil
	}
	if from == r.next && r.upToDate() {
		return nil, nil
	}
	// A follower at the window's end, or a little ahead of it, waits for what comes next, or slept while others did not.
	if r.continues(from) {
		if err := r.extend(ctx, from, limit); err == nil {
			found := r.cached(from, limit)
			if found == nil {
				err = r.checkAhead(ctx, from, r.next-1)
			}
			return found, err
		} else if !errors.Is(err, Damaged) {
			return nil, err
		}
		r.reset() // where we stood may have been purged: the log tells
	}
	return r.cold(ctx, from, limit)
}

// cached returns what of the wanted entries stands in the window, nil when the first does not.
func (r *orderReader) cached(from uint64, limit int) []Entry {
	if len(r.window) == 0 {
		return nil
	}
	first := r.window[0].entry.Number
	if from < first || from >= r.next {
		return nil
	}
	found := r.window[from-first:]
	found = found[:min(len(found), limit)]
	out := make([]Entry, len(found))
	for i := range found {
		out[i] = found[i].entry
	}
	return out
}

// continues reports whether reading on from the window's end gives what stands from a number on.
func (r *orderReader) continues(from uint64) bool {
	if r.head.Version == 0 {
		return false
	}
	if from >= r.next {
		return from-r.next < uint64(r.service.config.Limits.CachedEntries)
	}
	return len(r.window) > 0 && from >= r.window[0].entry.Number
}

func (r *orderReader) reset() {
	r.fed.Store(false)
	r.keys = nil
	r.head, r.next, r.window, r.bytes = events.Head{}, 0, nil, 0
}

// extend reads on from the window's end until it holds limit entries from a number on, or the log ends.
func (r *orderReader) extend(ctx context.Context, from uint64, limit int) error {
	head, err := r.walk(ctx, r.service.stores.Log, r.head, func(rec *events.Record) error {
		r.head = rec.Head
		for _, e := range EntriesOf(r.group, rec) {
			if e.Number != r.next {
				return refuse(Damaged, "entry %d where %d belongs", e.Number, r.next)
			}
			r.push(e, rec.Sequence)
		}
		r.trim(from)
		if r.next >= from+uint64(limit) {
			return errEnough
		}
		return nil
	})
	if err != nil {
		return err
	}
	if head.Version > 0 {
		r.head = head
	}
	return nil
}

func (r *orderReader) push(e Entry, sequence uint64) {
	r.window = append(r.window, placed{entry: e, sequence: sequence})
	r.bytes += e.size()
	r.next = e.Number + 1
}

// trim drops the window's oldest entries beyond its bounds, but none from a number on: its asker is to get it.
func (r *orderReader) trim(keep uint64) {
	l := &r.service.config.Limits
	drop := 0
	for drop < len(r.window)-1 && (len(r.window)-drop > l.CachedEntries || r.bytes > l.CachedBytes) && r.window[drop].entry.Number < keep {
		r.bytes -= r.window[drop].entry.size()
		drop++
	}
	clear(r.window[:drop])
	r.window = r.window[drop:] // pushing moves it now and then, and leaves the dropped behind
}

// cold reads entries from a number on out of the log. Where they lead further than the window, they become it.
func (r *orderReader) cold(ctx context.Context, from uint64, limit int) ([]Entry, error) {
	start, err := r.locate(ctx, func(rec *events.Record) side {
		last := lastNumber(rec)
		switch {
		case last == 0 || last >= from:
			return beyond
		case from-last <= 64:
			return nearby
		}
		return before
	})
	if err != nil {
		return nil, err
	}
	var found []placed
	first, last := uint64(0), start.last
	head, err := r.walk(ctx, r.service.stores.Log, start.head, func(rec *events.Record) error {
		if first == 0 {
			first = firstNumber(rec)
		}
		last = max(last, lastNumber(rec))
		for _, e := range EntriesOf(r.group, rec) {
			if e.Number >= from {
				found = append(found, placed{entry: e, sequence: rec.Sequence})
			}
		}
		if len(found) >= limit {
			return errEnough
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if start.head.Sequence == 0 && from < first {
		return nil, &Error{Code: Behind, Detail: "the entry was purged", First: first}
	}
	if len(found) == 0 {
		if last+1 == from && from > r.next {
			r.reset()
			r.head, r.next = head, from // an empty window at the order's end
		}
		return nil, r.checkAhead(ctx, from, last)
	}
	r.adopt(head, found)
	out := make([]Entry, 0, min(len(found), limit))
	for _, p := range found[:min(len(found), limit)] {
		out = append(out, p.entry)
	}
	return out, nil
}

// checkAhead tells a follower that waits for the next entry from one that has seen entries which the order no longer has.
// last is the newest entry that a reader has found, and where that is the one before no question arises.
func (r *orderReader) checkAhead(ctx context.Context, from, last uint64) error {
	if last+1 >= from {
		return nil
	}
	newest, err := r.newest(ctx)
	if err != nil {
		return err
	}
	if newest > 0 && newest+1 < from {
		return refuse(Damaged, "the order ends at entry %d and was beyond it", newest)
	}
	return nil
}

// newest is the number of the newest entry as the leader has it; 0 when the newest message does not say.
func (r *orderReader) newest(ctx context.Context) (uint64, error) {
	last, err := r.service.stores.Log.Last(ctx, events.OrderLog(r.group))
	if errors.Is(err, events.ErrNotFound) {
		return 0, refuse(UnknownGroup, "%s", r.group)
	}
	if err != nil {
		return 0, coded(err)
	}
	rec, err := r.recordAt(ctx, last.Sequence)
	if err != nil || rec == nil {
		return 0, err
	}
	return lastNumber(rec), nil
}

// adopt makes entries the window if they lead further than it does.
func (r *orderReader) adopt(head events.Head, found []placed) {
	if len(found) == 0 || found[len(found)-1].entry.Number < r.next {
		return
	}
	r.reset()
	for _, p := range found {
		r.push(p.entry, p.sequence)
	}
	r.head = head
	r.trim(r.next)
}

// side says where a record lies as seen from what is looked for.
type side uint8

const (
	before side = iota // what is looked for comes after it
	nearby             // it comes soon after it: read on from here
	beyond             // it does not come after it, or nobody can say
)

// place is where to read on from, and the newest entry up to there. The zero place is the beginning of the log.
type place struct {
	head events.Head
	last uint64
}

// locate finds a place after which to read for something, by halving the stream. Records are read from the leader, one at a time.
func (r *orderReader) locate(ctx context.Context, where func(*events.Record) side) (place, error) {
	newest, err := r.service.stores.Log.Last(ctx, events.OrderLog(r.group))
	if errors.Is(err, events.ErrNotFound) {
		return place{}, refuse(UnknownGroup, "%s", r.group)
	}
	if err != nil {
		return place{}, coded(err)
	}
	var low place // what is looked for comes after it
	high := newest.Sequence + 1
	for high-low.head.Sequence > 1 {
		middle := low.head.Sequence + (high-low.head.Sequence)/2
		rec, err := r.recordFrom(ctx, middle)
		if err != nil {
			return place{}, err
		}
		if rec == nil || rec.Sequence >= high {
			high = middle
			continue
		}
		switch at := (place{rec.Head, lastNumber(rec)}); where(rec) {
		case before:
			low = at
		case nearby:
			return at, nil
		default:
			high = middle
		}
	}
	return low, nil
}

// recordFrom returns the first record at or after a stream sequence, nil when there is none. A record the sequence cuts off from its
// chunks is passed over.
func (r *orderReader) recordFrom(ctx context.Context, sequence uint64) (*events.Record, error) {
	var found *events.Record
	_, err := r.walk(ctx, leader{r.service.stores.Log}, events.Head{Sequence: max(sequence, 1)}, func(rec *events.Record) error {
		found = rec
		return errEnough
	})
	return found, err
}

// chunksMax is how many stream sequences before its record a record's first chunk lies at most.
const chunksMax = 1024

// recordAt returns the record at a stream sequence; nil when none stands there.
func (rs *readers) recordAt(ctx context.Context, g GroupID, sequence uint64) (*events.Record, error) {
	r := rs.of(g)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recordAt(ctx, sequence)
}

func (r *orderReader) recordAt(ctx context.Context, sequence uint64) (*events.Record, error) {
	isRecord := false
	err := r.service.stores.Log.Read(ctx, events.OrderLog(r.group), sequence, func(m events.Message) error {
		_, isRecord = events.PeekLog(m.Data)
		isRecord = isRecord && m.Sequence == sequence
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, coded(err)
	}
	if !isRecord {
		return nil, nil // a chunk, or purged
	}
	// Without its chunks a record is passed over; they are contiguous with it, so they begin at most so far back.
	for _, back := range []uint64{0, chunksMax} {
		var found *events.Record
		_, err := r.walk(ctx, r.service.stores.Log, events.Head{Sequence: sequence - min(sequence-1, back)}, func(rec *events.Record) error {
			if rec.Sequence == sequence {
				found = rec
			}
			if rec.Sequence >= sequence {
				return errEnough
			}
			return nil
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, refuse(Damaged, "the record at stream sequence %d has no chunks", sequence)
}

// Follow returns up to limit entries from a number on, verified, and none only when the order has not come that far: Behind when the first wanted
// one is purged, Damaged when it follows entries that the order has lost.
func (s *Service) Follow(ctx context.Context, g GroupID, from uint64, limit int) ([]Entry, error) {
	if limit <= 0 {
		return nil, nil
	}
	return s.readers.of(g).follow(ctx, from, min(limit, s.config.Limits.FollowEntries))
}

// Entry returns one entry.
func (s *Service) Entry(ctx context.Context, g GroupID, number uint64) (Entry, error) {
	s.readers.doubt(g) // whoever asks for one entry has heard of it
	found, err := s.Follow(ctx, g, number, 1)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, refuse(NotFound, "entry %d", number)
	}
	return found[0], nil
}

// Newest returns the number of the newest entry, read from the leader; UnknownGroup when there is none.
func (s *Service) Newest(ctx context.Context, g GroupID) (uint64, error) {
	r := s.readers.of(g)
	r.mu.Lock()
	newest, err := r.newest(ctx)
	r.mu.Unlock()
	if err != nil || newest > 0 {
		return newest, err
	}
	// A no-op, or chunks whose record is still to come: the sequencer knows what is before it.
	standing, err := s.Lookup(ctx, g, ids.ClientID(s.config.Node))
	return standing.Number, err
}
