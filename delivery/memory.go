package delivery

import (
	"encoding/binary"

	"parley/internal/ids"
)

// commandKey names a command of a client within a group.
type commandKey [16]byte

func keyOfCommand(c ids.ClientID, id ids.CommandID) commandKey {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(c)))
	sum := ids.DigestOf(length[:], []byte(c), []byte(id))
	return commandKey(sum[:16])
}

// remembered is a command that has put an entry into the order.
type remembered struct {
	key     commandKey
	request [16]byte
	number  uint64
	timeMs  uint64 // of its entry
}

// memory holds the commands of the window, bounded by time and count. The queue is in order of entries, so of time.
type memory struct {
	byKey map[commandKey]remembered
	queue []remembered
	first int // the queue's head; what lies before it is forgotten
}

func newMemory() memory { return memory{byKey: map[commandKey]remembered{}} }

func (m *memory) find(k commandKey) (remembered, bool) {
	r, ok := m.byKey[k]
	return r, ok
}

func (m *memory) len() int { return len(m.queue) - m.first }

func (m *memory) add(r remembered) {
	m.byKey[r.key] = r
	m.queue = append(m.queue, r)
}

// expire forgets what a retry can no longer ask for: an entry older than the window plus the skew its command's clock may have had.
func (m *memory) expire(nowMs uint64, l *Limits) {
	keepMs := uint64((l.CommandWindow + l.ClockSkew).Milliseconds())
	for m.first < len(m.queue) && m.queue[m.first].timeMs+keepMs < nowMs {
		r := m.queue[m.first]
		if m.byKey[r.key].number == r.number {
			delete(m.byKey, r.key)
		}
		m.first++
	}
	if m.first > 1024 && m.first > len(m.queue)/2 {
		m.queue = append([]remembered(nil), m.queue[m.first:]...)
		m.first = 0
	}
}

// fresh tells whether a command is inside the window.
func fresh(o *Origin, nowMs uint64, l *Limits) *Error {
	if o.IssuedMs > nowMs+uint64(l.ClockSkew.Milliseconds()) {
		return refuse(Expired, "the command is issued %d ms in the future", o.IssuedMs-nowMs)
	}
	if o.IssuedMs+uint64(l.CommandWindow.Milliseconds()) < nowMs {
		return refuse(Expired, "the command was issued %d ms ago", nowMs-o.IssuedMs)
	}
	return nil
}
