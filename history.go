package parley

import (
	"context"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

// EpochRecord is one epoch of a conversation as a replay of its log finds it.
type EpochRecord struct {
	Epoch         uint64
	Version       uint64 // of the record that began it
	Time          time.Time
	Fingerprint   []byte // of the authenticator, as recorded in the open
	Authenticator []byte // recomputed from what the log holds sealed; nil outside of Config.RetainEpochs
	Digest        string // of the public state with that record
}

// History is a conversation as its log tells it.
type History struct {
	Epochs        []EpochRecord
	Epoch         uint64
	Version       uint64
	Digest        string // of the public state at the end: equal to Status.Digest
	Authenticator []byte // of the last epoch, from the private state at the end
}

// History replays the conversation's log from its first record. Nothing is asked of the running conversation.
func (c *Conversation) History(ctx context.Context) (History, error) {
	state, epochs, err := c.client.node.actors.History(ctx, c.client.id, c.id)
	if err == nil && state.Version == 0 {
		err = &conversation.CommandError{Code: ConversationNotFound, Advice: GiveUp, Detail: c.id.String() + " has no log"}
	}
	if err != nil {
		return History{}, c.wrap("history", err)
	}
	out := History{
		Epoch: uint64(state.Epoch()), Version: state.Version, Digest: state.Digest().String(), Authenticator: state.EpochAuthenticator(),
	}
	for _, e := range epochs {
		out.Epochs = append(out.Epochs, EpochRecord{
			Epoch: e.Number, Version: e.Version, Time: timeOf(e.TimeMs), Fingerprint: e.Fingerprint, Authenticator: e.Authenticator,
			Digest: e.Digest.String(),
		})
	}
	return out, nil
}

// Fingerprint is what a log shows of an epoch authenticator. It lets epochs be compared and reveals nothing.
func Fingerprint(authenticator []byte) []byte { return conversation.Fingerprint(authenticator) }

// RetainAll as Config.RetainEpochs keeps the authenticators of all epochs verifiable.
const RetainAll = conversation.RetainAll

// Policies a Config may name for handshakes of members.
const (
	WirePlaintext  = conversation.WirePlaintext
	WireCiphertext = conversation.WireCiphertext
	WireMixed      = conversation.WireMixed
)

// KeyPackageLifetime reads when a key package may be used, in Unix seconds. Both bounds belong to it.
func KeyPackageLifetime(keyPackage []byte) (notBefore, notAfter uint64, err error) {
	kp, err := mlsengine.ParseKeyPackage(keyPackage)
	if err != nil {
		return 0, 0, wrap("key package", err)
	}
	return kp.LeafNode.Lifetime.NotBefore, kp.LeafNode.Lifetime.NotAfter, nil
}

// KeyPackageIdentity reads who a key package claims to be: what an authentication service is asked about. It verifies nothing.
func KeyPackageIdentity(keyPackage []byte) (Identity, error) {
	kp, err := mlsengine.ParseKeyPackage(keyPackage)
	if err != nil {
		return Identity{}, wrap("key package", err)
	}
	return delivery.IdentityOf(kp), nil
}
