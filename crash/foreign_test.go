package crash_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"parley"
)

func abroad() parley.Config {
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	return config
}

// foreignCouple is ada and bob in a conversation that a foreign delivery service orders, and eve, who is not in it.
func foreignCouple(ctx context.Context, s *scene) error {
	if err := s.take(ctx, "ada", "bob", "eve"); err != nil {
		return err
	}
	s.luggage.Foreign = []string{"far"}
	if _, err := s.client("ada").Create(ctx, s.convID("far"), abroad()); err != nil {
		return err
	}
	return then(packFor("bob"), addPacked, joinPacked("bob"))(ctx, s)
}

// packFor keeps a key package of a client.
func packFor(name string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		made, err := s.client(name).GenerateKeyPackages(ctx, 1)
		if err == nil {
			s.luggage.Kept["package"] = made[0]
		}
		return err
	}
}

// addPacked lets ada add who the kept key package is of.
func addPacked(ctx context.Context, s *scene) error {
	return s.conv("ada", "far").AddKeyPackages(ctx, s.luggage.Kept["package"])
}

// joinPacked lets a client join by the newest Welcome.
func joinPacked(name string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		welcome, err := s.welcome()
		if err != nil {
			return err
		}
		config := abroad()
		_, err = s.client(name).Join(ctx, parley.Invitation{Welcome: welcome, Config: &config})
		return err
	}
}

// welcome is the newest one that the post has.
func (s *scene) welcome() ([]byte, error) {
	letters, err := s.letters("far")
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(letters) {
		if len(l.Welcome) > 0 {
			return l.Welcome, nil
		}
	}
	return nil, errors.New("the post has no Welcome")
}

// takeIn lets bob take in what was kept.
func takeIn(kept ...string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		for _, name := range kept {
			got, err := s.conv("bob", "far").Decrypt(named(ctx, "take in "+name), s.luggage.Kept[name])
			if err != nil {
				return err
			}
			if got.Code != "" && got.Code != parley.DuplicateMessage {
				return fmt.Errorf("%s: %s", name, got.Code)
			}
		}
		return nil
	}
}

// commitAsBob commits what bob knows of; it is his turn, and he may have done so by himself.
func commitAsBob(ctx context.Context, s *scene) error {
	return s.conv("bob", "far").CommitPending(named(ctx, "commit"))
}

// farCommands are what ada does in the foreign conversation, kept for others to take in.
func keepSealed(ctx context.Context, s *scene) (err error) {
	s.luggage.Kept["message"], err = s.conv("ada", "far").Encrypt(ctx, []byte("sealed"), nil)
	return err
}

func keepProposal(ctx context.Context, s *scene) error {
	p, err := s.conv("ada", "far").ProposeUpdate(ctx)
	s.luggage.Kept["proposal"] = p.Message
	return err
}

func keepCommit(ctx context.Context, s *scene) error {
	if err := s.conv("ada", "far").UpdateKeys(ctx); err != nil {
		return err
	}
	letters, err := s.letters("far")
	if err == nil {
		s.luggage.Kept["commit"] = letters[len(letters)-1].Bytes
	}
	return err
}

// foreignRows are what is done in a conversation whose delivery service is not the nodes'.
func foreignRows() []*operation {
	return slices.Concat(foreignMembers(), unansweredRows(), []*operation{
		{name: "encrypt for a foreign transport", covers: "Conversation.Encrypt", prepare: foreignCouple, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "far").Encrypt(ctx, []byte("never carried"), nil)
			return err
		}},
		{name: "decrypt a message", covers: "Conversation.Decrypt", prepare: then(foreignCouple, keepSealed), act: takeIn("message")},
		{name: "decrypt a proposal", covers: "Conversation.Decrypt", prepare: then(foreignCouple, keepProposal), act: then(takeIn("proposal"), commitAsBob)},
		{name: "decrypt a commit", covers: "Conversation.Decrypt", prepare: then(foreignCouple, keepCommit), act: takeIn("commit")},
		{
			name: "decrypt a commit that a message waits for", covers: "Conversation.Decrypt",
			prepare: then(foreignCouple, keepCommit, keepSealed), act: takeInEarly,
		},
		{
			name: "decrypt a commit that refers to a proposal", covers: "Conversation.Decrypt",
			prepare: then(foreignCouple, keepProposal, func(ctx context.Context, s *scene) error { return s.conv("ada", "far").CommitPending(ctx) }, keepLast),
			act:     takeIn("proposal", "commit"),
		},
		{name: "decrypt rubbish", covers: "Conversation.Decrypt", prepare: foreignCouple, act: func(ctx context.Context, s *scene) error {
			got, err := s.conv("bob", "far").Decrypt(ctx, []byte("rubbish"))
			if err == nil && got.Code == "" {
				return errors.New("rubbish was taken")
			}
			return err
		}},
	})
}

func keepLast(_ context.Context, s *scene) error {
	letters, err := s.letters("far")
	if err == nil {
		s.luggage.Kept["commit"] = letters[len(letters)-1].Bytes
	}
	return err
}

// takeInEarly takes in a message before the commit that it waits for.
func takeInEarly(ctx context.Context, s *scene) error {
	for _, name := range []string{"message", "commit"} {
		if _, err := s.conv("bob", "far").Decrypt(named(ctx, "take in "+name), s.luggage.Kept[name]); err != nil {
			return err
		}
	}
	return nil
}

// foreignMembers are what changes who is in such a conversation.
func foreignMembers() []*operation {
	wipe := func(ctx context.Context, s *scene) error { return s.conv("ada", "far").Wipe(named(ctx, "wipe")) }
	create := func(ctx context.Context, s *scene) error {
		_, err := s.client("ada").Create(named(ctx, "create"), s.convID("far"), abroad())
		return err
	}
	alone := func(ctx context.Context, s *scene) error {
		s.luggage.Foreign = []string{"far"}
		return then(func(ctx context.Context, s *scene) error { return s.take(ctx, "ada") }, create)(named(ctx, ""), s)
	}
	return []*operation{
		{name: "create abroad", covers: "Client.Create", prepare: func(ctx context.Context, s *scene) error {
			s.luggage.Foreign = []string{"far"}
			return s.take(ctx, "ada")
		}, act: create},
		{name: "wipe and create again", covers: "Conversation.Wipe Client.Create", prepare: func(ctx context.Context, s *scene) error {
			s.luggage.Foreign = []string{"far"}
			if err := s.take(ctx, "ada"); err != nil {
				return err
			}
			_, err := s.client("ada").Create(ctx, s.convID("far"), abroad())
			return err
		}, act: then(wipe, func(ctx context.Context, s *scene) error {
			_, err := s.client("ada").Create(named(ctx, "create again"), s.convID("far"), abroad())
			return err
		})},
		{name: "update keys abroad", covers: "Conversation.UpdateKeys", prepare: alone, act: func(ctx context.Context, s *scene) error {
			return s.conv("ada", "far").UpdateKeys(ctx)
		}},
		{name: "add by key packages", covers: "Conversation.AddKeyPackages", prepare: then(foreignCouple, packFor("eve")), act: addPacked},
		{
			name: "join by a Welcome", covers: "Client.Join",
			prepare: then(foreignCouple, packFor("eve"), addPacked), act: joinPacked("eve"),
		},
		{
			name: "join abroad by a GroupInfo", covers: "Client.JoinExternally", prepare: then(foreignCouple, keepInfo),
			act: func(ctx context.Context, s *scene) error { return s.joinAbroad(ctx) },
		},
	}
}

// unansweredRows end what a foreign delivery service has not answered.
func unansweredRows() []*operation {
	return []*operation{
		{
			name: "abandon a join", covers: "Conversation.AbandonJoin",
			prepare: then(foreignCouple, keepInfo, func(ctx context.Context, s *scene) error {
				if err := s.mail.close(s.convID("far")); err != nil {
					return err
				}
				return s.await(ctx, "a join that nobody answers", func() (bool, error) {
					hasty, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
					defer cancel()
					if err := s.joinAbroad(hasty); err == nil {
						return false, errors.New("joined at a closed post")
					}
					status, err := s.conv("eve", "far").Status(ctx)
					return status.Version > 0, err
				})
			}),
			act: func(ctx context.Context, s *scene) error { return s.conv("eve", "far").AbandonJoin(ctx) },
		},
		{
			name: "resolve a commit", covers: "Conversation.Resolve",
			prepare: then(foreignCouple, func(ctx context.Context, s *scene) error {
				if err := s.mail.close(s.convID("far")); err != nil {
					return err
				}
				return s.await(ctx, "a commit that nobody answers", func() (bool, error) {
					hasty, cancel := context.WithTimeout(ctx, 5*time.Second)
					defer cancel()
					if err := s.conv("ada", "far").UpdateKeys(hasty); err == nil {
						return false, errors.New("committed at a closed post")
					}
					status, err := s.conv("ada", "far").Status(ctx)
					return len(status.Unresolved) > 0, err
				})
			}),
			act: func(ctx context.Context, s *scene) error {
				return s.conv("ada", "far").Resolve(ctx, "", parley.NotTaken)
			},
		},
	}
}

// keepInfo keeps the GroupInfo of the last commit that the post took.
func keepInfo(_ context.Context, s *scene) error {
	letters, err := s.letters("far")
	if err == nil {
		s.luggage.Kept["info"] = letters[len(letters)-1].GroupInfo
	}
	return err
}

// joinAbroad lets eve join by the GroupInfo that was kept.
func (s *scene) joinAbroad(ctx context.Context) error {
	config := abroad()
	_, err := s.client("eve").JoinExternally(ctx, s.convID("far"), parley.ExternalJoin{GroupInfo: s.luggage.Kept["info"], Config: &config})
	return err
}
