package audit

import (
	"bytes"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/mlsengine"
)

// clientCheck verifies a client's own log and its directory of key packages: every key package is signed by its leaf and stands under
// its own reference, and none is used or claimed that was not made or published before.
type clientCheck struct {
	tally *Tally
	known map[string]bool // references of key packages, true while they can be used
	whole bool            // false where a directory was compacted: older references are not in it
}

func newClientCheck(t *Tally) *clientCheck {
	return &clientCheck{tally: t, known: map[string]bool{}, whole: true}
}

func (c *clientCheck) record(r *events.Record) error {
	for _, e := range r.Events {
		if err := c.event(e.Body); err != nil {
			return err
		}
	}
	return nil
}

func (c *clientCheck) event(body events.Body) error {
	switch b := body.(type) {
	case *eventsv1.OrderCheckpoint:
		c.whole = false
	case *eventsv1.KeyPackagesGenerated:
		for _, entry := range b.GetKeyPackages() {
			if err := c.keyPackage(entry); err != nil {
				return err
			}
		}
	case *eventsv1.KeyPackagePublished:
		return c.keyPackage(b.GetKeyPackage())
	case *eventsv1.KeyPackagesConsumed:
		return c.used(b.GetRefs())
	case *eventsv1.KeyPackagesExpired:
		return c.used(b.GetRefs())
	case *eventsv1.KeyPackageClaimed:
		return c.used([][]byte{b.GetRef()})
	}
	return nil
}

func (c *clientCheck) keyPackage(entry *eventsv1.KeyPackageEntry) error {
	kp, err := mlsengine.ParseKeyPackage(entry.GetKeyPackage())
	if err != nil {
		return flawed(CheckSignature, "key package: %v", err)
	}
	// A lifetime is judged by whoever adds the client, at the time; here it is only what was signed.
	if err := kp.Validate(mlsengine.Env{Now: uint64(kp.LeafNode.Lifetime.NotBefore)}); err != nil {
		return flawed(CheckSignature, "key package: %v", err)
	}
	c.tally.Signatures.Done += 2 // the package's and its leaf's
	if !bytes.Equal(kp.Ref(), entry.GetRef()) {
		return flawed(CheckSignature, "a key package is recorded under another reference than its own")
	}
	c.known[string(entry.GetRef())] = true
	return nil
}

func (c *clientCheck) used(refs [][]byte) error {
	for _, ref := range refs {
		if _, ok := c.known[string(ref)]; !ok && c.whole {
			return flawed(CheckFold, "key package %x was used before it was made", ref)
		}
	}
	return nil
}

// end has nothing left to check.
func (c *clientCheck) end() error { return nil }
