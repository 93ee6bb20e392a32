package delivery

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// directoryState is a client's directory folded from its log: key packages to claim, claims that a retry gets again, and the signature
// keys registered for the client.
type directoryState struct {
	client  ids.ClientID
	limits  *Limits
	timeMs  uint64
	offered []offered // in the order they were published
	given   []given   // oldest first
	keys    []registeredKey
	newest  []newest  // of each cipher suite that anything was ever published for
	noticed []noticed // what the owner has acknowledged, oldest first
}

type offered struct {
	ref          []byte
	keyPackage   []byte
	suite        uint16
	notAfter     uint64 // Unix seconds
	lastResort   bool
	signatureKey []byte
	used         bool // of last resort, and claimed
}

type given struct {
	key    commandKey
	item   offered
	timeMs uint64
}

type registeredKey struct {
	key            []byte
	credentialType uint16
}

func newDirectoryState(c ids.ClientID, l *Limits) *directoryState {
	return &directoryState{client: c, limits: l}
}

// fold takes a record of the directory into the state.
func (s *directoryState) fold(r *events.Record) error {
	s.timeMs = r.TimeMS
	for _, ev := range r.Events {
		if err := s.foldBody(ev.Body); err != nil {
			return err
		}
	}
	s.expire()
	return nil
}

func (s *directoryState) foldBody(body events.Body) error {
	switch b := body.(type) {
	case *eventsv1.KeyPackagePublished:
		p := b.KeyPackage
		s.offered = append(s.offered, offered{
			ref: p.GetRef(), keyPackage: p.GetKeyPackage(), suite: uint16(p.GetCipherSuite()), notAfter: p.GetNotAfter(), lastResort: p.GetLastResort(),
			signatureKey: p.GetSignatureKey(),
		})
		s.published(uint16(p.GetCipherSuite()), p.GetRef())
	case *eventsv1.StockNoticed:
		s.acknowledged(noticed{kind: StockKind(b.GetKind()), ref: string(b.GetRef())})
	case *eventsv1.KeyPackageClaimed:
		return s.foldClaim(b)
	case *eventsv1.CredentialAdded:
		s.keys = append(s.keys, registeredKey{key: b.SignatureKey, credentialType: uint16(b.Type)})
	case *eventsv1.CredentialRemoved:
		s.keys = slices.DeleteFunc(s.keys, func(k registeredKey) bool { return refOfKey(k.key) == b.Ref })
		s.offered = slices.DeleteFunc(s.offered, func(o offered) bool { return refOfKey(o.signatureKey) == b.Ref })
	case *eventsv1.KeyPackagesExpired:
		s.offered = slices.DeleteFunc(s.offered, func(o offered) bool {
			return slices.ContainsFunc(b.GetRefs(), func(ref []byte) bool { return bytes.Equal(ref, o.ref) })
		})
	case *eventsv1.OrderCheckpoint:
		return s.restore(b.State)
	case *eventsv1.TransactionTorn, *eventsv1.Claimed: // something that never happened, or somebody's place in the log
	default:
		return refuse(Damaged, "a directory with an event it cannot hold")
	}
	return nil
}

func (s *directoryState) foldClaim(b *eventsv1.KeyPackageClaimed) error {
	i := slices.IndexFunc(s.offered, func(o offered) bool { return bytes.Equal(o.ref, b.Ref) })
	if i < 0 {
		return refuse(Damaged, "a claim of a key package that is not in the directory")
	}
	s.given = append(s.given, given{key: keyOfCommand(ids.ClientID(b.Claimer), ids.CommandID(b.CommandId)), item: s.offered[i], timeMs: s.timeMs})
	if s.offered[i].lastResort {
		s.offered[i].used = true
	} else {
		s.offered = slices.Delete(s.offered, i, i+1)
	}
	return nil
}

// expire drops key packages nobody may use any more and claims no retry can ask for: by the record's time, so that every fold agrees.
func (s *directoryState) expire() {
	s.offered = slices.DeleteFunc(s.offered, func(o offered) bool { return o.notAfter < s.timeMs/1000 })
	keepMs := uint64((s.limits.CommandWindow + s.limits.ClockSkew).Milliseconds())
	s.given = slices.DeleteFunc(s.given, func(g given) bool { return g.timeMs+keepMs < s.timeMs })
}

// retried finds what a claim was given the first time.
func (s *directoryState) retried(c Claim) (offered, bool) {
	key := keyOfCommand(c.Claimer, c.CommandID)
	for i := range s.given {
		if s.given[i].key == key {
			return s.given[i].item, true
		}
	}
	return offered{}, false
}

// pick chooses what a new claim gets: the oldest of its suite, one of last resort only where there is no other.
func (s *directoryState) pick(suite uint16, nowMs uint64) (offered, bool) {
	var last *offered
	for i := range s.offered {
		o := &s.offered[i]
		if o.suite != suite || o.notAfter < nowMs/1000 {
			continue
		}
		if !o.lastResort {
			return *o, true
		}
		last = o // the newest of last resort
	}
	if last == nil {
		return offered{}, false
	}
	return *last, true
}

func (s *directoryState) count(suite uint16, nowMs uint64) int {
	n := 0
	for i := range s.offered {
		if o := &s.offered[i]; o.suite == suite && !o.lastResort && o.notAfter >= nowMs/1000 {
			n++
		}
	}
	return n
}

// holds tells whether a key package is or was lately in the directory.
func (s *directoryState) holds(ref []byte) bool {
	return slices.ContainsFunc(s.offered, func(o offered) bool { return bytes.Equal(o.ref, ref) }) ||
		slices.ContainsFunc(s.given, func(g given) bool { return bytes.Equal(g.item.ref, ref) })
}

func (s *directoryState) registered(key []byte) bool {
	return slices.ContainsFunc(s.keys, func(k registeredKey) bool { return bytes.Equal(k.key, key) })
}

// refOfKey names a registered key in CredentialAdded and CredentialRemoved.
func refOfKey(key []byte) string { return ids.DigestOf(key).String() }

func (o *offered) marshal() *deliveryv1.Offered {
	return &deliveryv1.Offered{Ref: o.ref, KeyPackage: o.keyPackage, CipherSuite: uint32(o.suite), NotAfter: o.notAfter, LastResort: o.lastResort,
		SignatureKey: o.signatureKey, Used: o.used}
}

func offeredFrom(o *deliveryv1.Offered) offered {
	return offered{
		ref: o.GetRef(), keyPackage: o.GetKeyPackage(), suite: uint16(o.GetCipherSuite()), notAfter: o.GetNotAfter(), lastResort: o.GetLastResort(),
		signatureKey: o.GetSignatureKey(), used: o.GetUsed(),
	}
}

// marshal is the canonical encoding of the state.
func (s *directoryState) marshal() ([]byte, error) {
	out := &deliveryv1.DirectoryState{Client: []byte(s.client), TimeMs: s.timeMs}
	for i := range s.offered {
		out.Offered = append(out.Offered, s.offered[i].marshal())
	}
	for i := range s.given {
		g := &s.given[i]
		out.Given = append(out.Given, &deliveryv1.Given{Key: g.key[:], Package: g.item.marshal(), TimeMs: g.timeMs})
	}
	for _, k := range s.keys {
		out.Keys = append(out.Keys, &deliveryv1.SignatureKey{Key: k.key, CredentialType: uint32(k.credentialType)})
	}
	for _, n := range s.newest {
		out.Newest = append(out.Newest, &deliveryv1.Newest{CipherSuite: uint32(n.suite), Ref: n.ref})
	}
	for _, n := range s.noticed {
		out.Noticed = append(out.Noticed, &deliveryv1.Noticed{Kind: uint32(n.kind), Ref: []byte(n.ref)})
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(out)
}

func (s *directoryState) restore(b []byte) error {
	in := &deliveryv1.DirectoryState{}
	if err := proto.Unmarshal(b, in); err != nil {
		return failed(Damaged, "read a directory's checkpoint", err)
	}
	if ids.ClientID(in.Client) != s.client {
		return refuse(Damaged, "a checkpoint of another client's directory")
	}
	next := newDirectoryState(s.client, s.limits)
	next.timeMs = in.TimeMs
	for _, o := range in.Offered {
		next.offered = append(next.offered, offeredFrom(o))
	}
	for _, g := range in.Given {
		if len(g.Key) != len(commandKey{}) {
			return refuse(Damaged, "a remembered claim in a checkpoint")
		}
		next.given = append(next.given, given{key: commandKey(g.Key), item: offeredFrom(g.Package), timeMs: g.TimeMs})
	}
	for _, k := range in.Keys {
		next.keys = append(next.keys, registeredKey{key: k.Key, credentialType: uint16(k.CredentialType)})
	}
	for _, n := range in.Newest {
		next.newest = append(next.newest, newest{suite: uint16(n.CipherSuite), ref: n.Ref})
	}
	for _, n := range in.Noticed {
		next.noticed = append(next.noticed, noticed{kind: StockKind(n.Kind), ref: string(n.Ref)})
	}
	*s = *next
	return nil
}
