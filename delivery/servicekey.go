package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// serviceLog is the directory that holds the service's own signature keys, sealed like every other secret. No client has this id.
const serviceLog ids.ClientID = "\x00parley delivery service"

// SenderName is the credential under which groups list the service: what deployed clients expect of an external sender.
const SenderName = "wire-server"

// ServiceSender is who the service's own proposals are sent by in the order.
const ServiceSender ids.ClientID = "delivery service"

// serviceKeys are the keys with which the service signs proposals (§12.1.8). A deployment has them in common, for each cipher suite as many
// as were ever made: a group lists the one that was the newest when it was created.
type serviceKeys struct {
	service *Service

	mu   sync.Mutex
	keys []serviceKey // oldest first
}

type serviceKey struct {
	suite    mlsengine.CipherSuite
	identity *mlsengine.SigningIdentity
}

// newest finds the key that groups are to list from now on.
func (k *serviceKeys) newest(s mlsengine.CipherSuite) *mlsengine.SigningIdentity {
	for i := len(k.keys) - 1; i >= 0; i-- {
		if k.keys[i].suite == s {
			return k.keys[i].identity
		}
	}
	return nil
}

// listed finds the key that a group lists.
func (k *serviceKeys) listed(senders []mlsengine.ExternalSender) *mlsengine.SigningIdentity {
	for i := len(k.keys) - 1; i >= 0; i-- {
		for _, sender := range senders {
			if bytes.Equal(sender.SignatureKey, k.keys[i].identity.Public) {
				return k.keys[i].identity
			}
		}
	}
	return nil
}

// signerOf finds our key among a group's external senders; nil where it lists none of ours. Keys made elsewhere since are read first.
func (k *serviceKeys) signerOf(ctx context.Context, group *mlsengine.PublicGroup) (*mlsengine.SigningIdentity, error) {
	senders := group.ExternalSenders()
	if len(senders) == 0 {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if found := k.listed(senders); found != nil {
		return found, nil
	}
	_, err := k.service.stores.Log.Last(ctx, events.DirectoryLog(serviceLog))
	if errors.Is(err, events.ErrNotFound) {
		return nil, nil // nobody has ever asked for one
	}
	if err == nil {
		_, err = k.read(ctx)
	}
	return k.listed(senders), err
}

// read opens the log and reads all keys.
func (k *serviceKeys) read(ctx context.Context) (*events.Journal, error) {
	s := k.service
	journal, err := events.OpenJournal(ctx, s.stores, s.config.Vault, events.DirectoryLog(serviceLog), events.JournalOptions{Hooks: s.config.Hooks})
	if err != nil {
		return nil, coded(err)
	}
	var keys []serviceKey
	err = journal.Replay(ctx, events.Head{}, func(r *events.Record) error {
		for _, ev := range r.Events {
			added, ok := ev.Body.(*eventsv1.CredentialAdded)
			if !ok {
				continue
			}
			private, ok := ev.Secret(events.ClassSignatureKey)
			if !ok {
				continue // its part cannot be read: it signs nothing
			}
			key, err := serviceKeyFrom(mlsengine.CipherSuite(added.CipherSuite), private)
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return nil, coded(err)
	}
	k.keys = keys
	return journal, nil
}

func serviceKeyFrom(id mlsengine.CipherSuite, private secret.Bytes) (serviceKey, error) {
	identity, err := conversation.Signer(id, mlsengine.BasicCredential([]byte(SenderName)), private)
	if err != nil {
		return serviceKey{}, failed(Damaged, "read a service key", err)
	}
	return serviceKey{suite: id, identity: identity}, nil
}

// systemEntropy draws from the operating system.
type systemEntropy struct{}

func (systemEntropy) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails: the program ends instead
	return b
}

// KeyAge says which key of the service is wanted.
type KeyAge bool

// The two.
const (
	NewestKey KeyAge = false // the newest one there is; the first is made
	FreshKey  KeyAge = true  // one made now: groups created before keep listing the older one, which goes on signing for them
)

// Sender is the service as an external sender of groups of a cipher suite: to be listed in their external_senders. The key is durable, and
// one for the deployment.
func (s *Service) Sender(ctx context.Context, id mlsengine.CipherSuite, age KeyAge) (mlsengine.ExternalSender, error) {
	k := s.serviceKeys
	k.mu.Lock()
	defer k.mu.Unlock()
	for attempt := range conflictsMax {
		journal, err := k.read(ctx)
		if err != nil {
			return mlsengine.ExternalSender{}, err
		}
		found := k.newest(id)
		if found != nil && age == NewestKey {
			return mlsengine.ExternalSender{SignatureKey: found.Public, Credential: found.Credential}, nil
		}
		err = k.add(ctx, journal, id)
		if err == nil {
			age = NewestKey // it is read back, as every key before it is used
			continue
		}
		if !errors.Is(err, events.ErrFenced) {
			return mlsengine.ExternalSender{}, coded(err)
		}
		if !Backoff(ctx, attempt) {
			break
		}
	}
	return mlsengine.ExternalSender{}, refuse(Busy, "the service's keys are written by many")
}

// add makes a key and stores it.
func (k *serviceKeys) add(ctx context.Context, journal *events.Journal, id mlsengine.CipherSuite) error {
	private, err := conversation.NewSignatureKey(id, systemEntropy{})
	if err != nil {
		return refuse(Invalid, "%v", err)
	}
	made, err := serviceKeyFrom(id, private)
	if err != nil {
		return err
	}
	public := made.identity.Public
	body := &eventsv1.CredentialAdded{
		Ref: refOfKey(public), CipherSuite: uint32(id), Type: uint32(mlsengine.CredentialTypeBasic), SignatureKey: public,
	}
	now := k.service.nowMs()
	_, err = journal.Append(ctx, events.Draft{
		TimeMS: now, Cause: events.Cause{Command: "make-service-key", Principal: k.service.config.Node},
		Events: []events.Event{{Body: body, Secrets: []events.Secret{{Class: events.ClassSignatureKey, Label: body.Ref, Plain: private}}}},
	})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		return err
	}
	// A crash here leaves a key that whoever asks next finds.
	return journal.Sweep(ctx, now)
}
