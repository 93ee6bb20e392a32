package crash_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parley"
	"parley/delivery"
)

// post is a foreign delivery service that is a directory: it outlives nodes and their processes. It takes the first commit of an epoch.
type post struct{ dir string }

// letter is what the post keeps.
type letter struct {
	Kind           string // "proposal", "message" or "commit", in the order in which they are handed out within an epoch
	Epoch          uint64
	Bytes, Welcome []byte
	GroupInfo      []byte
}

func (p post) SendCommitBundle(_ context.Context, b delivery.Bundle) (delivery.Answer, error) {
	if _, err := os.Stat(p.box(b.Group) + ".closed"); err == nil {
		return nil, errors.New("nobody answers")
	}
	for _, proposal := range b.Proposals {
		if _, err := p.keep(b.Group, "", letter{Kind: "0 proposal", Epoch: epochOf(proposal), Bytes: proposal}); err != nil {
			return nil, err
		}
	}
	epoch := epochOf(b.Commit)
	won, err := p.keep(b.Group, fmt.Sprint("commit ", epoch), letter{"2 commit", epoch, b.Commit, b.Welcome, b.GroupInfo})
	if err != nil {
		return nil, err
	}
	if !won {
		return delivery.Retry{Epoch: epoch + 1}, nil
	}
	return delivery.Success{}, nil
}

func (p post) SendProposal(_ context.Context, m delivery.Proposal) (uint64, error) {
	_, err := p.keep(m.Group, "", letter{Kind: "0 proposal", Epoch: epochOf(m.Message), Bytes: m.Message})
	return 0, err
}

func (p post) SendMessages(_ context.Context, ms []delivery.Message) ([]delivery.Receipt, error) {
	receipts := make([]delivery.Receipt, len(ms))
	for i, m := range ms {
		_, receipts[i].Err = p.keep(m.Group, "", letter{Kind: "1 message", Epoch: epochOf(m.Bytes), Bytes: m.Bytes})
	}
	return receipts, nil
}

// keep stores a letter under its name, or under its hash; false where another one has the name.
func (p post) keep(group parley.ConversationID, name string, l letter) (bool, error) {
	sum := sha256.Sum256(l.Bytes)
	if name == "" {
		name = hex.EncodeToString(sum[:])
	}
	dir := p.box(group)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	encoded, err := json.Marshal(l)
	if err != nil {
		return false, err
	}
	draft, err := os.CreateTemp(p.dir, "draft")
	if err != nil {
		return false, err
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(encoded)
	if err := errors.Join(err, draft.Close()); err != nil {
		return false, err
	}
	if err := os.Link(draft.Name(), filepath.Join(dir, name)); !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	kept, err := os.ReadFile(filepath.Join(dir, name))
	return bytes.Equal(kept, encoded), err
}

// close keeps commits of a group from being answered.
func (p post) close(group parley.ConversationID) error {
	return os.WriteFile(p.box(group)+".closed", nil, 0o600)
}

func (p post) box(group parley.ConversationID) string {
	return filepath.Join(p.dir, hex.EncodeToString([]byte(group)))
}

// letters are those of a group, in an order in which they can be handed out.
func (p post) letters(group parley.ConversationID) ([]letter, error) {
	files, err := os.ReadDir(p.box(group))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []letter
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(p.box(group), f.Name()))
		if err != nil {
			return nil, err
		}
		var l letter
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b letter) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Bytes, b.Bytes))
	})
	return all, nil
}

// carryAll hands everything that the post has to every member: what a member knows it says so, and takes no second time.
func (s *scene) carryAll(ctx context.Context) error {
	for _, conv := range s.luggage.Foreign {
		for _, name := range s.luggage.Cast {
			if err := s.carry(ctx, name, conv); err != nil {
				return fmt.Errorf("carry to %s in %s: %w", name, conv, err)
			}
		}
	}
	return nil
}

func (s *scene) carry(ctx context.Context, name, conv string) error {
	letters, err := s.letters(conv)
	if err != nil {
		return err
	}
	for _, l := range letters {
		if exists, err := s.conv(name, conv).Exists(ctx); err != nil || !exists {
			return err
		}
		err := s.insist(ctx, func(ctx context.Context) error {
			_, err := s.conv(name, conv).Decrypt(ctx, l.Bytes)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) letters(conv string) ([]letter, error) { return s.mail.letters(s.convID(conv)) }

// listen reads what a client receives until it has been silent for so long after everything that was waited for has come, and
// acknowledges it.
func (s *scene) listen(ctx context.Context, name string, wanted ...string) (heard []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seen, missing := map[string]bool{}, len(wanted)
	for event, err := range s.client(name).Events(ctx) {
		if err != nil {
			return heard, fmt.Errorf("%s waits for %q and has heard %q: %w", name, wanted, heard, err)
		}
		if event.Message != nil && !seen[event.ID] {
			seen[event.ID] = true
			text := strings.TrimSuffix(string(event.Conversation.ID()), "."+s.tag) + ": " + string(event.Message.Text)
			heard = append(heard, text)
			if slices.Contains(wanted, text) {
				missing--
			}
		}
		if err := s.node.Insist(named(ctx, ""), event.Ack); err != nil {
			return heard, err
		}
		if missing == 0 {
			break
		}
	}
	slices.Sort(heard)
	return heard, nil
}

// talk lets every member of every conversation say something, and everybody hear it. It returns what each has heard, with everything
// that was said before.
func (s *scene) talk(ctx context.Context) (map[string][]string, error) {
	wanted := map[string][]string{}
	for _, conv := range slices.Concat(s.luggage.Conversations, s.luggage.Foreign) {
		var present []string
		for _, name := range s.luggage.Cast {
			exists, err := s.conv(name, conv).Exists(ctx)
			if err != nil {
				return nil, err
			}
			if exists {
				present = append(present, name)
			}
		}
		for _, name := range present {
			text := name + " is here"
			err := s.node.Insist(named(ctx, "here in "+conv), func(ctx context.Context) error {
				_, err := s.conv(name, conv).Send(ctx, []byte(text))
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s in %s: %w", name, conv, err)
			}
			for _, other := range present {
				if other != name {
					wanted[other] = append(wanted[other], conv+": "+text)
				}
			}
		}
	}
	if err := s.carryAll(ctx); err != nil {
		return nil, err
	}
	heard := map[string][]string{}
	for _, name := range s.luggage.Cast {
		if len(wanted[name]) == 0 {
			continue
		}
		var err error
		if heard[name], err = s.listen(ctx, name, wanted[name]...); err != nil {
			return nil, err
		}
	}
	return heard, nil
}

// hears reads events of a client until a text has come, or for a while, without more than the given acknowledgement.
func (s *scene) hears(ctx context.Context, name, text string, do func(context.Context, parley.Event) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for event, err := range s.client(name).Events(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return nil // it was acknowledged before
			}
			return err
		}
		if event.Message != nil && string(event.Message.Text) == text {
			return do(ctx, event)
		}
	}
	return nil
}
