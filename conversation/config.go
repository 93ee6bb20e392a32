package conversation

import (
	"unicode/utf8"

	v1 "parley/events/v1"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// WirePolicy says how handshake messages (proposals and commits of members)
// travel. Application messages are always encrypted.
type WirePolicy uint32

// The wire policies.
const (
	WirePlaintext  WirePolicy = 1 // public handshakes, others refused
	WireCiphertext WirePolicy = 2 // encrypted handshakes, others refused
	WireMixed      WirePolicy = 3 // both accepted, public ones sent
)

// TransportKind says who orders the group's messages.
type TransportKind uint32

// The kinds of transport.
const (
	// TransportBuiltIn is our own delivery service: what it accepted is final, and own commits are merged where they stand in the group's order.
	TransportBuiltIn TransportKind = 1
	// TransportForeign is somebody else's: its Success merges an own commit at once, and nobody can be asked who won an epoch.
	TransportForeign TransportKind = 2
)

// ClientNames says which names clients may have that we add.
type ClientNames uint32

// The rules for names.
const (
	AnyNames      ClientNames = 0
	DeployedNames ClientNames = 1 // <uuid>:<hexadecimal device>@<domain>: members of some implementations cannot read anybody else, nor list the members
)

// Config is what a conversation was created or joined with. But for the own
// credential it does not change during the membership.
type Config struct {
	CipherSuite            mlsengine.CipherSuite
	ExternalSenders        []mlsengine.ExternalSender // of a conversation we create; a joiner finds them in the group
	KeyRotationSpanMs      uint64                     // 0: none
	WirePolicy             WirePolicy
	OutOfOrderTolerance    uint32 // generations of a sender that may still arrive late
	MaximumForwardDistance uint32 // generations of a sender that may be skipped
	PastEpochs             uint32 // past epochs whose messages stay readable
	PastEpochAgeMs         uint64 // past epochs older than this die; 0: only by count
	RetainEpochs           uint32 // epochs whose authenticators stay verifiable with keys
	PaddingBlock           uint32 // what is encrypted is a multiple of this many bytes long; 0: not padded
	SpoolAgeMs             uint64 // messages not acknowledged for so long expire; 0: never
	MaxDeliveries          uint32 // times that a message may fail before it is put aside; 0: until it expires
	DeadLetterAgeMs        uint64 // messages put aside for so long are dropped; 0: never
	Transport              TransportKind
	ClientNames            ClientNames // of who creates the conversation, and of whom we add to it
	// Credential is what the own leaf presents; empty: the client's first of the suite. A membership may change it: SetCredential.
	Credential CredentialRef
}

// RetainAll as Config.RetainEpochs or PastEpochs keeps every epoch.
const RetainAll = ^uint32(0)

// DefaultConfig is what a conversation gets where nothing else is said.
func DefaultConfig() Config {
	return Config{
		CipherSuite:            suite.X25519_AES128GCM_SHA256_Ed25519,
		WirePolicy:             WirePlaintext,
		OutOfOrderTolerance:    2,
		MaximumForwardDistance: 1000,
		PastEpochs:             3,
		PastEpochAgeMs:         28 * dayMs,
		RetainEpochs:           3,
		PaddingBlock:           128,
		SpoolAgeMs:             28 * dayMs,
		MaxDeliveries:          16,
		DeadLetterAgeMs:        28 * dayMs,
		Transport:              TransportBuiltIn,
	}
}

const (
	minuteMs = 60 * 1000
	hourMs   = 60 * minuteMs
	dayMs    = 24 * hourMs
)

// The bounds of a configuration: what one message of a member may cost the
// others in keys that are kept, and in keys that are derived.
const (
	outOfOrderToleranceMax = 1 << 14
	forwardDistanceMax     = 1 << 20
	credentialBytesMax     = 1024
	externalSendersMax     = 256
)

// presentable reports whether a credential is one at all: a zero one has no
// encoding.
func presentable(c mlsengine.Credential) bool {
	return c.Type() == mlsengine.CredentialTypeBasic || c.Type() == mlsengine.CredentialTypeX509
}

// CheckSuite refuses a cipher suite that there is none of.
func CheckSuite(id mlsengine.CipherSuite) *CommandError {
	_, refused := suiteOf(id)
	return refused
}

func suiteOf(id mlsengine.CipherSuite) (*suite.Suite, *CommandError) {
	primitives, err := suite.Get(id)
	if err != nil {
		return nil, refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", id)
	}
	return primitives, nil
}

// validate refuses a configuration that names something unknown.
func (c Config) validate() *CommandError {
	primitives, refused := suiteOf(c.CipherSuite)
	if refused != nil {
		return refused
	}
	if len(c.ExternalSenders) > externalSendersMax {
		return refuse(InvalidConfiguration, GiveUp, "%d external senders are more than %d", len(c.ExternalSenders), externalSendersMax)
	}
	for i := range c.ExternalSenders {
		s := &c.ExternalSenders[i]
		if !presentable(s.Credential) || primitives.ValidateSignaturePublicKey(s.SignatureKey) != nil {
			return refuse(InvalidConfiguration, GiveUp, "external sender %d has no credential, or no key of cipher suite %d", i, c.CipherSuite)
		}
	}
	if c.WirePolicy < WirePlaintext || c.WirePolicy > WireMixed {
		return refuse(InvalidConfiguration, GiveUp, "wire policy %d is unknown", c.WirePolicy)
	}
	if c.Transport != TransportBuiltIn && c.Transport != TransportForeign {
		return refuse(InvalidConfiguration, GiveUp, "transport %d is unknown", c.Transport)
	}
	if c.ClientNames > DeployedNames {
		return refuse(InvalidConfiguration, GiveUp, "the rule %d for names is unknown", c.ClientNames)
	}
	if !utf8.ValidString(string(c.Credential)) || len(c.Credential) > credentialBytesMax {
		return refuse(InvalidConfiguration, GiveUp, "the credential's name is too long, or no text")
	}
	if c.OutOfOrderTolerance > outOfOrderToleranceMax || c.MaximumForwardDistance > forwardDistanceMax {
		return refuse(InvalidConfiguration, GiveUp, "an out-of-order tolerance is at most %d, a forward distance %d", outOfOrderToleranceMax, forwardDistanceMax)
	}
	if c.KeyRotationSpanMs > 0 && c.KeyRotationSpanMs < keyRotationSpanMin {
		return refuse(InvalidConfiguration, GiveUp, "a key rotation span of %d ms is below %d", c.KeyRotationSpanMs, keyRotationSpanMin)
	}
	if c.PaddingBlock > mlsengine.PaddingMax {
		return refuse(InvalidConfiguration, GiveUp, "padding block of %d bytes is above %d", c.PaddingBlock, mlsengine.PaddingMax)
	}
	return nil
}

// limits is what the engine bounds its skipped keys by, for application messages.
func (c Config) limits() mlsengine.Limits {
	return mlsengine.Limits{OutOfOrderTolerance: c.OutOfOrderTolerance, MaximumForwardDistance: c.MaximumForwardDistance}
}

// handshakeLimits are those for handshake messages. What stands in the group's
// order binds us in whatever sequence its sender's proposals came to stand
// there, so none of them may be too late: a crash between two of them is enough
// to let the second overtake the first.
func (c Config) handshakeLimits() mlsengine.Limits {
	l := c.limits()
	l.OutOfOrderTolerance = max(l.OutOfOrderTolerance, PendingMax)
	l.MaximumForwardDistance = max(l.MaximumForwardDistance, PendingMax)
	return l
}

// blockSize is how many generations are reserved at once: few where others
// tolerate few that were skipped, as a restart skips the rest of a block.
func (c Config) blockSize() uint32 {
	return min(SendBlockSize, max(1, c.MaximumForwardDistance/4))
}

// encryptsHandshakes reports whether what we send travels encrypted.
func (c Config) encryptsHandshakes() bool { return c.WirePolicy == WireCiphertext }

func (c Config) toProto() *v1.Configuration {
	p := &v1.Configuration{
		CipherSuite:            uint32(c.CipherSuite),
		KeyRotationSpanMs:      c.KeyRotationSpanMs,
		WirePolicy:             uint32(c.WirePolicy),
		OutOfOrderTolerance:    c.OutOfOrderTolerance,
		MaximumForwardDistance: c.MaximumForwardDistance,
		PastEpochs:             c.PastEpochs,
		PastEpochAgeMs:         c.PastEpochAgeMs,
		RetainEpochs:           c.RetainEpochs,
		PaddingBlock:           c.PaddingBlock,
		SpoolAgeMs:             c.SpoolAgeMs,
		MaxDeliveries:          c.MaxDeliveries,
		DeadLetterAgeMs:        c.DeadLetterAgeMs,
		Transport:              uint32(c.Transport),
		Credential:             string(c.Credential),
		ClientNames:            uint32(c.ClientNames),
	}
	for i := range c.ExternalSenders {
		p.ExternalSenders = append(p.ExternalSenders, encodeExternalSender(c.ExternalSenders[i]))
	}
	return p
}

func configFromProto(p *v1.Configuration) (Config, error) {
	c := Config{
		CipherSuite:            mlsengine.CipherSuite(p.GetCipherSuite()),
		KeyRotationSpanMs:      p.GetKeyRotationSpanMs(),
		WirePolicy:             WirePolicy(p.GetWirePolicy()),
		OutOfOrderTolerance:    p.GetOutOfOrderTolerance(),
		MaximumForwardDistance: p.GetMaximumForwardDistance(),
		PastEpochs:             p.GetPastEpochs(),
		PastEpochAgeMs:         p.GetPastEpochAgeMs(),
		RetainEpochs:           p.GetRetainEpochs(),
		PaddingBlock:           p.GetPaddingBlock(),
		SpoolAgeMs:             p.GetSpoolAgeMs(),
		MaxDeliveries:          p.GetMaxDeliveries(),
		DeadLetterAgeMs:        p.GetDeadLetterAgeMs(),
		Transport:              TransportKind(p.GetTransport()),
		Credential:             CredentialRef(p.GetCredential()),
		ClientNames:            ClientNames(p.GetClientNames()),
	}
	for _, b := range p.GetExternalSenders() {
		sender, err := decodeExternalSender(b)
		if err != nil {
			return Config{}, err
		}
		c.ExternalSenders = append(c.ExternalSenders, sender)
	}
	return c, nil
}
