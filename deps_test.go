package parley_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports is the house plan: which packages of this module each package may import (tests excluded). Arrows point one way;
// a package that is not listed may not exist.
const imports = `
internal/ids            :
internal/secret         :
internal/syntax         :
mlsengine/treemath      :
mlsengine/suite         : internal/secret internal/syntax
mlsengine               : internal/secret internal/syntax mlsengine/suite mlsengine/treemath
mlsengine/pki           : internal/syntax mlsengine/suite
events/v1               :
events                  : events/v1 internal/ids internal/secret
events/memlog           : events internal/ids
events/gather           : events
events/logtest          : events events/v1 internal/ids internal/natsd internal/secret events/jetlog
events/jetlog           : events internal/ids
internal/natsd          :
internal/natsd/cmd      : internal/natsd
internal/scripttest     : internal/natsd
internal/certtest       :
conversation            : events events/v1 internal/ids internal/secret internal/syntax mlsengine mlsengine/suite
delivery/v1             :
delivery                : conversation delivery/v1 events events/jetlog events/v1 internal/ids internal/secret mlsengine mlsengine/pki
delivery/httptransport  : delivery mlsengine
actors                  : conversation delivery events events/jetlog events/v1 internal/ids internal/secret mlsengine
projections             : events events/v1 internal/ids
internal/audit          : delivery/v1 conversation delivery/v1 events events/jetlog events/v1 internal/ids internal/secret internal/natsd mlsengine mlsengine/suite projections
                        : actors conversation delivery events events/gather events/jetlog internal/ids internal/natsd internal/secret mlsengine mlsengine/pki
internal/audit/audittest : conversation events events/jetlog events/v1 internal/ids internal/natsd mlsengine mlsengine/suite
internal/sim            :
cmd/replay              : conversation events events/jetlog events/v1 internal/audit internal/ids internal/natsd mlsengine projections
cmd/node                : * delivery events internal/audit internal/ids internal/natsd mlsengine
tools/mutants           :
cmd/vectors             : *
checklist               :
crash                   :
internal/interop/mlsclient :
internal/interop        : internal/interop/mlsclient internal/secret mlsengine mlsengine/suite
internal/interop/scripts : internal/interop/mlsclient
cmd/mls-interop         : internal/interop internal/interop/scripts
`

// outside lists third-party modules and the only packages that may import each of them.
const outside = `
github.com/cloudflare/circl           : mlsengine/suite
github.com/oasisprotocol/curve25519-voi : mlsengine/suite
golang.org/x/crypto                   : mlsengine/suite
github.com/asynkron/protoactor-go     : actors
github.com/nats-io/nats-server/v2     : internal/natsd internal/natsd/cmd
github.com/synadia-io/orbit.go        : events/jetlog
google.golang.org/grpc                : internal/interop/mlsclient internal/interop internal/interop/scripts
`

// pure lists packages that compute and do nothing else, and what they may therefore not import.
var (
	pure      = []string{"internal/syntax", "mlsengine/treemath", "mlsengine/suite", "mlsengine", "conversation"}
	forbidden = []string{"time", "crypto/rand", "math/rand", "math/rand/v2", "os", "net", "context", "log", "log/slog"}
)

type listed struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "parley"), "/")] = p.Imports
	}
	return packages
}

func table(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		name, allowed, ok := strings.Cut(line, ":")
		if ok {
			rows[strings.TrimSpace(name)] = strings.Fields(allowed)
		}
	}
	return rows
}

func TestImportsFollowTheHousePlan(t *testing.T) {
	plan := table(imports)
	for name, got := range listPackages(t) {
		allowed, ok := plan[name]
		if !ok {
			t.Errorf("package %q has no row in the plan", name)
			continue
		}
		for _, path := range got {
			inside, ours := strings.CutPrefix(path, "parley/")
			if path == "parley" {
				inside, ours = "*", true
			}
			if ours && !slices.Contains(allowed, inside) {
				t.Errorf("%s imports %s, which the plan does not allow", name, path)
			}
		}
	}
}

func TestThirdPartyModulesHaveOneDoor(t *testing.T) {
	doors := table(outside)
	for name, got := range listPackages(t) {
		for _, path := range got {
			for module, allowed := range doors {
				if (path == module || strings.HasPrefix(path, module+"/")) && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s; only %v may", name, path, allowed)
				}
			}
		}
	}
}

func TestPurePackagesHaveNoWorld(t *testing.T) {
	packages := listPackages(t)
	for _, name := range pure {
		for _, path := range packages[name] {
			if slices.Contains(forbidden, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
