package parley

import (
	"context"
	"math"
	"strconv"
	"sync"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

const (
	keyPackagesKept = 8   // how many key packages a client keeps published, beside one of last resort
	keyPackagesLow  = 4   // so few are too few
	keyPackagesMost = 128 // are published at once

	keyPackageMargin = 7 * 24 * time.Hour // what does not last so long counts as used up
	tendEvery        = 10 * time.Minute   // how often a node looks for clients to look after
	looksApart       = 36                 // so many intervals lie between two looks at one that nothing was heard of
)

// tender keeps the key packages of the clients that live on a node published, whether or not anybody uses the clients: it looks after each
// now and then, and at once after one was used up.
type tender struct {
	node *Node
	mu   sync.Mutex
	thin map[ClientID]bool // have used some
	wake chan struct{}
	next map[ClientID]time.Time // owned by run
}

func newTender(n *Node) *tender {
	return &tender{node: n, thin: map[ClientID]bool{}, wake: make(chan struct{}, 1), next: map[ClientID]time.Time{}}
}

// joined notes that a client has used up a key package.
func (t *tender) joined(id ClientID) {
	t.mu.Lock()
	t.thin[id] = true
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// claimed notes that somebody has claimed a key package of a client that has few left.
func (t *tender) claimed(id ClientID) {
	if t.node.actors != nil && t.node.actors.Serves(id) {
		t.joined(id)
	}
}

// start runs the tender until stop is called.
func (t *tender) start() (stop func()) {
	if t.node.delivery == nil {
		return func() {}
	}
	deaf, err := t.node.delivery.WatchStock(t.claimed)
	if err != nil {
		t.node.options.Logger.Warn("claims of key packages are seen late", "err", err)
		deaf = func() {}
	}
	end := inBackground(context.Background(), t.run)
	return func() {
		deaf()
		end()
	}
}

// run looks after the clients until ctx ends.
func (t *tender) run(ctx context.Context) {
	for {
		t.tend(ctx)
		due := make(chan struct{})
		timer := t.node.options.Clock.AfterFunc(t.node.options.TendInterval, func() { close(due) })
		select {
		case <-due:
		case <-t.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (t *tender) tend(ctx context.Context) {
	t.mu.Lock()
	thin := t.thin
	t.thin = map[ClientID]bool{}
	t.mu.Unlock()
	now, here := t.node.options.Clock.Now(), map[ClientID]bool{}
	for _, id := range t.node.actors.Clients() {
		here[id] = true
		if next, known := t.next[id]; ctx.Err() != nil || known && now.Before(next) && !thin[id] {
			continue
		}
		if err := t.node.Bare(id).tend(ctx); err != nil && ctx.Err() == nil {
			t.node.options.Logger.Warn("key packages not looked after", "client", id.String(), "err", err)
			continue // at the next look
		}
		t.next[id] = now.Add(looksApart * t.node.options.TendInterval)
	}
	for id := range t.next {
		if !here[id] {
			delete(t.next, id)
		}
	}
}

// tend drops a client's key packages that are over and publishes new ones where few are left, or tells the owner who publishes by hand. A
// client that has never published any is left alone.
func (c *Client) tend(ctx context.Context) error {
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil || state.Loss() != nil {
		return err
	}
	publishes, over := false, false
	for _, kp := range state.KeyPackages {
		publishes = publishes || kp.LastResort
		over = over || kp.NotAfter < uint64(c.node.options.Clock.Now().Unix())
	}
	err = nil
	if publishes && !c.node.options.ManualKeyPackages {
		err = c.keepKeyPackages(ctx)
	}
	if len(c.stockNotices(ctx)) > 0 {
		c.node.actors.Poke(c.id) // nobody but its owner can help
	}
	if err != nil || !over {
		return err
	}
	_, err = c.node.actors.Client(ctx, c.id, conversation.ExpireKeyPackages{})
	return err
}

// replenish publishes key packages anew after some were used.
func (c *Client) replenish(ctx context.Context) {
	if c.node.delivery == nil || c.node.options.ManualKeyPackages {
		return
	}
	if err := c.keepKeyPackages(ctx); err != nil {
		c.node.options.Logger.Warn("key packages not published", "client", c.id.String(), "err", err)
	}
}

// keepKeyPackages publishes key packages where few are left that are good for a while, of the credential that was last chosen for any.
func (c *Client) keepKeyPackages(ctx context.Context) error {
	suite := c.node.options.Config.CipherSuite
	left, err := c.node.delivery.CountKeyPackagesFor(ctx, c.id, uint16(suite), keyPackageMargin)
	if err != nil || left > c.node.options.KeyPackagesLow && len(c.stockNotices(ctx)) == 0 {
		return err
	}
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return err
	}
	var chosen CredentialRef
	for _, kp := range state.KeyPackages {
		if kp.LastResort && kp.CipherSuite == suite {
			chosen = kp.Credential
		}
	}
	return c.PublishKeyPackages(ctx, min(max(keyPackagesKept, 2*c.node.options.KeyPackagesLow), keyPackagesMost), KeyPackageParams{Credential: chosen})
}

// KeyPackageParams say how key packages are made.
type KeyPackageParams struct {
	Credential CredentialRef // what they present, and their cipher suite; empty: the client's first of the node's suite
	Lifetime   time.Duration // in whole seconds; 0: twelve weeks
}

// paramsOf are the parameters that a caller gave, or none.
func paramsOf(given []KeyPackageParams) KeyPackageParams {
	if len(given) == 0 {
		return KeyPackageParams{}
	}
	return given[0]
}

// PublishKeyPackages makes key packages and publishes them, one of last resort among them: others add the client with these. Those that the
// client publishes by itself later on present the same credential.
func (c *Client) PublishKeyPackages(ctx context.Context, count int, params ...KeyPackageParams) error {
	if c.node.delivery == nil {
		return wrap("publish key packages", errNoService)
	}
	var all []delivery.Publication
	for _, batch := range []struct {
		name       string
		count      int
		lastResort bool
	}{{"publish_key_packages", count, false}, {"publish_last_resort", 1, true}} {
		one := ctx
		if id := settingsOf(ctx).command; id != "" {
			one = WithCommandID(ctx, id+CommandID("/"+batch.name)) // each is a command of its own
		}
		made, err := c.generate(one, batch.name, conversation.GenerateKeyPackages{Count: batch.count, LastResort: batch.lastResort}, paramsOf(params))
		if err != nil {
			return wrap("publish key packages", err)
		}
		for _, kp := range made {
			all = append(all, delivery.Publication{KeyPackage: kp.KeyPackage, LastResort: kp.LastResort})
		}
	}
	return wrap("publish key packages", c.node.delivery.PublishKeyPackages(ctx, c.id, all))
}

// GenerateKeyPackages makes key packages without publishing them.
func (c *Client) GenerateKeyPackages(ctx context.Context, count int, params ...KeyPackageParams) ([][]byte, error) {
	made, err := c.generate(ctx, "generate_key_packages", conversation.GenerateKeyPackages{Count: count}, paramsOf(params))
	if err != nil {
		return nil, wrap("generate key packages", err)
	}
	out := make([][]byte, len(made))
	for i := range made {
		out[i] = made[i].KeyPackage
	}
	return out, nil
}

func (c *Client) generate(ctx context.Context, name string, in conversation.GenerateKeyPackages, params KeyPackageParams) ([]conversation.ClientKeyPackage, error) {
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if loss := state.Loss(); loss != nil {
		return nil, loss
	}
	if in.Credential = params.Credential; in.Credential == "" {
		_, in.Credential, _ = state.Identity("", c.node.options.Config.CipherSuite)
	}
	if params.Lifetime < 0 || params.Lifetime > 0 && params.Lifetime < time.Second {
		return nil, &conversation.CommandError{Code: conversation.InvalidConfiguration, Advice: GiveUp, Detail: "a lifetime of " + params.Lifetime.String()}
	}
	in.LifetimeSeconds = uint64(params.Lifetime / time.Second)
	in.CommandMeta = c.meta(ctx, name, strconv.AppendInt(nil, int64(in.Count), 10))
	if params != (KeyPackageParams{}) {
		in.CommandMeta = c.meta(ctx, name, strconv.AppendInt(nil, int64(in.Count), 10), []byte(in.Credential), []byte(params.Lifetime.String()))
	}
	reply, err := c.node.actors.Client(ctx, c.id, in)
	return reply.KeyPackages, err
}

// KeyPackage is a key package whose private keys are here.
type KeyPackage struct {
	Ref         []byte
	KeyPackage  []byte
	Credential  CredentialRef
	CipherSuite mlsengine.CipherSuite
	NotAfter    time.Time
	LastResort  bool
}

// KeyPackages lists the key packages that a Welcome may still come for, whether or not they were published or claimed.
func (c *Client) KeyPackages(ctx context.Context) ([]KeyPackage, error) {
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return nil, wrap("key packages", err)
	}
	var out []KeyPackage
	for _, kp := range state.KeyPackages {
		out = append(out, KeyPackage{
			Ref: kp.Ref, KeyPackage: kp.KeyPackage, Credential: kp.Credential, CipherSuite: kp.CipherSuite,
			NotAfter: time.Unix(int64(min(kp.NotAfter, math.MaxInt64)), 0), LastResort: kp.LastResort,
		})
	}
	return out, nil
}

// RemoveKeyPackages takes key packages, by their references, out of the directory and destroys their private keys. Those that are not there
// are gone already. Whoever has claimed one can no longer bring us in with it.
func (c *Client) RemoveKeyPackages(ctx context.Context, refs ...[]byte) error {
	in := conversation.RemoveKeyPackages{CommandMeta: c.meta(ctx, "remove_key_packages", refs...)}
	for _, ref := range refs {
		in.Refs = append(in.Refs, ref)
	}
	return wrap("remove key packages", c.removeKeyPackages(ctx, refs, in))
}

// RemoveKeyPackagesOf is RemoveKeyPackages for every one that presents a credential.
func (c *Client) RemoveKeyPackagesOf(ctx context.Context, ref CredentialRef) error {
	all, err := c.KeyPackages(ctx)
	if err != nil {
		return err
	}
	var refs [][]byte
	for _, kp := range all {
		if kp.Credential == ref {
			refs = append(refs, kp.Ref)
		}
	}
	in := conversation.RemoveKeyPackages{CommandMeta: c.meta(ctx, "remove_key_packages_of", []byte(ref)), Credential: ref}
	return wrap("remove key packages", c.removeKeyPackages(ctx, refs, in))
}

func (c *Client) removeKeyPackages(ctx context.Context, refs [][]byte, in conversation.RemoveKeyPackages) error {
	if c.node.delivery != nil {
		// First, so that nobody claims one whose keys are gone. A crash here leaves keys that nobody is told of; asked again they go.
		if err := c.node.delivery.WithdrawKeyPackages(ctx, c.id, refs); err != nil {
			return err
		}
	}
	_, err := c.node.actors.Client(ctx, c.id, in)
	return err
}
