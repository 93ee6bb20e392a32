package mlsengine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/internal/secret"
)

// rogueWelcome is a Welcome in the making, with places to spoil it.
type rogueWelcome struct {
	psks   []PreSharedKeyID // mixed into the epoch, whatever their usage
	origin *PublicGroup     // as the joiner knows it
	spoil  func(*newcomer, *GroupInfo)
	seal   func(memberSecret) memberSecret
	sent   func(*Welcome)
}

// join lets the founder add a joiner, and gives the error of its join.
func (r *rogueWelcome) join(t *testing.T, founder, joiner *testClient) error {
	t.Helper()
	g := founder.group
	k := joiner.keyPackage(t)
	b := &committing{group: g, env: founder.env, identity: &founder.identity, commit: &Commit{Proposals: byValue(&Add{KeyPackage: *k})}}
	for _, id := range r.psks {
		b.commit.Proposals = append(b.commit.Proposals, byValue(&PreSharedKey{PSK: id})...)
	}
	list := must(g.public.resolve(MemberSender(g.own), b.commit, nil))(t)
	list.hasPath = true
	b.st = must(g.public.apply(list, founder.env))(t)
	check(t, b.setPath(b.st.draft.leaf(g.own)))
	check(t, b.st.finishTree())
	check(t, b.sealPath())
	a := must(g.frame(framedContent{ContentType: ContentTypeCommit, Commit: b.commit}, Framing{}, founder.env))(t)
	b.st.conclude(a)
	entered := must(g.enterNext(b.st, b.secret, founder.psks))(t)
	next := g.successor(b.st, entered, b.fresh)
	info := must(next.describe(nil, WithTree, founder.env))(t)
	shared := b.path.secrets(g.public.suite, len(b.steps))[sharedStep(b.steps, b.st.added[0])]
	n := newcomer{keyPackage: k, secrets: groupSecrets{joiner: entered.joiner, path: &shared, psks: r.psks}}
	if r.spoil != nil {
		signature := info.Signature
		r.spoil(&n, info)
		if slices.Equal(signature, info.Signature) {
			check(t, info.sign(&founder.identity))
		}
	}
	if r.seal != nil {
		entered.member = r.seal(entered.member)
	}
	w := must(sealWelcome(g.public.suite, entered.member, info, []newcomer{n}, founder.env))(t)
	if r.sent != nil {
		r.sent(w)
	}
	_, err := JoinFromWelcome(w, JoinInput{KeyPackage: joiner.kp, Secrets: joiner.secrets, Identity: joiner.identity, PSKs: joiner.psks, Origin: r.origin})
	return err
}

// refusedWelcome gives the error of carol's join after a Welcome was spoiled.
func refusedWelcome(t *testing.T, r rogueWelcome) error {
	t.Helper()
	return r.join(t, newTestGroup(t, 1, "alice", "bob")[0], newTestClient(t, 1, "carol"))
}

func TestHonestWelcomeIsAccepted(t *testing.T) {
	check(t, refusedWelcome(t, rogueWelcome{}))
}

func welcomeRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		WelcomeNotForUs: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{sent: func(w *Welcome) { w.Secrets[0].NewMember = flipped(w.Secrets[0].NewMember) }})
		},
		WelcomeCipherSuite: func(t *testing.T) error {
			wantRule(t, WelcomeCipherSuite, refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.GroupContext.CipherSuite = 3 }}))
			return refusedWelcome(t, rogueWelcome{sent: func(w *Welcome) { w.CipherSuite = 3 }})
		},
		WelcomeSecrets: func(t *testing.T) error {
			wantRule(t, WelcomeSecrets, refusedWelcome(t, rogueWelcome{sent: func(w *Welcome) { w.EncryptedGroupInfo = flipped(w.EncryptedGroupInfo) }}))
			return refusedWelcome(t, rogueWelcome{sent: func(w *Welcome) {
				c := &w.Secrets[0].EncryptedGroupSecrets.Ciphertext
				*c = flipped(*c)
			}})
		},
		WelcomeGroupInfo: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{seal: func(memberSecret) memberSecret { return memberSecret{secret.New(make([]byte, 32))} }})
		},
		WelcomePSKs: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{spoil: func(n *newcomer, _ *GroupInfo) {
				id := PreSharedKeyID{Type: PSKTypeResumption, Usage: ResumptionPSKUsageBranch, Group: GroupID("old"), Nonce: make([]byte, 32)}
				n.secrets.psks = []PreSharedKeyID{id, id}
			}})
		},
		WelcomeLeaf: func(t *testing.T) error {
			joiner := newTestClient(t, 1, "carol")
			r := rogueWelcome{spoil: func(n *newcomer, _ *GroupInfo) { n.keyPackage = joiner.keyPackage(t) }}
			return r.join(t, newTestGroup(t, 1, "alice", "bob")[0], joiner)
		},
		WelcomePathSecret: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{spoil: func(n *newcomer, _ *GroupInfo) {
				n.secrets.path = &pathSecret{secret.New(make([]byte, 32))}
			}})
		},
	}
}

// groupInfoRuleCases break the rules of a GroupInfo.
func groupInfoRuleCases() map[Rule]ruleCase {
	return map[Rule]ruleCase{
		GroupInfoSigner: func(t *testing.T) error {
			wantRule(t, GroupInfoSigner, refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.Signer = 1 << 30 }}))
			return refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.Signer = 3 }})
		},
		GroupInfoSignature: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			gi := must(clients[0].group.GroupInfo(WithTree, clients[0].env))(t)
			gi.Signer = 1
			wantRule(t, GroupInfoSignature, clients[1].group.public.GroupInfoMatches(gi))
			return refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.Signature = flipped(gi.Signature) }})
		},
		GroupInfoTree: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) { gi.Extensions = nil }})
		},
		GroupInfoContext: func(t *testing.T) error {
			clients := newTestGroup(t, 1, "alice", "bob")
			gi := must(clients[0].group.GroupInfo(WithoutTree, clients[0].env))(t)
			other := *gi
			other.ConfirmationTag = flipped(gi.ConfirmationTag)
			check(t, other.sign(&clients[0].identity))
			wantRule(t, GroupInfoContext, clients[1].group.public.GroupInfoMatches(&other))
			commit(t, clients, 1, CommitIntent{})
			return clients[1].group.public.GroupInfoMatches(gi)
		},
		GroupInfoExtension: func(t *testing.T) error {
			return refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) {
				gi.GroupContext.Extensions = Extensions{{Type: privateExtension}}
			}})
		},
		GroupInfoExternalPub: func(t *testing.T) error {
			founder := newTestGroup(t, 1, "alice", "bob")[0]
			_, err := must(founder.group.describe(nil, WithTree, founder.env))(t).externalPub()
			return err
		},
	}
}

// heirs is a group that was closed by ReInit or that another branches from,
// and the founder of the new one, who knows its resumption key, as bob does.
type heirs struct {
	old             *PublicGroup
	founder, joiner *testClient
	id              PreSharedKeyID
}

// newHeirs makes an old group of alice, bob and the others, and a new one
// that alice founded as params say.
func newHeirs(t *testing.T, usage ResumptionPSKUsage, params GroupParams, others ...string) *heirs {
	t.Helper()
	clients := newTestGroup(t, 1, append([]string{"alice", "bob"}, others...)...)
	if usage == ResumptionPSKUsageReInit {
		commit(t, clients, 0, CommitIntent{Inline: []Proposal{&ReInit{GroupID: GroupID("new"), Version: 1, CipherSuite: 1}}})
	}
	h := &heirs{old: clients[0].group.public, founder: newTestClient(t, params.Suite, "alice"), joiner: newTestClient(t, params.Suite, "bob")}
	h.id = PreSharedKeyID{
		Type: PSKTypeResumption, Usage: usage, Group: h.old.GroupID(), Epoch: h.old.Epoch(),
		Nonce: make([]byte, h.founder.suite.HashSize()),
	}
	for _, c := range []*testClient{h.founder, h.joiner} {
		c.psks[pskName(h.id)] = clients[0].group.ResumptionPSK().Expose()
	}
	params.Identity = h.founder.identity
	h.founder.group = must(NewGroup(params, h.founder.env))(t)
	return h
}

func (h *heirs) join(t *testing.T) error {
	t.Helper()
	r := rogueWelcome{psks: []PreSharedKeyID{h.id}, origin: h.old}
	return r.join(t, h.founder, h.joiner)
}

func TestReInitAndBranchAreJoined(t *testing.T) {
	check(t, newHeirs(t, ResumptionPSKUsageReInit, GroupParams{GroupID: GroupID("new"), Suite: 1}).join(t))
	check(t, newHeirs(t, ResumptionPSKUsageBranch, GroupParams{GroupID: GroupID("part"), Suite: 1}, "carol").join(t))
}

func heirRuleCases() map[Rule]ruleCase {
	reinit, branch := ResumptionPSKUsageReInit, ResumptionPSKUsageBranch
	return map[Rule]ruleCase{
		ReInitParameters: func(t *testing.T) error {
			other := GroupParams{GroupID: GroupID("new"), Suite: 1, Extensions: Extensions{extension(ExtensionTypeExternalSenders, &ExternalSenders{})}}
			wantRule(t, ReInitParameters, newHeirs(t, reinit, other).join(t))
			wantRule(t, ReInitParameters, newHeirs(t, reinit, GroupParams{GroupID: GroupID("new"), Suite: 3}).join(t))
			unknown := newHeirs(t, reinit, GroupParams{GroupID: GroupID("new"), Suite: 1})
			unknown.old = nil
			wantRule(t, ReInitParameters, unknown.join(t))
			open := newHeirs(t, branch, GroupParams{GroupID: GroupID("new"), Suite: 1})
			open.id.Usage = reinit
			wantRule(t, ReInitParameters, open.join(t))
			return newHeirs(t, reinit, GroupParams{GroupID: GroupID("another"), Suite: 1}).join(t)
		},
		ReInitEpoch: func(t *testing.T) error {
			h := newHeirs(t, reinit, GroupParams{GroupID: GroupID("new"), Suite: 1})
			commit(t, []*testClient{h.founder}, 0, CommitIntent{})
			return h.join(t)
		},
		ReInitMember: func(t *testing.T) error {
			return newHeirs(t, reinit, GroupParams{GroupID: GroupID("new"), Suite: 1}, "carol").join(t)
		},
		BranchParameters: func(t *testing.T) error {
			unknown := newHeirs(t, branch, GroupParams{GroupID: GroupID("part"), Suite: 1})
			unknown.old = nil
			wantRule(t, BranchParameters, unknown.join(t))
			return newHeirs(t, branch, GroupParams{GroupID: GroupID("part"), Suite: 3}).join(t)
		},
		BranchEpoch: func(t *testing.T) error {
			h := newHeirs(t, branch, GroupParams{GroupID: GroupID("part"), Suite: 1})
			commit(t, []*testClient{h.founder}, 0, CommitIntent{})
			return h.join(t)
		},
		BranchMember: func(t *testing.T) error {
			h := newHeirs(t, branch, GroupParams{GroupID: GroupID("part"), Suite: 1})
			mallory := newTestClient(t, 1, "mallory")
			mallory.psks = h.joiner.psks
			h.joiner = mallory
			return h.join(t)
		},
	}
}

// TestWhateverAWelcomeHoldsIsAPeersFault damages the tree inside a Welcome, and
// the GroupInfo around it, in every byte: an inviter can do all of that and
// sign it, so each outcome must be a rule.
func TestWhateverAWelcomeHoldsIsAPeersFault(t *testing.T) {
	refuse := func(name string, change func(*GroupInfo)) {
		err := refusedWelcome(t, rogueWelcome{spoil: func(_ *newcomer, gi *GroupInfo) {
			gi.Extensions, gi.GroupContext.Extensions = slices.Clone(gi.Extensions), slices.Clone(gi.GroupContext.Extensions)
			change(gi)
		}})
		var rule *RuleError
		if err != nil && !errors.As(err, &rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range 40 {
		refuse(fmt.Sprintf("tree cut at %d", i), func(gi *GroupInfo) {
			data := gi.Extensions[0].Data
			gi.Extensions[0].Data = data[:i*len(data)/40]
		})
		refuse(fmt.Sprintf("tree with another byte %d", i), func(gi *GroupInfo) {
			data := slices.Clone(gi.Extensions[0].Data)
			data[i*len(data)/40] ^= 0x55
			gi.Extensions[0].Data = data
		})
	}
	for kind := range ExtensionTypeLastResort + 1 {
		odd := Extension{Type: kind, Data: []byte{0xff}}
		refuse("odd group extension", func(gi *GroupInfo) { gi.GroupContext.Extensions = append(gi.GroupContext.Extensions, odd) })
		refuse("odd extension", func(gi *GroupInfo) { gi.Extensions = append(Extensions{odd}, gi.Extensions...) })
	}
}

// TestNoncesOfWelcomesHaveAnyLength: the rule about them is one of proposals.
func TestNoncesOfWelcomesHaveAnyLength(t *testing.T) {
	alice, dave := newTestGroup(t, 1, "alice", "bob")[0], newTestClient(t, 1, "dave")
	id := PreSharedKeyID{Type: PSKTypeExternal, ID: []byte("key"), Nonce: make([]byte, 64)}
	for _, c := range []*testClient{alice, dave} {
		c.psks = testPSKs{pskName(id): []byte("secret")}
	}
	check(t, (&rogueWelcome{psks: []PreSharedKeyID{id}}).join(t, alice, dave))
}
