package mlsengine

import (
	"fmt"
	"testing"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

type exporterVector struct {
	Label   string   `json:"label"`
	Context hexBytes `json:"context"`
	Length  int      `json:"length"`
	Secret  hexBytes `json:"secret"`
}

type keyScheduleEpoch struct {
	TreeHash                hexBytes       `json:"tree_hash"`
	CommitSecret            hexBytes       `json:"commit_secret"`
	PSKSecret               hexBytes       `json:"psk_secret"`
	ConfirmedTranscriptHash hexBytes       `json:"confirmed_transcript_hash"`
	GroupContext            hexBytes       `json:"group_context"`
	JoinerSecret            hexBytes       `json:"joiner_secret"`
	WelcomeSecret           hexBytes       `json:"welcome_secret"`
	InitSecret              hexBytes       `json:"init_secret"`
	SenderDataSecret        hexBytes       `json:"sender_data_secret"`
	EncryptionSecret        hexBytes       `json:"encryption_secret"`
	ExporterSecret          hexBytes       `json:"exporter_secret"`
	EpochAuthenticator      hexBytes       `json:"epoch_authenticator"`
	ExternalSecret          hexBytes       `json:"external_secret"`
	ConfirmationKey         hexBytes       `json:"confirmation_key"`
	MembershipKey           hexBytes       `json:"membership_key"`
	ResumptionPSK           hexBytes       `json:"resumption_psk"`
	ExternalPub             hexBytes       `json:"external_pub"`
	Exporter                exporterVector `json:"exporter"`
}

type keyScheduleVector struct {
	Suite             suite.ID           `json:"cipher_suite"`
	GroupID           hexBytes           `json:"group_id"`
	InitialInitSecret hexBytes           `json:"initial_init_secret"`
	Epochs            []keyScheduleEpoch `json:"epochs"`
}

func TestKeyScheduleVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "key-schedule", generateKeySchedule, func(t *testing.T, v *keyScheduleVector) {
		seen[v.Suite] = true
		s := mustSuite(t, v.Suite)
		init := initSecret{secret.Clone(v.InitialInitSecret)}
		for i := range v.Epochs {
			want := v.Epochs[i]
			got := want
			init = computeEpoch(t, s, v, Epoch(i), init, &got)
			compareEpochs(t, i, &got, &want)
		}
	})
	wantEverySuite(t, seen)
}

func mustSuite(t *testing.T, id suite.ID) *suite.Suite {
	t.Helper()
	s, err := suite.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// computeEpoch fills in what follows from the inputs of an epoch.
func computeEpoch(t *testing.T, s *suite.Suite, v *keyScheduleVector, epoch Epoch, from initSecret, e *keyScheduleEpoch) initSecret {
	t.Helper()
	context := syntax.Encode(&GroupContext{
		Version: VersionMLS10, CipherSuite: v.Suite, GroupID: GroupID(v.GroupID), Epoch: epoch,
		TreeHash: e.TreeHash, ConfirmedTranscriptHash: e.ConfirmedTranscriptHash,
	})
	joiner := deriveJoinerSecret(s, from, commitSecret{secret.Clone(e.CommitSecret)}, context)
	member := deriveMemberSecret(s, joiner, pskSecret{secret.Clone(e.PSKSecret)})
	welcome := member.welcomeSecret(s)
	secrets, encryption := deriveEpochSecrets(s, member.epochSecret(s, context))
	_, external, err := secrets.external.keyPair(s)
	if err != nil {
		t.Fatal(err)
	}
	exported, err := secrets.exporter.export(s, e.Exporter.Label, e.Exporter.Context, e.Exporter.Length)
	if err != nil {
		t.Fatal(err)
	}
	e.GroupContext, e.JoinerSecret, e.WelcomeSecret = context, joiner.Expose(), welcome.Expose()
	e.InitSecret, e.SenderDataSecret, e.EncryptionSecret = secrets.init.Expose(), secrets.senderData.Expose(), encryption.encryption.Expose()
	e.ExporterSecret, e.EpochAuthenticator, e.ExternalSecret = secrets.exporter.Expose(), secrets.authenticator.Expose(), secrets.external.Expose()
	e.ConfirmationKey, e.MembershipKey, e.ResumptionPSK = secrets.confirmation.Expose(), secrets.membership.Expose(), secrets.resumption.Expose()
	e.ExternalPub, e.Exporter.Secret = hexBytes(external), exported.Expose()
	return secrets.init
}

func compareEpochs(t *testing.T, i int, got, want *keyScheduleEpoch) {
	t.Helper()
	for _, c := range []struct {
		what      string
		got, want hexBytes
	}{
		{"group_context", got.GroupContext, want.GroupContext},
		{"joiner_secret", got.JoinerSecret, want.JoinerSecret},
		{"welcome_secret", got.WelcomeSecret, want.WelcomeSecret},
		{"init_secret", got.InitSecret, want.InitSecret},
		{"sender_data_secret", got.SenderDataSecret, want.SenderDataSecret},
		{"encryption_secret", got.EncryptionSecret, want.EncryptionSecret},
		{"exporter_secret", got.ExporterSecret, want.ExporterSecret},
		{"epoch_authenticator", got.EpochAuthenticator, want.EpochAuthenticator},
		{"external_secret", got.ExternalSecret, want.ExternalSecret},
		{"confirmation_key", got.ConfirmationKey, want.ConfirmationKey},
		{"membership_key", got.MembershipKey, want.MembershipKey},
		{"resumption_psk", got.ResumptionPSK, want.ResumptionPSK},
		{"external_pub", got.ExternalPub, want.ExternalPub},
		{"exported secret", got.Exporter.Secret, want.Exporter.Secret},
	} {
		wantBytes(t, fmt.Sprintf("epoch %d: %s", i, c.what), c.got, c.want)
	}
}

func generateKeySchedule(t *testing.T) []keyScheduleVector {
	var cases []keyScheduleVector
	for _, id := range suite.IDs() {
		s, e := mustSuite(t, id), newSeededEntropy(fmt.Sprintf("key-schedule %d", id))
		v := keyScheduleVector{Suite: id, GroupID: e.Draw("group", 16), InitialInitSecret: e.Draw("init", s.HashSize())}
		init := initSecret{secret.Clone(v.InitialInitSecret)}
		for i := range Epoch(4) {
			epoch := keyScheduleEpoch{
				TreeHash: e.Draw("tree", s.HashSize()), CommitSecret: e.Draw("commit", s.HashSize()), PSKSecret: e.Draw("psk", s.HashSize()),
				ConfirmedTranscriptHash: e.Draw("transcript", s.HashSize()),
				Exporter:                exporterVector{Label: fmt.Sprintf("label %d", i), Context: e.Draw("context", 20), Length: 1 + 37*int(i)},
			}
			init = computeEpoch(t, s, &v, i, init, &epoch)
			v.Epochs = append(v.Epochs, epoch)
		}
		cases = append(cases, v)
	}
	return cases
}

type pskSecretVector struct {
	Suite suite.ID `json:"cipher_suite"`
	PSKs  []struct {
		ID    hexBytes `json:"psk_id"`
		Key   hexBytes `json:"psk"`
		Nonce hexBytes `json:"psk_nonce"`
	} `json:"psks"`
	PSKSecret hexBytes `json:"psk_secret"`
}

func (v *pskSecretVector) compute(t *testing.T) []byte {
	t.Helper()
	var ids []PreSharedKeyID
	var keys [][]byte
	for _, p := range v.PSKs {
		ids = append(ids, PreSharedKeyID{Type: PSKTypeExternal, ID: p.ID, Nonce: p.Nonce})
		keys = append(keys, p.Key)
	}
	got, err := derivePSKSecret(mustSuite(t, v.Suite), ids, keys)
	if err != nil {
		t.Fatal(err)
	}
	return got.Expose()
}

func TestPSKSecretVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "psk_secret", generatePSKSecret, func(t *testing.T, v *pskSecretVector) {
		seen[v.Suite] = true
		wantBytes(t, "psk_secret", v.compute(t), v.PSKSecret)
	})
	wantEverySuite(t, seen)
}

func generatePSKSecret(t *testing.T) []pskSecretVector {
	var cases []pskSecretVector
	for _, id := range suite.IDs() {
		for _, n := range []int{0, 1, 5} {
			s, e := mustSuite(t, id), newSeededEntropy(fmt.Sprintf("psk_secret %d %d", id, n))
			v := pskSecretVector{Suite: id}
			for range n {
				v.PSKs = append(v.PSKs, struct {
					ID    hexBytes `json:"psk_id"`
					Key   hexBytes `json:"psk"`
					Nonce hexBytes `json:"psk_nonce"`
				}{e.Draw("id", 10), e.Draw("key", 32), e.Draw("nonce", s.HashSize())})
			}
			v.PSKSecret = v.compute(t)
			cases = append(cases, v)
		}
	}
	return cases
}

type transcriptVector struct {
	Suite                suite.ID `json:"cipher_suite"`
	ConfirmationKey      hexBytes `json:"confirmation_key"`
	AuthenticatedContent hexBytes `json:"authenticated_content"`
	InterimBefore        hexBytes `json:"interim_transcript_hash_before"`
	ConfirmedAfter       hexBytes `json:"confirmed_transcript_hash_after"`
	InterimAfter         hexBytes `json:"interim_transcript_hash_after"`
}

func TestTranscriptHashesVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "transcript-hashes", generateTranscriptHashes, func(t *testing.T, v *transcriptVector) {
		seen[v.Suite] = true
		s := mustSuite(t, v.Suite)
		a, err := parse[authenticatedContent](v.AuthenticatedContent)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseContent(newContent(s, &a, 3).Marshal())
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "content", c.encoded(), v.AuthenticatedContent)
		confirmed := confirmedTranscriptHash(s, v.InterimBefore, &c.authenticated)
		wantBytes(t, "confirmed hash", confirmed, v.ConfirmedAfter)
		wantBytes(t, "interim hash", interimTranscriptHash(s, confirmed, c.ConfirmationTag()), v.InterimAfter)
		key := confirmationKey{secret.Clone(v.ConfirmationKey)}
		if err := key.verify(s, confirmed, c.ConfirmationTag()); err != nil {
			t.Error(err)
		}
		wantRule(t, InvalidConfirmationTag, key.verify(s, confirmed, c.ConfirmationTag()[1:]))
	})
	wantEverySuite(t, seen)
}

func generateTranscriptHashes(t *testing.T) []transcriptVector {
	var cases []transcriptVector
	for _, id := range suite.IDs() {
		s, e := mustSuite(t, id), newSeededEntropy(fmt.Sprintf("transcript-hashes %d", id))
		v := transcriptVector{Suite: id, ConfirmationKey: e.Draw("key", s.HashSize()), InterimBefore: e.Draw("interim", s.HashSize())}
		a := authenticatedContent{WireFormat: WireFormat(1 + id%2), Signature: e.Draw("signature", 64)}
		a.Content = framedContent{GroupID: e.Draw("group", 8), Epoch: Epoch(id), Sender: MemberSender(3), AAD: e.Draw("aad", 5), ContentType: ContentTypeCommit}
		a.Content.Commit = &Commit{Proposals: []ProposalOrRef{{Ref: e.Draw("ref", s.HashSize())}, {Proposal: &Remove{Removed: 7}}}}
		v.ConfirmedAfter = confirmedTranscriptHash(s, v.InterimBefore, &a)
		a.ConfirmationTag = confirmationKey{secret.Clone(v.ConfirmationKey)}.tag(s, v.ConfirmedAfter)
		v.InterimAfter = interimTranscriptHash(s, v.ConfirmedAfter, a.ConfirmationTag)
		v.AuthenticatedContent = syntax.Encode(&a)
		cases = append(cases, v)
	}
	return cases
}
