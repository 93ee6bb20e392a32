package crash_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"time"

	"parley"
	"parley/actors"
	"parley/delivery"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// operations are the rows of the crash matrix.
func operations() []*operation {
	return slices.Concat(
		clientRows(), holdingRows(), memberRows(), messageRows(), letterRows(), sharingRows(), transactionRows(), comingRows(), foreignRows(), nodeRows(), trustRows(),
		serviceRows(), timeRows(),
	)
}

// How rows begin: what is there before the operation.
func asCouple(ctx context.Context, s *scene) error { return s.couple(ctx) }

func withEve(ctx context.Context, s *scene) error { return s.couple(ctx, "eve") }

// trio is ada, bob and eve in a conversation.
func trio(ctx context.Context, s *scene) error {
	if err := s.take(ctx, "ada", "bob", "eve"); err != nil {
		return err
	}
	return s.found(ctx, "tea", []string{"ada", "bob", "eve"})
}

// aside begins as a couple, two epochs on, so that nobody commits by himself what ada proposes; then does more.
func aside(more ...func(context.Context, *scene) error) func(context.Context, *scene) error {
	return then(append([]func(context.Context, *scene) error{withEve, func(ctx context.Context, s *scene) error {
		return s.insist(ctx, s.conv("ada", "tea").UpdateKeys)
	}, func(ctx context.Context, s *scene) error {
		return s.await(ctx, "bob to follow", func() (bool, error) {
			status, err := s.conv("bob", "tea").Status(ctx)
			return status.Epoch == 2, err
		})
	}}, more...)...)
}

func then(all ...func(context.Context, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		for _, do := range all {
			if err := do(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

const crashSuite = suite.X25519_AES128GCM_SHA256_Ed25519

// clientRows are what a client does by itself.
func clientRows() []*operation {
	psk := func(ctx context.Context, s *scene) error {
		return s.client("ada").AddPSK(ctx, []byte("psk"), []byte("a key that both have"))
	}
	return []*operation{
		{name: "take a client", covers: "Node.Client", act: func(ctx context.Context, s *scene) error {
			s.luggage.Cast = []string{"ada"}
			_, err := s.node.Client(ctx, s.id("ada"))
			return err
		}},
		{name: "add a credential", covers: "Client.AddCredential", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			_, err := s.client("ada").AddCredential(ctx, suite.P256_AES128GCM_SHA256_P256)
			return err
		}},
		{
			name: "add a certificate", covers: "Client.AddX509Credential",
			prepare: then(asCouple, certifyAda),
			act: func(ctx context.Context, s *scene) error {
				_, err := s.client("ada").AddX509Credential(ctx, crashSuite, parley.X509{
					Chain: [][]byte{s.luggage.Kept["certificate"]}, Key: slices.Clone(s.luggage.Kept["key"]),
				})
				return err
			},
		},
		{name: "publish key packages", covers: "Client.PublishKeyPackages", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.client("bob").PublishKeyPackages(ctx, 12) // more than there are keys made ahead
		}},
		{name: "generate key packages", covers: "Client.GenerateKeyPackages", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			_, err := s.client("bob").GenerateKeyPackages(ctx, 2)
			return err
		}},
		{
			name: "import a key package", covers: "Client.ImportKeyPackage",
			prepare: then(asCouple, packElsewhere),
			act: func(ctx context.Context, s *scene) error {
				kept := s.luggage.Kept
				return s.client("ada").ImportKeyPackage(ctx, parley.KeyPackageImport{
					KeyPackage: kept["package"], InitKey: slices.Clone(kept["init"]), LeafKey: slices.Clone(kept["leaf"]), SignatureKey: slices.Clone(kept["key"]),
				})
			},
		},
		{name: "add a pre-shared key", covers: "Client.AddPSK", prepare: asCouple, act: psk},
		{name: "remove a pre-shared key", covers: "Client.RemovePSK", prepare: then(asCouple, psk), act: func(ctx context.Context, s *scene) error {
			return s.client("ada").RemovePSK(ctx, []byte("psk"))
		}},
		{name: "register a key", covers: "Registry.Register", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.node.Registry().Register(ctx, spareIdentity(s))
		}},
		{
			name: "revoke a key", covers: "Registry.Revoke",
			prepare: then(asCouple, func(ctx context.Context, s *scene) error { return s.node.Registry().Register(ctx, spareIdentity(s)) }),
			act: func(ctx context.Context, s *scene) error {
				return s.node.Registry().Revoke(ctx, s.id("ada"), spareIdentity(s).SignatureKey)
			},
		},
	}
}

// spareIdentity is a signature key of ada's that nothing was signed with.
func spareIdentity(s *scene) parley.Identity {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	return delivery.Identity{Client: s.id("ada"), CredentialType: uint16(mlsengine.CredentialTypeBasic), SignatureKey: key}
}

// certifyAda makes a certificate for ada.
func certifyAda(_ context.Context, s *scene) error {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	name, err := url.Parse(parley.ClientURI(s.id("ada")))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ada"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{name}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	s.luggage.Kept["certificate"], s.luggage.Kept["key"] = der, key.Seed()
	return err
}

// packElsewhere makes a key package of ada's that no node knows.
func packElsewhere(_ context.Context, s *scene) error {
	primitives, err := suite.Get(crashSuite)
	if err != nil {
		return err
	}
	seed := actors.SystemEntropy{}.Draw("", primitives.SignatureSeedSize())
	private, public, err := primitives.GenerateSignatureKeyPair(seed)
	if err != nil {
		return err
	}
	now := uint64(time.Now().Unix())
	identity := mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential([]byte(s.id("ada"))), Key: private, Public: public}
	kp, keys, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: crashSuite, Identity: identity, Lifetime: mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 3600},
	}, mlsengine.Env{Now: now, Entropy: actors.SystemEntropy{}, Identity: &identity})
	if err != nil {
		return err
	}
	kept := s.luggage.Kept
	kept["package"], kept["init"], kept["leaf"], kept["key"] = kp.Bytes(), keys.InitKey.Expose(), keys.LeafKey.Expose(), seed
	return nil
}

// memberRows are what changes a conversation that the nodes' own delivery service orders.
func memberRows() []*operation {
	return slices.Concat([]*operation{
		{
			name: "create", covers: "Client.Create",
			prepare: func(ctx context.Context, s *scene) error {
				s.luggage.Conversations = []string{"tea"}
				return s.take(ctx, "ada")
			},
			act: func(ctx context.Context, s *scene) error {
				_, err := s.client("ada").Create(ctx, s.convID("tea"))
				return err
			},
		},
		{name: "add and hear of revocation lists", covers: "Conversation.AddMembers", prepare: withEve, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "tea").AddMembers(ctx, parley.Addition{Clients: []parley.ClientID{s.id("eve")}})
			return err
		}},
		{name: "add", covers: "Conversation.Add", prepare: withEve, act: func(ctx context.Context, s *scene) error {
			return s.conv("ada", "tea").Add(ctx, s.id("eve"))
		}},
		{
			name: "remove", covers: "Conversation.Remove",
			prepare: trio,
			act:     func(ctx context.Context, s *scene) error { return s.conv("ada", "tea").Remove(ctx, s.id("eve")) },
		},
		{name: "update keys", covers: "Conversation.UpdateKeys", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.conv("ada", "tea").UpdateKeys(ctx)
		}},
		{
			name: "mark as child", covers: "Conversation.MarkAsChildOf",
			prepare: then(asCouple, func(ctx context.Context, s *scene) error { return s.found(ctx, "house", []string{"ada"}) }),
			act: func(ctx context.Context, s *scene) error {
				return s.conv("ada", "tea").MarkAsChildOf(ctx, s.convID("house"))
			},
		},
		{name: "wipe", covers: "Conversation.Wipe", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			return s.conv("bob", "tea").Wipe(ctx)
		}},
		{
			name: "come back", covers: "Client.JoinExternally",
			prepare: then(asCouple, func(ctx context.Context, s *scene) error { return s.conv("bob", "tea").Wipe(ctx) }),
			act:     externally("bob", "tea"),
		},
		{
			name: "join externally", covers: "Client.JoinExternally",
			prepare: func(ctx context.Context, s *scene) error { return s.couple(ctx, "guest") },
			act:     externally("guest", "tea"),
		},
	}, proposalRows())
}

func externally(name, conv string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		_, err := s.client(name).JoinExternally(ctx, s.convID(conv), parley.ExternalJoin{})
		return err
	}
}

// proposalRows propose, and commit what was proposed. Where nobody does the latter bob does it by himself, whose turn it is.
func proposalRows() []*operation {
	propose := func(ctx context.Context, s *scene) error {
		p, err := s.conv("ada", "tea").ProposeUpdate(ctx)
		s.luggage.Kept["ref"] = p.Ref
		return err
	}
	return []*operation{
		{name: "propose an update", covers: "Conversation.ProposeUpdate", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "tea").ProposeUpdate(ctx)
			return err
		}},
		{name: "propose to add", covers: "Conversation.ProposeAdd Conversation.ProposeAddKeyPackage", prepare: withEve, act: func(ctx context.Context, s *scene) error {
			_, err := s.conv("ada", "tea").ProposeAdd(ctx, s.id("eve"))
			return err
		}},
		{
			name: "propose to remove", covers: "Conversation.ProposeRemove",
			prepare: trio,
			act: func(ctx context.Context, s *scene) error {
				_, err := s.conv("ada", "tea").ProposeRemove(ctx, s.id("eve"))
				return err
			},
		},
		{name: "commit what is pending", covers: "Conversation.CommitPending", prepare: aside(propose), act: func(ctx context.Context, s *scene) error {
			return s.conv("ada", "tea").CommitPending(ctx)
		}},
		{name: "clear a proposal", covers: "Conversation.ClearProposal", prepare: aside(propose), act: func(ctx context.Context, s *scene) error {
			return s.conv("ada", "tea").ClearProposal(ctx, s.luggage.Kept["ref"])
		}},
	}
}

// messageRows are what is sent and received there.
func messageRows() []*operation {
	say := func(name, text string) func(context.Context, *scene) error {
		return func(ctx context.Context, s *scene) error {
			_, err := s.conv(name, "tea").Send(ctx, []byte(text))
			return err
		}
	}
	return []*operation{
		{name: "send", covers: "Conversation.Send", prepare: asCouple, act: say("ada", "one")},
		{name: "acknowledge", covers: "Event.Ack", prepare: then(asCouple, say("ada", "one")), act: func(ctx context.Context, s *scene) error {
			return s.hears(ctx, "bob", "one", func(ctx context.Context, e parley.Event) error { return e.Ack(ctx) })
		}},
		{name: "reply", covers: "Event.Reply", prepare: then(asCouple, say("ada", "one")), act: func(ctx context.Context, s *scene) error {
			return s.hears(ctx, "bob", "one", func(ctx context.Context, e parley.Event) error { return e.Reply(ctx, []byte("two")) })
		}},
		{name: "export a secret", covers: "Conversation.ExportSecret", prepare: asCouple, act: func(ctx context.Context, s *scene) error {
			secret, err := s.conv("ada", "tea").ExportSecret(ctx, "label", []byte("context"), 32)
			if first := s.luggage.Kept["secret"]; err == nil && first != nil && !slices.Equal(first, secret) {
				return errors.New("another secret than at first")
			}
			s.luggage.Kept["secret"] = secret
			return err
		}},
	}
}

// transact runs a transaction of ada's.
func transact(f func(context.Context, *parley.Transaction, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		return s.client("ada").Transact(ctx, func(tx *parley.Transaction) error { return f(ctx, tx, s) })
	}
}

// comingRows are transactions that make conversations, or enter them.
func comingRows() []*operation {
	return []*operation{
		{
			name: "transaction that creates and keeps data", covers: "Transaction.Create Transaction.SetData", prepare: asCouple,
			act: transact(func(ctx context.Context, tx *parley.Transaction, s *scene) error {
				s.luggage.Conversations = []string{"tea", "house"}
				if _, err := tx.Create(named(ctx, "create"), s.convID("house")); err != nil {
					return err
				}
				if err := tx.SetData(named(ctx, "set data"), []byte("data")); err != nil {
					return err
				}
				return tx.Conversation(s.convID("tea")).MarkAsChildOf(named(ctx, "mark"), s.convID("house"))
			}),
		},
		{
			name: "transaction that joins", covers: "Transaction.Join", prepare: then(foreignCouple, packFor("eve"), addPacked),
			act: func(ctx context.Context, s *scene) error {
				return s.client("eve").Transact(ctx, func(tx *parley.Transaction) error {
					config := abroad()
					welcome, err := s.welcome()
					if err != nil {
						return err
					}
					_, err = tx.Join(named(ctx, "join"), parley.Invitation{Welcome: welcome, Config: &config})
					return err
				})
			},
		},
		{
			name: "transaction that comes back", covers: "Transaction.JoinExternally",
			prepare: then(asCouple, func(ctx context.Context, s *scene) error { return s.conv("bob", "tea").Wipe(ctx) }),
			act: func(ctx context.Context, s *scene) error {
				return s.client("bob").Transact(ctx, func(tx *parley.Transaction) error {
					_, err := tx.JoinExternally(named(ctx, "join"), s.convID("tea"), parley.ExternalJoin{})
					return err
				})
			},
		},
	}
}

// transactionRows are batches over several conversations.
func transactionRows() []*operation {
	two := then(asCouple, func(ctx context.Context, s *scene) error { return s.found(ctx, "cake", []string{"ada", "bob"}) })
	both := func(ctx context.Context, tx *parley.Transaction, s *scene) error {
		for _, conv := range []string{"tea", "cake"} {
			if _, err := tx.Conversation(s.convID(conv)).ProposeUpdate(named(ctx, "propose in "+conv)); err != nil {
				return err
			}
		}
		return nil
	}
	refusal := errors.New("no")
	return []*operation{
		{
			name: "transaction over two conversations", covers: "Client.Transact Client.Begin Transaction.Conversation Transaction.Finish",
			prepare: two, act: transact(both),
		},
		{
			name: "transaction that is aborted", covers: "Transaction.Abort", prepare: two,
			act: func(ctx context.Context, s *scene) error {
				err := transact(func(ctx context.Context, tx *parley.Transaction, s *scene) error {
					return errors.Join(both(ctx, tx, s), refusal)
				})(ctx, s)
				if errors.Is(err, refusal) && !errors.Is(err, errDead) {
					return nil
				}
				return err
			},
		},
		{
			name: "transaction with a commit and a message", prepare: two,
			act: transact(func(ctx context.Context, tx *parley.Transaction, s *scene) error {
				if _, err := tx.Conversation(s.convID("cake")).ProposeUpdate(named(ctx, "propose")); err != nil {
					return err
				}
				if err := tx.Conversation(s.convID("tea")).UpdateKeys(named(ctx, "update")); err != nil {
					return err
				}
				_, err := tx.Conversation(s.convID("tea")).Send(named(ctx, "send"), []byte("in a transaction"))
				return err
			}),
		},
		{
			name: "transaction that loses its coordinator", prepare: two, act: transact(both), lapse: "actors.tx-decide",
		},
	}
}
