package actors

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"parley/conversation"
	"parley/internal/ids"
)

// A credential may go only when nothing presents it, and its conversations are logs of their own. So its removal is announced first: from then
// on none of them begins to use it. Then each is asked, what waits in its mailbox and in open transactions included, and only then the client's
// own log forgets the key. All of a client's actors live on one node, so the announcement need not be durable: a crash withdraws it.

// retiring are credentials that are about to be removed.
type retiring struct {
	mu    sync.Mutex
	going map[retiringKey]int
}

type retiringKey struct {
	client ids.ClientID
	ref    conversation.CredentialRef
}

// announce begins a removal; withdraw ends it, whatever came of it.
func (r *retiring) announce(key retiringKey) (withdraw func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.going == nil {
		r.going = map[retiringKey]int{}
	}
	r.going[key]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.going[key]--; r.going[key] == 0 {
			delete(r.going, key)
		}
	}
}

// errRetiring refuses the use of a credential that is being removed.
var errRetiring = fmt.Errorf("%w: the credential is being removed", ErrBusy)

func (n *Node) retired(client ids.ClientID, ref conversation.CredentialRef) bool {
	if ref == "" {
		return false
	}
	n.retiring.mu.Lock()
	defer n.retiring.mu.Unlock()
	return n.retiring.going[retiringKey{client, ref}] > 0
}

// newlyUsed is the credential that an input begins to use; empty: none.
func newlyUsed(in conversation.Input) conversation.CredentialRef {
	switch in := in.(type) {
	case conversation.Create:
		return in.Config.Credential
	case conversation.Join:
		return in.Config.Credential
	case conversation.JoinExternally:
		return in.Config.Credential
	case conversation.SetCredential:
		return in.Credential
	case conversation.ProposeUpdate:
		return in.Credential
	}
	return ""
}

// usesCredential asks whether a conversation uses a credential, or will when what is under way has its effect.
type usesCredential struct {
	ref conversation.CredentialRef
}

func (a *conversationActor) usesCredential(m *ask[usesCredential, bool]) {
	ref := m.Query.ref
	m.answer(a.state.Uses(ref) || a.copy != nil && a.copy.state.Uses(ref), nil)
}

// RemoveCredential forgets a credential that no conversation and no key package uses, and destroys its private key.
func (n *Node) RemoveCredential(ctx context.Context, client ids.ClientID, in conversation.RemoveCredential) error {
	withdraw := n.retiring.announce(retiringKey{client, in.Ref})
	defer withdraw()
	all, err := n.Conversations(ctx, client)
	if err != nil {
		return err
	}
	asked := map[Identity]bool{}
	for _, id := range all {
		asked[ConversationIdentity(client, id)] = true
	}
	for _, id := range n.directory.conversationsOf(client) {
		asked[id] = true
	}
	ordered := slices.SortedFunc(maps.Keys(asked), func(a, b Identity) int { return cmp.Compare(a.Conversation, b.Conversation) })
	for _, id := range ordered {
		used, err := request[usesCredential, bool](ctx, n, id, usesCredential{in.Ref})
		if err != nil {
			return fmt.Errorf("ask %s: %w", id, err)
		}
		if used {
			in.InUse = append(in.InUse, id.Conversation)
		}
	}
	_, err = n.Client(ctx, client, in)
	return err
}
