package parley_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const (
	functionLinesMax = 70
	fileLinesMax     = 500
	testLinesMax     = 800
)

// TestSourceKeepsItsMeasure holds the sizes and habits of the code: short functions and files, no init functions, no notes to self.
func TestSourceKeepsItsMeasure(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".pb.go") {
			checkFile(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	limit := fileLinesMax
	if strings.HasSuffix(path, "_test.go") {
		limit = testLinesMax
	}
	if n := set.Position(file.End()).Line; n > limit {
		t.Errorf("%s has %d lines, more than %d", path, n, limit)
	}
	for _, group := range file.Comments {
		if strings.Contains(group.Text(), "TO"+"DO") {
			t.Errorf("%s: a note to self", set.Position(group.Pos()))
		}
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if f.Name.Name == "init" && f.Recv == nil {
			t.Errorf("%s: init runs behind the reader's back", set.Position(f.Pos()))
		}
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > functionLinesMax {
			t.Errorf("%s: %s has %d lines, more than %d", set.Position(f.Pos()), f.Name.Name, n, functionLinesMax)
		}
	}
}
