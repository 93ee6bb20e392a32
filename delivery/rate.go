package delivery

import (
	"parley/internal/ids"
)

// limiter bounds how often each member may submit, whatever becomes of it: judging costs as much as accepting. It is live state of one
// sequencer and starts full.
type limiter struct {
	limits  *Limits
	members map[ids.ClientID]*allowance
	sweepMs uint64
}

// allowance are three token buckets, counted in thousandths.
type allowance struct {
	messages, proposals, commits int64
	atMs                         uint64
}

func newLimiter(l *Limits) *limiter {
	return &limiter{limits: l, members: map[ids.ClientID]*allowance{}}
}

// take spends one submission of a member; false when it has none left.
func (l *limiter) take(sub Submission, nowMs uint64) bool {
	l.sweep(nowMs)
	full := allowance{
		messages: int64(l.limits.RateBurst) * 1000, proposals: int64(l.limits.ProposalBurst) * 1000, commits: int64(l.limits.RateCommits) * 1000,
		atMs: nowMs,
	}
	a := l.members[sub.origin().Client]
	if a == nil {
		a = &full
		l.members[sub.origin().Client] = a
	}
	if nowMs > a.atMs {
		passed := int64(min(nowMs-a.atMs, 1<<32))
		a.messages = min(full.messages, a.messages+passed*int64(l.limits.RateMessages))
		a.proposals = min(full.proposals, a.proposals+passed*int64(l.limits.RateProposals)/60)
		a.commits = min(full.commits, a.commits+passed*int64(l.limits.RateCommits)/60)
		a.atMs = nowMs
	}
	bucket := &a.messages
	switch sub.(type) {
	case *Bundle:
		bucket = &a.commits
	case *Proposal:
		bucket = &a.proposals // nobody speaks while one is pending
	}
	if *bucket < 1000 {
		return false
	}
	*bucket -= 1000
	return true
}

// sweep forgets members whose buckets are full again, so that the table holds only those active in the last minute.
func (l *limiter) sweep(nowMs uint64) {
	const everyMs = 60_000
	if nowMs < l.sweepMs+everyMs && len(l.members) < l.limits.Senders {
		return
	}
	l.sweepMs = nowMs
	for c, a := range l.members {
		if nowMs >= a.atMs+everyMs || len(l.members) > l.limits.Senders {
			delete(l.members, c)
		}
	}
}
