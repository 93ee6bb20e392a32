package delivery

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/certtest"
	"parley/mlsengine/pki"
)

func foldAuthorities(t *testing.T, s *authoritiesState, bodies ...events.Body) error {
	t.Helper()
	for _, body := range bodies {
		r := &events.Record{TimeMS: uint64(time.Now().UnixMilli()), Events: []events.Event{{Body: body}}}
		r.Version = s.version + 1
		if err := s.take(r); err != nil {
			return err
		}
	}
	return nil
}

// TestAuthoritiesFoldAsTheyWereRegistered: what is folded is judged once more, and what does not pass changes nothing.
func TestAuthoritiesFoldAsTheyWereRegistered(t *testing.T) {
	authority, stranger := certtest.New(t), certtest.New(t)
	var s authoritiesState
	anchor := &eventsv1.AuthorityRegistered{Certificate: authority.Anchor(), Anchor: true}
	list := &eventsv1.RevocationListRegistered{Point: certtest.ListPoint, List: authority.Revoke(t, 1)}
	if err := foldAuthorities(t, &s, anchor, list, &eventsv1.RevocationPolicySet{Policy: 1}); err != nil {
		t.Fatal(err)
	}
	before := s.store.Bytes()
	for name, body := range map[string]events.Body{
		"a stranger's list":       &eventsv1.RevocationListRegistered{Point: certtest.ListPoint, List: stranger.Revoke(t)},
		"no certificate":          &eventsv1.AuthorityRegistered{Certificate: []byte("x"), Anchor: true},
		"a nobody's intermediate": &eventsv1.AuthorityRegistered{Certificate: stranger.Anchor()},
		"no fingerprint":          &eventsv1.AuthorityRemoved{Fingerprint: []byte{1}},
		"no policy":               &eventsv1.RevocationPolicySet{Policy: 9},
		"no state":                &eventsv1.OrderCheckpoint{State: []byte("x")},
		"an event of others":      &eventsv1.ClientCreated{},
	} {
		if err := foldAuthorities(t, &s, body); !errors.Is(err, ErrAuthorities) || s.version != 3 || !bytes.Equal(s.store.Bytes(), before) {
			t.Errorf("%s: %v, version %d", name, err, s.version)
		}
	}
	var again authoritiesState
	if err := foldAuthorities(t, &again, &eventsv1.OrderCheckpoint{State: before}); err != nil || !again.store.Equal(s.store) || again.records != 0 {
		t.Errorf("from a checkpoint: %v, %d records", err, again.records)
	}
	f := pki.FingerprintOf(authority.Anchor())
	if err := foldAuthorities(t, &s, &eventsv1.AuthorityRemoved{Fingerprint: f[:]}); err != nil || !s.store.Empty() {
		t.Errorf("removed: %v", err)
	}
}

// FuzzAuthorities folds whatever an event holds: it is refused, or leads to a store that outlives its encoding.
func FuzzAuthorities(f *testing.F) {
	authority := certtest.New(f)
	for _, body := range []events.Body{
		&eventsv1.AuthorityRegistered{Certificate: authority.Anchor(), Anchor: true},
		&eventsv1.RevocationListRegistered{Point: certtest.ListPoint, List: authority.Revoke(f, 1)},
		&eventsv1.AuthorityRemoved{Fingerprint: make([]byte, 32)}, &eventsv1.RevocationPolicySet{Policy: 1},
	} {
		var e eventsv1.Event
		e.SetBodyValue(body)
		b, err := proto.Marshal(&e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	store, err := (*pki.TrustStore)(nil).WithAnchor(authority.Anchor())
	if err != nil {
		f.Fatal(err)
	}
	now := uint64(time.Now().UnixMilli())
	f.Fuzz(func(t *testing.T, b []byte) {
		var e eventsv1.Event
		if proto.Unmarshal(b, &e) != nil || e.BodyValue() == nil {
			return
		}
		s := authoritiesState{store: store}
		r := &events.Record{TimeMS: now, Events: []events.Event{{Body: e.BodyValue()}}}
		r.Version = 1
		if s.take(r) != nil {
			if s.version != 0 || !s.store.Equal(store) {
				t.Error("a refused record has changed the state")
			}
			return
		}
		if again, err := pki.ParseTrustStore(s.store.Bytes()); err != nil || !again.Equal(s.store) {
			t.Errorf("the store does not read back: %v", err)
		}
	})
}
