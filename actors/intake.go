package actors

import "sync/atomic"

// intake bounds what waits in mailboxes. A mailbox itself is unbounded (the library's bounded ones spin or drop), so
// the bound stands in front of it: a request is counted from admission to its answer, per actor and per node.
type intake struct {
	perActor, perNode int64
	waiting           atomic.Int64
	refused           atomic.Uint64
}

// admit counts one request in, or answers ErrBusy. The returned function counts it out and must be called once.
func (i *intake) admit(e *entry) (release func(), err error) {
	if i.waiting.Add(1) > i.perNode {
		i.waiting.Add(-1)
		i.refused.Add(1)
		return nil, ErrBusy
	}
	if e.waiting.Add(1) > i.perActor {
		e.waiting.Add(-1)
		i.waiting.Add(-1)
		i.refused.Add(1)
		return nil, ErrBusy
	}
	return func() {
		e.waiting.Add(-1)
		i.waiting.Add(-1)
	}, nil
}
