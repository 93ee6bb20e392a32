package parley_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"parley"
	"parley/conversation"
	"parley/internal/certtest"
)

// failure checks what an outsider gets: a typed error with its code and an advice, and where it is about a conversation its id.
func failure(t *testing.T, what string, err error, code parley.Code, advice parley.Advice, id parley.ConversationID) {
	t.Helper()
	e, typed := errors.AsType[*parley.Error](err)
	if !typed || !errors.Is(err, code) || e.Advice != advice || e.Conversation != id {
		t.Errorf("%s: %+v; want %s, %s, about %q", what, err, code, advice, id)
	}
}

// TestMethodsOfAConversationThatIsNone: whatever is asked of a conversation that is not there is refused in the same way.
func TestMethodsOfAConversationThatIsNone(t *testing.T) {
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(t.Context(), "ada")
	ok(t, err)
	takeBot(t, node, "bob")
	packages, err := ada.GenerateKeyPackages(t.Context(), 1)
	ok(t, err)
	parent := parley.ConversationID("nowhere")
	arguments := map[reflect.Type]any{
		reflect.TypeFor[parley.ClientID](): parley.ClientID("bob"),
		reflect.TypeFor[parley.Addition](): parley.Addition{KeyPackages: packages},
		reflect.TypeFor[[]byte]():          packages[0],
		reflect.TypeFor[int]():             16,
		reflect.TypeFor[string]():          "bob",
		reflect.TypeOf(parent):             parent,
	}
	answers := map[string]bool{"Exists": true, "Status": true, "DeadLetters": true} // dead letters outlive the membership
	others := map[string]parley.Code{
		"AbandonJoin": conversation.PendingJoinNotFound, "Resolve": conversation.PendingCommitNotFound, "DeadLetter": conversation.DeadLetterNotFound, // what they are about is looked for first
	}
	room := reflect.ValueOf(ada.Conversation("nowhere"))
	for i := range room.NumMethod() {
		method := room.Type().Method(i)
		if n := method.Type.NumOut(); n == 0 || method.Type.Out(n-1) != reflect.TypeFor[error]() {
			continue
		}
		in := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 2; j < method.Type.NumIn(); j++ {
			kind := method.Type.In(j)
			if method.Type.IsVariadic() && j == method.Type.NumIn()-1 {
				kind = kind.Elem()
			}
			value := reflect.Zero(kind)
			if argument := arguments[kind]; argument != nil {
				value = reflect.ValueOf(argument)
			}
			in = append(in, value)
		}
		out := room.Method(i).Call(in)
		err, _ := out[len(out)-1].Interface().(error)
		switch want := others[method.Name]; {
		case answers[method.Name]:
			ok(t, err)
		case want != "":
			failure(t, method.Name, err, want, parley.GiveUp, "nowhere")
		default:
			failure(t, method.Name, err, parley.ConversationNotFound, parley.GiveUp, "nowhere")
		}
	}
}

// TestIDsThatNameNothing: an empty id names no log, and a long one none that anybody else would take.
func TestIDsThatNameNothing(t *testing.T) {
	ctx, node := t.Context(), openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	for _, id := range []parley.ConversationID{"", parley.ConversationID(strings.Repeat("x", 1025))} {
		_, err := ada.Create(ctx, id)
		failure(t, "create", err, parley.InvalidID, parley.GiveUp, id)
		_, err = ada.Conversation(id).Status(ctx)
		failure(t, "status", err, parley.InvalidID, parley.GiveUp, id)
		_, err = ada.Conversation(id).History(ctx)
		failure(t, "history", err, parley.InvalidID, parley.GiveUp, id)
		tx, err := ada.Begin(ctx)
		ok(t, err)
		_, err = tx.Create(ctx, id)
		failure(t, "create in a transaction", err, parley.InvalidID, parley.GiveUp, id)
		_, err = tx.Create(ctx, "room "+parley.ConversationID(rune('a'+len(id)%26)))
		ok(t, err)
		ok(t, tx.Finish(ctx))
		_, err = node.Client(ctx, parley.ClientID(id))
		failure(t, "client", err, parley.InvalidID, parley.GiveUp, "")
	}
	all, err := ada.Conversations(ctx)
	if ok(t, err); len(all) != 2 {
		t.Errorf("%d conversations", len(all))
	}
	ref, err := ada.AddCredential(ctx, parley.DefaultConfig().CipherSuite)
	ok(t, err)
	ok(t, ada.RemoveCredential(ctx, ref)) // asks every conversation that there is
}

// TestClientsWhoseIDIsNoText: an id is any bytes.
func TestClientsWhoseIDIsNoText(t *testing.T) {
	ctx, node := t.Context(), openNode(t, parley.Options{})
	defer closeNode(t, node)
	odd := takeBot(t, node, "\xff\x00odd")
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	room, err := ada.Create(ctx, "\xfe\x01")
	ok(t, err)
	ok(t, room.Add(ctx, "\xff\x00odd"))
	odd.await(t, "the welcome", inEpoch(1))
	_, err = odd.Conversation(room.ID()).Send(ctx, []byte("hello"))
	ok(t, err)
	ok(t, odd.Conversation(room.ID()).UpdateKeys(ctx))
	awaitEpoch(t, room, 2)
	members, err := room.ClientIDs(ctx)
	if ok(t, err); len(members) != 2 || members[1] != "\xff\x00odd" {
		t.Errorf("members %q", members)
	}
}

// TestErrorsOfTheServiceHaveCodes: what the delivery service refuses has a name too.
func TestErrorsOfTheServiceHaveCodes(t *testing.T) {
	ctx, node := t.Context(), openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	eve, err := node.Client(ctx, "eve")
	ok(t, err)
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	failure(t, "add", tea.Add(ctx, "nobody"), parley.ClientNotFound, parley.Retry, "tea")
	_, err = tea.ProposeAdd(ctx, "nobody")
	failure(t, "propose", err, parley.ClientNotFound, parley.Retry, "tea")
	_, err = eve.JoinExternally(ctx, "tea", parley.ExternalJoin{})
	failure(t, "join", err, parley.AccessDenied, parley.GiveUp, "tea")
	_, err = eve.JoinExternally(ctx, "nowhere", parley.ExternalJoin{})
	failure(t, "join", err, parley.GroupNotFound, parley.GiveUp, "nowhere")
	_, err = eve.AskToJoin(ctx, "tea", parley.Asking{})
	failure(t, "ask", err, parley.AccessDenied, parley.GiveUp, "tea")
	_, err = ada.Create(ctx, "void", parley.Config{})
	failure(t, "create", err, parley.InvalidConfiguration, parley.GiveUp, "void")
	gone, cancel := context.WithCancel(ctx)
	cancel()
	failure(t, "update", tea.UpdateKeys(gone), parley.Interrupted, parley.Retry, "tea")
	tx, err := ada.Begin(ctx)
	ok(t, err)
	ok(t, tx.Abort(ctx))
	failure(t, "update", tx.Conversation("tea").UpdateKeys(ctx), parley.TransactionOver, parley.GiveUp, "tea")
}

// TestCertificatesThatAreNone: what is registered for the deployment is refused with codes too.
func TestCertificatesThatAreNone(t *testing.T) {
	ctx, node := t.Context(), openNode(t, parley.Options{})
	defer closeNode(t, node)
	failure(t, "anchor", node.RegisterTrustAnchor(ctx, []byte("none")), parley.CertificateRefused, parley.GiveUp, "")
	failure(t, "removal", node.RemoveTrustAnchor(ctx, []byte("none")), parley.TrustAnchorNotFound, parley.GiveUp, "")
	_, err := node.RegisterIntermediate(ctx, []byte("none"))
	failure(t, "intermediate", err, parley.CertificateRefused, parley.GiveUp, "")
	_, err = node.RegisterRevocationList(ctx, "http://lists.example/1", []byte("none"))
	failure(t, "list", err, parley.PkiEnvironmentUnset, parley.GiveUp, "")
	authority := certtest.New(t)
	ok(t, node.RegisterTrustAnchor(ctx, authority.Anchor()))
	failure(t, "anchor again", node.RegisterTrustAnchor(ctx, authority.Anchor()), parley.TrustAnchorAlreadyRegistered, parley.GiveUp, "")
	_, err = node.RegisterRevocationList(ctx, "http://lists.example/1", []byte("none"))
	failure(t, "list", err, parley.ListRefused, parley.GiveUp, "")
	_, err = parley.Open(ctx, parley.Options{})
	failure(t, "open", err, parley.InvalidConfiguration, parley.GiveUp, "")
	_, err = parley.Open(ctx, parley.Options{Data: t.TempDir(), Retention: 1})
	failure(t, "open", err, parley.InvalidConfiguration, parley.GiveUp, "")
}

// TestNobodyCarriesIt: a conversation of a foreign service on a node that speaks to none can be read, and everything that would have to be
// sent is refused instead of waiting for ever.
func TestNobodyCarriesIt(t *testing.T) {
	ctx := t.Context()
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	node := openNode(t, parley.Options{Config: config})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	packages, err := bob.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	tea, err := ada.Create(ctx, "tea")
	ok(t, err)
	failure(t, "add", tea.AddKeyPackages(ctx, packages...), parley.TransportMissing, parley.GiveUp, "tea")
	failure(t, "update", tea.UpdateKeys(ctx), parley.TransportMissing, parley.GiveUp, "tea")
	_, err = tea.Send(ctx, []byte("hello"))
	failure(t, "send", err, parley.TransportMissing, parley.GiveUp, "tea")
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		failure(t, "update", tx.Conversation("tea").UpdateKeys(ctx), parley.TransportMissing, parley.GiveUp, "tea")
		return nil
	}))
	_, err = tea.Encrypt(ctx, []byte("hello"), nil) // the owner carries it
	ok(t, err)
	status, err := tea.Status(ctx)
	if ok(t, err); status.Staged || status.Epoch != 0 {
		t.Errorf("%+v", status)
	}
}
