package crash_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"parley"
)

// rowless says of operations why they have no row.
var rowless = map[string][]string{
	"it stores nothing": {
		"Client.Conversations", "Client.Credentials", "Client.Data", "Client.KeyPackages", "Client.Status", "Conversation.ClientIDs", "Conversation.Credential",
		"Conversation.DeviceIdentities", "Conversation.DistributionPoints", "Conversation.E2EIState", "Conversation.Exists", "Conversation.ExternalSender",
		"Conversation.History", "Conversation.Status", "Conversation.UserIdentities", "Client.E2EIEnabled", "Authorities.Trust", "Transaction.Data", "Registry.Keys",
		"Registry.Authenticate", "HistoryClient.Messages", "Client.ObserveEpochs", "Client.Positions", "Conversation.DeadLetters", "Conversation.DeadLetter", "ServiceDesk.StandingWishes",
	},
	"what it stores are acknowledgements, as Event.Ack does": {"Client.Events", "Client.ObserveHistory"},
	"every row's nodes do it":                                {"Open", "Node.Insist", "OpenAuthorities", "Authorities.Close", "OpenServiceDesk", "ServiceDesk.Close"},
	"it changes a context":                                   {"WithCommandID", "WithPrincipal", "WithReleased"},
}

// TestEveryOperationHasARow compares the rows with what package parley exports: an operation that is in neither list is new, and one that is
// in both, or that does not exist, is wrong.
func TestEveryOperationHasARow(t *testing.T) {
	exported, covered := exportedOperations(t), map[string]bool{}
	for _, op := range operations() {
		for _, name := range strings.Fields(op.covers) {
			covered[name] = true
			if _, is := exported[name]; !is {
				t.Errorf("row %q covers %s, which package parley does not export", op.name, name)
			}
		}
	}
	for why, names := range rowless {
		for _, name := range names {
			if _, is := exported[name]; !is || covered[name] {
				t.Errorf("%s (%s): exported %v, with a row %v", name, why, is, covered[name])
			}
			covered[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		if exported[name] && !covered[name] {
			t.Errorf("%s has no row: see the package comment", name)
		}
	}
}

// exportedOperations are the functions and methods of package parley; true for those that take a context: nothing else waits for the store.
func exportedOperations(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../*.go")
	ok(t, err)
	all := map[string]bool{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		ok(t, err)
		for _, decl := range file.Decls {
			f, is := decl.(*ast.FuncDecl)
			if !is || !f.Name.IsExported() {
				continue
			}
			if receiver := receiverOf(f); receiver == "" || ast.IsExported(receiver) {
				all[strings.TrimPrefix(receiver+"."+f.Name.Name, ".")] = takesContext(f.Type)
			}
		}
	}
	for method := range reflect.TypeFor[*parley.Registry]().Methods() { // of another package, under a name of this one
		all["Registry."+method.Name] = true
	}
	if len(all) < 20 {
		t.Fatalf("package parley exports %d operations: it was not found", len(all))
	}
	return all
}

func takesContext(f *ast.FuncType) bool {
	return slices.ContainsFunc(f.Params.List, func(p *ast.Field) bool {
		selected, is := p.Type.(*ast.SelectorExpr)
		return is && selected.Sel.Name == "Context"
	})
}

func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	kind := f.Recv.List[0].Type
	if pointer, is := kind.(*ast.StarExpr); is {
		kind = pointer.X
	}
	return kind.(*ast.Ident).Name
}
