package audit

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"parley/conversation"
	"parley/events"
	"parley/events/memlog"
	eventsv1 "parley/events/v1"
	"parley/internal/audit/audittest"
	"parley/internal/ids"
)

// kek wraps the rings of these tests.
const kek = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func story(t *testing.T, wire conversation.WirePolicy) []audittest.Draft {
	t.Helper()
	drafts, err := audittest.Story(wire)
	if err != nil {
		t.Fatal(err)
	}
	return drafts
}

// stored is the history of drafts, with keys.
func stored(t *testing.T, drafts []audittest.Draft) *History {
	t.Helper()
	vault, err := events.NewStaticKEK(kek)
	if err != nil {
		t.Fatal(err)
	}
	store := new(memlog.Store)
	stores := store.Stores()
	if err := audittest.Write(context.Background(), stores, vault, drafts); err != nil {
		t.Fatal(err)
	}
	return &History{
		source: stores.Log, rings: stores.Rings, vault: vault,
		list:   func(ctx context.Context) ([]events.LogID, error) { return stores.Log.List(ctx, "") },
		damage: stores.Log.Damage,
	}
}

// keyless is the same history for somebody without keys, by way of an export.
func keyless(t *testing.T, h *History) *History {
	t.Helper()
	ctx := context.Background()
	logs, err := h.Logs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := h.Export(ctx, &b, logs, Newest()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(ctx, SourceConfig{File: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func verifyAll(t *testing.T, h *History) (Report, map[events.LogID]LogReport) {
	t.Helper()
	logs, err := h.Logs(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	reports := map[events.LogID]LogReport{}
	report, err := h.Verify(context.Background(), logs, nil, func(r LogReport) error {
		reports[r.Log] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		for id, r := range reports {
			t.Logf("%s: %s %+v %v", id, r.Result, r.Tally, r.Finding)
		}
	}
	return report, reports
}

func TestAWholeHistoryIsComplete(t *testing.T) {
	for name, wire := range map[string]conversation.WirePolicy{"open": conversation.WirePlaintext, "encrypted": conversation.WireCiphertext} {
		t.Run(name, func(t *testing.T) {
			h := stored(t, story(t, wire))
			report, reports := verifyAll(t, h)
			if report.Result != Complete {
				t.Fatalf("%s", report.Summary())
			}
			ann := reports[audittest.Member("ann")]
			if ann.Tally.Epochs != 4 || ann.Tally.Transcripts != (Count{Done: 3}) || ann.Tally.MACs.Skipped != 0 || ann.Tally.Signatures != (Count{Done: 6}) {
				t.Errorf("ann: %+v", ann.Tally)
			}
			if ann.Tally.Authenticators.Done == 0 || ann.Tally.Tags.Done != ann.Tally.Authenticators.Done {
				t.Errorf("nothing was recomputed: %+v", ann.Tally)
			}
		})
	}
}

func TestWithoutKeysAHistoryIsConsistent(t *testing.T) {
	for name, wire := range map[string]conversation.WirePolicy{"open": conversation.WirePlaintext, "encrypted": conversation.WireCiphertext} {
		t.Run(name, func(t *testing.T) {
			h := keyless(t, stored(t, story(t, wire)))
			report, reports := verifyAll(t, h)
			if report.Result != Consistent || !strings.Contains(report.Summary(), "MACs unchecked") {
				t.Fatalf("%s", report.Summary())
			}
			ann := reports[audittest.Member("ann")].Tally
			encrypted := wire == conversation.WireCiphertext
			if encrypted != (ann.Transcripts.Skipped == 3) || encrypted == (ann.Transcripts.Done == 3) {
				t.Errorf("transcripts %+v", ann.Transcripts)
			}
			if ann.Authenticators.Done != 0 || ann.Authenticators.Skipped != 4 {
				t.Errorf("authenticators %+v", ann.Authenticators)
			}
		})
	}
}

// spoil changes the first event of a log that change accepts, before it is stored: chain and MAC are right, the content is not.
type spoil struct {
	name   string
	log    events.LogID
	change func(events.Body) bool
	check  Check
}

func advanced(epoch uint64, change func(*eventsv1.EpochAdvanced)) func(events.Body) bool {
	return func(b events.Body) bool {
		e, ok := b.(*eventsv1.EpochAdvanced)
		if !ok || e.GetFacts().GetEpoch() != epoch {
			return false
		}
		change(e)
		return true
	}
}

func entry(number uint64, change func(*eventsv1.OrderEntry)) func(events.Body) bool {
	return func(b events.Body) bool {
		e, ok := b.(*eventsv1.OrderEntry)
		if !ok || e.GetNumber() != number {
			return false
		}
		change(e)
		return true
	}
}

func flip(b []byte) { b[len(b)/2] ^= 1 }

func spoils() []spoil {
	return slices.Concat(spoiltEpochs(), spoiltProposals(), spoiltJoins(), spoiltOrders(), spoiltClients())
}

func spoiltEpochs() []spoil {
	ann := audittest.Member("ann")
	return []spoil{
		{"a commit's bytes", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Content) }), CheckSignature},
		{"a tree hash", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Facts.TreeHash) }), CheckTreeHash},
		{"a transcript hash", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Facts.ConfirmedTranscriptHash) }), CheckTranscript},
		{"a confirmation tag", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Facts.ConfirmationTag) }), CheckTranscript},
		{"a delta", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Delta) }), CheckCommit},
		{"an epoch's number", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { e.Facts.Epoch = 9 }), CheckCommit},
		{"an added member's name", ann, advanced(1, func(e *eventsv1.EpochAdvanced) { e.Added[0].Client = []byte("eve") }), CheckRoster},
		{"a removed member hidden", ann, advanced(3, func(e *eventsv1.EpochAdvanced) { e.Removed = nil }), CheckRoster},
		{"a committer", ann, advanced(3, func(e *eventsv1.EpochAdvanced) { e.CommitterLeaf = 0 }), CheckRoster},
		{"an applied proposal", ann, advanced(2, func(e *eventsv1.EpochAdvanced) { flip(e.Proposals[0].Proposal) }), CheckCommit},
		{"a fingerprint", ann, advanced(3, func(e *eventsv1.EpochAdvanced) { flip(e.Facts.AuthenticatorFingerprint) }), CheckAuthenticator},
		{"a followed commit", ann, advanced(3, func(e *eventsv1.EpochAdvanced) { flip(e.MessageDigest) }), CheckOrder},
		{"a followed position", ann, advanced(3, func(e *eventsv1.EpochAdvanced) { e.Position = 99 }), CheckOrder},
	}
}

func spoiltProposals() []spoil {
	ann, bob := audittest.Member("ann"), audittest.Member("bob")
	return []spoil{
		{"a proposal's bytes", bob, func(b events.Body) bool {
			p, ok := b.(*eventsv1.ProposalCreated)
			if ok {
				flip(p.Facts.Content)
			}
			return ok
		}, CheckSignature},
		{"whom a proposal is about", bob, func(b events.Body) bool {
			p, ok := b.(*eventsv1.ProposalCreated)
			if ok {
				p.Facts.Client = []byte("eve")
			}
			return ok
		}, CheckRoster},
		{"what a proposal says", ann, func(b events.Body) bool {
			p, ok := b.(*eventsv1.ProposalCreated)
			if ok {
				p.Facts.Proposal[len(p.Facts.Proposal)-1] ^= 1
			}
			return ok
		}, CheckCommit},
		{"who proposed", ann, func(b events.Body) bool {
			p, ok := b.(*eventsv1.ProposalCreated)
			if ok {
				p.Facts.SenderIndex = 1
			}
			return ok
		}, CheckCommit},
	}
}

func spoiltJoins() []spoil {
	bob := audittest.Member("bob")
	return []spoil{
		{"a group info", bob, func(b events.Body) bool {
			j, ok := b.(*eventsv1.ConversationJoined)
			if ok {
				flip(j.GroupInfo)
			}
			return ok
		}, CheckSignature},
		{"a joiner's roster", bob, func(b events.Body) bool {
			j, ok := b.(*eventsv1.ConversationJoined)
			if ok {
				j.Roster = j.Roster[:2]
			}
			return ok
		}, CheckRoster},
	}
}

func spoiltOrders() []spoil {
	order := events.OrderLog(audittest.Group)
	return []spoil{
		{"an entry's number", order, entry(3, func(e *eventsv1.OrderEntry) { e.Number = 4 }), CheckOrder},
		{"an entry's commit", order, entry(2, func(e *eventsv1.OrderEntry) { flip(e.Message) }), CheckSignature},
		{"an entry's group info", order, entry(2, func(e *eventsv1.OrderEntry) { e.GroupInfo = e.Message }), CheckSignature},
		{"an entry's epoch", order, entry(2, func(e *eventsv1.OrderEntry) { e.Epoch = 5 }), CheckOrder},
	}
}

func spoiltClients() []spoil {
	return []spoil{
		{"a key package", events.ClientLog("bob"), func(b events.Body) bool {
			k, ok := b.(*eventsv1.KeyPackagesGenerated)
			if ok {
				flip(k.KeyPackages[0].KeyPackage)
			}
			return ok
		}, CheckSignature},
		{"a key package nobody made", events.ClientLog("bob"), func(b events.Body) bool {
			k, ok := b.(*eventsv1.KeyPackagesConsumed)
			if ok {
				flip(k.Refs[0])
			}
			return ok
		}, CheckFold},
	}
}

// Whoever holds a log's key can write what he likes into it; verification finds it out from the signatures and hashes of the others.
func TestEverySpoiledRecordIsNamed(t *testing.T) {
	whole := story(t, conversation.WirePlaintext)
	for _, s := range spoils() {
		t.Run(s.name, func(t *testing.T) {
			drafts := clone(whole)
			at, _, err := audittest.Find(drafts, s.log, s.change)
			if err != nil {
				t.Fatal(err)
			}
			report, reports := verifyAll(t, stored(t, drafts))
			f := reports[s.log].Finding
			if report.Result != Bad || f == nil || f.Check != s.check || f.Version != audittest.Version(drafts, at) {
				t.Errorf("want %s at record %d of %s; got %v", s.check, audittest.Version(drafts, at), s.log, f)
			}
		})
	}
}

// clone copies drafts so far that events can be changed.
func clone(drafts []audittest.Draft) []audittest.Draft {
	copies := make([]audittest.Draft, len(drafts))
	for i, d := range drafts {
		evs := make([]events.Event, len(d.Draft.Events))
		for k, e := range d.Draft.Events {
			e.Body = proto.Clone(e.Body).(events.Body)
			evs[k] = e
		}
		d.Draft.Events = evs
		copies[i] = d
	}
	return copies
}

func TestATrustedHeadDecidesCompleteness(t *testing.T) {
	ctx := context.Background()
	h := keyless(t, stored(t, story(t, conversation.WirePlaintext)))
	id := audittest.Member("ann")
	_, reports := verifyAll(t, h)
	head := reports[id].Head
	check := func(trusted TrustedHead) LogReport {
		var got LogReport
		if _, err := h.Verify(ctx, []events.LogID{id}, &trusted, func(r LogReport) error { got = r; return nil }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if r := check(TrustedHead{head.Version, head.Digest}); r.Result != Complete {
		t.Errorf("the right head: %+v", r)
	}
	if r := check(TrustedHead{head.Version, ids.Digest{1}}); r.Result != Bad || r.Finding.Check != CheckHead || r.Finding.Version != head.Version {
		t.Errorf("another digest: %+v", r)
	}
	if r := check(TrustedHead{head.Version + 1, ids.Digest{1}}); r.Result != Bad || r.Finding.Check != CheckHead || r.Finding.Version != head.Version+1 {
		t.Errorf("a head that is not there: %+v", r)
	}
}

// A transaction of which one part is gone is found, whichever log it is missing from.
func TestAMissingPartOfATransactionIsNamed(t *testing.T) {
	ctx := context.Background()
	h := stored(t, story(t, conversation.WirePlaintext))
	logs, err := h.Logs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	x, err := NewWriter(&b, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range logs {
		if err := x.Log(id); err != nil {
			t.Fatal(err)
		}
		if id == audittest.Member("bob") {
			continue // its log is there, and empty
		}
		if err := h.source.Read(ctx, id, 0, x.Message); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := open(t, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	lame := &History{source: file, list: func(context.Context) ([]events.LogID, error) { return file.logs, nil }, damage: h.damage}
	_, reports := verifyAll(t, lame)
	f := reports[audittest.Member("bob")].Finding
	if f == nil || f.Check != CheckBatch || f.Version != 1 {
		t.Errorf("finding %v", f)
	}
}

// When a key ring is lost, what was written under its keys is still told and verified as far as that goes without them.
func TestALogWhoseRingWasLostIsReadFromItsBeginning(t *testing.T) {
	ctx := t.Context()
	id := audittest.Member("ann")
	h := stored(t, story(t, conversation.WirePlaintext))
	stores := events.Stores{Log: h.source.(events.Log), Rings: h.rings}
	if err := h.rings.Delete(ctx, id); err != nil {
		t.Fatal(err)
	}
	_, reports := verifyAll(t, h)
	if f := reports[id].Finding; f == nil || f.Check != CheckRing {
		t.Fatalf("a ring that is gone: %v", f)
	}
	j, err := events.OpenJournal(ctx, stores, h.vault, id, events.JournalOptions{AcceptLoss: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(ctx, events.Head{}, func(*events.Record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	lost := events.Event{Body: &eventsv1.SecretsLost{Reason: "a test took the ring"}}
	if _, err := j.Append(ctx, events.Draft{TimeMS: j.TimeMS(), Events: []events.Event{lost}}); err != nil {
		t.Fatal(err)
	}
	report, reports := verifyAll(t, h)
	got := reports[id]
	if len(got.Notes) != 1 || got.Notes[0] != "record 13 tells that the secrets before it were lost" {
		t.Errorf("notes %q", got.Notes)
	}
	if report.Result == Bad || got.Tally.Records != 13 || got.Tally.MACs != (Count{Done: 1, Skipped: 12}) || got.Tally.Epochs != 4 {
		t.Errorf("%s; %+v %v", report.Summary(), got.Tally, got.Finding)
	}
}
