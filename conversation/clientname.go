package conversation

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode/utf8"

	"parley/internal/ids"
	"parley/mlsengine"
)

// The schemes of the URIs by which certificates name clients.
const (
	clientScheme   = "mls-client:" // followed by the client's id, percent-encoded
	deployedScheme = "wireapp://"  // of deployed clients: user!device@domain, the user as base64url of a UUID
)

// ClientOf is the client that a credential names: the identity of a basic one; for an X.509 one what a URI among its end entity's
// alternative names says (§5.3.1), or a name made of the certificate where there is none, which nobody else can have. Whether it may bear
// the name is for an authentication service to say.
func ClientOf(c mlsengine.Credential) ids.ClientID {
	chain := c.Certificates()
	if len(chain) == 0 {
		return ids.ClientID(c.Identity())
	}
	for _, uri := range c.URIs() {
		if client, ok := clientOfURI(uri); ok {
			return client
		}
	}
	sum := sha256.Sum256(chain[0])
	return ids.ClientID("x509:" + hex.EncodeToString(sum[:]))
}

// Identify is ClientOf as the engine asks for it.
func Identify(c mlsengine.Credential) string { return string(ClientOf(c)) }

func clientOfURI(uri string) (ids.ClientID, bool) {
	if escaped, ok := strings.CutPrefix(uri, clientScheme); ok {
		id, err := url.PathUnescape(escaped)
		return ids.ClientID(id), err == nil && id != ""
	}
	if escaped, ok := strings.CutPrefix(uri, deployedScheme); ok {
		name, err := url.PathUnescape(escaped) // some authorities escape the exclamation mark
		if err != nil {
			return "", false
		}
		return deployedClient(name)
	}
	return "", false
}

// deployedClient turns the name of a deployed client into the id that its basic credentials have: <uuid>:<device>@<domain>. A handle, which
// such certificates also hold, is no client's name.
func deployedClient(name string) (ids.ClientID, bool) {
	user, rest, ok := strings.Cut(name, "!")
	device, domain, at := strings.Cut(rest, "@")
	uuid, err := base64.RawURLEncoding.Strict().DecodeString(user)
	if !ok || !at || err != nil || len(uuid) != 16 || device == "" || domain == "" {
		return "", false
	}
	text := hex.EncodeToString(uuid)
	return ids.ClientID(strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-") + ":" + device + "@" + domain), true
}

// admits refuses who has a name that members cannot deal with.
func (c Config) admits(client ids.ClientID) *CommandError {
	if c.ClientNames != DeployedNames || isDeployedName(string(client)) {
		return nil
	}
	e := refuse(ClientNameRefused, GiveUp, "%s is not <uuid>:<hexadecimal device, without leading zeros>@<domain>", client)
	e.Clients = []string{string(client)}
	return e
}

// isDeployedName reports whether deployed clients understand a client's name. A device with leading zeros they let in and cannot remove.
func isDeployedName(name string) bool {
	user, rest, ok := strings.Cut(name, ":")
	device, domain, at := strings.Cut(rest, "@")
	if !ok || !at || domain == "" || !utf8.ValidString(domain) {
		return false
	}
	groups := strings.Split(user, "-")
	if len(groups) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != n || !isHex(groups[i]) {
			return false
		}
	}
	return len(device) >= 1 && len(device) <= 16 && isHex(device) && (device[0] != '0' || device == "0")
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// ClientURI is the URI by which a certificate names a client.
func ClientURI(c ids.ClientID) string { return clientScheme + url.PathEscape(string(c)) }
