package parley_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"parley"
	"parley/internal/natsd"
)

// TestMain turns the test binary into a server or a node where it was started as one, and sees to it that no goroutine outlives the
// tests.
func TestMain(m *testing.M) {
	natsd.ChildMain()
	talkerMain()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// deployment is a server in this process that nodes come to and go from, with the keys that they share.
type deployment struct {
	url, data, keys string
}

func deploy(t *testing.T) deployment {
	t.Helper()
	dir := t.TempDir()
	d := deployment{data: filepath.Join(dir, "data"), keys: filepath.Join(dir, "keys")}
	server, err := natsd.Embedded(natsd.Options{Dir: d.data, Listen: "127.0.0.1:0", MaxStoreBytes: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	d.url = server.URL()
	return d
}

// node opens a node of the deployment.
func (d deployment) node(t *testing.T, o parley.Options) *parley.Node {
	t.Helper()
	o.URL, o.KeyDir = d.url, d.keys
	return openNode(t, o)
}
