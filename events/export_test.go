package events

import "parley/internal/secret"

// MACKeys are the keys of a reader who has a log's MAC key alone.
func MACKeys(mac secret.Bytes) Keys { return Keys{mac: ringSecret{mac}} }
