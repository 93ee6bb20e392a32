package conversation

import (
	"bytes"
	"errors"

	"parley/mlsengine"
)

// setCredential commits another credential for the own leaf. One that it
// presents already is an update of the keys.
func (w *work) setCredential(in SetCredential) error {
	update, err := w.intend(in)
	if err != nil {
		return err
	}
	if in.Credential == "" {
		return refuse(CredentialNotFound, GiveUp, "no credential is named")
	}
	update.forcePath, update.credential = true, in.Credential
	successor, err := w.successor(in.Credential)
	if err != nil {
		return err
	}
	if err := w.commit(update); err != nil {
		return err
	}
	return w.foundIn(&w.reply.DistributionPoints, []mlsengine.Credential{successor.Credential})
}

// successor is a credential of ours that the own leaf may present from the next
// epoch on (§5.3.1): it names the client that the leaf names, and the
// authentication service vouches for it as it does for a newcomer's.
func (w *work) successor(ref CredentialRef) (*mlsengine.SigningIdentity, error) {
	id := w.signer(ref)
	if id == nil {
		return nil, refuse(CredentialNotFound, GiveUp, "credential %q of cipher suite %d", ref, w.s.Config.CipherSuite)
	}
	own, ok := w.s.Group.Member(w.s.OwnLeaf)
	if !ok {
		return nil, brokenf("leaf %d is not ours", w.s.OwnLeaf)
	}
	client := ClientOf(id.Credential)
	if present := ClientOf(own.Credential); client != present {
		return nil, refuse(CredentialRefused, GiveUp, "it names %s, our leaf names %s", client, present)
	}
	if !w.authentic(client, id.Credential, id.Public) {
		e := refuse(CredentialRefused, GiveUp, "client %s", client)
		e.Clients = []string{string(client)}
		return nil, e
	}
	return id, nil
}

// successorFor is what the own leaf presents with a commit: what the command
// names, or else what a pending Update of ours does, since our path takes the
// place of that. One of a pending Update that is refused now holds up nobody.
func (w *work) successorFor(in intent) (CredentialRef, *mlsengine.SigningIdentity, error) {
	if in.credential != "" {
		id, err := w.successor(in.credential)
		return in.credential, id, err
	}
	for i := len(w.s.Pending) - 1; i >= 0; i-- {
		ref := w.s.Pending[i].Credential
		if !w.s.Pending[i].Own || ref == "" {
			continue
		}
		id, err := w.successor(ref)
		var refused *CommandError
		if errors.As(err, &refused) {
			continue
		}
		return ref, id, err
	}
	return "", nil, nil
}

// signer looks up a credential of ours; nil where it or its key is missing.
func (w *work) signer(ref CredentialRef) *mlsengine.SigningIdentity {
	if w.env.Credentials == nil {
		return nil
	}
	id, _, ok := w.env.Credentials.Identity(ref, w.s.Config.CipherSuite)
	if !ok {
		return nil
	}
	return id
}

// presents is what our leaf presents in the next epoch, empty where that is
// what it does in this one.
func (w *work) presents(next *mlsengine.PublicGroup) string {
	before, was := w.s.Group.Member(w.s.OwnLeaf)
	after, is := next.Member(w.s.OwnLeaf)
	if !was || !is || bytes.Equal(before.SignatureKey, after.SignatureKey) && before.Credential.Equal(after.Credential) {
		return ""
	}
	ref := RefOf(w.s.Config.CipherSuite, after.SignatureKey)
	if later := ref.under(after.Credential); w.signer(later) != nil {
		ref = later // a certificate that was renewed for its key
	}
	return string(ref)
}

// broughtBy are the credentials that a proposal of ours brings into the group.
func (w *work) broughtBy(p wish) []mlsengine.Credential {
	if _, update := p.proposal.(*mlsengine.Update); !update {
		return newcomers(p.proposal)
	}
	id := w.env.Identity
	if p.credential != "" {
		id = w.signer(p.credential)
	}
	if id == nil {
		return nil
	}
	return []mlsengine.Credential{id.Credential}
}

// Uses reports whether a credential of the client is what the own leaf
// presents, or will should a commit or proposal of ours take effect that is
// under way.
func (p Public) Uses(ref CredentialRef) bool {
	if p.Exists() && p.Config.Credential == ref || p.Joining != nil && p.Joining.Config.Credential == ref {
		return true
	}
	if p.Staged != nil && p.Staged.Credential == ref || p.Superseded != nil && p.Superseded.Credential == ref {
		return true
	}
	for i := range p.Shelved {
		if p.Shelved[i].Credential == ref {
			return true
		}
	}
	for _, list := range [][]PendingProposal{p.Pending, p.Cleared} {
		for i := range list {
			if list[i].Own && list[i].Credential == ref {
				return true
			}
		}
	}
	return false
}
