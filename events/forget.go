package events

import (
	"fmt"
	"strconv"
	"strings"
)

// forgetAll is the entry that kills every key but those that live as long as
// the log.
const forgetAll = "*"

// Item is the label of a secret of a shared class: a running number in a
// stream. Numbers of a stream never go down.
func Item(stream string, number uint64) string {
	return stream + ":" + strconv.FormatUint(number, 10)
}

// Forget kills the key of a label (signature keys, key packages, PSKs).
func Forget(class Class, label string) string { return class.String() + "/" + label }

// ForgetThrough says that a shared class no longer needs the items of a stream
// up to a number. A key dies once all it covers is forgotten.
func ForgetThrough(class Class, stream string, number uint64) string {
	return class.String() + "/" + Item(stream, number)
}

// ForgetAll kills every key of the log but its MAC and audit keys: the log can
// still be verified, and nothing in it can be opened.
func ForgetAll() string { return forgetAll }

// parseItem takes a label of a shared class apart.
func parseItem(label string) (stream string, number uint64, err error) {
	cut := strings.LastIndexByte(label, ':')
	if cut < 0 {
		return "", 0, fmt.Errorf("%w: label %q is no item (stream:number)", ErrBadDraft, label)
	}
	number, err = strconv.ParseUint(label[cut+1:], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("%w: label %q is no item (stream:number)", ErrBadDraft, label)
	}
	return label[:cut], number, nil
}

// forgetting is a parsed Forget entry.
type forgetting struct {
	all   bool
	class Class
	label string // keys of one label
	below uint64 // shared classes: label is the stream, items below this are forgotten
}

func parseForget(entry string) (forgetting, error) {
	if entry == forgetAll {
		return forgetting{all: true}, nil
	}
	name, label, ok := strings.Cut(entry, "/")
	if !ok {
		return forgetting{}, fmt.Errorf("%w: forget entry %q", ErrBadDraft, entry)
	}
	for class, known := range classNames {
		if known != name || known == "" {
			continue
		}
		f := forgetting{class: Class(class), label: label}
		switch {
		case f.class.shared():
			stream, through, err := parseItem(label)
			f.label, f.below = stream, max(through+1, through)
			return f, err
		case f.class.labelled():
			return f, nil
		}
	}
	return forgetting{}, fmt.Errorf("%w: forget entry %q", ErrBadDraft, entry)
}

// shared classes have keys that cover many items.
func (c Class) shared() bool { return c == ClassSpool || c == ClassVerification }

// labelled classes have one key for each label.
func (c Class) labelled() bool {
	return c == ClassSignatureKey || c == ClassKeyPackage || c == ClassPSK || c == ClassData || c == ClassLetter
}

// lasting classes have one key that lives as long as the log.
func (c Class) lasting() bool { return c == ClassAudit || c == ClassOrder || c == classMAC }
