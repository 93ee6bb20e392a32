package delivery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"parley/events"
	"parley/events/jetlog"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Publication is one key package on its way into the directory.
type Publication struct {
	KeyPackage []byte // KeyPackage or MLSMessage
	LastResort bool   // stays claimable when nothing else is left, any number of times
}

// Claim asks for one key package of a client. The same claimer and command id get the same package again.
type Claim struct {
	Client    ids.ClientID
	Suite     uint16
	Claimer   ids.ClientID
	CommandID ids.CommandID
}

// Claimed is a claimed key package.
type Claimed struct {
	KeyPackage []byte
	Ref        []byte
	LastResort bool
}

// directories are the clients' directories this node has open. Any node may write any directory: the fence of its log decides, and who
// loses decides anew on what the winner wrote.
type directories struct {
	service *Service

	mu    sync.Mutex
	open  map[ids.ClientID]*directory
	grew  map[*directory]bool // appended to since they were anchored
	awake chan struct{}       // grew is not empty any more
}

// directory is one client's, held by one caller at a time.
type directory struct {
	client ids.ClientID

	mu      sync.Mutex
	journal *events.Journal // nil: to be opened
	state   *directoryState
	records int    // since the newest checkpoint
	before  uint64 // stream sequence of the newest record
}

func newDirectories(s *Service) *directories {
	return &directories{service: s, open: map[ids.ClientID]*directory{}, grew: map[*directory]bool{}, awake: make(chan struct{}, 1)}
}

func (ds *directories) grown(d *directory) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.grew[d] = true
	select {
	case ds.awake <- struct{}{}:
	default:
	}
}

// restAfter is how soon after it has grown a directory is anchored.
const restAfter = 800 * time.Millisecond

// run anchors directories soon after they have grown, until ctx ends, and then what is left.
func (ds *directories) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ds.awake:
		case <-ctx.Done():
		}
		select {
		case <-time.After(restAfter):
		case <-ctx.Done():
		}
		ds.anchor()
	}
}

// anchor brings the anchors of directories up to their heads.
func (ds *directories) anchor() {
	ds.mu.Lock()
	grew := ds.grew
	ds.grew = map[*directory]bool{}
	ds.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), ds.service.config.Limits.RemoteTimeout)
	defer cancel()
	for d := range grew {
		d.mu.Lock()
		if d.journal != nil && d.journal.Err() == nil && d.journal.Sweep(ctx, ds.service.nowMs()) != nil {
			d.journal = nil // it is read again when it is asked for; the next growth brings its anchor
		}
		d.mu.Unlock()
	}
}

func (ds *directories) of(c ids.ClientID) *directory {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d := ds.open[c]; d != nil {
		return d
	}
	if len(ds.open) >= ds.service.config.Limits.Directories {
		for other := range ds.open { // any: it is read again when it is asked for
			delete(ds.open, other)
			break
		}
	}
	d := &directory{client: c}
	ds.open[c] = d
	return d
}

// conflictsMax bounds how often a directory operation decides anew after somebody else's write.
const conflictsMax = 16

// with runs decide on the directory as the log has it now and appends the events it returns; none ends it. Lost races are decided anew.
func (ds *directories) with(ctx context.Context, c ids.ClientID, cause events.Cause, decide func(*directoryState) ([]events.Event, error)) error {
	if c == "" || len(c) > identityBytesMax {
		return refuse(Malformed, "a client id of %d bytes", len(c))
	}
	if c == serviceLog {
		return refuse(Forbidden, "the id is kept for the service itself")
	}
	d := ds.of(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	for attempt := range conflictsMax {
		if err := ds.catchUp(ctx, d); err != nil {
			return coded(err)
		}
		body, err := decide(d.state)
		if err != nil || len(body) == 0 {
			return err
		}
		err = ds.append(ctx, d, cause, body)
		if err == nil {
			return nil
		}
		d.journal = nil
		if !errors.Is(err, events.ErrFenced) {
			return coded(err)
		}
		if !Backoff(ctx, min(attempt, 3)) {
			break
		}
	}
	return refuse(Busy, "the directory of %s is written by many", c)
}

// catchUp opens the directory or reads what was appended to it since. One that nobody has written stays unopened, so that asking for
// clients that do not exist makes nothing.
func (ds *directories) catchUp(ctx context.Context, d *directory) error {
	if d.journal != nil && d.journal.Err() == nil {
		return ds.replay(ctx, d, d.journal.Head())
	}
	d.journal, d.state = nil, newDirectoryState(d.client, &ds.service.config.Limits)
	_, err := ds.service.stores.Log.Last(ctx, events.DirectoryLog(d.client))
	if errors.Is(err, events.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return ds.openJournal(ctx, d)
}

func (ds *directories) openJournal(ctx context.Context, d *directory) error {
	s := ds.service
	journal, err := events.OpenJournal(ctx, s.stores, s.config.Vault, events.DirectoryLog(d.client), events.JournalOptions{Hooks: s.config.Hooks})
	if err != nil {
		return err
	}
	d.journal, d.records, d.before = journal, 0, 0
	return ds.replay(ctx, d, events.Head{})
}

func (ds *directories) replay(ctx context.Context, d *directory, from events.Head) error {
	err := d.journal.Replay(ctx, from, d.take)
	if err == nil {
		err = d.journal.CheckAnchor(ctx)
	}
	if err != nil {
		d.journal = nil
	}
	return err
}

func (d *directory) take(r *events.Record) error {
	d.records++
	d.before = r.Sequence
	return d.state.fold(r)
}

// append makes a decision durable, and a checkpoint of the directory when one is due.
func (ds *directories) append(ctx context.Context, d *directory, cause events.Cause, body []events.Event) error {
	if d.journal == nil {
		if err := ds.openJournal(ctx, d); err != nil {
			return err
		}
		if d.journal.Head().Version > 0 {
			return events.ErrFenced // somebody was first: decide on what they wrote
		}
	}
	now := ds.service.nowMs()
	r, err := d.journal.Append(ctx, events.Draft{TimeMS: now, Cause: cause, Events: body})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		return err
	}
	// A crash here loses nothing: whoever asks again finds the claim or the publication in the log.
	if err := d.take(r); err != nil {
		return err
	}
	ds.grown(d)
	if d.records < ds.service.config.Limits.DirectoryRecords {
		return nil
	}
	return ds.checkpoint(ctx, d)
}

// checkpoint appends the directory's state and lets go what lies before: a directory keeps what is on offer, not its history.
func (ds *directories) checkpoint(ctx context.Context, d *directory) error {
	encoded, err := d.state.marshal()
	if err != nil {
		return err
	}
	before := d.before
	r, err := d.journal.Append(ctx, events.Draft{
		TimeMS: ds.service.nowMs(), Cause: events.Cause{Command: "checkpoint", Principal: ds.service.config.Node},
		Events: []events.Event{{Body: &eventsv1.OrderCheckpoint{State: encoded, Number: d.journal.Head().Version + 1}}},
	})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		d.journal = nil // the decision before it stands; the next caller reads the log
		return nil
	}
	d.records, d.before = 0, r.Sequence
	// A crash here leaves a longer log and nothing else.
	if d.journal.Sweep(ctx, ds.service.nowMs()) != nil { // the anchor must not stand in what goes
		return nil
	}
	ds.service.purge(ctx, events.DirectoryLog(d.client), before+1)
	return nil
}

// purge removes a prefix. It is housekeeping: what fails is tried again at the next checkpoint.
func (s *Service) purge(ctx context.Context, id events.LogID, before uint64) {
	purge(ctx, s.config.Store, s.config.Hooks, id, before)
}

func purge(ctx context.Context, store *jetlog.Store, hooks events.Hooks, id events.LogID, before uint64) {
	if hooks.Before != nil && hooks.Before(ctx, StepPurge, id) != nil {
		return
	}
	_ = store.Purge(ctx, id, before)
	// A crash here loses nothing: the log begins with a checkpoint, and that holds all that its reader needs of the purged prefix.
	if hooks.After != nil {
		_ = hooks.After(ctx, StepPurge, id)
	}
}

// publicationsMax bounds one call.
const publicationsMax = 256

// PublishKeyPackages puts a client's key packages into the directory; those already there are left as they are. Each must be valid, name
// the client, and be signed by a key the authentication service knows for it.
func (s *Service) PublishKeyPackages(ctx context.Context, c ids.ClientID, ps []Publication) error {
	if len(ps) > publicationsMax {
		return refuse(TooLarge, "%d key packages, at most %d at once", len(ps), publicationsMax)
	}
	entries, identities, err := s.checkPublications(c, ps)
	if err != nil {
		return err
	}
	var first []Identity
	for _, id := range identities {
		err := s.auth.Authenticate(ctx, id)
		if err != nil && s.trustsFirst(id) && errors.Is(err, UnknownIdentity) {
			first = append(first, id)
			continue
		}
		if err != nil {
			return err
		}
	}
	cause := events.Cause{Command: "publish-key-packages", Principal: c.Text()}
	return s.directories.with(ctx, c, cause, func(d *directoryState) ([]events.Event, error) {
		return decidePublication(d, entries, first)
	})
}

// WithdrawKeyPackages takes key packages of a client out of its directory: nobody can claim them from then on. Those that are not there,
// or were claimed already, are left as they are.
func (s *Service) WithdrawKeyPackages(ctx context.Context, c ids.ClientID, refs [][]byte) error {
	cause := events.Cause{Command: "withdraw-key-packages", Principal: c.Text()}
	return s.directories.with(ctx, c, cause, func(d *directoryState) ([]events.Event, error) {
		body := &eventsv1.KeyPackagesExpired{}
		for _, ref := range refs {
			if slices.ContainsFunc(d.offered, func(o offered) bool { return slices.Equal(o.ref, ref) }) {
				body.Refs = append(body.Refs, ref)
			}
		}
		if len(body.Refs) == 0 {
			return nil, nil
		}
		return []events.Event{{Body: body}}, nil
	})
}

// trustsFirst tells whether the registry may take an identity at its word. It has no say where certificates are judged by their chains.
func (s *Service) trustsFirst(id Identity) bool {
	return s.registry != nil && s.config.Trust == TrustOnFirstRegistration && !(isCertificate(id) && s.judgesCertificates())
}

// checkPublications parses and validates key packages, and collects the distinct identities that signed them.
func (s *Service) checkPublications(c ids.ClientID, ps []Publication) ([]*eventsv1.KeyPackageEntry, []Identity, error) {
	var entries []*eventsv1.KeyPackageEntry
	var identities []Identity
	for i := range ps {
		kp, err := mlsengine.ParseKeyPackage(ps[i].KeyPackage)
		if err != nil {
			return nil, nil, refuse(Malformed, "key package %d: %v", i, err)
		}
		if err := kp.Validate(mlsengine.Env{Now: s.nowMs() / 1000}); err != nil {
			return nil, nil, ruleBroken(err)
		}
		if err := kp.ValidateForOthers(); err != nil { // nobody would add its owner with it
			return nil, nil, ruleBroken(err)
		}
		id := identityOf(&kp.LeafNode)
		if id.Client != c {
			return nil, nil, refuse(UnknownIdentity, "key package %d is of %s", i, id.Client)
		}
		entries = append(entries, &eventsv1.KeyPackageEntry{
			Ref: kp.Ref(), KeyPackage: kp.Bytes(), NotAfter: kp.LeafNode.Lifetime.NotAfter, LastResort: ps[i].LastResort,
			CipherSuite: uint32(kp.CipherSuite), SignatureKey: kp.LeafNode.SignatureKey,
		})
		if !slices.ContainsFunc(identities, func(o Identity) bool { return slices.Equal(o.SignatureKey, id.SignatureKey) }) {
			identities = append(identities, id)
		}
	}
	return entries, identities, nil
}

// decidePublication adds what is not there yet. first are keys nobody has registered: the client's very first one is trusted.
func decidePublication(d *directoryState, entries []*eventsv1.KeyPackageEntry, first []Identity) ([]events.Event, error) {
	var out []events.Event
	for _, id := range first {
		if d.registered(id.SignatureKey) {
			continue
		}
		if len(d.keys) > 0 || len(first) > 1 {
			return nil, refuse(UnknownIdentity, "%s has other keys", d.client)
		}
		out = append(out, events.Event{Body: keyRegistered(id)})
	}
	offers := len(d.offered)
	for _, e := range entries {
		if d.holds(e.Ref) {
			continue
		}
		if offers++; offers > d.limits.KeyPackages {
			return nil, refuse(Busy, "%s has %d key packages on offer", d.client, len(d.offered))
		}
		out = append(out, events.Event{Body: &eventsv1.KeyPackagePublished{KeyPackage: e}})
	}
	return out, nil
}

// ClaimKeyPackage takes one key package out of the directory, one of last resort only where nothing else is left.
func (s *Service) ClaimKeyPackage(ctx context.Context, c Claim) (Claimed, error) {
	if c.Claimer == "" || c.CommandID == "" || len(c.CommandID) > commandBytesMax {
		return Claimed{}, refuse(Malformed, "a claim names claimer and command")
	}
	var got offered
	thin := false
	cause := events.Cause{Command: "claim-key-package", CommandID: c.CommandID, Principal: c.Claimer.Text()}
	err := s.directories.with(ctx, c.Client, cause, func(d *directoryState) ([]events.Event, error) {
		now := s.nowMs()
		var found bool
		if got, found = d.retried(c); found {
			return nil, nil
		}
		if len(d.given) >= d.limits.Claims {
			return nil, refuse(Busy, "%d claims are remembered", len(d.given))
		}
		if got, found = d.pick(c.Suite, now); !found {
			return nil, refuse(NoKeyPackage, "%s has none for cipher suite %d", c.Client, c.Suite)
		}
		thin = got.lastResort || d.count(c.Suite, now) <= d.limits.StockLow+1
		return []events.Event{{Body: &eventsv1.KeyPackageClaimed{
			Ref: got.ref, Claimer: []byte(c.Claimer), CommandId: []byte(c.CommandID), TimeMs: now,
		}}}, nil
	})
	if err != nil {
		return Claimed{}, err
	}
	if thin {
		s.claimed(c.Client)
	}
	return Claimed{KeyPackage: got.keyPackage, Ref: got.ref, LastResort: got.lastResort}, nil
}

// CountKeyPackages returns how many unclaimed, unexpired key packages a client has, those of last resort not counted.
func (s *Service) CountKeyPackages(ctx context.Context, c ids.ClientID, suite uint16) (int, error) {
	return s.CountKeyPackagesFor(ctx, c, suite, 0)
}

// CountKeyPackagesFor counts only those that are good for so much longer.
func (s *Service) CountKeyPackagesFor(ctx context.Context, c ids.ClientID, suite uint16, span time.Duration) (int, error) {
	n := 0
	err := s.directories.with(ctx, c, events.Cause{}, func(d *directoryState) ([]events.Event, error) {
		n = d.count(suite, s.nowMs()+uint64(max(span, 0).Milliseconds()))
		return nil, nil
	})
	return n, err
}
