package parley_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"parley"
	"parley/internal/certtest"
	"parley/mlsengine"
)

// TestPendingProposalsAreListed: the status says who has proposed what, and what ClearProposal wants to hear.
func TestPendingProposalsAreListed(t *testing.T) {
	ctx := t.Context()
	node := openNode(t, parley.Options{ManualCommits: true})
	defer closeNode(t, node)
	tea, bob := teaForTwo(t, node)
	his := bob.Conversation("tea")
	awaitEpoch(t, his, 1)
	_, err := node.Client(ctx, "eve")
	ok(t, err)
	update, err := tea.ProposeUpdate(ctx)
	ok(t, err)
	_, err = tea.ProposeAdd(ctx, "eve")
	ok(t, err)
	remove, err := tea.ProposeRemove(ctx, "bob")
	ok(t, err)
	if len(update.Message) == 0 || update.DistributionPoints != nil {
		t.Errorf("the update: %+v", update)
	}
	for _, c := range []*parley.Conversation{tea, his} {
		awaitProposals(t, c, 3)
		status, err := c.Status(ctx)
		ok(t, err)
		var clients []parley.ClientID
		for _, p := range status.Proposals {
			if p.Sender != "ada" || p.Own != (c == tea) || p.SenderType != mlsengine.SenderTypeMember || time.Since(p.Since) > patience {
				t.Errorf("%s has %+v", c.Client().ID(), p)
			}
			clients = append(clients, p.Client)
		}
		if last := status.Proposals[2]; !slices.Equal(clients, []parley.ClientID{"ada", "eve", "bob"}) || string(last.Ref) != string(remove.Ref) ||
			last.Type != mlsengine.ProposalTypeRemove {
			t.Errorf("%s has proposals about %v, the last %+v", c.Client().ID(), clients, last)
		}
	}
	status, err := his.Status(ctx)
	ok(t, err)
	ok(t, his.ClearProposal(ctx, status.Proposals[1].Ref))
	if err := his.ClearProposal(ctx, status.Proposals[1].Ref); !errors.Is(err, parley.PendingProposalNotFound) {
		t.Errorf("cleared twice: %v", err)
	}
	awaitProposals(t, his, 2)
}

func awaitProposals(t *testing.T, c *parley.Conversation, n int) parley.Status {
	t.Helper()
	timeout := time.After(patience)
	for {
		status, err := c.Status(t.Context())
		ok(t, err)
		if status.Pending == n {
			return status
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			t.Fatalf("%s has %d proposals, want %d", c.Client().ID(), status.Pending, n)
		}
	}
}

// TestRevocationListsAreReturned: whoever adds a client with a certificate is told of its revocation list, whoever joins of everybody's, as
// long as the trust store does not have it.
func TestRevocationListsAreReturned(t *testing.T) {
	ctx := t.Context()
	authority, soon := certtest.New(t), time.Now().Add(time.Hour)
	store, err := (*parley.TrustStore)(nil).WithAnchor(authority.Anchor())
	ok(t, err)
	node := openNode(t, parley.Options{Certificates: func() *parley.TrustStore { return store }})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob := takeCertified(t, node, "bob", certified(t, authority, parley.ClientURI("bob"), soon))
	conv, err := ada.Create(ctx, "tea")
	ok(t, err)
	if points, err := conv.DistributionPoints(ctx); points != nil || err != nil {
		t.Errorf("nobody has a certificate: %v, %v", points, err)
	}
	want := []string{certtest.ListPoint}
	points, err := conv.AddMembers(ctx, parley.Addition{Clients: []parley.ClientID{"bob"}})
	if err != nil || !slices.Equal(points, want) {
		t.Errorf("ada adds bob: %v, %v", points, err)
	}
	e := bob.await(t, "the welcome", inEpoch(1))
	if !slices.Equal(e.Membership.DistributionPoints, want) {
		t.Errorf("bob's welcome: %+v", e.Membership)
	}
	if points, err := e.Conversation.DistributionPoints(ctx); err != nil || !slices.Equal(points, want) {
		t.Errorf("bob's group: %v, %v", points, err)
	}
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	cake, err := ada.Create(ctx, "cake")
	ok(t, err)
	proposal, err := cake.ProposeAddKeyPackage(ctx, packages[0])
	if err != nil || !slices.Equal(proposal.DistributionPoints, want) {
		t.Errorf("ada proposes bob: %v, %v", proposal.DistributionPoints, err)
	}
}

// TestEveryCodeHasADoor holds the list of codes against the domain's.
func TestEveryCodeHasADoor(t *testing.T) {
	domain, doors := constants(t, filepath.Join("conversation", "errors.go"), "Code"), constants(t, "codes.go", "")
	if len(domain) < 60 {
		t.Fatalf("%d codes found", len(domain))
	}
	for _, code := range domain {
		if !slices.Contains(doors, code) {
			t.Errorf("package parley has no %s", code)
		}
	}
}

// constants lists the constants of a file that are declared with a type; of none where that is empty.
func constants(t *testing.T, file, of string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	ok(t, err)
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, isValue := n.(*ast.ValueSpec); isValue {
			if kind, typed := spec.Type.(*ast.Ident); typed == (of != "") && (!typed || kind.Name == of) {
				names = append(names, spec.Names[0].Name)
			}
		}
		return true
	})
	return names
}
