package events

import (
	"fmt"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
)

// Class says what a sealed part holds, and with it which key seals it and how
// long that key lives.
type Class uint32

const (
	// ClassPrivateState is the private state of an epoch or a checkpoint. Each has a key of its own; the next one kills it.
	ClassPrivateState Class = 1
	// ClassConsumption is sealed under the key of the private state it belongs to and dies with it: what was consumed since,
	// and what must not outlive it (the secrets of a staged commit, of own updates).
	ClassConsumption Class = 2
	// ClassSignatureKey, ClassKeyPackage and ClassPSK have one key for each Label; Forget kills it.
	ClassSignatureKey Class = 3
	ClassKeyPackage   Class = 4
	ClassPSK          Class = 5
	// ClassSpool shares keys: Label is an Item, a stream and a running number in it. ForgetThrough says how far a stream is
	// no longer needed; a key dies when all it covers is.
	ClassSpool Class = 6
	// ClassAudit is what auditors may read. Its key lives as long as the log.
	ClassAudit Class = 7
	// ClassVerification shares keys like ClassSpool; the running number is the epoch, and a key spans 64 of them.
	ClassVerification Class = 8
	// ClassData is what an application keeps: one key for each Label, and the next of the label kills it.
	ClassData Class = 10
	// ClassOrder is for the writer of a group's order alone. Its key lives as long as the log.
	ClassOrder Class = 9
	// ClassLetter is a message whose owner could not handle it: one key for each Label, the message's number. The next of the label kills it,
	// so that no message keeps the keys of its neighbours.
	ClassLetter Class = 11

	classMAC Class = 32 // the log's MAC key: never seals
)

var classNames = [...]string{
	ClassPrivateState: "private-state", ClassConsumption: "consumption", ClassSignatureKey: "signature-key", ClassKeyPackage: "key-package",
	ClassPSK: "psk", ClassSpool: "spool", ClassAudit: "audit", ClassVerification: "verification", ClassOrder: "order", ClassData: "data",
	ClassLetter: "letter", classMAC: "mac",
}

// String names the class; Forget entries use the name.
func (c Class) String() string {
	if int(c) < len(classNames) && classNames[c] != "" {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint32(c))
}

// Secret is a part of an event that is sealed.
type Secret struct {
	Class Class
	Label string       // see the classes; empty where the class has none
	Plain secret.Bytes // zero on reading where the key is gone or was not given
}

// Body is what an event says: a message of the oneof in v1.Event.
type Body = v1.Body

// Event is one thing that happened.
type Event struct {
	Body    Body     // nil on reading where this build does not know the kind
	Secrets []Secret // order is kept
	Forget  []string // made by Forget, ForgetThrough and ForgetAll; takes effect once the record is durable
}

// Kind names the event, or is empty where this build does not know it.
func (e Event) Kind() string {
	if e.Body == nil {
		return ""
	}
	return e.Body.EventKind()
}

// Secret returns the first secret of a class; ok is false where there is none
// or its key is gone.
func (e Event) Secret(class Class) (plain secret.Bytes, ok bool) {
	for _, s := range e.Secrets {
		if s.Class == class && !s.Plain.IsZero() {
			return s.Plain, true
		}
	}
	return secret.Bytes{}, false
}

// Cause is why a record was written.
type Cause struct {
	Transaction   ids.TransactionID
	Command       string // what was asked for
	CommandID     ids.CommandID
	Principal     string
	Trace         string
	IssuedMS      uint64
	RequestDigest ids.Digest // zero: none
}

// Draft is a record to be: everything but its place in the log.
type Draft struct {
	TimeMS uint64 // the record's time is this or that of the record before, whichever is later
	Cause  Cause
	Events []Event
	// Anchor, where set, is written to the ring after the record is durable and before Append returns; version and digest
	// are filled in. Set it where generations were reserved or an epoch was reached.
	Anchor *Anchor
	// Swift is for a caller who answers others before he calls Journal.Secure: what generations an anchor speaks for is stored beside
	// the record instead of after it, and everything else that a record leaves to be written to the ring waits for Secure.
	Swift bool
}

// Anchor is the last place of a log that its ring knows of, and what of the
// epoch's generations is spoken for.
type Anchor struct {
	Version             uint64
	Digest              ids.Digest
	Epoch               uint64
	ApplicationReserved uint32 // generations below this are spoken for in that epoch
	HandshakeReserved   uint32
}

// Participant is one log of a batch, and the version its record has there.
type Participant struct {
	Log     LogID
	Version uint64
}

// BatchInfo names all logs of an atomic batch, in the order of its messages:
// the last one proves that the batch is whole.
type BatchInfo struct {
	Transaction  ids.TransactionID
	Segment      uint32
	Participants []Participant
}

// Record is one stored transaction on one log.
type Record struct {
	Head       // the place of this record
	Log        LogID
	Previous   ids.Digest
	TimeMS     uint64
	Cause      Cause
	Events     []Event
	Batch      *BatchInfo // nil unless the transaction spans several logs
	MACChecked bool       // false only for an Audit without the log's MAC key
	Size       int        // stored bytes, chunks included
	Raw        []byte     // the stored message of the record itself
}
