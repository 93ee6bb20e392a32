package scripts

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"parley/internal/interop/mlsclient"
)

// said is a message on its way to those who were members when it was sent.
type said struct {
	by         *actor
	epoch      uint64
	ciphertext []byte
	data, aad  []byte
	readers    []*actor
}

// lateMax is how many epochs late a message may be.
const lateMax = 6

// talk lets members say something, and others read what was said, in any order and late.
func (w *world) talk(ctx context.Context) error {
	for range w.rand.IntN(4) {
		if err := w.say(ctx, pick(w, w.members)); err != nil {
			return err
		}
	}
	if err := w.eavesdrop(ctx); err != nil {
		return err
	}
	if !w.can(Late) {
		return w.read(ctx, 100)
	}
	return w.read(ctx, 60)
}

func (w *world) say(ctx context.Context, by *actor) error {
	m := &said{
		by: by, epoch: w.epoch, readers: w.others(by),
		data: make([]byte, w.rand.IntN(200)), aad: fmt.Appendf(nil, "about epoch %d", w.epoch),
	}
	for i := range m.data {
		m.data[i] = byte(w.rand.Uint32())
	}
	if w.chance(30) {
		m.aad = nil
	}
	r, err := call(ctx, by, mlsclient.MLSClientClient.Protect, &mlsclient.ProtectRequest{
		StateId: by.state, AuthenticatedData: m.aad, Plaintext: m.data,
	})
	if err != nil {
		return err
	}
	m.ciphertext = r.GetCiphertext()
	w.said = append(w.said, m)
	return nil
}

// read delivers a part of what was said and all that would be too late.
func (w *world) read(ctx context.Context, percent int) error {
	for _, i := range w.rand.Perm(len(w.said)) {
		m := w.said[i]
		overdue := w.epoch >= m.epoch+lateMax
		m.readers = slices.DeleteFunc(m.readers, func(a *actor) bool { return !slices.Contains(w.members, a) && !slices.Contains(w.gone, a) })
		for _, a := range slices.Clone(m.readers) {
			if !overdue && !w.chance(percent) {
				continue
			}
			if err := m.deliver(ctx, a); err != nil {
				return err
			}
			m.readers = slices.DeleteFunc(m.readers, func(b *actor) bool { return a == b })
		}
	}
	w.said = slices.DeleteFunc(w.said, func(m *said) bool { return len(m.readers) == 0 })
	return nil
}

func (m *said) deliver(ctx context.Context, to *actor) error {
	r, err := call(ctx, to, mlsclient.MLSClientClient.Unprotect, &mlsclient.UnprotectRequest{StateId: to.state, Ciphertext: m.ciphertext})
	if err != nil {
		return fmt.Errorf("message of %s in epoch %d, now %d: %w", m.by, m.epoch, to.world.epoch, err)
	}
	if !bytes.Equal(r.GetPlaintext(), m.data) || !bytes.Equal(r.GetAuthenticatedData(), m.aad) {
		return fmt.Errorf("%s read something else than %s said in epoch %d", to, m.by, m.epoch)
	}
	if !to.world.chance(10) {
		return nil
	}
	if _, err := call(ctx, to, mlsclient.MLSClientClient.Unprotect, &mlsclient.UnprotectRequest{StateId: to.state, Ciphertext: m.ciphertext}); err == nil {
		return fmt.Errorf("%s read what %s said in epoch %d twice: the key was not deleted", to, m.by, m.epoch)
	}
	return nil
}

// eavesdrop checks that somebody who is gone cannot read what is said now.
func (w *world) eavesdrop(ctx context.Context) error {
	if len(w.gone) == 0 || len(w.said) == 0 || !w.can(Apart) {
		return nil
	}
	a, m := pick(w, w.gone), w.said[len(w.said)-1]
	if slices.Contains(m.readers, a) || m.by == a || m.epoch != w.epoch {
		return nil
	}
	_, err := call(ctx, a, mlsclient.MLSClientClient.Unprotect, &mlsclient.UnprotectRequest{StateId: a.state, Ciphertext: m.ciphertext})
	if err == nil {
		return fmt.Errorf("%s is no member any more and reads what %s says", a, m.by)
	}
	return nil
}

// forgetUnread drops what an actor was to read under the state that it gives up.
func (w *world) forgetUnread(a *actor) {
	for _, m := range w.said {
		m.readers = slices.DeleteFunc(m.readers, func(b *actor) bool { return a == b })
	}
}
