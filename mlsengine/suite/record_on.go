//go:build parley_sim

package suite

import "sync/atomic"

// listener is told of every AEAD encryption. It exists in builds for simulation only.
var listener atomic.Pointer[func(key, nonce []byte)]

// Listen has every AEAD encryption of this process reported, until the next Listen; nil: no more. What it is given is the caller's: it
// must not keep it.
func Listen(f func(key, nonce []byte)) {
	if f == nil {
		listener.Store(nil)
		return
	}
	listener.Store(&f)
}

func (*Suite) record(key, nonce []byte) {
	if f := listener.Load(); f != nil {
		(*f)(key, nonce)
	}
}
