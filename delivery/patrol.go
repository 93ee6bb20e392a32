package delivery

import (
	"context"
	"time"
)

// How often a node looks for orders that hold what is too old: a part of the retention, within bounds.
const (
	patrolPart = 24
	patrolMin  = time.Minute
	patrolMax  = time.Hour
)

// patrol looks after the orders of groups that nobody writes to any more, until ctx ends: nothing else would let go what is old in them.
func (s *Service) patrol(ctx context.Context) {
	round := time.NewTicker(min(max(s.config.Limits.RetainEntries/patrolPart, patrolMin), patrolMax))
	defer round.Stop()
	for {
		select {
		case <-round.C:
			s.lookAfterAged(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// lookAfterAged has the sequencers of the groups that are served here look at orders that begin with something too old. It is housekeeping:
// what fails is tried again in the next round.
func (s *Service) lookAfterAged(ctx context.Context) {
	aged, err := s.config.Store.AgedOrders(ctx, s.config.Clock().Add(-s.config.Limits.RetainEntries))
	if err != nil {
		return
	}
	for _, id := range aged {
		s.mu.Lock()
		held := s.held[s.config.ShareOf(id.Conversation)]
		s.mu.Unlock()
		if held == nil {
			continue
		}
		visit, cancel := context.WithTimeout(ctx, s.config.Limits.RemoteTimeout)
		_, _ = held.host.Submit(visit, id.Conversation, nil) // housekeeping, as above
		cancel()
	}
}
