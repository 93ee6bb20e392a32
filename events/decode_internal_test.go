package events

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
)

// TestSlowReaderDoesNotFillTheRing: messages that nobody acknowledges come in
// for weeks, and the ring keeps its bound.
func TestSlowReaderDoesNotFillTheRing(t *testing.T) {
	r, err := newRing(ConversationLog("alice", "team"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	at, number := uint64(0), uint64(0)
	store := func(version uint64, event Event) {
		t.Helper()
		for i := range r.keys {
			r.keys[i].proven = true
		}
		p := &planner{ring: r.clone(), random: rand.Reader, version: version, timeMS: at}
		if err := p.plan([]Event{event}); err != nil || p.missing > 0 {
			t.Fatalf("record %d: %v, %d keys missing", version, err, p.missing)
		}
		r = p.ring
		if err := r.addSpares(rand.Reader, spareKeys); err != nil {
			t.Fatal(err)
		}
	}
	for version := range uint64(600) {
		at += spoolAgeMS + 1
		event := Event{Body: &v1.MessagesConsumed{}}
		for range spoolItems {
			number++
			event.Secrets = append(event.Secrets, Secret{Class: ClassSpool, Label: Item("message", number)})
		}
		store(version, event)
	}
	if len(r.keys) > spoolRing+2*spareKeys {
		t.Errorf("ring of %d keys for %d messages", len(r.keys), number)
	}
	full := len(r.keys)
	for letter := range uint64(160) { // as many as a conversation has of messages that failed
		store(600+letter, Event{Body: &v1.DeliveryFailed{}, Secrets: []Secret{{Class: ClassLetter, Label: strconv.FormatUint(letter, 10)}}})
	}
	if len(r.keys) != full+160 || len(r.keys) > ringKeysMax-spareKeys {
		t.Errorf("ring of %d keys with what failed, %d without", len(r.keys), full)
	}
	for letter := range uint64(160) {
		f, err := parseForget(Forget(ClassLetter, strconv.FormatUint(letter, 10)))
		if err != nil {
			t.Fatal(err)
		}
		r.forget(f, at)
	}
	if len(r.keys) != full {
		t.Errorf("ring of %d keys when what failed is gone, %d before", len(r.keys), full)
	}
	f, err := parseForget(ForgetThrough(ClassSpool, "message", number))
	if err != nil {
		t.Fatal(err)
	}
	r.forget(f, at+spoolAgeMS)
	if len(r.keys) > 2*spareKeys {
		t.Errorf("ring of %d keys after everything expired", len(r.keys))
	}
}

// TestSealIsBoundToItsPlace: a part opens under its own key, class, label and
// record, and nowhere else.
func TestSealIsBoundToItsPlace(t *testing.T) {
	k, err := newRingKey(rand.Reader, ClassPSK)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newRingKey(rand.Reader, ClassPSK)
	if err != nil {
		t.Fatal(err)
	}
	salt, public := make([]byte, saltBytes), ids.DigestOf([]byte("public"))
	aad := partAAD(public, ClassPSK, "label", k.id)
	box, err := sealBox(k.key, salt, aad, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := openBox(k.key, salt, aad, box); err != nil || string(plain) != "plain" {
		t.Fatalf("%q, %v", plain, err)
	}
	for what, open := range map[string]func() ([]byte, error){
		"another key":  func() ([]byte, error) { return openBox(other.key, salt, aad, box) },
		"another salt": func() ([]byte, error) { return openBox(k.key, bytes.Repeat([]byte{1}, saltBytes), aad, box) },
		"another record": func() ([]byte, error) {
			return openBox(k.key, salt, partAAD(ids.Digest{}, ClassPSK, "label", k.id), box)
		},
		"another class":   func() ([]byte, error) { return openBox(k.key, salt, partAAD(public, ClassSpool, "label", k.id), box) },
		"another label":   func() ([]byte, error) { return openBox(k.key, salt, partAAD(public, ClassPSK, "other", k.id), box) },
		"another key id":  func() ([]byte, error) { return openBox(k.key, salt, partAAD(public, ClassPSK, "label", other.id), box) },
		"a cut box":       func() ([]byte, error) { return openBox(k.key, salt, aad, box[:len(box)-1]) },
		"nothing":         func() ([]byte, error) { return openBox(k.key, salt, aad, nil) },
		"a short salt":    func() ([]byte, error) { return openBox(k.key, salt[1:], aad, box) },
		"a key of nought": func() ([]byte, error) { return openBox(ringSecret{secret.New(nil)}, salt, aad, box) },
	} {
		if plain, err := open(); err == nil {
			t.Errorf("opened under %s: %q", what, plain)
		}
	}
}

// TestPublicBytesLeaveOutOnlyWhatIsSealed: what the seal is bound to changes
// with every public byte and with no sealed one.
func TestPublicBytesLeaveOutOnlyWhatIsSealed(t *testing.T) {
	m := &v1.Record{Version: 1, Client: []byte("alice"), Incarnation: make([]byte, 16), Events: []*v1.Event{{Sealed: []uint32{0}}}}
	core, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	part := func(label, ciphertext string) ids.Digest {
		p := &v1.SealedPart{KeyId: make([]byte, 16), Salt: make([]byte, 32), Class: 1, Label: label, Ciphertext: []byte(ciphertext)}
		if ciphertext == "elsewhere" {
			p.Ciphertext, p.Stored = nil, &v1.Chunk{Messages: 1}
		}
		body, err := marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := publicDigest(appendBytesField(slices.Clone(core), fieldSealed, body))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	base := part("label", "")
	if part("label", "ciphertext") != base || part("label", "elsewhere") != base {
		t.Error("the public bytes depend on what is sealed")
	}
	if part("other", "") == base {
		t.Error("the public bytes do not cover the label")
	}
	m.Version = 2
	if core, err = marshal(m); err != nil {
		t.Fatal(err)
	}
	if part("label", "") == base {
		t.Error("the public bytes do not cover the version")
	}
}

// testKeys is a vault for decoders under test.
func testVault(t testing.TB) *StaticKEK {
	t.Helper()
	vault, err := NewStaticKEK(strings.Repeat("00ff", 16))
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

func addGoldenSeeds(f *testing.F) {
	f.Helper()
	paths, err := filepath.Glob("testdata/v1/*.hex")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no golden records to start from: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[:len(raw)-trailerBytes])
	}
}

// FuzzRecord: any bytes under a right digest are read or refused; what is read
// keeps its public digest, and a log that holds it can be walked.
func FuzzRecord(f *testing.F) {
	addGoldenSeeds(f)
	mac := ringSecret{secret.New(make([]byte, keyBytes))}
	f.Fuzz(func(t *testing.T, encoding []byte) {
		data, digest := joinStored(slices.Clip(encoding), mac)
		stored, err := splitStored(data)
		if err != nil || stored.digest != digest || !checkMAC(mac, macRecord, digest[:], stored.mac) {
			t.Fatalf("a stored record does not split: %v", err)
		}
		_, _ = PeekLog(data)
		message, public, err := parseRecord(encoding)
		if err != nil {
			return
		}
		if again, err := publicDigest(encoding); err != nil || again != public {
			t.Errorf("public digest %s, then %s, %v", public, again, err)
		}
		log := LogID{Kind(message.Kind), ids.ClientID(message.Client), ids.ConversationID(message.Conversation)}
		r := &reader{log: log, mac: mac, fn: func(verified) error { return nil }}
		_ = r.walk(t.Context(), fixed{{Sequence: 1, Data: append(slices.Clone(chunkMagic), 7)}, {Sequence: 2, Data: data}, {Sequence: 3, Data: data}}, Head{Sequence: 1})
	})
}

// fixed is a source with these messages.
type fixed []Message

func (s fixed) Read(_ context.Context, _ LogID, _ uint64, fn func(Message) error) error {
	for _, m := range s {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// FuzzRing: any bytes are read as a ring or refused; what is read and verified
// encodes to the same keys.
func FuzzRing(f *testing.F) {
	vault, log := testVault(f), ConversationLog("alice", "team")
	r, err := newRing(log, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	data, err := r.encode(f.Context(), vault)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = PeekRing(data)
		_, _ = PeekAnchor(data)
		r, err := decodeRing(t.Context(), vault, log, data)
		if err != nil {
			return
		}
		again, err := r.encode(t.Context(), vault)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRing(t.Context(), vault, log, again)
		if err != nil || len(back.keys) != len(r.keys) || back.anchor != r.anchor {
			t.Errorf("a ring reads back differently: %v", err)
		}
	})
}

// FuzzSnapshot: any bytes are a snapshot or are not.
func FuzzSnapshot(f *testing.F) {
	log, mac := ConversationLog("alice", "team"), ringSecret{secret.New(make([]byte, keyBytes))}
	data, err := encodeSnapshot(log, mac, Snapshot{Head: Head{Version: 3, Sequence: 9}, State: []byte("state")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := decodeSnapshot(log, mac, data)
		if ok && s.Head.Version == 0 {
			t.Error("a snapshot of nothing")
		}
		// The same bytes under a right MAC: the parser itself must stand anything.
		signed := appendBytesField(slices.Clone(data), snapshotFieldMAC, macOf(mac, macSnapshot, data))
		_, _ = decodeSnapshot(log, mac, signed)
	})
}

// FuzzForget: a forget entry is understood or refused.
func FuzzForget(f *testing.F) {
	for _, entry := range []string{ForgetAll(), Forget(ClassPSK, "id"), ForgetThrough(ClassSpool, "message", 3), "spool/x", "audit/"} {
		f.Add(entry)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		if parsed, err := parseForget(entry); err == nil && !parsed.all && parsed.class.lasting() {
			t.Errorf("%q kills a key that lives as long as the log", entry)
		}
	})
}
