package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"parley"
)

// runner drives all cases through one node, closes it, opens it again and checks what it finds.
type runner struct {
	profile profile
	dir     string
	out     io.Writer
	failed  map[int]bool
	clock   caseClock

	recomputed, fingerprinted, messages int
}

// caseClock stands where a case needs it: inside its key package's lifetime.
type caseClock struct {
	parley.Clock
	seconds atomic.Uint64
}

// Now returns the case's time.
func (c *caseClock) Now() time.Time { return time.Unix(int64(c.seconds.Load()), 0) }

// set moves the clock into the lifetime, to the present where that lies in it.
func (c *caseClock) set(keyPackage []byte) error {
	notBefore, notAfter, err := parley.KeyPackageLifetime(keyPackage)
	if err != nil {
		return err
	}
	now := uint64(time.Now().Unix())
	if now < notBefore || now > notAfter {
		now = notBefore + (notAfter-notBefore)/2
	}
	c.seconds.Store(now)
	return nil
}

// reached is where a case's conversation was when the node was stopped.
type reached struct {
	conversation   parley.ConversationID
	status         parley.Status
	authenticators [][]byte
}

func (r *runner) run(ctx context.Context, cases []vector) error {
	r.clock.Clock = parley.SystemClock()
	r.clock.seconds.Store(uint64(time.Now().Unix()))
	done := make([]reached, len(cases))
	err := r.withNode(ctx, func(node *parley.Node) {
		for i := range cases {
			if err := r.drive(ctx, node, &cases[i], &done[i]); err != nil {
				r.fail(i, &cases[i], err)
			}
		}
	})
	if err != nil {
		return err
	}
	return r.withNode(ctx, func(node *parley.Node) {
		for i := range cases {
			if r.failed[i] {
				continue
			}
			if err := r.check(ctx, node, &cases[i], &done[i]); err != nil {
				r.fail(i, &cases[i], fmt.Errorf("after the restart: %w", err))
			}
		}
	})
}

func (r *runner) fail(i int, v *vector, err error) {
	r.failed[i] = true
	fmt.Fprintf(r.out, "FAIL %s (%s): %v\n", v.name, r.profile.name, err)
}

// withNode runs f with a node on the profile's data, and stops everything afterwards.
func (r *runner) withNode(ctx context.Context, f func(*parley.Node)) error {
	node, err := parley.Open(ctx, parley.Options{
		Data: r.dir, Isolated: true, Config: r.profile.config, Clock: &r.clock,
		Limits: parley.Limits{KeyPackages: -1}, // those of other implementations may last for ever
	})
	if err != nil {
		return err
	}
	f(node)
	return node.Close(context.WithoutCancel(ctx))
}

// drive takes one case from its key package to its last epoch.
func (r *runner) drive(ctx context.Context, node *parley.Node, v *vector, out *reached) error {
	if v.broken != nil {
		return v.broken
	}
	if err := r.clock.set(v.KeyPackage); err != nil {
		return err
	}
	client := node.Bare(clientOf(v))
	err := client.ImportKeyPackage(ctx, parley.KeyPackageImport{
		KeyPackage: v.KeyPackage, InitKey: slices.Clone(v.InitPriv), LeafKey: slices.Clone(v.EncryptionPriv), SignatureKey: slices.Clone(v.SignaturePriv),
	})
	if err != nil {
		return err
	}
	for _, psk := range v.PSKs {
		if err := client.AddPSK(ctx, psk.ID, slices.Clone(psk.PSK)); err != nil {
			return err
		}
	}
	conv, err := client.Join(ctx, parley.Invitation{Welcome: v.Welcome, Tree: v.RatchetTree})
	if err != nil {
		return err
	}
	out.conversation = conv.ID()
	if err := r.arrive(ctx, conv, v.InitialAuthenticator, v.App, out); err != nil {
		return fmt.Errorf("first epoch: %w", err)
	}
	for i := range v.Epochs {
		e := &v.Epochs[i]
		for _, handshake := range append(slices.Clone(e.Proposals), e.Commit) {
			if err := accept(ctx, conv, handshake); err != nil {
				return fmt.Errorf("epoch %d of the case: %w", i, err)
			}
		}
		if err := r.arrive(ctx, conv, e.Authenticator, e.App, out); err != nil {
			return fmt.Errorf("epoch %d of the case: %w", i, err)
		}
	}
	out.status, err = conv.Status(ctx)
	return err
}

// clientOf names the client that a case gets: its own, for several cases share one key package. Paths can be longer than ids.
func clientOf(v *vector) parley.ClientID {
	sum := sha256.Sum256([]byte(v.name))
	return parley.ClientID(hex.EncodeToString(sum[:16]) + "/" + filepath.Base(v.name))
}

// accept hands a handshake in.
func accept(ctx context.Context, conv *parley.Conversation, handshake []byte) error {
	got, err := conv.Decrypt(ctx, handshake)
	if err == nil && got.Code != "" {
		err = fmt.Errorf("refused: %s %s %s", got.Code, got.Rule, got.Detail)
	}
	return err
}

// arrive checks an epoch and reads its application messages.
func (r *runner) arrive(ctx context.Context, conv *parley.Conversation, authenticator []byte, app []message, out *reached) error {
	status, err := conv.Status(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(status.Authenticator, authenticator) {
		return fmt.Errorf("epoch %d: the authenticator is %x, not %x", status.Epoch, status.Authenticator, authenticator)
	}
	out.authenticators = append(out.authenticators, authenticator)
	for i, m := range app {
		got, err := conv.Decrypt(ctx, m.Ciphertext)
		switch {
		case err != nil:
			return err
		case got.Code != "" || got.Message == nil:
			return fmt.Errorf("application message %d: refused: %s %s %s", i, got.Code, got.Rule, got.Detail)
		case !bytes.Equal(got.Message.Text, m.Plaintext) || !bytes.Equal(got.Message.AAD, m.AuthenticatedData):
			return fmt.Errorf("application message %d: decrypted to something else", i)
		}
		r.messages++
	}
	return nil
}

// check compares what recovery and replay find in the log with what was reached before the restart.
func (r *runner) check(ctx context.Context, node *parley.Node, v *vector, was *reached) error {
	if err := r.clock.set(v.KeyPackage); err != nil {
		return err
	}
	conv := node.Bare(clientOf(v)).Conversation(was.conversation)
	status, err := conv.Status(ctx)
	if err != nil {
		return err
	}
	history, err := conv.History(ctx)
	if err != nil {
		return err
	}
	last := was.authenticators[len(was.authenticators)-1]
	switch {
	case status.Epoch != was.status.Epoch || history.Epoch != was.status.Epoch:
		return fmt.Errorf("recovered epoch %d, replayed epoch %d, reached epoch %d", status.Epoch, history.Epoch, was.status.Epoch)
	case status.Digest != history.Digest:
		return fmt.Errorf("recovery and replay differ: %s, %s", status.Digest, history.Digest)
	case !bytes.Equal(status.Authenticator, last) || !bytes.Equal(history.Authenticator, last):
		return fmt.Errorf("epoch %d: recovered authenticator %x, replayed %x, not %x", status.Epoch, status.Authenticator, history.Authenticator, last)
	case len(history.Epochs) != len(was.authenticators):
		return fmt.Errorf("the log holds %d epochs, not %d", len(history.Epochs), len(was.authenticators))
	}
	for i, e := range history.Epochs {
		if err := r.checkEpoch(e, was.authenticators[i], len(history.Epochs)-1-i); err != nil {
			return err
		}
	}
	return nil
}

// checkEpoch compares one epoch of the log; age is how many epochs came after it.
func (r *runner) checkEpoch(e parley.EpochRecord, want []byte, age int) error {
	if !bytes.Equal(e.Fingerprint, parley.Fingerprint(want)) {
		return fmt.Errorf("epoch %d: recorded another fingerprint", e.Epoch)
	}
	retained := r.profile.config.RetainEpochs
	switch {
	case e.Authenticator != nil && !bytes.Equal(e.Authenticator, want):
		return fmt.Errorf("epoch %d: replayed authenticator %x, not %x", e.Epoch, e.Authenticator, want)
	case e.Authenticator != nil:
		r.recomputed++
	case retained == parley.RetainAll || uint64(age) <= uint64(retained):
		return fmt.Errorf("epoch %d: not to be recomputed, though the window holds it", e.Epoch)
	default:
		r.fingerprinted++
	}
	return nil
}
