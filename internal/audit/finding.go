package audit

import (
	"errors"
	"fmt"

	"parley/events"
)

// Check names what was found wrong. The names are stable: programs branch on them.
type Check string

// The checks, in the order in which a record meets them.
const (
	CheckStore         Check = "store"         // the store itself has lost something or cannot give it
	CheckChain         Check = "chain"         // digests, MACs, versions, incarnations: the record is not the one that was stored
	CheckFold          Check = "fold"          // the events do not follow from the state before them
	CheckSignature     Check = "signature"     // a signature of a member, a key package or a group info
	CheckCommit        Check = "commit"        // a commit that RFC 9420 forbids, or whose outcome is not the recorded one
	CheckTreeHash      Check = "tree-hash"     // tree hash or parent hashes
	CheckTranscript    Check = "transcript"    // confirmed transcript hash or confirmation tag
	CheckRoster        Check = "roster"        // members told otherwise than the commit changed them
	CheckAuthenticator Check = "authenticator" // epoch authenticator or its fingerprint
	CheckOrder         Check = "order"         // numbers of a group's order, or a member that saw another order
	CheckBatch         Check = "batch"         // a transaction of which a part is missing
	CheckRing          Check = "ring"          // the key ring is gone, or is not the one that was stored
	CheckHead          Check = "head"          // the log ends before its anchor, or not with the trusted head
)

// Finding is one thing wrong with a log, at the record where it shows first.
type Finding struct {
	Log     events.LogID
	Version uint64
	Check   Check
	Detail  string
}

// Error implements error.
func (f *Finding) Error() string {
	return fmt.Sprintf("log %s: %s", f.Log, f.Brief())
}

// Brief is the finding without the name of its log.
func (f *Finding) Brief() string {
	if f.Version == 0 {
		return fmt.Sprintf("%s: %s", f.Check, f.Detail)
	}
	return fmt.Sprintf("record %d: %s: %s", f.Version, f.Check, f.Detail)
}

// flaw is a finding before its place is known.
type flaw struct {
	check  Check
	detail string
}

func (f *flaw) Error() string { return string(f.check) + ": " + f.detail }

// ErrFlawed is a history that is not what was once stored.
var ErrFlawed = errors.New("the history is flawed")

func (f *flaw) Is(target error) bool { return target == ErrFlawed }

func flawed(check Check, format string, args ...any) error {
	return &flaw{check, fmt.Sprintf(format, args...)}
}

// find turns what ended the reading of a log into a finding, or gives back what is no judgement on the history: a store out of reach, a
// reader that gave up.
func find(id events.LogID, version uint64, err error) (*Finding, error) {
	var f *flaw
	var corrupt *events.ErrCorrupt
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &f):
		return &Finding{id, version, f.check, f.detail}, nil
	case errors.As(err, &corrupt):
		return &Finding{id, corrupt.Version, CheckChain, corrupt.Reason}, nil
	case errors.Is(err, events.ErrDamaged):
		return &Finding{id, version, CheckStore, err.Error()}, nil
	case errors.Is(err, events.ErrRingCorrupt), errors.Is(err, errNoRing):
		return &Finding{id, 0, CheckRing, err.Error()}, nil
	case errors.Is(err, events.ErrRolledBack):
		return &Finding{id, version, CheckHead, err.Error()}, nil
	}
	return nil, err
}

// Count is how often a check was made, and how often it could not be.
type Count struct {
	Done    int `json:"done"`
	Skipped int `json:"skipped"`
}

func (c *Count) add(o Count) { c.Done += o.Done; c.Skipped += o.Skipped }

// Tally says what a verification did. What was skipped needs keys that were not given or are gone.
type Tally struct {
	Records        int   `json:"records"`
	Epochs         int   `json:"epochs"`
	MACs           Count `json:"macs"`
	Signatures     Count `json:"signatures"`
	Transcripts    Count `json:"transcripts"`
	Trees          int   `json:"trees"`
	Authenticators Count `json:"authenticators"` // recomputed; skipped ones were compared by fingerprint with every other log that has the epoch
	Tags           Count `json:"confirmation_tags"`
}

func (t *Tally) add(o Tally) {
	t.Records += o.Records
	t.Epochs += o.Epochs
	t.MACs.add(o.MACs)
	t.Signatures.add(o.Signatures)
	t.Transcripts.add(o.Transcripts)
	t.Trees += o.Trees
	t.Authenticators.add(o.Authenticators)
	t.Tags.add(o.Tags)
}
