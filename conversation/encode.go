package conversation

import (
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// The formats of the encodings below. Another one is refused.
const (
	publicFormat  = 8
	privateFormat = 3
)

func codeFormat(c *syntax.Coder, format uint8) {
	got := format
	syntax.Uint8(c, &got)
	if got != format {
		c.Fail("unknown format")
	}
}

func codeString[T ~string](c *syntax.Coder, v *T) {
	b := []byte(*v)
	syntax.Opaque(c, &b)
	if c.Reading() {
		*v = T(b)
	}
}

func codeBool(c *syntax.Coder, v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	syntax.Uint8(c, &b)
	if b > 1 {
		c.Fail("boolean is neither 0 nor 1")
	}
	if c.Reading() { // writing must not touch the value: states are shared
		*v = b == 1
	}
}

func codeDigest(c *syntax.Coder, d *ids.Digest) { syntax.Fixed(c, d[:]) }

func codeSecret(c *syntax.Coder, s *secret.Bytes) {
	b := s.Expose()
	syntax.Opaque(c, &b)
	if c.Reading() {
		*s = secret.Clone(b)
	}
}

// codeGroup codes an epoch, or the empty string where there is none.
func codeGroup(c *syntax.Coder, g **mlsengine.PublicGroup) {
	var b []byte
	if *g != nil {
		b = (*g).Marshal()
	}
	syntax.Opaque(c, &b)
	if !c.Reading() || c.Err() != nil || len(b) == 0 {
		return
	}
	parsed, err := mlsengine.ParsePublicGroup(b)
	if err != nil {
		c.Fail("public group: " + err.Error())
		return
	}
	*g = parsed
}

// Code walks a public state.
func (p *Public) Code(c *syntax.Coder) {
	codeFormat(c, publicFormat)
	codeString(c, &p.Client)
	codeString(c, &p.Conversation)
	syntax.Uint8(c, &p.Lifecycle)
	syntax.Uint64(c, &p.Version)
	syntax.Uint64(c, &p.TimeMs)
	p.Config.code(c)
	syntax.Uint32(c, &p.OwnLeaf)
	codeGroup(c, &p.Group)
	syntax.Opaque(c, &p.Fingerprint)
	syntax.Vector(c, &p.Past)
	syntax.Vector(c, &p.Pending)
	syntax.Vector(c, &p.Cleared)
	syntax.Optional(c, &p.Staged)
	syntax.Vector(c, &p.Shelved)
	syntax.Optional(c, &p.Superseded)
	syntax.Optional(c, &p.Joining)
	syntax.Optional(c, &p.Loss)
	syntax.Uint32(c, &p.Returns)
	syntax.Uint64(c, &p.ReturnedMs)
	p.Buffer.code(c)
	syntax.Uint64(c, &p.Position)
	syntax.Uint32(c, &p.Reserved.Application)
	syntax.Uint32(c, &p.Reserved.Handshake)
	syntax.Uint64(c, &p.Muted)
	syntax.Uint32(c, &p.OwnOrdered)
	p.Spool.code(c)
	syntax.Vector(c, &p.Commands)
	syntax.VectorFunc(c, &p.Recent, codeDigest)
	syntax.Uint32(c, &p.Consumed)
	syntax.Uint64(c, &p.SealedMs)
	syntax.Uint64(c, &p.CommitDueMs)
	syntax.Uint64(c, &p.RotatedMs)
	syntax.Uint64(c, &p.ExposedMs)
	syntax.Uint64(c, &p.HeldUntilMs)
	codeString(c, &p.Parent)
	codeString(c, &p.Successor)
	syntax.VectorFunc(c, &p.Joined, syntax.Opaque[[]byte])
}

func (f *Config) code(c *syntax.Coder) {
	syntax.Uint16(c, &f.CipherSuite)
	syntax.Vector(c, &f.ExternalSenders)
	syntax.Uint64(c, &f.KeyRotationSpanMs)
	syntax.Uint32(c, &f.WirePolicy)
	syntax.Uint32(c, &f.OutOfOrderTolerance)
	syntax.Uint32(c, &f.MaximumForwardDistance)
	syntax.Uint32(c, &f.PastEpochs)
	syntax.Uint64(c, &f.PastEpochAgeMs)
	syntax.Uint32(c, &f.RetainEpochs)
	syntax.Uint32(c, &f.PaddingBlock)
	syntax.Uint64(c, &f.SpoolAgeMs)
	syntax.Uint32(c, &f.MaxDeliveries)
	syntax.Uint64(c, &f.DeadLetterAgeMs)
	syntax.Uint32(c, &f.Transport)
	syntax.Uint32(c, &f.ClientNames)
	codeString(c, &f.Credential)
}

// Code walks a past epoch.
func (p *PastEpoch) Code(c *syntax.Coder) {
	codeGroup(c, &p.Group)
	if c.Reading() && c.Err() == nil && p.Group == nil {
		c.Fail("past epoch without a group")
	}
	syntax.Uint64(c, &p.EndedMs)
}

// Code walks a pending proposal.
func (p *PendingProposal) Code(c *syntax.Coder) {
	syntax.Opaque(c, &p.Ref)
	syntax.Uint16(c, &p.Type)
	syntax.Opaque(c, &p.Proposal)
	syntax.Uint8(c, &p.SenderType)
	syntax.Uint32(c, &p.SenderIndex)
	syntax.Opaque(c, &p.Content)
	codeBool(c, &p.Encrypted)
	codeBool(c, &p.Own)
	syntax.Opaque(c, &p.Message)
	codeDigest(c, &p.Digest)
	syntax.Uint64(c, &p.Position)
	syntax.Uint64(c, &p.TimeMs)
	syntax.Uint32(c, &p.Renewed)
	codeString(c, &p.Credential)
}

// Code walks a staged commit.
func (s *StagedCommit) Code(c *syntax.Coder) {
	codeDigest(c, &s.Digest)
	syntax.Uint64(c, &s.Epoch)
	syntax.Opaque(c, &s.Commit)
	syntax.Opaque(c, &s.Welcome)
	syntax.Opaque(c, &s.GroupInfo)
	syntax.VectorFunc(c, &s.Refs, syntax.Opaque[mlsengine.ProposalRef])
	codeString(c, &s.Intent)
	syntax.VectorFunc(c, &s.Clients, codeString[ids.ClientID])
	syntax.VectorFunc(c, &s.AddClients, codeString[ids.ClientID])
	syntax.Uint32(c, &s.Attempt)
	codeBool(c, &s.Encrypted)
	syntax.Uint32(c, &s.Generation)
	s.Command.Code(c)
	syntax.Vector(c, &s.Added)
	syntax.Vector(c, &s.Removed)
	syntax.Vector(c, &s.Updated)
	codeBool(c, &s.ContextChanged)
	syntax.Uint64(c, &s.StagedMs)
	syntax.VectorFunc(c, &s.Inline, syntax.Opaque[[]byte])
	syntax.Uint32(c, &s.Rebuilt)
	codeBool(c, &s.Failed)
	syntax.Opaque(c, &s.EncryptedMessage)
	syntax.Uint32(c, &s.NextReserved)
	codeString(c, &s.Credential)
}

// Code walks a commit that lost its epoch.
func (s *SupersededCommit) Code(c *syntax.Coder) {
	codeDigest(c, &s.Digest)
	s.Command.Code(c)
	codeString(c, &s.Intent)
	syntax.VectorFunc(c, &s.Clients, codeString[ids.ClientID])
	syntax.VectorFunc(c, &s.Inline, syntax.Opaque[[]byte])
	codeBool(c, &s.Done)
	syntax.Uint32(c, &s.Rebuilt)
	codeString(c, &s.Credential)
}

// Code walks a commit that joins.
func (j *Joining) Code(c *syntax.Coder) {
	codeDigest(c, &j.Digest)
	syntax.Uint64(c, &j.Epoch)
	syntax.Opaque(c, &j.GroupInfo)
	syntax.Opaque(c, &j.Commit)
	syntax.Opaque(c, &j.NewGroupInfo)
	j.Config.code(c)
	j.Command.Code(c)
	syntax.Vector(c, &j.Added)
	syntax.Vector(c, &j.Removed)
	syntax.Uint64(c, &j.StagedMs)
	codeBool(c, &j.Failed)
}

func (b *Buffer) code(c *syntax.Coder) {
	syntax.Uint64(c, &b.Taken)
	syntax.Vector(c, &b.Messages)
}

// Code walks a buffered message.
func (m *BufferedMessage) Code(c *syntax.Coder) {
	syntax.Uint64(c, &m.Number)
	syntax.Uint64(c, &m.Epoch)
	syntax.Uint8(c, &m.ContentType)
	codeString(c, &m.Reason)
	syntax.Opaque(c, &m.Message)
	syntax.Uint64(c, &m.Position)
	syntax.Uint64(c, &m.TimeMs)
}

// Code walks a member.
func (m *Member) Code(c *syntax.Coder) {
	syntax.Uint32(c, &m.Leaf)
	codeString(c, &m.Client)
	syntax.Opaque(c, &m.SignatureKey)
	syntax.Uint16(c, &m.CredentialType)
}

// Code walks a command reference.
func (r *CommandRef) Code(c *syntax.Coder) {
	codeString(c, &r.ID)
	codeString(c, &r.Principal)
	codeString(c, &r.Name)
	syntax.Uint64(c, &r.IssuedMs)
	codeDigest(c, &r.RequestDigest)
}

// Code walks a remembered command.
func (r *RememberedCommand) Code(c *syntax.Coder) {
	r.CommandRef.Code(c)
	codeString(c, &r.ErrorCode)
	codeString(c, &r.Detail)
	syntax.Opaque(c, &r.Outcome)
}

func (s *Spool) code(c *syntax.Coder) {
	syntax.Uint64(c, &s.Next)
	syntax.Uint64(c, &s.Acknowledged)
	syntax.Uint64(c, &s.Seen)
	syntax.Vector(c, &s.Marks)
	syntax.Uint64(c, &s.Secrets)
	syntax.Vector(c, &s.Held)
	syntax.Vector(c, &s.Letters)
	syntax.VectorFunc(c, &s.Aside, syntax.Uint64[uint64])
}

// Code walks a message that has failed.
func (l *Letter) Code(c *syntax.Coder) {
	syntax.Uint64(c, &l.Number)
	syntax.Uint64(c, &l.Version)
	syntax.Uint32(c, &l.Index)
	syntax.Uint64(c, &l.Held)
	syntax.Uint32(c, &l.Bytes)
	syntax.Uint32(c, &l.Failures)
	syntax.Uint64(c, &l.Turn)
	syntax.Uint64(c, &l.SinceMs)
	syntax.Uint64(c, &l.FailedMs)
	syntax.Uint64(c, &l.DueMs)
	syntax.Uint64(c, &l.DeadMs)
}

// Code walks where a history secret is.
func (h *HeldSecret) Code(c *syntax.Coder) {
	syntax.Uint64(c, &h.Number)
	syntax.Uint64(c, &h.Version)
	syntax.Uint64(c, &h.TimeMs)
}

// Code walks a spool mark.
func (m *SpoolMark) Code(c *syntax.Coder) {
	syntax.Uint64(c, &m.First)
	syntax.Uint64(c, &m.Last)
	syntax.Uint64(c, &m.Version)
	syntax.Uint64(c, &m.TimeMs)
	syntax.Uint64(c, &m.LastMs)
}

// EncodePublic is the canonical encoding of a public state: for snapshots and
// for its digest. Its size grows with the tree.
func EncodePublic(p Public) []byte { return syntax.Encode(&p) }

// DecodePublic reads what EncodePublic wrote.
func DecodePublic(b []byte) (Public, error) {
	p, err := syntax.Decode[Public](b)
	if err != nil {
		return Public{}, brokenf("public state: %v", err)
	}
	return p, nil
}

// Digest is SHA-256 over the canonical encoding of the public state.
func (p Public) Digest() ids.Digest { return ids.DigestOf(EncodePublic(p)) }

// storedPrivate is a private state as it is sealed: the engine's encodings, by
// their places in the public state.
type storedPrivate struct {
	joining  secret.Bytes // also without a membership
	present  bool
	group    secret.Bytes
	past     []secret.Bytes
	updates  []keyed
	contents []keyed
	staged   secret.Bytes
	shelved  []keyed
}

// Code walks a sealed private state.
func (p *storedPrivate) Code(c *syntax.Coder) {
	codeFormat(c, privateFormat)
	codeSecret(c, &p.joining)
	codeBool(c, &p.present)
	if !p.present || c.Err() != nil {
		return
	}
	codeSecret(c, &p.group)
	syntax.VectorFunc(c, &p.past, codeSecret)
	syntax.Vector(c, &p.updates)
	syntax.Vector(c, &p.contents)
	codeSecret(c, &p.staged)
	syntax.Vector(c, &p.shelved)
}

// Code walks a keyed secret.
func (k *keyed) Code(c *syntax.Coder) {
	syntax.Opaque(c, &k.ref)
	codeSecret(c, &k.value)
}

// EncodePrivate is the canonical encoding of a state's secrets. That of a state
// without any, stored in place of an older one, says that there are none any more.
func EncodePrivate(s State) secret.Bytes {
	stored := storedPrivate{joining: s.joining}
	if p := s.Private; p != nil {
		stored = storedPrivate{joining: s.joining, present: true, group: p.Group.MarshalPrivate(), updates: p.updates, contents: p.contents, staged: p.staged, shelved: p.shelved}
		for _, g := range p.Past {
			stored.past = append(stored.past, g.MarshalPrivate())
		}
	}
	return secret.New(syntax.Encode(&stored))
}

// unseal reads what EncodePrivate wrote, and joins it with the public state it
// belongs to.
func (s *State) unseal(plain secret.Bytes) error {
	stored, err := syntax.Decode[storedPrivate](plain.Expose())
	if err != nil {
		return brokenf("private state: %v", err)
	}
	s.Private, s.joining = nil, stored.joining
	if stored.present {
		s.Private, err = stored.private(s.Public)
	}
	return err
}

func (stored *storedPrivate) private(p Public) (*Private, error) {
	var err error
	if p.Group == nil || len(stored.past) != len(p.Past) {
		return nil, brokenf("private state does not fit: %d past epochs, public has %d", len(stored.past), len(p.Past))
	}
	private := &Private{updates: stored.updates, contents: stored.contents, staged: stored.staged, shelved: stored.shelved}
	if private.Group, err = mlsengine.RestoreGroup(p.Group, stored.group.Expose()); err != nil {
		return nil, brokenf("private state of epoch %d: %v", p.Group.Epoch(), err)
	}
	for i, b := range stored.past {
		g, err := mlsengine.RestoreGroup(p.Past[i].Group, b.Expose())
		if err != nil {
			return nil, brokenf("private state of epoch %d: %v", p.Past[i].Group.Epoch(), err)
		}
		private.Past = append(private.Past, g)
	}
	return private, nil
}

// consumption is what was used of a sender's ratchet.
type consumption struct {
	epoch      mlsengine.Epoch
	leaf       mlsengine.LeafIndex
	content    mlsengine.ContentType
	generation mlsengine.Generation
}

// Code walks a consumption.
func (u *consumption) Code(c *syntax.Coder) {
	syntax.Uint64(c, &u.epoch)
	syntax.Uint32(c, &u.leaf)
	syntax.Uint8(c, &u.content)
	syntax.Uint32(c, &u.generation)
}

// consumptions is the sealed list of a record.
type consumptions []consumption

// Code walks the list.
func (u *consumptions) Code(c *syntax.Coder) { syntax.Vector(c, (*[]consumption)(u)) }

func (u *consumptions) sizeHint() int { return 4 + 17*len(*u) }

// Code walks a decrypted message.
func (m *ReceivedMessage) Code(c *syntax.Coder) {
	syntax.Uint64(c, &m.Number)
	codeString(c, &m.Sender)
	syntax.Uint32(c, &m.Leaf)
	syntax.Uint64(c, &m.Epoch)
	syntax.Uint64(c, &m.TimeMs)
	syntax.Uint64(c, &m.Position)
	syntax.Opaque(c, &m.AAD)
	codeSecret(c, &m.Plaintext)
	codeString(c, &m.History)
}

// spooled is the sealed list of a record's plaintexts.
type spooled []ReceivedMessage

// Code walks the list.
func (m *spooled) Code(c *syntax.Coder) { syntax.Vector(c, (*[]ReceivedMessage)(m)) }

func (m *spooled) sizeHint() int {
	n := 4
	for i := range *m {
		n += 52 + len((*m)[i].Sender) + len((*m)[i].AAD) + (*m)[i].Plaintext.Len() + len((*m)[i].History)
	}
	return n
}

// verification is what checks an epoch with keys, sealed apart.
type verification struct {
	authenticator   secret.Bytes
	confirmationKey secret.Bytes
}

// Code walks the verification part.
func (v *verification) Code(c *syntax.Coder) {
	codeSecret(c, &v.authenticator)
	codeSecret(c, &v.confirmationKey)
}

// DecodeVerification reads the sealed verification part of an epoch event.
func DecodeVerification(plain []byte) (authenticator, confirmationKey []byte, err error) {
	v, err := syntax.Decode[verification](plain)
	if err != nil {
		return nil, nil, brokenf("verification part: %v", err)
	}
	return v.authenticator.Expose(), v.confirmationKey.Expose(), nil
}

// Fingerprint is what the log shows of an epoch authenticator: it lets an
// auditor compare epochs and reveals nothing.
func Fingerprint(authenticator []byte) []byte {
	d := ids.DigestOf([]byte("parley epoch authenticator"), authenticator)
	return d[:]
}

func encodeExternalSender(s mlsengine.ExternalSender) []byte { return syntax.Encode(&s) }

func decodeExternalSender(b []byte) (mlsengine.ExternalSender, error) {
	s, err := syntax.Decode[mlsengine.ExternalSender](b)
	if err != nil {
		return s, brokenf("external sender: %v", err)
	}
	return s, nil
}

// codedGroupInfo is the MLSMessage struct of §6 around a GroupInfo.
type codedGroupInfo struct{ info *mlsengine.GroupInfo }

// Code writes the message.
func (m codedGroupInfo) Code(c *syntax.Coder) {
	version, format := mlsengine.VersionMLS10, mlsengine.WireFormatGroupInfo
	syntax.Uint16(c, &version)
	syntax.Uint16(c, &format)
	m.info.Code(c)
}

func groupInfoMessage(info *mlsengine.GroupInfo) []byte { return syntax.Encode(codedGroupInfo{info}) }
