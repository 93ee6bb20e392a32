package delivery

import (
	"parley/internal/ids"
)

// Submission is one thing put before a sequencer: a *Registration, *Bundle, *Proposal, *Message, *Restart, *Wish or *Lookup.
type Submission interface {
	group() GroupID
	origin() *Origin
	size() int
}

// SubmitterOf is on whose behalf something is submitted.
func SubmitterOf(s Submission) ids.ClientID { return s.origin().Client }

// Restart closes a group for good in favour of a successor: an operator's act. Members move by Welcome.
type Restart struct {
	Group     GroupID
	Origin    Origin
	Successor GroupID
	Reason    string
}

// Lookup asks where an order is and where a client stands in it. It changes nothing, and comes after everything submitted before it.
type Lookup struct {
	Group  GroupID
	Origin Origin
	Epoch  uint64 // whose winner is asked for
	Wishes bool   // what the service wants of the group is asked for
}

// Standing answers a Lookup.
type Standing struct {
	Number          uint64 // newest entry
	Epoch           uint64
	GroupInfoNumber uint64 // newest entry that carries a GroupInfo
	Member          bool
	Last            *LastEntry // newest entry of the client, nil where it is none
	Winner          uint64     // entry of the commit that ended the epoch asked for; 0: none, or not remembered
	Successor       GroupID    // not empty: the group is closed
	Wishes          []StandingWish
}

func (r *Registration) group() GroupID { return r.Group }
func (b *Bundle) group() GroupID       { return b.Group }
func (p *Proposal) group() GroupID     { return p.Group }
func (m *Message) group() GroupID      { return m.Group }
func (r *Restart) group() GroupID      { return r.Group }

func (l *Lookup) group() GroupID { return l.Group }

func (r *Registration) origin() *Origin { return &r.Origin }
func (b *Bundle) origin() *Origin       { return &b.Origin }
func (p *Proposal) origin() *Origin     { return &p.Origin }
func (m *Message) origin() *Origin      { return &m.Origin }
func (r *Restart) origin() *Origin      { return &r.Origin }

func (l *Lookup) origin() *Origin { return &l.Origin }

func (r *Registration) size() int { return len(r.GroupInfo) }
func (p *Proposal) size() int     { return len(p.Message) }
func (m *Message) size() int      { return len(m.Bytes) }
func (r *Restart) size() int      { return len(r.Reason) }
func (l *Lookup) size() int       { return 0 }
func (b *Bundle) size() int {
	n := len(b.Commit) + len(b.Welcome) + len(b.GroupInfo) + len(b.EncryptedMessage)
	for _, p := range b.Proposals {
		n += len(p)
	}
	return n + 16*len(b.Changes)
}

// Outcome is what became of one submission. A bundle has an Answer; everything else a position. Err is set where there is neither.
type Outcome struct {
	Answer   Answer
	Position uint64
	Err      error
	Standing *Standing // of a Lookup
}

const (
	identityBytesMax = ids.BytesMax // of a client or group id
	commandBytesMax  = 256
	reasonBytesMax   = 1024
)

// checkShape refuses what no sequencer would look at.
func checkShape(s Submission, l *Limits) *Error {
	o := s.origin()
	switch {
	case s.group() == "" || len(s.group()) > identityBytesMax:
		return refuse(Malformed, "a group id of %d bytes", len(s.group()))
	case o.Client == "" || len(o.Client) > identityBytesMax:
		return refuse(Malformed, "a client id of %d bytes", len(o.Client))
	case len(o.CommandID) > commandBytesMax:
		return refuse(Malformed, "a command id of %d bytes", len(o.CommandID))
	}
	switch s := s.(type) {
	case *Bundle, *Registration:
		if s.size() > l.BundleBytes {
			return refuse(TooLarge, "%d bytes, at most %d", s.size(), l.BundleBytes)
		}
	case *Proposal, *Message:
		if s.size() > l.MessageBytes {
			return refuse(TooLarge, "%d bytes, at most %d", s.size(), l.MessageBytes)
		}
		if o.CommandID == "" {
			return refuse(Malformed, "no command id")
		}
	case *Restart:
		if s.Successor == "" || len(s.Successor) > identityBytesMax || s.Successor == s.Group || len(s.Reason) > reasonBytesMax {
			return refuse(Malformed, "a restart needs a successor and a short reason")
		}
	case *Wish:
		return checkWish(s, l)
	case *Lookup:
	default:
		return refuse(Malformed, "an unknown kind of submission")
	}
	return nil
}

// requestOf is what a command id is bound to: what the submitter says its request was, or the bytes themselves.
func requestOf(o *Origin, message []byte) ids.Digest {
	if !o.Request.IsZero() {
		return o.Request
	}
	return ids.DigestOf(message)
}
