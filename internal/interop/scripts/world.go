package scripts

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"parley/internal/interop/mlsclient"
)

// world is one group and everybody around it, as a script has to know them.
type world struct {
	rand    *rand.Rand
	options Options
	trace   *trace

	suite    uint32
	private  bool // handshake messages are encrypted
	group    []byte
	epoch    uint64
	members  []*actor
	gone     []*actor // were members once and may come back
	born     int
	signers  []*signer // in the group's external_senders, in their order
	said     []*said
	keyCount int
}

// actor is a client of the script.
type actor struct {
	world  *world
	name   string
	client *Client
	state  uint32 // of its membership; stale once it is gone
	since  uint64 // the epoch in which that membership began
}

// String is the actor's name and whose it is.
func (a *actor) String() string { return a.name + "(" + a.client.Name + ")" }

// signer is an external sender.
type signer struct {
	actor  *actor
	id     uint32
	sender []byte // an ExternalSender
}

// chance is true in so many of a hundred cases.
func (w *world) chance(percent int) bool { return w.rand.IntN(100) < percent }

// pick takes any of a list that is not empty.
func pick[T any](w *world, list []T) T { return list[w.rand.IntN(len(list))] }

// newActor gives birth to an actor of any client.
func (w *world) newActor() *actor {
	w.born++
	return &actor{world: w, name: fmt.Sprintf("actor%d", w.born), client: pick(w, w.options.Clients)}
}

// others lists the members but these.
func (w *world) others(but ...*actor) []*actor {
	return slices.DeleteFunc(slices.Clone(w.members), func(a *actor) bool { return slices.Contains(but, a) })
}

// create begins the script with a group of one.
func (w *world) create(ctx context.Context) error {
	a := w.newActor()
	w.group = fmt.Appendf(nil, "group %d", w.rand.Uint64())
	r, err := call(ctx, a, mlsclient.MLSClientClient.CreateGroup, &mlsclient.CreateGroupRequest{
		GroupId: w.group, CipherSuite: w.suite, EncryptHandshake: w.private, Identity: []byte(a.name),
	})
	if err != nil {
		return err
	}
	a.state, w.members = r.GetStateId(), []*actor{a}
	return nil
}

// step moves the group to its next epoch, or to its next group, and checks it.
func (w *world) step(ctx context.Context) error {
	kind := w.rand.IntN(100)
	var err error
	switch {
	case kind < 12 && w.can(External):
		err = w.externalJoin(ctx)
	case kind < 16 && len(w.members) > 1 && w.can(ReInit):
		err = w.reinit(ctx)
	case kind < 20 && len(w.members) > 1 && w.can(Branch):
		err = w.branch(ctx)
	default:
		err = w.commit(ctx)
	}
	if err != nil {
		return err
	}
	if err := w.agree(ctx); err != nil {
		return err
	}
	return w.talk(ctx)
}

// can reports whether the script may use a feature.
func (w *world) can(f Feature) bool { return !slices.Contains(w.options.Without, f) }

// treeBeside draws whether a ratchet tree goes beside its message.
func (w *world) treeBeside(percent int) bool { return w.chance(percent) && w.can(Trees) }

// agree checks that all members are in one epoch.
func (w *world) agree(ctx context.Context) error {
	label, about, length := fmt.Sprintf("label %d", w.rand.IntN(10)), fmt.Appendf(nil, "context %d", w.rand.IntN(10)), uint32(1+w.rand.IntN(64))
	var auth, exported []byte
	for i, a := range w.members {
		r, err := call(ctx, a, mlsclient.MLSClientClient.StateAuth, &mlsclient.StateAuthRequest{StateId: a.state})
		if err != nil {
			return err
		}
		x, err := call(ctx, a, mlsclient.MLSClientClient.Export, &mlsclient.ExportRequest{
			StateId: a.state, Label: label, Context: about, KeyLength: length,
		})
		if err != nil {
			return err
		}
		if i == 0 {
			auth, exported = r.GetStateAuthSecret(), x.GetExportedSecret()
		}
		if !bytes.Equal(auth, r.GetStateAuthSecret()) {
			return fmt.Errorf("%s and %s have different epoch authenticators in epoch %d", w.members[0], a, w.epoch)
		}
		if !bytes.Equal(exported, x.GetExportedSecret()) || len(exported) != int(length) {
			return fmt.Errorf("%s and %s export different secrets in epoch %d", w.members[0], a, w.epoch)
		}
	}
	return nil
}

// sameAuthenticator compares what two calls say of one epoch.
func sameAuthenticator(a *actor, got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s has another epoch authenticator than the committer", a)
	}
	return nil
}

// free lets a client forget a state.
func (a *actor) free(ctx context.Context) error {
	_, err := call(ctx, a, mlsclient.MLSClientClient.Free, &mlsclient.FreeRequest{StateId: a.state})
	return err
}
