package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	"parley/events/jetlog"
	eventsv1 "parley/events/v1"
	"parley/mlsengine/pki"
)

// Authorities is whom a deployment trusts to certify clients, and what they have revoked: one log, folded to a pki.TrustStore. Every node reads
// it and any may write it; the fence decides, and who loses decides anew on what the winner wrote. A revocation list that was taken in is
// forgotten by nobody: a log that lost its end is found by its anchor.
type Authorities struct {
	config AuthoritiesConfig
	seen   atomic.Pointer[trusted]
	wake   chan struct{}
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex // one reader or writer at a time
	journal *events.Journal
	fold    authoritiesState
}

// AuthoritiesConfig is what the log of authorities is kept with.
type AuthoritiesConfig struct {
	Store  *jetlog.Store
	Stores events.Stores // as the node's writers see the store
	Vault  events.KeyVault
	Hooks  events.Hooks
	Clock  func() time.Time
	Node   string                       // for the causes of records
	Report func(what string, err error) // what went wrong without a caller; may be nil
}

// trusted is what is known of the log.
type trusted struct {
	store   *pki.TrustStore
	version uint64 // of the newest record; 0: nothing was ever registered
	err     error  // it could never be read
}

const (
	authoritiesEvery   = 30 * time.Second // how often the log is looked at although nobody said that it has grown
	authoritiesRecords = 32               // records after which the whole is written anew and what lies before is let go
	authoritiesWait    = 10 * time.Second // for the store, where no caller waits
	authoritiesLooks   = 8                // after a wake, until the log has grown
)

// OpenAuthorities reads the log and keeps following it until Close. One that cannot be read is no error here: whoever asks what it says is told.
func OpenAuthorities(ctx context.Context, c AuthoritiesConfig) (*Authorities, error) {
	a := &Authorities{config: c, wake: make(chan struct{}, 1)}
	if err := a.Refresh(ctx); err != nil {
		a.report("authorities not read", err)
	}
	_, subject, err := c.Store.Names().Subject(events.AuthoritiesLog())
	if err != nil {
		return nil, err
	}
	heard, err := c.Store.Conn().Subscribe(subject, func(*nats.Msg) {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: listen for authorities: %w", events.ErrUnavailable, err)
	}
	background, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.work.Go(func() {
		a.follow(background)
		_ = heard.Unsubscribe() // the connection may be gone
	})
	return a, nil
}

// Close ends the following.
func (a *Authorities) Close() {
	a.cancel()
	a.work.Wait()
}

func (a *Authorities) report(what string, err error) {
	if a.config.Report != nil {
		a.config.Report(what, err)
	}
}

// follow reads what was appended: soon after somebody said so, and now and then in any case.
func (a *Authorities) follow(ctx context.Context) {
	tick := time.NewTicker(authoritiesEvery)
	defer tick.Stop()
	for {
		looks := 1
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.wake:
			looks = authoritiesLooks // the message was heard, and may not be stored yet
		}
		before := a.seen.Load().version
		for attempt := range looks {
			bounded, cancel := context.WithTimeout(ctx, authoritiesWait)
			err := a.Refresh(bounded)
			cancel()
			if err != nil && ctx.Err() == nil {
				a.report("authorities not read", err)
			}
			if a.seen.Load().version > before || !Backoff(ctx, min(attempt, 4)) {
				break
			}
		}
	}
}

// Trusted is the trust store as it was read last, and the version of its log; at version 0 nothing was ever registered, and nobody's
// certificates are judged by it. An error says that the log could never be read: nobody knows whom to trust.
func (a *Authorities) Trusted() (store *pki.TrustStore, version uint64, err error) {
	t := a.seen.Load()
	return t.store, t.version, t.err
}

// Refresh reads the log now.
func (a *Authorities) Refresh(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.catchUp(ctx)
}

// catchUp opens the log or reads what was appended to it since. What cannot be read, or does not verify, changes nothing of what is known: it
// was verified when it was read.
func (a *Authorities) catchUp(ctx context.Context) error {
	err := a.read(ctx)
	if err == nil {
		a.seen.Store(&trusted{store: a.fold.store, version: a.fold.version})
		return nil
	}
	a.journal = nil
	if seen := a.seen.Load(); seen == nil || seen.err != nil {
		a.seen.Store(&trusted{err: err})
	}
	return err
}

// unreadable reports whether an error is about what the log holds, and not about the way to it.
func unreadable(err error) bool {
	if _, corrupt := errors.AsType[*events.ErrCorrupt](err); corrupt {
		return true
	}
	for _, lasting := range []error{ErrAuthorities, events.ErrRolledBack, events.ErrSecretsLost, events.ErrDamaged, events.ErrRingCorrupt, events.ErrKeyMissing} {
		if errors.Is(err, lasting) {
			return true
		}
	}
	return false
}

func (a *Authorities) read(ctx context.Context) error {
	if a.journal != nil && a.journal.Err() == nil {
		return a.replay(ctx, a.journal.Head())
	}
	a.journal, a.fold = nil, authoritiesState{}
	_, err := a.config.Stores.Log.Last(ctx, events.AuthoritiesLog())
	if errors.Is(err, events.ErrNotFound) {
		// An empty log whose ring knows more has lost everything: to take that for a beginning would be to trust again whoever was revoked.
		_, _, err = a.config.Stores.Rings.Load(ctx, events.AuthoritiesLog())
		if errors.Is(err, events.ErrNotFound) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return a.open(ctx)
}

func (a *Authorities) open(ctx context.Context) error {
	journal, err := events.OpenJournal(ctx, a.config.Stores, a.config.Vault, events.AuthoritiesLog(), events.JournalOptions{Hooks: a.config.Hooks})
	if err != nil {
		return err
	}
	a.journal, a.fold = journal, authoritiesState{}
	return a.replay(ctx, events.Head{})
}

func (a *Authorities) replay(ctx context.Context, from events.Head) error {
	if err := a.journal.Replay(ctx, from, a.fold.take); err != nil {
		return err
	}
	return a.journal.CheckAnchor(ctx)
}

// change lets decide say what is to be registered, by what is trusted now, and makes it durable; no event ends it. Other nodes hear of it
// soon, this one has it when change returns.
func (a *Authorities) change(ctx context.Context, cause events.Cause, decide func(store *pki.TrustStore, nowMs uint64) (events.Body, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for attempt := range conflictsMax {
		if err := a.catchUp(ctx); err != nil {
			if unreadable(err) {
				return err
			}
			return coded(err)
		}
		now := max(a.fold.timeMs, uint64(max(0, a.config.Clock().UnixMilli())))
		body, err := decide(a.fold.store, now)
		if err != nil || body == nil {
			return err
		}
		err = a.append(ctx, cause, now, body)
		if err == nil {
			return nil
		}
		a.journal = nil
		if !errors.Is(err, events.ErrFenced) {
			return coded(err)
		}
		if !Backoff(ctx, min(attempt, 3)) {
			break
		}
	}
	return refuse(Busy, "the authorities are written by many")
}

func (a *Authorities) append(ctx context.Context, cause events.Cause, nowMs uint64, body events.Body) error {
	if a.journal == nil {
		if err := a.open(ctx); err != nil {
			return err
		}
		if a.journal.Head().Version > 0 {
			return events.ErrFenced // somebody was first: decide on what they wrote
		}
	}
	r, err := a.journal.Append(ctx, events.Draft{TimeMS: nowMs, Cause: cause, Events: []events.Event{{Body: body}}})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		return err
	}
	// A crash here loses nothing: every node reads the record, and whoever registers again is told that it is there.
	if err := a.fold.take(r); err != nil {
		return err
	}
	a.seen.Store(&trusted{store: a.fold.store, version: a.fold.version})
	if a.journal.Sweep(ctx, nowMs) == nil && a.fold.records >= authoritiesRecords {
		a.checkpoint(ctx, nowMs)
	}
	return nil
}

// checkpoint appends the whole store and lets go what lies before: it is housekeeping, tried again with the next record.
func (a *Authorities) checkpoint(ctx context.Context, nowMs uint64) {
	before := a.fold.sequence
	r, err := a.journal.Append(ctx, events.Draft{
		TimeMS: nowMs, Cause: events.Cause{Command: "checkpoint", Principal: a.config.Node},
		Events: []events.Event{{Body: &eventsv1.OrderCheckpoint{State: a.fold.store.Bytes(), Number: a.fold.version + 1}}},
	})
	if err != nil {
		a.journal = nil // what was registered stands; the next caller reads the log
		return
	}
	// A crash here leaves a longer log and nothing else.
	if a.fold.take(r) != nil || a.journal.Sweep(ctx, nowMs) != nil { // the anchor must not stand in what goes
		return
	}
	purge(ctx, a.config.Store, a.config.Hooks, events.AuthoritiesLog(), before+1)
}

// ErrAuthorities is a log of authorities that holds what no build of this kind has written.
var ErrAuthorities = errors.New("delivery: the log of authorities cannot be used")

// authoritiesState is the fold of the log.
type authoritiesState struct {
	store    *pki.TrustStore
	version  uint64
	timeMs   uint64
	sequence uint64
	records  int // since the newest checkpoint
}

// take folds a record. Where it fails nothing has changed.
func (s *authoritiesState) take(r *events.Record) error {
	next := authoritiesState{store: s.store, version: r.Version, timeMs: r.TimeMS, sequence: r.Sequence, records: s.records + 1}
	for _, e := range r.Events {
		if err := next.fold(e.Body); err != nil {
			return fmt.Errorf("%w: record %d: %w", ErrAuthorities, r.Version, err)
		}
	}
	*s = next
	return nil
}

// fold takes in what was judged when it was registered, and is judged again: at the record's time, so that every node agrees.
func (s *authoritiesState) fold(body events.Body) (err error) {
	next, now := s.store, s.timeMs/1000
	switch b := body.(type) {
	case *eventsv1.AuthorityRegistered:
		if b.GetAnchor() {
			next, err = s.store.WithAnchor(b.GetCertificate())
		} else {
			next, err = s.store.WithIntermediate(b.GetCertificate(), now)
		}
	case *eventsv1.AuthorityRemoved:
		if len(b.GetFingerprint()) != len(pki.Fingerprint{}) {
			return fmt.Errorf("a fingerprint of %d bytes", len(b.GetFingerprint()))
		}
		next = s.store.WithoutAnchor(pki.Fingerprint(b.GetFingerprint()))
	case *eventsv1.RevocationListRegistered:
		next, _, err = s.store.WithRevocationList(b.GetPoint(), b.GetList(), now)
	case *eventsv1.RevocationPolicySet:
		if b.GetPolicy() > uint32(pki.RevocationRequired) {
			return fmt.Errorf("revocation policy %d", b.GetPolicy())
		}
		next = s.store.WithPolicy(pki.RevocationPolicy(b.GetPolicy()))
	case *eventsv1.OrderCheckpoint:
		next, err = pki.ParseTrustStore(b.GetState())
		s.records = 0
	case *eventsv1.TransactionTorn, *eventsv1.Claimed: // something that never happened, or somebody's place in the log
	default:
		return fmt.Errorf("an event that it cannot hold, %T", body)
	}
	if err == nil {
		s.store = next
	}
	return err
}

// Judge is an AuthenticationService that judges X.509 credentials by the authorities once any was registered, and leaves everything else to
// others; where that is nil they are believed.
func (a *Authorities) Judge(others AuthenticationService, clock func() time.Time) AuthenticationService {
	return &chainJudge{authorities: a, others: others, clock: clock}
}

type chainJudge struct {
	authorities *Authorities
	others      AuthenticationService
	clock       func() time.Time
}

// Authenticate implements AuthenticationService.
func (r *chainJudge) Authenticate(ctx context.Context, id Identity) error {
	if isCertificate(id) {
		store, version, err := r.authorities.Trusted()
		if err != nil {
			return fmt.Errorf("whom to trust: %w", err)
		}
		if version > 0 {
			return WithCertificates(nil, func() *pki.TrustStore { return store }, r.clock).Authenticate(ctx, id)
		}
	}
	if r.others == nil {
		return nil
	}
	return r.others.Authenticate(ctx, id)
}

// judges reports whether certificates are judged by authorities that were registered, or by some that nobody can tell.
func (a *Authorities) judges() bool {
	_, version, err := a.Trusted()
	return version > 0 || err != nil
}
