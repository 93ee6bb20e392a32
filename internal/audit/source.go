package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/natsd"
)

// SourceConfig says where a history is, and which keys to use. Exactly one of URL, Data and File is set.
type SourceConfig struct {
	URL         string // a server or cluster
	Credentials string // for the server, as are the next three
	CA          string
	Certificate string
	Key         string
	Namespace   string // of the deployment; empty: the default, or the one an export names

	Data string // a stopped node's directory
	File string // an export

	KEKFile  string // a static key that wraps the rings; empty: none
	KEK      string // the same as text
	ShredDir string // versioned keys that wrap the rings; empty: Data + ".keys" where that exists

	KeyFile    string // instead of them: an auditor's keys of some logs, as ExportKeys writes them
	AuditorKey string // the file of the key that wraps those

	Remains bool // open what is left of a damaged store; Damage tells what is not
}

// History is an opened source.
type History struct {
	config SourceConfig
	source events.Source
	list   func(context.Context) ([]events.LogID, error)
	damage func(context.Context) error
	rings  events.RingStore // nil: an export has none
	vault  events.KeyVault  // nil: no keys were given
	some   bool             // the keys are of some logs only; the others are read without
	strict bool             // verification: a ring that is gone is a finding
	close  []func()         // newest last
}

// connectPatience bounds how long a server is waited for.
const connectPatience = 5 * time.Second

// Open opens a source for reading. The caller closes it.
func Open(ctx context.Context, c SourceConfig) (*History, error) {
	h := &History{config: c, damage: func(context.Context) error { return nil }}
	var err error
	switch {
	case c.File != "":
		err = h.openFile(c.File)
	case c.Data != "":
		err = h.openData(ctx, c)
	default:
		err = h.openServer(ctx, c)
	}
	if err == nil {
		err = h.openKeys(ctx, c)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Close gives back what Open took, the copy of a data directory included.
func (h *History) Close() {
	for _, c := range slices.Backward(h.close) {
		c()
	}
	h.close = nil
}

func (h *History) onClose(c func()) { h.close = append(h.close, c) }

func (h *History) openFile(path string) error {
	x, err := openExport(path)
	if err != nil {
		return err
	}
	h.onClose(func() { x.close() })
	h.source = x
	h.list = func(context.Context) ([]events.LogID, error) { return slices.Clone(x.logs), nil }
	h.config.Namespace = x.namespace
	return nil
}

// openData starts a server inside this process on a copy of the directory.
func (h *History) openData(ctx context.Context, c SourceConfig) error {
	scratch, err := copyData(ctx, c.Data)
	if err != nil {
		return err
	}
	h.onClose(func() { os.RemoveAll(scratch) })
	srv, err := natsd.Embedded(natsd.Options{Dir: scratch})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", events.ErrUnavailable, c.Data, err)
	}
	h.onClose(srv.Shutdown)
	return h.connect(ctx, "", jetlog.ConnectOptions{Name: "replay", InProcess: srv, Patience: connectPatience})
}

func (h *History) openServer(ctx context.Context, c SourceConfig) error {
	return h.connect(ctx, c.URL, jetlog.ConnectOptions{
		Name: "replay", CredsFile: c.Credentials, CAFile: c.CA, CertFile: c.Certificate, KeyFile: c.Key, Patience: connectPatience,
	})
}

func (h *History) connect(ctx context.Context, url string, o jetlog.ConnectOptions) error {
	nc, err := jetlog.Connect(url, o)
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	h.onClose(nc.Close)
	opening := jetlog.OpenReadOnly
	if h.config.Remains {
		opening = jetlog.OpenRemains
	}
	open := func(partitions int) (*jetlog.Store, error) {
		return opening(ctx, nc, jetlog.Config{Namespace: h.config.Namespace, Partitions: partitions, Patience: connectPatience})
	}
	store, err := open(1)
	var drift *jetlog.DriftError
	if errors.As(err, &drift) {
		// A reader takes the deployment as it is: one of several partitions says how many it has.
		if n, bad := strconv.Atoi(drift.Have); bad == nil {
			store, err = open(n)
		}
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	h.source, h.rings, h.damage = store, store.Rings(), store.Damage
	h.list = func(ctx context.Context) ([]events.LogID, error) { return store.List(ctx, "") }
	h.config.Namespace = store.Names().Namespace
	return nil
}

// Damage is events.ErrDamaged where the server reports lost data.
func (h *History) Damage(ctx context.Context) error { return h.damage(ctx) }

// Logs are the logs of the source: those of the delivery service first, then clients with their conversations.
func (h *History) Logs(ctx context.Context) ([]events.LogID, error) {
	logs, err := h.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	sortLogs(logs)
	return logs, nil
}

// Expected are the logs of the source and those that only have a key ring left. A ring is made before the first record, so one without
// a log may be of one that was never begun; its anchor says which. An export need not hold every log that there are keys of.
func (h *History) Expected(ctx context.Context) ([]events.LogID, error) {
	logs, err := h.Logs(ctx)
	if err != nil || h.rings == nil || h.config.File != "" {
		return logs, err
	}
	rings, err := h.rings.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list key rings: %w", err)
	}
	known := make(map[events.LogID]bool, len(logs))
	for _, id := range logs {
		known[id] = true
	}
	for _, id := range rings {
		if !known[id] {
			logs = append(logs, id)
		}
	}
	sortLogs(logs)
	return logs, nil
}

func sortLogs(logs []events.LogID) {
	rank := func(id events.LogID) int {
		switch {
		case id.Kind == events.KindOrder:
			return 0
		case id.Kind == events.KindDirectory:
			return 1
		case id.Kind == events.KindAuthorities:
			return 3
		}
		return 2
	}
	slices.SortFunc(logs, func(a, b events.LogID) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Conversation, b.Conversation))
	})
}

// Export writes the stored messages of logs, up to a place.
func (h *History) Export(ctx context.Context, w io.Writer, logs []events.LogID, place Place) error {
	x, err := NewWriter(w, h.config.Namespace)
	if err != nil {
		return err
	}
	for _, id := range logs {
		last := ^uint64(0)
		if !place.IsNewest() {
			if last, err = h.sequenceAt(ctx, id, place); err != nil {
				return err
			}
		}
		if err := x.Log(id); err != nil {
			return err
		}
		err := h.source.Read(ctx, id, 0, func(m events.Message) error {
			if m.Sequence > last {
				return errEnough
			}
			return x.Message(m)
		})
		if err != nil && !errors.Is(err, errEnough) {
			return fmt.Errorf("export of log %s: %w", id, err)
		}
	}
	return x.Close()
}

// sequenceAt is where in the stream the last record stands that lies before a place as a whole: a record cannot be exported in part.
func (h *History) sequenceAt(ctx context.Context, id events.LogID, place Place) (sequence uint64, err error) {
	c := cut{place: place}
	err = h.cut(ctx, id, &c, func(whole, part *events.Record) error {
		if len(part.Events) == len(whole.Events) {
			sequence = whole.Sequence
		}
		return nil
	})
	return sequence, err
}

// errEnough ends a reading early.
var errEnough = errors.New("enough")
