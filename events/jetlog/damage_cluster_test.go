package jetlog_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/events/jetlog"
)

// TestDamageOnOneOfThreeServersLosesNothing changes files of one server of a cluster, which has its copy of everything beside two
// good ones: of the log itself, of its Raft log, and of the server's idea of the cluster.
func TestDamageOnOneOfThreeServersLosesNothing(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	ctx := testContext(t)
	config := jetlog.Config{Replicas: 3}
	h := fillHistory(t, open(t, connect(t, c.URL(), jetlog.ConnectOptions{}), config).Stores())
	c.Stop()
	image := t.TempDir()
	victim := c.Servers[0].Dir()
	all := filepath.Dir(victim)
	if err := os.CopyFS(image, os.DirFS(all)); err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]func(path string) bool{
		"its log": func(path string) bool { return strings.Contains(path, "streams/parley_LOG/msgs/") },
		"its Raft logs": func(path string) bool {
			return strings.Contains(path, "_js_/") && (long() || strings.HasSuffix(path, ".blk"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			restore(t, image, all)
			n := 0
			walkFiles(t, victim, func(path string, data []byte) {
				if !damaged(filepath.ToSlash(path)) || len(data) == 0 {
					return
				}
				n++
				data[len(data)*3/4] ^= 0x10
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			})
			if n == 0 {
				t.Fatal("there is no such file: this test shows nothing")
			}
			if err := c.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			defer c.Stop()
			nc, err := jetlog.Connect(c.URL(), jetlog.ConnectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			store, err := jetlog.Open(context.Background(), nc, config)
			if err != nil {
				t.Logf("%d files: found when the store is opened: %v", n, err)
				return
			}
			t.Logf("%d files: found %q", n, h.inspect(ctx, t, store))
		})
	}
}

// restore puts a stopped store back as it was.
func restore(t *testing.T, image, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(image)); err != nil {
		t.Fatal(err)
	}
}

func walkFiles(t *testing.T, dir string, fn func(path string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			fn(path, data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
