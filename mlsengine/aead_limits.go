package mlsengine

// SendMax is how many messages of one kind a member may encrypt in one epoch:
// 2^24. Every message has a key of its own, so that no AEAD comes near the
// bound of one key (2^24.5 messages of AES-GCM, RFC 8446 section 5.5); this one
// bounds how much is said under the secrets of one epoch. A member that meets it
// commits, and goes on in the next epoch. Receivers do not insist on it.
//
// What a receiver refuses to decrypt is not counted here, since an error leaves
// no successor to count in. The key of a message is used up by the first one
// that authenticates, and a forger needs about 2^36 attempts at one key to come
// near the integrity bound of AES-GCM: callers that take in messages at a
// bounded rate and leave an epoch now and then are far from it.
const SendMax = 1 << 24

// checkSendMax checks that generations up to from+n may be used.
func checkSendMax(from Generation, n uint32) error {
	if uint64(from)+uint64(n) > SendMax {
		return ErrGenerationsExhausted
	}
	return nil
}
