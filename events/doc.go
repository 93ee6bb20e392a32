// Package events is what happened, and where it is kept.
//
// A log is the history of one conversation of one client, of a client itself,
// of a group's order or of a key package directory. It is a sequence of
// records; a record is one transaction's events, stored as one message:
//
//	encoding of v1.Record || SHA-256 digest of it || HMAC-SHA-256 of the digest
//
// Every record names the digest of the record before, so a gap, a swap or an
// edit is evident to anybody; the MAC is under the log's own key, so that a
// stranger who can publish is not believed by a node. What is secret in a
// record is sealed in parts, each under a key of the log's ring. A ring holds
// independent random keys; destroying a key destroys what it sealed.
//
//	Journal   one log's session of the one who writes it: replay, append, ring
//	Audit     the same history for one who only reads, with all, some or no keys
//	Log       where messages are kept: events/jetlog on JetStream, events/memlog
//	RingStore where rings are kept; KeyVault what wraps them
//
// Time is milliseconds since 1970 and comes from the caller. Randomness comes
// from the operating system unless JournalOptions says otherwise.
package events
