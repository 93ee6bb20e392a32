package parley

import (
	"context"
	"encoding/pem"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"parley/conversation"
	"parley/mlsengine"
	"parley/mlsengine/pki"
)

// DeviceStatus says whether a client's credential can be relied on at the moment.
type DeviceStatus uint8

// The statuses.
const (
	DeviceValid   DeviceStatus = 1 // a certificate that a trusted authority vouches for now, or a basic credential, which says nothing that could be wrong
	DeviceExpired DeviceStatus = 2 // a trusted authority vouched for it until its time was over
	DeviceRevoked DeviceStatus = 3 // the authority has taken it back
	// DeviceUntrusted is a certificate that no trusted authority vouches for: nobody known has issued it, it is of another key, not valid yet, or
	// a revocation list that is asked for is missing. Where nobody is trusted this is said of every certificate.
	DeviceUntrusted DeviceStatus = 4
)

var deviceStatuses = [...]string{DeviceValid: "valid", DeviceExpired: "expired", DeviceRevoked: "revoked", DeviceUntrusted: "untrusted"}

// String names the status.
func (s DeviceStatus) String() string {
	if int(s) < len(deviceStatuses) && deviceStatuses[s] != "" {
		return deviceStatuses[s]
	}
	return "unknown"
}

// WireIdentity is what a client's credential says of it, and whether that can be relied on. The status is of the moment it was asked for.
type WireIdentity struct {
	Client         ClientID     // empty where it is no UTF-8
	Thumbprint     string       // JWK thumbprint (RFC 7638) of the signature key under the suite's hash, as base64url
	Status         DeviceStatus // now
	CredentialType CredentialType
	X509           *X509Identity // of a certificate; nil for a basic credential
}

// X509Identity is what a client's own certificate says of it.
type X509Identity struct {
	Handle      string // of the user, without the at sign: john_wire
	DisplayName string // the subject's common name
	Domain      string // the subject's organization
	Certificate string // PEM
	Serial      string // serial number, hexadecimal
	NotBefore   time.Time
	NotAfter    time.Time
}

// E2EIState says how far the identities of a conversation's members are proven.
type E2EIState uint8

// The states.
const (
	Verified    E2EIState = 1 // every member presents a certificate that is valid now
	NotVerified E2EIState = 2 // some do, and others present none, or one that is not valid now
	NotEnabled  E2EIState = 3 // nobody presents a certificate
)

var e2eiStates = [...]string{Verified: "verified", NotVerified: "not verified", NotEnabled: "not enabled"}

// String names the state.
func (s E2EIState) String() string {
	if int(s) < len(e2eiStates) && e2eiStates[s] != "" {
		return e2eiStates[s]
	}
	return "unknown"
}

// identify reads a credential at the node's time, by the trust store that holds now.
func (n *Node) identify(suite mlsengine.CipherSuite, credential mlsengine.Credential, key []byte) WireIdentity {
	out := WireIdentity{Thumbprint: mlsengine.Thumbprint(suite, key), Status: DeviceValid, CredentialType: credential.Type()}
	if client := conversation.ClientOf(credential); utf8.ValidString(string(client)) {
		out.Client = client
	}
	if out.CredentialType != X509Credential {
		return out
	}
	chain := credential.Certificates()
	verdict := n.trust().Verify(pki.Claim{Chain: chain, Key: key, Suite: suite}, unixSeconds(n.options.Clock.Now()))
	switch verdict.Status {
	case pki.Valid:
	case pki.Expired:
		out.Status = DeviceExpired
	case pki.Revoked:
		out.Status = DeviceRevoked
	default:
		out.Status = DeviceUntrusted
	}
	out.X509 = describeCertificate(chain, verdict.Certificate)
	return out
}

// describeCertificate reads the fields of a certificate; of one that does not parse only its bytes are shown.
func describeCertificate(chain [][]byte, c pki.Certificate) *X509Identity {
	out := &X509Identity{DisplayName: c.CommonName, Domain: c.Organization, Handle: handleOf(c.URIs), Serial: c.SerialHex}
	if len(chain) > 0 {
		out.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0]}))
	}
	if c.NotAfter > 0 {
		out.NotBefore, out.NotAfter = time.Unix(int64(c.NotBefore), 0), time.Unix(int64(c.NotAfter), 0)
	}
	return out
}

// handleOf finds the handle among a certificate's URIs: wireapp://%40john_wire@example.com, the first at sign as it is or escaped.
func handleOf(uris []string) string {
	for _, uri := range uris {
		name, ours := strings.CutPrefix(uri, "wireapp://")
		name, err := url.PathUnescape(name)
		if !ours || err != nil {
			continue
		}
		if name, isHandle := strings.CutPrefix(name, "@"); isHandle {
			if handle, _, qualified := strings.Cut(name, "@"); qualified && handle != "" {
				return handle
			}
		}
	}
	return ""
}

// members reads the members' identities in leaf order.
func (n *Node) members(group *mlsengine.PublicGroup) []WireIdentity {
	var all []WireIdentity
	for _, m := range group.Members() {
		all = append(all, n.identify(group.CipherSuite(), m.Credential, m.SignatureKey))
	}
	return all
}

// stateOf is what identities together come to.
func stateOf(members []WireIdentity) E2EIState {
	certified, valid := 0, 0
	for _, m := range members {
		if m.CredentialType != X509Credential {
			continue
		}
		certified++
		if m.Status == DeviceValid {
			valid++
		}
	}
	switch {
	case certified == 0:
		return NotEnabled
	case valid == len(members):
		return Verified
	}
	return NotVerified
}

// identities reads the members of the conversation.
func (c *Conversation) identities(ctx context.Context) ([]WireIdentity, error) {
	s, err := c.joined(ctx)
	if err != nil {
		return nil, err
	}
	return c.client.node.members(s.Group), nil
}

// E2EIState is how far the identities of the conversation's members are proven, now.
func (c *Conversation) E2EIState(ctx context.Context) (E2EIState, error) {
	members, err := c.identities(ctx)
	if err != nil {
		return 0, c.wrap("e2ei state", err)
	}
	return stateOf(members), nil
}

// DeviceIdentities reads the identities of members by their client ids, in leaf order. Those that are no members are left out.
func (c *Conversation) DeviceIdentities(ctx context.Context, clients ...ClientID) ([]WireIdentity, error) {
	const op = "device identities"
	if len(clients) == 0 {
		return nil, c.wrap(op, &conversation.CommandError{Code: conversation.InvalidCommand, Advice: GiveUp, Detail: "no client is named"})
	}
	members, err := c.identities(ctx)
	if err != nil {
		return nil, c.wrap(op, err)
	}
	wanted := make(map[ClientID]bool, len(clients))
	for _, client := range clients {
		wanted[client] = true
	}
	var out []WireIdentity
	for _, m := range members {
		if m.Client != "" && wanted[m.Client] {
			out = append(out, m)
		}
	}
	return out, nil
}

// UserIdentities reads the identities of all devices of users, by user, each in leaf order. A user's id is what stands before the first colon
// of its clients' ids; a client whose id has none is nobody's device.
func (c *Conversation) UserIdentities(ctx context.Context, users ...string) (map[string][]WireIdentity, error) {
	const op = "user identities"
	wanted := make(map[string]bool, len(users))
	for _, user := range users {
		if user == "" || strings.Contains(user, ":") {
			return nil, c.wrap(op, &conversation.CommandError{Code: conversation.InvalidUserID, Advice: GiveUp, Detail: user})
		}
		wanted[user] = true
	}
	if len(users) == 0 {
		return nil, c.wrap(op, &conversation.CommandError{Code: conversation.InvalidCommand, Advice: GiveUp, Detail: "no user is named"})
	}
	members, err := c.identities(ctx)
	if err != nil {
		return nil, c.wrap(op, err)
	}
	out := map[string][]WireIdentity{}
	for _, m := range members {
		if user, _, named := strings.Cut(string(m.Client), ":"); named && wanted[user] {
			out[user] = append(out[user], m)
		}
	}
	return out, nil
}

// E2EIEnabled reports whether the client has a certificate for a cipher suite. Without any credential of the suite it is CredentialNotFound.
func (c *Client) E2EIEnabled(ctx context.Context, suite mlsengine.CipherSuite) (bool, error) {
	all, err := c.Credentials(ctx, CredentialFilter{CipherSuite: suite})
	if err != nil {
		return false, err
	}
	for i := range all {
		if all[i].Type == X509Credential {
			return true, nil
		}
	}
	if len(all) == 0 {
		return false, wrap("e2ei enabled", &conversation.CommandError{Code: CredentialNotFound, Advice: GiveUp, Detail: suite.String()})
	}
	return false, nil
}

// CredentialInUse is the E2EIState of a group that a GroupInfo describes, bare or as an MLSMessage, with the tree inside. One that does not
// verify is refused with InvalidGroupInfo.
func (n *Node) CredentialInUse(groupInfo []byte) (E2EIState, error) {
	group, refused := conversation.GroupOf(groupInfo)
	if refused != nil {
		return 0, wrap("credential in use", refused)
	}
	return stateOf(n.members(group)), nil
}

// VerifyGroupState is CredentialInUse before joining: a group whose GroupInfo does not verify is not verified.
func (n *Node) VerifyGroupState(groupInfo []byte) E2EIState {
	state, err := n.CredentialInUse(groupInfo)
	if err != nil {
		return NotVerified
	}
	return state
}
