package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fileBytesMax bounds a vector file, unpacked.
const fileBytesMax = 1 << 30

// hexBytes is a byte string as the files write it; null is empty.
type hexBytes []byte

// UnmarshalText reads hexadecimal.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vector is one case.
type vector struct {
	name string

	PSKs                 []psk     `json:"external_psks"`
	KeyPackage           hexBytes  `json:"key_package"`
	SignaturePriv        hexBytes  `json:"signature_priv"`
	EncryptionPriv       hexBytes  `json:"encryption_priv"`
	InitPriv             hexBytes  `json:"init_priv"`
	Welcome              hexBytes  `json:"welcome"`
	RatchetTree          hexBytes  `json:"ratchet_tree"`
	InitialAuthenticator hexBytes  `json:"initial_epoch_authenticator"`
	Epochs               []epoch   `json:"epochs"`
	App                  []message `json:"app"`
}

type psk struct {
	ID  hexBytes `json:"psk_id"`
	PSK hexBytes `json:"psk"`
}

// epoch is what leads to one epoch, and what is read in it.
type epoch struct {
	Proposals     []hexBytes `json:"proposals"`
	Commit        hexBytes   `json:"commit"`
	Authenticator hexBytes   `json:"epoch_authenticator"`
	App           []message  `json:"app"`
}

// message is an application message to decrypt.
type message struct {
	Ciphertext        hexBytes `json:"ciphertext"`
	AuthenticatedData hexBytes `json:"authenticated_data"`
	Plaintext         hexBytes `json:"plaintext"`
}

// load reads the cases of all files, and of all files in all directories that hold any.
func load(paths []string) (cases []vector, err error) {
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			found, err := loadFile(name)
			if err != nil && name != path {
				return nil // of a directory, whatever is no vector file is something else
			}
			cases = append(cases, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return cases, nil
}

func loadFile(name string) ([]vector, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if raw, err = unpack(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var shapes []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &shapes); err != nil {
		return nil, fmt.Errorf("%s: not a JSON array of objects: %w", name, err)
	}
	for i, shape := range shapes {
		if shape["welcome"] == nil || shape["epochs"] == nil {
			return nil, fmt.Errorf("%s: case %d has no welcome or no epochs", name, i)
		}
	}
	var cases []vector
	if err := json.Unmarshal(raw, &cases); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range cases {
		cases[i].name = fmt.Sprintf("%s#%d", filepath.Base(name), i)
	}
	return cases, nil
}

// unpack opens gzip, and leaves anything else as it is.
func unpack(raw []byte) ([]byte, error) {
	if !bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		return raw, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(zr, fileBytesMax+1))
	if err == nil && len(plain) > fileBytesMax {
		err = fmt.Errorf("more than %d bytes", fileBytesMax)
	}
	return plain, err
}
