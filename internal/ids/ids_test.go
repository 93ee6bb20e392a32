package ids

import (
	"strings"
	"testing"
)

func TestTokensAreFrozen(t *testing.T) {
	for id, want := range map[string]string{
		"_":                     "Xw",
		"alice":                 "YWxpY2U",
		"\x00\xff\xfe?":         "AP_-Pw",
		strings.Repeat("a", 64): "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYQ",
		strings.Repeat("a", 65): "~Y1NhxIu56rFBmOduqKt_GkFoXWrWKqkUbTAdTxfrCuA",
	} {
		if got := Token(id); got != want {
			t.Errorf("Token(%q) = %q, want %q", id, got, want)
		}
		back, ok := FromToken(Token(id))
		if short := len(id) <= 64; ok != short || (short && back != id) {
			t.Errorf("FromToken(Token(%q)) = %q, %v", id, back, ok)
		}
	}
}

func TestIDsPrintAndParse(t *testing.T) {
	for raw, text := range map[string]string{
		"alice@example.org": "alice@example.org",
		"größe":             "größe",
		"two words":         "0x74776f20776f726473",
		"0xab":              "0x30786162",
		"\x01\x02":          "0x0102",
		"\xff":              "0xff",
	} {
		if got := ClientID(raw).String(); got != text {
			t.Errorf("%q prints as %q, want %q", raw, got, text)
		}
		back, err := ParseConversationID(text)
		if err != nil || string(back) != raw {
			t.Errorf("%q parses to %q, %v", text, back, err)
		}
	}
	for _, bad := range []string{"", "0x", "0xg0", "0x123", strings.Repeat("x", 1025)} {
		if id, err := ParseClientID(bad); err == nil {
			t.Errorf("%q parses to %q", bad, id)
		}
	}
}

func TestDigestPrintsAndParses(t *testing.T) {
	d := DigestOf([]byte("par"), []byte("ley"))
	if d != DigestOf([]byte("parley")) {
		t.Error("a digest depends on how its input is cut")
	}
	for _, text := range []string{d.String(), "0x" + d.String()} {
		back, err := ParseDigest(text)
		if err != nil || !back.Equal(d) {
			t.Errorf("ParseDigest(%q) = %v, %v", text, back, err)
		}
	}
	for _, bad := range []string{"", "ab", d.String() + "00", strings.Repeat("z", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q parses as a digest", bad)
		}
	}
}
