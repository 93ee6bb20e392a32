package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
)

// Config is what a node gives its delivery service.
type Config struct {
	Store     *jetlog.Store
	Stores    events.Stores // the store as the node's writers share it; zero: as it is
	Conn      *nats.Conn    // for submissions between nodes; nil: the store's
	Vault     events.KeyVault
	Namespace string                 // of the subjects between nodes; empty: the store's
	Node      string                 // this node's name: in envelopes
	Watcher   string                 // of its durable consumer: nodes under one name take each other's wakes; empty: Node
	ShareOf   func(g GroupID) uint32 // placement's hash of "group/<id>"
	Auth      AuthenticationService  // nil: the built-in registry under Trust
	Trust     TrustPolicy            // zero: TrustRegistered
	Certified Trust                  // judges X.509 credentials in place of Auth; nil: Auth judges them too
	// Authorities judges X.509 credentials in place of Auth once any authority was registered, where Certified does not; may be nil.
	Authorities *Authorities
	Policy      func(g GroupID, c ids.ClientID) Access // who may read a GroupInfo and join externally beyond the members; nil: nobody
	Clock       func() time.Time                       // nil: time.Now
	Limits      Limits                                 // zero fields take their defaults
	Hooks       events.Hooks                           // durable steps, for tests and the demo
}

// Access is what a policy grants somebody who is not a member.
type Access uint8

// The grants, in rising order.
const (
	NoAccess    Access = iota
	ReadsInfo          // may read the newest GroupInfo
	AsksToJoin         // may also propose that it be added
	JoinsByInfo        // may also join by external commit
)

// Service is the built-in delivery service as one node sees it. It is safe for concurrent use.
type Service struct {
	config      Config
	stores      events.Stores
	remote      *remote
	auth        AuthenticationService
	registry    *Registry
	directories *directories
	serviceKeys *serviceKeys
	readers     *readers
	noticer     *noticer

	mu     sync.Mutex
	held   map[uint32]*heldShare
	closed bool

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Host runs the sequencers of the groups this node serves, one owner for each.
type Host interface {
	// Submit lets the group's sequencer judge submissions and returns what became of each, in their order. An error matching Unavailable,
	// NotHere or Busy says that nothing was done; Unknown that nobody can say. Without any, the order is looked after.
	Submit(ctx context.Context, g GroupID, subs []Submission) ([]Outcome, error)
}

// heldShare is a share this node serves.
type heldShare struct {
	host   Host
	server *shareServer
}

// Open starts the service; it serves no share until Hold.
func Open(ctx context.Context, c Config) (*Service, error) {
	if c.Store == nil || c.Vault == nil || c.ShareOf == nil {
		return nil, fmt.Errorf("delivery: a store, a vault and a placement are needed")
	}
	if c.Conn == nil {
		c.Conn = c.Store.Conn()
	}
	if c.Namespace == "" {
		c.Namespace = c.Store.Names().Namespace
	}
	if c.Watcher == "" {
		c.Watcher = c.Node
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Trust == 0 {
		c.Trust = TrustRegistered
	}
	c.Limits = c.Limits.withDefaults()
	if c.Stores.Log == nil {
		c.Stores = c.Store.Stores()
	}
	s := &Service{config: c, stores: c.Stores, held: map[uint32]*heldShare{}}
	s.remote = &remote{nc: c.Conn, namespace: c.Namespace, node: c.Node, timeout: c.Limits.RemoteTimeout}
	s.directories = newDirectories(s)
	s.serviceKeys = &serviceKeys{service: s}
	s.readers = newReaders(s)
	if s.auth = c.Auth; s.auth == nil {
		s.registry = &Registry{service: s}
		s.auth = s.registry
	}
	switch {
	case c.Certified != nil:
		s.auth = WithCertificates(s.auth, c.Certified, c.Clock)
	case c.Authorities != nil:
		s.auth = c.Authorities.Judge(s.auth, c.Clock)
	}
	s.noticer = newNoticer(s)
	background, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, run := range []func(context.Context){s.noticer.run, s.directories.run, s.patrol} {
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			run(background)
		}()
	}
	return s, nil
}

// judgesCertificates reports whether X.509 credentials are judged by their chains.
func (s *Service) judgesCertificates() bool {
	return s.config.Certified != nil || s.config.Authorities != nil && s.config.Authorities.judges()
}

// Close releases all shares, waits for everything it runs and leaves nothing behind.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	var shares []uint32
	for share := range s.held {
		shares = append(shares, share)
	}
	s.mu.Unlock()
	var first error
	for _, share := range shares {
		if err := s.Release(ctx, share); err != nil && first == nil {
			first = err
		}
	}
	s.cancel()
	s.work.Wait()
	return first
}

// Hold begins to serve a share: submissions for its groups are answered by the host from now on. Release ends it. Both are placement's calls;
// two nodes that believe to hold one share are told apart by the fence of each order.
func (s *Service) Hold(_ context.Context, share uint32, host Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return refuse(Unavailable, "the service is closed")
	}
	if s.held[share] != nil {
		return nil
	}
	server, err := serveShare(s.config.Conn, rpcSubject(s.config.Namespace, share), host, &s.config)
	if err != nil {
		return err
	}
	s.held[share] = &heldShare{host: host, server: server}
	return nil
}

// Release stops serving a share. Its host ends the sequencers.
func (s *Service) Release(_ context.Context, share uint32) error {
	s.mu.Lock()
	held := s.held[share]
	delete(s.held, share)
	s.mu.Unlock()
	if held == nil {
		return nil
	}
	held.server.close()
	return nil
}

// Holds tells whether this node serves a share.
func (s *Service) Holds(share uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[share] != nil
}

// submit makes one attempt at a group's sequencer, here or on the node that holds its share.
func (s *Service) submit(ctx context.Context, g GroupID, subs []Submission) ([]Outcome, error) {
	for _, sub := range subs {
		if err := checkShape(sub, &s.config.Limits); err != nil {
			return nil, err
		}
	}
	share := s.config.ShareOf(g)
	s.mu.Lock()
	held, closed := s.held[share], s.closed
	s.mu.Unlock()
	if closed {
		return nil, refuse(Unavailable, "the service is closed")
	}
	if held != nil {
		return held.host.Submit(ctx, g, subs)
	}
	return s.remote.submit(ctx, share, g, subs)
}

// submitOne makes one attempt for one submission.
func (s *Service) submitOne(ctx context.Context, sub Submission) (Outcome, error) {
	outcomes, err := s.submit(ctx, sub.group(), []Submission{sub})
	if err != nil {
		return Outcome{}, err
	}
	if err := outcomes[0].Err; err != nil {
		return Outcome{}, err
	}
	return outcomes[0], nil
}

// position is submitOne, tried again while nobody knows the outcome, for what is idempotent and answered by a number.
func (s *Service) position(ctx context.Context, sub Submission) (uint64, error) {
	var outcome Outcome
	err := insist(ctx, func() (err error) {
		outcome, err = s.submitOne(ctx, sub)
		return err
	})
	return outcome.Position, err
}

// RegisterGroup opens the order of a group, idempotently, and returns the number of its first entry (1).
func (s *Service) RegisterGroup(ctx context.Context, r Registration) (uint64, error) {
	return s.position(ctx, &r)
}

// SubmitBundle offers a bundle once. An error matching Unknown or Unavailable leaves it open whether it was accepted: the same bundle again
// tells.
func (s *Service) SubmitBundle(ctx context.Context, b Bundle) (Answer, error) {
	outcome, err := s.submitOne(ctx, &b)
	if err != nil {
		return nil, err
	}
	if outcome.Answer == nil {
		return nil, refuse(Unknown, "a bundle without an answer")
	}
	return outcome.Answer, nil
}

// SubmitProposal puts a proposal into the order and returns its number.
func (s *Service) SubmitProposal(ctx context.Context, p Proposal) (uint64, error) {
	return s.position(ctx, &p)
}

// Restart closes a group for good and names its successor: an operator's act.
func (s *Service) Restart(ctx context.Context, r Restart) (uint64, error) {
	return s.position(ctx, &r)
}

// Lookup tells where a group's order is and where a client stands in it, after everything that was submitted before.
func (s *Service) Lookup(ctx context.Context, g GroupID, c ids.ClientID) (Standing, error) {
	return s.lookup(ctx, &Lookup{Group: g, Origin: Origin{Client: c}})
}

func (s *Service) lookup(ctx context.Context, l *Lookup) (Standing, error) {
	var outcome Outcome
	err := insist(ctx, func() (err error) {
		outcome, err = s.submitOne(ctx, l)
		return err
	})
	if err != nil {
		return Standing{}, err
	}
	if outcome.Standing == nil {
		return Standing{}, refuse(Unknown, "a lookup without an answer")
	}
	return *outcome.Standing, nil
}

// LastOwn returns the newest entry a client has sent in a group; false when there is none.
func (s *Service) LastOwn(ctx context.Context, g GroupID, c ids.ClientID) (LastEntry, bool, error) {
	standing, err := s.Lookup(ctx, g, c)
	if err != nil || standing.Last == nil {
		return LastEntry{}, false, err
	}
	return *standing.Last, true, nil
}

// GroupInfo returns the newest GroupInfo to a reader whom the group's policy lets read it, and the number of the entry that carries it.
func (s *Service) GroupInfo(ctx context.Context, g GroupID, reader ids.ClientID) ([]byte, uint64, error) {
	standing, err := s.Lookup(ctx, g, reader)
	if err != nil {
		return nil, 0, err
	}
	if !standing.Member && s.access(g, reader) < ReadsInfo {
		return nil, 0, refuse(Forbidden, "%s may not read it", reader)
	}
	info, err := s.readers.groupInfo(ctx, g, standing.GroupInfoNumber)
	return info, standing.GroupInfoNumber, err
}
