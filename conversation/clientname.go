package conversation

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"

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

// ClientURI is the URI by which a certificate names a client.
func ClientURI(c ids.ClientID) string { return clientScheme + url.PathEscape(string(c)) }
