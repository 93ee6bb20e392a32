package natsd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// clusterSize is how many servers a cluster here has: the smallest number that survives the loss of one.
const clusterSize = 3

// Cluster is three servers, each a process of its own, that replicate their streams over loopback.
type Cluster struct {
	Servers [clusterSize]*Process
}

// StartCluster starts the three servers with data directories DIR/1, DIR/2 and DIR/3. It returns when each of them listens; a leader
// may still have to be found, which jetlog.Open waits for.
func StartCluster(ctx context.Context, o Options) (*Cluster, error) {
	for attempt := 1; ; attempt++ {
		c, err := startCluster(ctx, o)
		if err == nil || !errors.Is(err, ErrNotReady) || ctx.Err() != nil || attempt == startAttempts {
			return c, err
		}
	}
}

// startCluster chooses ports and starts the servers once.
func startCluster(ctx context.Context, o Options) (*Cluster, error) {
	var routes [clusterSize]string
	for i := range routes {
		listen, err := fixPort("127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		routes[i] = listen
	}
	c := &Cluster{}
	for i := range c.Servers {
		options := o
		options.Name = fmt.Sprintf("s%d", i+1)
		options.Dir = filepath.Join(o.Dir, fmt.Sprint(i+1))
		options.Listen = ""
		if o.LogFile != "" {
			options.LogFile = fmt.Sprintf("%s.%d", o.LogFile, i+1)
		}
		if err := os.MkdirAll(options.Dir, 0o700); err != nil {
			c.Kill()
			return nil, fmt.Errorf("natsd: %w", err)
		}
		cluster := &ClusterOptions{Name: "parley", Listen: routes[i]}
		for j, listen := range routes {
			if j != i {
				cluster.Routes = append(cluster.Routes, "nats://"+listen)
			}
		}
		p, err := StartProcess(ctx, ProcessOptions{Options: options, Cluster: cluster})
		if err != nil {
			c.Kill()
			return nil, err
		}
		c.Servers[i] = p
	}
	return c, nil
}

// URL names all three servers.
func (c *Cluster) URL() string {
	urls := make([]string, 0, clusterSize)
	for _, p := range c.Servers {
		urls = append(urls, p.URL())
	}
	return strings.Join(urls, ",")
}

// Stop shuts all servers down in an orderly way, all at once: one that is left alone would wait for the others.
func (c *Cluster) Stop() { c.each((*Process).Stop) }

// Kill ends all servers as kill -9 does.
func (c *Cluster) Kill() { c.each((*Process).Kill) }

// Restart starts every server that is not running.
func (c *Cluster) Restart(ctx context.Context) error {
	for _, p := range c.Servers {
		if p.Running() {
			continue
		}
		if err := p.Restart(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) each(do func(*Process)) {
	done := make(chan struct{}, clusterSize)
	started := 0
	for _, p := range c.Servers {
		if p == nil {
			continue
		}
		started++
		go func() {
			do(p)
			done <- struct{}{}
		}()
	}
	for range started {
		<-done
	}
}
