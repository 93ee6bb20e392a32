package actors

import (
	"sync"
	"time"
)

// alarms is when time makes something due in conversations that are passive: the expiry of messages nobody took, the death of past
// epochs. It is an index over the log: after a restart the visit of every conversation makes it anew.
type alarms struct {
	mu  sync.Mutex
	due map[Identity]uint64 // Unix milliseconds
}

func newAlarms() *alarms { return &alarms{due: map[Identity]uint64{}} }

func (a *alarms) set(id Identity, due uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due[id] = due
}

func (a *alarms) clear(id Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.due, id)
}

// alarmAgain is after how long a conversation is woken once more that was woken and did not come.
const alarmAgain = time.Minute

// alarmsAtOnce bounds how many conversations one look of the sweeper wakes; the others are woken by the next.
const alarmsAtOnce = 256

// ring lists what is due. Each comes again in a while, unless its alarm is cleared.
func (a *alarms) ring(nowMS uint64) (due []Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.due {
		if at > nowMS {
			continue
		}
		if due = append(due, id); len(due) == alarmsAtOnce {
			break
		}
	}
	for _, id := range due {
		a.due[id] = nowMS + uint64(alarmAgain.Milliseconds())
	}
	return due
}

// wakeDue activates the passive conversations that something is due in: their own timers do the rest.
func (n *Node) wakeDue() {
	for _, id := range n.alarms.ring(n.Now()) {
		if !n.owns(id) {
			n.alarms.clear(id) // whoever owns it has visited it
			continue
		}
		n.activate(id)
	}
}
