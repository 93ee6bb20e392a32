package conversation

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// FoldClient is the state after a record, like Fold. Secrets whose key is gone
// or not given are absent.
func FoldClient(s ClientState, r *events.Record) (ClientState, error) {
	if !follows(s.Version, r) {
		return s, brokenf("record %d does not follow version %d", r.Version, s.Version)
	}
	if r.TimeMS < s.TimeMs {
		return s, brokenf("record %d is of an earlier time than the one before", r.Version)
	}
	next := s
	next.begin(r.TimeMS)
	for i := range r.Events {
		if err := next.fold(r.Events[i]); err != nil {
			return s, err
		}
	}
	return next.At(r.Version), nil
}

// begin starts a record at its time.
func (s *ClientState) begin(timeMs uint64) {
	p := Public{TimeMs: s.TimeMs, Commands: s.Commands}
	p.begin(timeMs)
	s.TimeMs, s.Commands = p.TimeMs, p.Commands
}

// fold moves on by one event. Slices and maps are replaced, never changed in place.
func (s *ClientState) fold(e events.Event) error {
	switch body := e.Body.(type) {
	case *v1.ClientCreated:
		s.Created = true
	case *v1.CredentialAdded:
		return s.foldCredential(body, e)
	case *v1.CredentialRemoved:
		s.Credentials = slices.DeleteFunc(slices.Clone(s.Credentials), func(c ClientCredential) bool { return string(c.Ref) == body.GetRef() })
		s.secrets.signature = without(s.secrets.signature, body.GetRef())
	case *v1.KeyPackagesGenerated:
		return s.foldKeyPackages(body, e)
	case *v1.KeyPackagesConsumed:
		s.dropKeyPackages(body.GetRefs(), func(kp ClientKeyPackage) bool { return !kp.LastResort })
	case *v1.KeyPackagesExpired:
		s.dropKeyPackages(body.GetRefs(), func(ClientKeyPackage) bool { return true })
	case *v1.PreSharedKeyAdded:
		s.PSKs = append(slices.Clone(s.PSKs), body.GetId())
		if key, ok := e.Secret(events.ClassPSK); ok {
			s.secrets.psks = with(s.secrets.psks, string(body.GetId()), key)
		}
	case *v1.PreSharedKeyRemoved:
		s.PSKs = slices.DeleteFunc(slices.Clone(s.PSKs), func(id []byte) bool { return bytes.Equal(id, body.GetId()) })
		s.secrets.psks = without(s.secrets.psks, string(body.GetId()))
	case *v1.ClientDataSet:
		s.foldData(body, e)
	case *v1.JoinProposed, *v1.JoinSending:
		s.foldAsking(body)
	case *v1.ConversationListed:
		id := ids.ConversationID(body.GetConversation())
		s.Conversations = slices.DeleteFunc(slices.Clone(s.Conversations), func(c ids.ConversationID) bool { return c == id })
		if !body.GetGone() {
			s.Conversations = append(s.Conversations, id)
		}
	case *v1.CommandCompleted:
		p := Public{TimeMs: s.TimeMs, Commands: s.Commands}
		p.remember(body)
		s.Commands = p.Commands
	case *v1.SecretsLost:
		s.secrets, s.Lost = clientSecrets{}, ClientSecretsLost
	case *v1.LogRolledBack:
		s.Lost = ClientRolledBack
	case *v1.TransactionTorn, *v1.Moved, *v1.Claimed:
		// Facts for auditors and for the log itself.
	default:
		return brokenf("a client's log holds no %T that this build can fold", e.Body)
	}
	return nil
}

func (s *ClientState) foldCredential(body *v1.CredentialAdded, e events.Event) error {
	credential, err := syntax.Decode[mlsengine.Credential](body.GetCredential())
	if err != nil {
		return brokenf("credential %s: %v", body.GetRef(), err)
	}
	s.Credentials = append(slices.Clone(s.Credentials), ClientCredential{
		Ref: CredentialRef(body.GetRef()), CipherSuite: mlsengine.CipherSuite(body.GetCipherSuite()), Credential: credential,
		SignatureKey: body.GetSignatureKey(), AddedMs: s.TimeMs,
	})
	if key, ok := e.Secret(events.ClassSignatureKey); ok {
		s.secrets.signature = with(s.secrets.signature, body.GetRef(), key)
	}
	return nil
}

func (s *ClientState) foldKeyPackages(body *v1.KeyPackagesGenerated, e events.Event) error {
	s.KeyPackages = slices.Clone(s.KeyPackages)
	keys := maps.Clone(s.secrets.keyPackages)
	if keys == nil {
		keys = map[string]mlsengine.KeyPackageSecrets{}
	}
	sealed := make(map[string]secret.Bytes, len(e.Secrets))
	for _, part := range e.Secrets {
		if part.Class == events.ClassKeyPackage && !part.Plain.IsZero() {
			sealed[part.Label] = part.Plain
		}
	}
	for _, k := range body.GetKeyPackages() {
		s.KeyPackages = append(s.KeyPackages, ClientKeyPackage{
			Ref: k.GetRef(), KeyPackage: k.GetKeyPackage(), Credential: CredentialRef(k.GetCredential()),
			CipherSuite: mlsengine.CipherSuite(k.GetCipherSuite()), NotAfter: k.GetNotAfter(), LastResort: k.GetLastResort(),
		})
		plain, ok := sealed[hex.EncodeToString(k.GetRef())]
		if !ok {
			continue
		}
		stored, err := syntax.Decode[keyPackageSecrets](plain.Expose())
		if err != nil {
			return brokenf("key package %x: %v", k.GetRef(), err)
		}
		keys[string(k.GetRef())] = mlsengine.KeyPackageSecrets(stored)
	}
	s.secrets.keyPackages = keys
	return nil
}

func (s *ClientState) dropKeyPackages(refs [][]byte, may func(ClientKeyPackage) bool) {
	gone := make(map[string]bool, len(refs))
	for _, r := range refs {
		gone[string(r)] = true
	}
	keys := maps.Clone(s.secrets.keyPackages)
	s.KeyPackages = slices.DeleteFunc(slices.Clone(s.KeyPackages), func(kp ClientKeyPackage) bool {
		if !gone[string(kp.Ref)] || !may(kp) {
			return false
		}
		delete(keys, string(kp.Ref))
		return true
	})
	s.secrets.keyPackages = keys
	// Nobody could come in by a proposal of what is gone, or has come in by it.
	s.Askings = slices.DeleteFunc(slices.Clone(s.Askings), func(a PendingAsking) bool { return gone[string(a.KeyPackage)] })
}

func with(m map[string]secret.Bytes, key string, value secret.Bytes) map[string]secret.Bytes {
	next := maps.Clone(m)
	if next == nil {
		next = map[string]secret.Bytes{}
	}
	next[key] = value
	return next
}

func without(m map[string]secret.Bytes, key string) map[string]secret.Bytes {
	next := maps.Clone(m)
	delete(next, key)
	return next
}

// keyPackageSecrets is the sealed form of a key package's private keys.
type keyPackageSecrets mlsengine.KeyPackageSecrets

// Code walks the secrets.
func (k *keyPackageSecrets) Code(c *syntax.Coder) {
	codeSecret(c, &k.InitKey)
	codeSecret(c, &k.LeafKey)
}

// Code walks a client's public state.
func (p *ClientPublic) Code(c *syntax.Coder) {
	codeFormat(c, publicFormat)
	codeString(c, &p.Client)
	codeBool(c, &p.Created)
	syntax.Uint64(c, &p.Version)
	syntax.Uint64(c, &p.TimeMs)
	syntax.Vector(c, &p.Credentials)
	syntax.Vector(c, &p.KeyPackages)
	syntax.VectorFunc(c, &p.PSKs, syntax.Opaque[[]byte])
	syntax.VectorFunc(c, &p.Conversations, codeString[ids.ConversationID])
	syntax.Vector(c, &p.Commands)
	codeString(c, &p.Lost)
	syntax.Uint32(c, &p.DataLength)
	syntax.Vector(c, &p.Askings)
}

// Code walks a credential.
func (k *ClientCredential) Code(c *syntax.Coder) {
	codeString(c, &k.Ref)
	syntax.Uint16(c, &k.CipherSuite)
	k.Credential.Code(c)
	syntax.Opaque(c, &k.SignatureKey)
	syntax.Uint64(c, &k.AddedMs)
}

// Code walks a key package.
func (k *ClientKeyPackage) Code(c *syntax.Coder) {
	syntax.Opaque(c, &k.Ref)
	syntax.Opaque(c, &k.KeyPackage)
	codeString(c, &k.Credential)
	syntax.Uint16(c, &k.CipherSuite)
	syntax.Uint64(c, &k.NotAfter)
	codeBool(c, &k.LastResort)
}

// EncodeClientPublic is the canonical encoding of a client's public state.
func EncodeClientPublic(p ClientPublic) []byte { return syntax.Encode(&p) }

// Digest is SHA-256 over the canonical encoding of the public state.
func (p ClientPublic) Digest() ids.Digest { return ids.DigestOf(EncodeClientPublic(p)) }
