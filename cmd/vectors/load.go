package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	name   string
	broken error // it does not parse

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

// load reads the cases of all files, and of all files in all directories that hold any. A case that does not parse is a case, and
// fails; in a directory, a file of another kind is something else, and passed over.
func load(paths []string) (cases []vector, err error) {
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			found, err := loadFile(name)
			if errors.Is(err, errOtherKind) && name != path {
				return nil
			}
			cases = append(cases, found...)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; the official files are the folder test-vectors of github.com/mlswg/mls-implementations: "+
				"make vectors DIR=FOLDER takes it from there", err)
		}
		if err != nil {
			return nil, err
		}
	}
	return cases, nil
}

// errOtherKind is a file that holds no passive-client cases.
var errOtherKind = errors.New("not a JSON array of objects with welcome and epochs")

func loadFile(name string) ([]vector, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if raw, err = unpack(raw); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errOtherKind, err)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(raw, &objects); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errOtherKind, err)
	}
	cases := make([]vector, len(objects))
	ours := false
	for i, object := range objects {
		var shape map[string]json.RawMessage
		shaped := json.Unmarshal(object, &shape) == nil && shape["welcome"] != nil && shape["epochs"] != nil
		ours = ours || shaped
		if err := json.Unmarshal(object, &cases[i]); err != nil {
			cases[i] = vector{broken: err}
		} else if !shaped {
			cases[i] = vector{broken: errOtherKind}
		}
		cases[i].name = fmt.Sprintf("%s#%d", name, i) // with its folders: names of files repeat
	}
	if !ours {
		return nil, fmt.Errorf("%s: %w", name, errOtherKind)
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
