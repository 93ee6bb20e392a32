package conversation

import (
	"slices"
	"strings"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Identity is who sent something: what the credential claims, and the key that
// signed.
type Identity struct {
	Client       ids.ClientID
	CipherSuite  mlsengine.CipherSuite // of the group
	Credential   mlsengine.Credential
	SignatureKey []byte
}

func (w *work) identityOf(c mlsengine.Credential, key []byte) *Identity {
	return &Identity{Client: ClientOf(c), CipherSuite: w.s.Config.CipherSuite, Credential: c, SignatureKey: key}
}

// identityAt is the member at a leaf of an epoch, nil where there is none.
func (w *work) identityAt(epoch *mlsengine.PublicGroup, leaf mlsengine.LeafIndex) *Identity {
	m, ok := epoch.Member(leaf)
	if !ok {
		return nil
	}
	return w.identityOf(m.Credential, m.SignatureKey)
}

// proposer is who made a proposal of the current epoch: a member, a sender from
// outside that the group names, or a client that asks to be added.
func (w *work) proposer(c *mlsengine.Content) *Identity {
	switch sender := c.Sender(); sender.Type {
	case mlsengine.SenderTypeMember:
		return w.identityAt(w.s.Group, sender.Leaf)
	case mlsengine.SenderTypeExternal:
		if senders := w.s.Group.ExternalSenders(); uint64(sender.Index) < uint64(len(senders)) {
			return w.identityOf(senders[sender.Index].Credential, senders[sender.Index].SignatureKey)
		}
	case mlsengine.SenderTypeNewMemberProposal:
		if add, ok := c.Proposal().(*mlsengine.Add); ok {
			return w.identityOf(add.KeyPackage.LeafNode.Credential, add.KeyPackage.LeafNode.SignatureKey)
		}
	}
	return nil
}

// The bounds of what one message makes us look into.
const (
	pointsMax     = 256
	pointBytesMax = 2048
)

// newcomers are the credentials that a proposal brings into the group.
func newcomers(p mlsengine.Proposal) []mlsengine.Credential {
	switch p := p.(type) {
	case *mlsengine.Add:
		return []mlsengine.Credential{p.KeyPackage.LeafNode.Credential}
	case *mlsengine.Update:
		return []mlsengine.Credential{p.LeafNode.Credential}
	}
	return nil
}

// broughtIn are the credentials that a commit brings into the group, the
// committer's own among them.
func broughtIn(staged *mlsengine.Staged) []mlsengine.Credential {
	var list []mlsengine.Credential
	for _, changes := range [][]mlsengine.MemberChange{staged.Effects.Added, staged.Effects.Updated} {
		for _, m := range changes {
			list = append(list, m.Credential)
		}
	}
	if m, ok := staged.Public.Member(staged.Effects.CommitterLeaf); ok {
		list = append(list, m.Credential)
	}
	return list
}

// Credentials are all that members present, in leaf order.
func (p Public) Credentials() []mlsengine.Credential {
	if p.Group == nil {
		return nil
	}
	return credentialsOf(p.Group)
}

// credentialsOf are all of a group's.
func credentialsOf(public *mlsengine.PublicGroup) []mlsengine.Credential {
	var list []mlsengine.Credential
	for _, m := range public.Members() {
		list = append(list, m.Credential)
	}
	return list
}

// DistributionPoints lists the revocation lists that credentials name and
// nobody has registered: nil where none of them is a chain, empty where all are
// known.
func DistributionPoints(known Certificates, credentials []mlsengine.Credential) []string {
	if known == nil {
		return nil
	}
	var found []string
	for _, c := range credentials {
		if len(c.Certificates()) == 0 {
			continue
		}
		if found == nil {
			found = []string{}
		}
		for _, url := range known.DistributionPoints(c.Certificates()) {
			if len(found) < pointsMax && len(url) <= pointBytesMax && url == strings.ToValidUTF8(url, "") {
				found = append(found, url)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// foundIn notes them.
func (w *work) foundIn(out *[]string, credentials []mlsengine.Credential) error {
	if *out = DistributionPoints(w.env.Certificates, credentials); len(*out) == 0 {
		return nil
	}
	return w.emit(event{body: &v1.CrlDistributionPointsFound{Urls: *out}})
}
