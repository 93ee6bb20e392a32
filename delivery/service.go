package delivery

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"parley/events"
	"parley/internal/ids"
)

// Config is what a node gives its delivery service.
type Config struct {
	Conn      *nats.Conn
	Vault     events.KeyVault
	Namespace string
	Node      string                                 // this node's name in errors and envelopes
	ShareOf   func(g GroupID) uint32                 // placement's hash of "group/<id>"
	Auth      AuthenticationService                  // nil: the built-in registry under Trust
	Trust     TrustPolicy                            // zero: TrustRegistered
	Policy    func(g GroupID, c ids.ClientID) Access // who may read a GroupInfo and join externally beyond the members; nil: nobody
	Clock     func() time.Time                       // nil: time.Now
	Limits    Limits                                 // zero fields take their defaults
	Hooks     events.Hooks                           // durable steps, for tests and the demo
}

// Access is what a policy grants somebody who is not a member.
type Access uint8

// The grants, in rising order.
const (
	NoAccess    Access = iota
	ReadsInfo          // may read the newest GroupInfo
	JoinsByInfo        // may also join by external commit
)

// Service is the built-in delivery service as one node sees it. It is safe for concurrent use.
type Service struct{}

// Open starts the service; it serves no share until Hold.
func Open(ctx context.Context, c Config) (*Service, error) { return nil, Unavailable }

// Close releases all shares, waits for everything it runs and leaves nothing behind.
func (s *Service) Close(ctx context.Context) error { return Unavailable }

// Hold begins to serve a share: submissions for its groups are answered here from now on. Release ends it. Both are placement's calls;
// two nodes that believe to hold one share are told apart by the fence of each order.
func (s *Service) Hold(ctx context.Context, share uint32) error { return Unavailable }

// Release stops serving a share: running batches finish, sequencers close cleanly.
func (s *Service) Release(ctx context.Context, share uint32) error { return Unavailable }

// RegisterGroup opens the order of a group, idempotently, and returns the number of its first entry (1).
func (s *Service) RegisterGroup(ctx context.Context, r Registration) (uint64, error) {
	return 0, Unavailable
}

// SubmitBundle offers a bundle once. An error matching Unknown or Unavailable leaves it open whether it was accepted.
func (s *Service) SubmitBundle(ctx context.Context, b Bundle) (Answer, error) {
	return nil, Unavailable
}

// SubmitProposal puts a proposal into the order and returns its number.
func (s *Service) SubmitProposal(ctx context.Context, p Proposal) (uint64, error) {
	return 0, Unavailable
}

// SubmitMessages puts application messages of one group into the order, as one record where they fit.
func (s *Service) SubmitMessages(ctx context.Context, ms []Message) ([]Receipt, error) {
	return nil, Unavailable
}

// Transport returns the built-in transport: submissions with the retries its contract promises.
func (s *Service) Transport() Transport { return nil }

// Follow returns up to max entries from a number on, verified; none when the order has not come that far. Behind when the first wanted one is purged.
func (s *Service) Follow(ctx context.Context, g GroupID, from uint64, max int) ([]Entry, error) {
	return nil, Unavailable
}

// Entry returns one entry.
func (s *Service) Entry(ctx context.Context, g GroupID, number uint64) (Entry, error) {
	return Entry{}, Unavailable
}

// Newest returns the number of the newest entry, read from the leader.
func (s *Service) Newest(ctx context.Context, g GroupID) (uint64, error) { return 0, Unavailable }

// WhoWon returns the commit that ended an epoch, read from the leader; false when none has.
func (s *Service) WhoWon(ctx context.Context, g GroupID, epoch uint64) (Entry, bool, error) {
	return Entry{}, false, Unavailable
}

// LastOwn returns the newest entry a client has sent in a group; false when there is none.
func (s *Service) LastOwn(ctx context.Context, g GroupID, c ids.ClientID) (LastEntry, bool, error) {
	return LastEntry{}, false, Unavailable
}

// GroupInfo returns the newest GroupInfo to a reader whom the group's policy lets read it, and the number of the entry that carries it.
func (s *Service) GroupInfo(ctx context.Context, g GroupID, reader ids.ClientID) ([]byte, uint64, error) {
	return nil, 0, Unavailable
}

// Restart closes a group for good and names its successor: an operator's act.
func (s *Service) Restart(ctx context.Context, g GroupID, o Origin, successor GroupID, reason string) (uint64, error) {
	return 0, Unavailable
}

// Notice tells a client that a commit has added it: the Welcome stands in that entry. Notices may come twice; (Group, Number) tells.
type Notice struct {
	Sequence uint64 // place in the inbox
	Group    GroupID
	Epoch    uint64 // the epoch the Welcome leads into
	Number   uint64 // of the entry; following starts after it
}

// Notices returns up to max notices of a client's inbox from a sequence on.
func (s *Service) Notices(ctx context.Context, c ids.ClientID, from uint64, max int) ([]Notice, error) {
	return nil, Unavailable
}

// Acknowledge lets every notice up to a sequence go.
func (s *Service) Acknowledge(ctx context.Context, c ids.ClientID, through uint64) error {
	return Unavailable
}

// Publication is one key package on its way into the directory.
type Publication struct {
	KeyPackage []byte // KeyPackage or MLSMessage
	LastResort bool   // stays claimable when nothing else is left, any number of times
}

// PublishKeyPackages puts a client's key packages into the directory; those already there are left as they are.
func (s *Service) PublishKeyPackages(ctx context.Context, c ids.ClientID, ps []Publication) error {
	return Unavailable
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

// ClaimKeyPackage takes one key package out of the directory, the last-resort one where nothing else is left.
func (s *Service) ClaimKeyPackage(ctx context.Context, c Claim) (Claimed, error) {
	return Claimed{}, Unavailable
}

// CountKeyPackages returns how many unclaimed, unexpired key packages a client has, the last-resort one not counted.
func (s *Service) CountKeyPackages(ctx context.Context, c ids.ClientID, suite uint16) (int, error) {
	return 0, Unavailable
}

// Registry returns the built-in registry of signature keys; nil where another AuthenticationService is configured.
func (s *Service) Registry() *Registry { return nil }

// Wake says that a group's order or a client's inbox has something new.
type Wake struct {
	Group  GroupID      // empty: an inbox
	Client ids.ClientID // set for an inbox
}

// Watch blocks until the context ends and calls fn for every order and inbox that grew, at least once each; one durable consumer per
// partition serves the whole node. fn must not block.
func (s *Service) Watch(ctx context.Context, fn func(Wake)) error { return Unavailable }

// Registry is the built-in AuthenticationService: which signature keys each client has registered.
type Registry struct{}

// Register adds a signature key of a client; registering it again changes nothing.
func (r *Registry) Register(ctx context.Context, id Identity) error { return Unavailable }

// Revoke removes a signature key; it is accepted nowhere from then on, and members who use it stay until removed.
func (r *Registry) Revoke(ctx context.Context, c ids.ClientID, signatureKey []byte) error {
	return Unavailable
}

// Authenticate implements AuthenticationService.
func (r *Registry) Authenticate(ctx context.Context, id Identity) error { return Unavailable }
