package jetlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/natsd"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestDriftRefusesToServe(t *testing.T) {
	ctx := testContext(t)
	nc := connect(t, "", embedded(t))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stream, field string
		change        func(*jetstream.StreamConfig)
	}{
		{"LOG", "max_age", func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }},
		{"LOG", "discard", func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld }},
		{"LOG", "max_bytes", func(s *jetstream.StreamConfig) { s.MaxBytes = -1 }},
		{"LOG", "allow_direct", func(s *jetstream.StreamConfig) { s.AllowDirect = false }},
		{"LOG", "max_msgs", func(s *jetstream.StreamConfig) { s.MaxMsgs = 10 }},
		{"LOG", "republish", func(s *jetstream.StreamConfig) { s.RePublish = &jetstream.RePublish{Destination: "x.>"} }},
		{"LOG", "metadata parley.namespace", func(s *jetstream.StreamConfig) { s.Metadata["parley.namespace"] = "other" }},
		{"LOG", "metadata parley.partitions", func(s *jetstream.StreamConfig) { delete(s.Metadata, "parley.partitions") }},
		{"DS", "allow_atomic", func(s *jetstream.StreamConfig) { s.AllowAtomicPublish = false }},
		{"KEYS", "max_msgs_per_subject", func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 }},
		{"KEYS", "deny_delete", func(s *jetstream.StreamConfig) { s.DenyDelete = true }},
		{"SNAP", "compression", func(s *jetstream.StreamConfig) { s.Compression = jetstream.S2Compression }},
	} {
		t.Run(c.stream+" "+c.field, func(t *testing.T) {
			config := jetlog.Config{Namespace: "drift"}
			open(t, nc, config)
			name := "drift_" + c.stream
			stream, err := js.Stream(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			right := stream.CachedInfo().Config
			wrong := right
			wrong.Metadata = map[string]string{}
			for k, v := range right.Metadata {
				wrong.Metadata[k] = v
			}
			c.change(&wrong)
			if _, err := js.UpdateStream(ctx, wrong); err != nil {
				t.Fatal(err)
			}
			for _, opener := range []func(context.Context) error{
				func(ctx context.Context) error { _, err := jetlog.Open(ctx, nc, config); return err },
				func(ctx context.Context) error { _, err := jetlog.OpenReadOnly(ctx, nc, config); return err },
			} {
				var drift *jetlog.DriftError
				if err := opener(ctx); !errors.As(err, &drift) || drift.Stream != name || drift.Field != c.field {
					t.Errorf("got %v, want a drift of %s in %s", err, c.field, name)
				}
			}
			if err := js.DeleteStream(ctx, name); err != nil {
				t.Fatal(err)
			}
			open(t, nc, config)
		})
	}
}

func TestAnotherNumberOfPartitionsIsRefused(t *testing.T) {
	ctx := testContext(t)
	nc := connect(t, "", embedded(t))
	const bytes = 64 << 20
	for _, c := range []struct {
		namespace  string
		have, want int
	}{{"one", 1, 2}, {"two", 2, 1}, {"two-four", 2, 4}, {"four-two", 4, 2}} {
		config := jetlog.Config{Namespace: c.namespace, Partitions: c.have, MaxBytes: bytes}
		open(t, nc, config)
		var drift *jetlog.DriftError
		other := config
		other.Partitions = c.want
		if _, err := jetlog.Open(ctx, nc, other); !errors.As(err, &drift) {
			t.Errorf("%d partitions opened as %d: %v", c.have, c.want, err)
		}
		open(t, nc, config)
	}
	// A namespace that looks like a partition of another is told apart.
	open(t, nc, jetlog.Config{Namespace: "x-0", MaxBytes: bytes})
	open(t, nc, jetlog.Config{Namespace: "x", MaxBytes: bytes})
}

func TestLimitsMayStandAsTheyAre(t *testing.T) {
	ctx := testContext(t)
	nc := connect(t, "", embedded(t))
	open(t, nc, jetlog.Config{MaxBytes: 64 << 20})
	open(t, nc, jetlog.Config{})
	var drift *jetlog.DriftError
	if _, err := jetlog.Open(ctx, nc, jetlog.Config{MaxBytes: 128 << 20}); !errors.As(err, &drift) || drift.Field != "max_bytes" {
		t.Errorf("another limit: %v", err)
	}
	if _, err := jetlog.Open(ctx, nc, jetlog.Config{Replicas: 3}); !errors.As(err, &drift) || drift.Field != "num_replicas" {
		t.Errorf("another number of replicas: %v", err)
	}
}

func TestReadOnlyMakesNothing(t *testing.T) {
	ctx := testContext(t)
	nc := connect(t, "", embedded(t))
	if _, err := jetlog.OpenReadOnly(ctx, nc, jetlog.Config{}); !errors.Is(err, jetlog.ErrNoDeployment) {
		t.Errorf("on an empty server: %v, want ErrNoDeployment", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(ctx).Name() {
		t.Errorf("stream %s was made", name)
	}
	open(t, nc, jetlog.Config{})
	if _, err := jetlog.OpenReadOnly(ctx, nc, jetlog.Config{}); err != nil {
		t.Error(err)
	}
	if _, err := jetlog.OpenReadOnly(ctx, nc, jetlog.Config{Namespace: "elsewhere"}); !errors.Is(err, jetlog.ErrNoDeployment) {
		t.Errorf("another namespace: %v, want ErrNoDeployment", err)
	}
}

func TestTwoNodesMayOpenAtOnce(t *testing.T) {
	o := embedded(t)
	failures := make(chan error, 4)
	for range cap(failures) {
		nc := connect(t, "", o)
		go func() {
			_, err := jetlog.Open(context.Background(), nc, jetlog.Config{})
			failures <- err
		}()
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func TestAServerWithTooLittleRoomIsRefused(t *testing.T) {
	server, err := natsd.Embedded(natsd.Options{Dir: t.TempDir(), MaxStoreBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	nc := connect(t, "", jetlog.ConnectOptions{InProcess: server})
	if _, err := jetlog.Open(testContext(t), nc, jetlog.Config{}); !errors.Is(err, events.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}
