package parley_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTablesNameWhatExists holds docs/corecrypto.md against the code: every test that it names is in that file, and every name of the columns
// that say how things are here stands for something that package parley, or the package before it, exports.
func TestTablesNameWhatExists(t *testing.T) {
	text := readDocument(t, "docs/corecrypto.md")
	if n := checkTests(t, text); n < 100 {
		t.Errorf("%d tests named: not what the page names", n)
	}
	names := dictionary{set: token.NewFileSet(), packages: map[string]*names{}}
	found := 0
	for _, cell := range cellsOf(text, "ours", "here", "difference, and why") {
		for _, code := range codeIn(cell) {
			found++
			if !names.knows(t, code) {
				t.Errorf("%s: nothing is called so; the row says %q", code, cell)
			}
		}
	}
	if found < 100 {
		t.Errorf("%d names found: not what the page names", found)
	}
}

// TestInvariantsNameTheirTests: the tests that ARCHITECTURE.md gives for each invariant exist.
func TestInvariantsNameTheirTests(t *testing.T) {
	found := 0
	for _, cell := range cellsOf(readDocument(t, "ARCHITECTURE.md"), "tests that fail where it is broken") {
		dir := "."
		for _, code := range codeIn(cell) {
			if !strings.HasPrefix(code, "Test") {
				dir = code
				continue
			}
			found++
			if !hasTest(t, filepath.Join(dir, "*_test.go"), code) && !hasTest(t, "*_test.go", code) {
				t.Errorf("no %s in %s", code, dir)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d tests named: not what the page names", found)
	}
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// folders are what the page calls some folders.
var folders = map[string]string{"c": "conversation", "e": "mlsengine", "d": "delivery"}

var (
	testFile = regexp.MustCompile(`([a-z/]*[a-z0-9_]+_test\.go)(?::(Test\w+))?`)
	inCode   = regexp.MustCompile("`([^`]+)`")
	plain    = regexp.MustCompile(`^[A-Za-z]+(\.[A-Z]\w*)*$`)
)

// checkTests looks for every test and every file of tests that a page names, and counts them.
func checkTests(t *testing.T, text string) int {
	t.Helper()
	all := testFile.FindAllStringSubmatch(text, -1)
	for _, found := range all {
		file, test := found[1], found[2]
		if folder, rest, ok := strings.Cut(file, "/"); ok && folders[folder] != "" {
			file = path.Join(folders[folder], rest)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", found[0], err)
		} else if test != "" && !hasTest(t, file, test) {
			t.Errorf("%s has no %s", file, test)
		}
	}
	return len(all)
}

// hasTest reports whether a file that the pattern fits has the test.
func hasTest(t *testing.T, pattern, test string) bool {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool { return strings.Contains(readDocument(t, file), "func "+test+"(t *testing.T)") })
}

// cellsOf lists the cells of the columns under any of the headings, in all tables of a page.
func cellsOf(text string, headings ...string) (cells []string) {
	var wanted []int
	table := false
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			table = false
			continue
		}
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !table {
			table, wanted = true, nil
			for i, heading := range row {
				if slices.Contains(headings, strings.TrimSpace(heading)) {
					wanted = append(wanted, i)
				}
			}
			continue
		}
		for _, i := range wanted {
			cells = append(cells, strings.TrimSpace(row[i]))
		}
	}
	return cells
}

// codeIn lists what stands as code in a cell and names something exported: a call without its arguments, each field of a literal.
func codeIn(cell string) (all []string) {
	for _, found := range inCode.FindAllStringSubmatch(cell, -1) {
		name, _, _ := strings.Cut(found[1], "(")
		if owner, fields, ok := strings.Cut(strings.TrimSuffix(name, "}"), "{"); ok {
			for field := range strings.SplitSeq(fields, ",") {
				all = append(all, owner+"."+strings.TrimSpace(field))
			}
			continue
		}
		all = append(all, name)
	}
	return all
}

// dictionary knows what the packages of this module declare.
type dictionary struct {
	set      *token.FileSet
	packages map[string]*names
}

// names are what a package declares: its own names, what types are other names of, and the members of types with their types.
type names struct {
	declared map[string]string            // name: the type it is another name of, or nothing
	members  map[string]map[string]string // type: member: its type; embedded types stand under their own name
	codes    []string                     // what its constants are when printed
}

// holders are the types whose methods the page names by themselves.
var holders = []string{"Conversation", "Client", "Transaction", "Node"}

// knows reports whether a name stands for something. What is no name at all is none of its business.
func (d *dictionary) knows(t *testing.T, code string) bool {
	t.Helper()
	if !plain.MatchString(code) {
		return true
	}
	first, rest, _ := strings.Cut(code, ".")
	if first == strings.ToLower(first) {
		return rest == "" || d.resolves(t, first, strings.Split(rest, "."))
	}
	if d.resolves(t, "parley", strings.Split(code, ".")) || slices.Contains(d.names(t, "conversation").codes, code) {
		return true
	}
	return slices.ContainsFunc(holders, func(holder string) bool { return d.resolves(t, "parley", []string{holder, code}) })
}

// resolves follows a path of names from a package.
func (d *dictionary) resolves(t *testing.T, pkg string, parts []string) bool {
	t.Helper()
	alias, declared := d.names(t, pkg).declared[parts[0]]
	if !declared {
		return false
	}
	if alias != "" {
		other, name, ok := strings.Cut(alias, ".")
		return ok && d.resolves(t, other, append([]string{name}, parts[1:]...))
	}
	return len(parts) == 1 || d.member(t, pkg, parts[0], parts[1:])
}

// member follows a path of names from a type.
func (d *dictionary) member(t *testing.T, pkg, owner string, parts []string) bool {
	t.Helper()
	members := d.names(t, pkg).members[owner]
	if of, ok := members[parts[0]]; ok {
		return len(parts) == 1 || d.resolves(t, pkg, append([]string{of}, parts[1:]...)) || d.elsewhere(t, of, parts[1:])
	}
	for name, of := range members {
		if strings.HasSuffix("."+of, "."+name) && d.resolves(t, pkg, append([]string{of}, parts...)) {
			return true
		}
	}
	return false
}

// elsewhere follows a path from a type of another package.
func (d *dictionary) elsewhere(t *testing.T, of string, parts []string) bool {
	t.Helper()
	pkg, name, ok := strings.Cut(of, ".")
	return ok && d.resolves(t, pkg, append([]string{name}, parts...))
}

// places are the folders of packages whose names are not theirs.
var places = map[string]string{"parley": ".", "pki": "mlsengine/pki", "ids": "internal/ids", "suite": "mlsengine/suite"}

// names reads a package.
func (d *dictionary) names(t *testing.T, pkg string) *names {
	t.Helper()
	if known, ok := d.packages[pkg]; ok {
		return known
	}
	n := &names{declared: map[string]string{}, members: map[string]map[string]string{}}
	d.packages[pkg] = n
	dir, ok := places[pkg]
	if !ok {
		dir = pkg
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(d.set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			n.declare(decl)
		}
	}
	return n
}

// declare notes a declaration.
func (n *names) declare(decl ast.Decl) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Recv == nil {
			n.declared[decl.Name.Name] = ""
			return
		}
		n.add(typeName(decl.Recv.List[0].Type), decl.Name.Name, "")
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				n.declareType(spec)
			case *ast.ValueSpec:
				n.declareValues(spec)
			}
		}
	}
}

func (n *names) declareValues(spec *ast.ValueSpec) {
	for i, name := range spec.Names {
		n.declared[name.Name] = ""
		if i >= len(spec.Values) {
			continue
		}
		if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value)
			n.codes = append(n.codes, text)
		}
	}
}

func (n *names) declareType(spec *ast.TypeSpec) {
	n.declared[spec.Name.Name] = ""
	if spec.Assign.IsValid() {
		n.declared[spec.Name.Name] = typeName(spec.Type)
	}
	var fields *ast.FieldList
	switch of := spec.Type.(type) {
	case *ast.StructType:
		fields = of.Fields
	case *ast.InterfaceType:
		fields = of.Methods
	default:
		return
	}
	for _, field := range fields.List {
		of := typeName(field.Type)
		if len(field.Names) == 0 {
			n.add(spec.Name.Name, of[strings.LastIndex(of, ".")+1:], of)
		}
		for _, name := range field.Names {
			n.add(spec.Name.Name, name.Name, of)
		}
	}
}

func (n *names) add(owner, name, of string) {
	if n.members[owner] == nil {
		n.members[owner] = map[string]string{}
	}
	n.members[owner][name] = of
}

// typeName is the name in a type, without what is around it.
func typeName(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.Ident:
		return of.Name
	case *ast.SelectorExpr:
		return typeName(of.X) + "." + of.Sel.Name
	case *ast.StarExpr:
		return typeName(of.X)
	case *ast.ArrayType:
		return typeName(of.Elt)
	case *ast.IndexExpr:
		return typeName(of.X)
	}
	return ""
}
