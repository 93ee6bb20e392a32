package mlsengine

import (
	"encoding/binary"

	"parley/internal/syntax"
)

// Message is an MLSMessage (§6): what travels between clients. Nothing in it
// has been verified.
type Message struct {
	wireFormat WireFormat
	public     *publicMessage
	private    *privateMessage
	welcome    *Welcome
	groupInfo  *GroupInfo
	keyPackage *KeyPackage
}

// Code walks the MLSMessage struct of §6.
func (m *Message) Code(c *syntax.Coder) {
	version := VersionMLS10
	version.Code(c)
	if version != VersionMLS10 {
		c.Fail("unknown protocol version")
		return
	}
	syntax.Uint16(c, &m.wireFormat)
	switch m.wireFormat {
	case WireFormatPublicMessage:
		syntax.Arm(c, &m.public)
	case WireFormatPrivateMessage:
		syntax.Arm(c, &m.private)
	case WireFormatWelcome:
		syntax.Arm(c, &m.welcome)
	case WireFormatGroupInfo:
		syntax.Arm(c, &m.groupInfo)
	case WireFormatKeyPackage:
		syntax.Arm(c, &m.keyPackage)
	default:
		c.Fail("unknown wire format")
	}
}

// ParseMessage reads an MLSMessage of any wire format.
func ParseMessage(b []byte) (*Message, error) {
	if len(b) >= 4 {
		if v := binary.BigEndian.Uint16(b); ProtocolVersion(v) != VersionMLS10 {
			return nil, broken(UnsupportedVersion, "version %d", v)
		}
		if w := WireFormat(binary.BigEndian.Uint16(b[2:])); w < WireFormatPublicMessage || w > WireFormatKeyPackage {
			return nil, broken(UnsupportedWireFormat, "wire format %d", w)
		}
	}
	m, err := parse[Message](b)
	if err != nil {
		return nil, err
	}
	if k := m.keyPackage; k != nil && k.Version != VersionMLS10 {
		return nil, broken(KeyPackageVersion, "version %d inside a message of version %d", k.Version, VersionMLS10)
	}
	return &m, nil
}

func welcomeMessage(w *Welcome) *Message {
	return &Message{wireFormat: WireFormatWelcome, welcome: w}
}

func groupInfoMessage(gi *GroupInfo) *Message {
	return &Message{wireFormat: WireFormatGroupInfo, groupInfo: gi}
}

func keyPackageMessage(k *KeyPackage) *Message {
	return &Message{wireFormat: WireFormatKeyPackage, keyPackage: k}
}

// Bytes encodes the message.
func (m *Message) Bytes() []byte {
	return syntax.Append(make([]byte, 0, m.sizeHint()), m)
}

// sizeHint is a fair guess of how long the encoding is; it saves growing.
func (m *Message) sizeHint() int {
	const size = 256
	switch {
	case m.private != nil:
		return size + len(m.private.ciphertext) + len(m.private.aad)
	case m.public != nil:
		return size + m.public.content.Content.sizeHint()
	case m.welcome != nil:
		return size + len(m.welcome.EncryptedGroupInfo) + 256*len(m.welcome.Secrets)
	case m.groupInfo != nil:
		return size + m.groupInfo.sizeHint()
	}
	return size
}

// WireFormat says which of the accessors below give something.
func (m *Message) WireFormat() WireFormat { return m.wireFormat }

// GroupID is the group that a PublicMessage, PrivateMessage or GroupInfo
// claims to be of; nil for others.
func (m *Message) GroupID() GroupID {
	switch {
	case m.public != nil:
		return m.public.content.Content.GroupID
	case m.private != nil:
		return m.private.groupID
	case m.groupInfo != nil:
		return m.groupInfo.GroupContext.GroupID
	}
	return nil
}

// Epoch is the epoch that a PublicMessage, PrivateMessage or GroupInfo claims
// to be of; zero for others.
func (m *Message) Epoch() Epoch {
	switch {
	case m.public != nil:
		return m.public.content.Content.Epoch
	case m.private != nil:
		return m.private.epoch
	case m.groupInfo != nil:
		return m.groupInfo.GroupContext.Epoch
	}
	return 0
}

// ContentType is what a PublicMessage or PrivateMessage claims to hold; zero
// for others.
func (m *Message) ContentType() ContentType {
	switch {
	case m.public != nil:
		return m.public.content.Content.ContentType
	case m.private != nil:
		return m.private.contentType
	}
	return 0
}

// Sender is who a PublicMessage claims to be from. Other messages do not say.
func (m *Message) Sender() (Sender, bool) {
	if m.public == nil {
		return Sender{}, false
	}
	return m.public.content.Content.Sender, true
}

// AAD is the authenticated data that a PublicMessage or PrivateMessage carries
// in the open.
func (m *Message) AAD() []byte {
	switch {
	case m.public != nil:
		return m.public.content.Content.AAD
	case m.private != nil:
		return m.private.aad
	}
	return nil
}

// Welcome is the Welcome inside, or nil.
func (m *Message) Welcome() *Welcome { return m.welcome }

// GroupInfo is the GroupInfo inside, or nil.
func (m *Message) GroupInfo() *GroupInfo { return m.groupInfo }

// KeyPackage is the key package inside, or nil.
func (m *Message) KeyPackage() *KeyPackage { return m.keyPackage }
