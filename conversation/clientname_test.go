package conversation

import (
	"testing"

	"parley/internal/ids"
)

func TestURIsNameClients(t *testing.T) {
	for uri, want := range map[string]ids.ClientID{
		"wireapp://x6t4-KFBSuyvubW0QQ4LFA!b764c3887b32a6a7@example.com":    "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764c3887b32a6a7@example.com",
		"wireapp://x6t4-KFBSuyvubW0QQ4LFA%21b764c3887b32a6a7@example.com":  "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764c3887b32a6a7@example.com",
		"wireapp://%40alice@example.com":                                   "", // a handle
		"wireapp://x6t4-KFBSuyvubW0QQ4LF!b764c3887b32a6a7@example.com":     "", // 15 bytes
		"wireapp://x6t4-KFBSuyvubW0QQ4LFB!b764c3887b32a6a7@example.com":    "", // not canonical
		"wireapp://x6t4-KFBSuyvubW0QQ4LFA!b764c3887b32a6a7":                "",
		"wireapp://x6t4-KFBSuyvubW0QQ4LFA!@example.com":                    "",
		"mls-client:bot%20one":                                             "bot one",
		"mls-client:":                                                      "",
		"mls-client:%zz":                                                   "",
		"https://example.com/bot":                                          "",
		ClientURI("\x00weird/é:@#?%"):                                      "\x00weird/é:@#?%",
		ClientURI("c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764@example.com"): "c7ab78f8-a141-4aec-afb9-b5b4410e0b14:b764@example.com",
	} {
		if got, ok := clientOfURI(uri); got != want || ok != (want != "") {
			t.Errorf("%s names %q, %v", uri, got, ok)
		}
	}
}
