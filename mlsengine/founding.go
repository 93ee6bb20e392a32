package mlsengine

import (
	"parley/internal/secret"
	"parley/internal/syntax"
)

// Founding says who is in a group that continues another one, and how it is
// made (§11.2, §11.3).
type Founding struct {
	KeyPackages    []*KeyPackage // of everybody but the founder, fresh ones
	Capabilities   Capabilities  // of the founder's leaf; empty fields are filled in with what this engine supports
	Lifetime       Lifetime
	LeafExtensions Extensions
	ForcePath      bool
	TreeInWelcome  TreeInclusion
	TreeInInfo     TreeInclusion
}

// Identifier tells for whom a credential stands: two that get the same answer
// are one client to the application. A nil Identifier answers with the
// credential's encoding, which does for basic credentials; certificates that
// were renewed or are for another cipher suite need a better one.
type Identifier func(Credential) string

func (f Identifier) of(k Credential) string {
	if f == nil {
		return string(syntax.Encode(&k))
	}
	return f(k)
}

// found makes a group with one founder and, by its first commit, adds the
// others with the old group's resumption key.
func (g *Group) found(p GroupParams, usage ResumptionPSKUsage, f Founding, env Env) (*CommitOut, error) {
	if env.Identity == nil {
		return nil, ErrIdentity
	}
	p.Identity, p.Capabilities, p.Lifetime, p.LeafExtensions = *env.Identity, f.Capabilities, f.Lifetime, f.LeafExtensions
	base, err := NewGroup(p, env)
	if err != nil {
		return nil, err
	}
	in := CommitIntent{ForcePath: f.ForcePath, PSKs: g, TreeInWelcome: f.TreeInWelcome, TreeInInfo: f.TreeInInfo}
	for _, k := range f.KeyPackages {
		in.Inline = append(in.Inline, &Add{KeyPackage: *k})
	}
	id := PreSharedKeyID{Type: PSKTypeResumption, Usage: usage, Group: g.public.context.GroupID, Epoch: g.public.context.Epoch}
	in.Inline = append(in.Inline, &PreSharedKey{PSK: id})
	b := &committing{group: base, in: in, env: env, identity: env.Identity, commit: new(Commit), founding: true}
	out, err := b.make()
	if err != nil {
		return nil, err
	}
	// Nobody can get in before this commit, so that there is nothing to resume.
	out.Secrets.Wipe()
	out.Secrets = secret.Bytes{}
	if err := checkOrigin(out.Staged.Public, []PreSharedKeyID{id}, g.public, env.Identify); err != nil {
		return nil, err
	}
	return out, nil
}

// checkOrigin checks a group that was made to replace another or to branch off
// it against that other group (§11.2, §11.3, §12.4.3.1). It asks nothing of a
// group whose Welcome names no such key.
func checkOrigin(g *PublicGroup, psks []PreSharedKeyID, origin *PublicGroup, identify Identifier) error {
	for i := range psks {
		id := &psks[i]
		if !id.linksGroups() {
			continue
		}
		if id.Usage == ResumptionPSKUsageReInit {
			return checkReInit(g, id, origin, identify)
		}
		return checkBranch(g, id, origin, identify)
	}
	return nil
}

// isAt reports whether g is the epoch that a resumption key names.
func (g *PublicGroup) isAt(id *PreSharedKeyID) bool {
	return g != nil && string(g.context.GroupID) == string(id.Group) && g.context.Epoch == id.Epoch
}

// clients counts the members by whom they stand for.
func (g *PublicGroup) clients(identify Identifier) map[string]int {
	count := make(map[string]int)
	for _, leaf := range g.tree.Members {
		count[identify.of(leaf.Credential)]++
	}
	return count
}
