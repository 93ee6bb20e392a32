package memlog_test

import (
	"testing"

	"parley/events"
	"parley/events/logtest"
	"parley/events/memlog"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	store := &memlog.Store{}
	logtest.Run(t, func(*testing.T) events.Stores { return store.Stores() })
}
