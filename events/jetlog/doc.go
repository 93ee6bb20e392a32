// Package jetlog keeps logs, rings and snapshots on NATS JetStream. It implements the stores that package events declares and knows
// no keys: what it carries is opaque.
//
//	NS.log.<client>.<conversation>   a conversation's log; NS.log.<client>._ is the client's own
//	NS.ds.<group>                    the order of a group
//	NS.kp.<client>                   a client's key package directory
//	NS.in.<client>                   a client's inbox of notices
//	NS.keys.<client>.<conversation>  the ring of a log; NS.keys._.<group> that of an order
//	NS.snap.<client>.<conversation>  the newest snapshot of a log
//
// One writer: every append carries the sequence of the subject's newest message, and the server refuses it (ErrFenced) where that is
// another. The fence compares sequences, not digests; after a loss numbers come round again, which is why package events checks the
// chain and the anchor as well.
//
// An append is never repeated here. A timeout is ErrUnknownOutcome: the message may still arrive, minutes later. Connections made by
// Connect reconnect for ever and buffer nothing while they are away.
//
// Last and Scan read from a stream's leader and see all that was acknowledged; Read uses batched direct gets, which any replica may
// answer. Where a read shows that the server has lost something it is ErrDamaged, never a shorter log.
package jetlog
