package projections

import (
	"fmt"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// traffic words messages on their way in and out.
func (n *Narrator) traffic(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.GenerationsReserved:
		return fmt.Sprintf("%s reserved %s from %d of epoch %d for %s messages", n.who, plural(b.GetCount(), "generation"), b.GetFrom(), b.GetEpoch(), contentName(b.GetContentType()))
	case *eventsv1.MessagesConsumed:
		clause := fmt.Sprintf("%s opened %s%s", n.who, plural(b.GetCount(), "message"), n.at(b.GetPosition()))
		if b.GetSpooled() > 0 {
			clause += fmt.Sprintf(" and kept %d for its owner, from number %d", b.GetSpooled(), b.GetFirstMessage())
		}
		return clause
	case *eventsv1.HistorySecretHeld:
		reader := ids.ClientID(b.GetHistoryClient())
		if b.GetOwn() {
			return fmt.Sprintf("%s kept the secret of the reader %s for its owner, as number %d", n.who, reader, b.GetNumber())
		}
		return fmt.Sprintf("%s got the secret of the reader %s from %s%s and kept it for its owner, as number %d", n.who, reader, ids.ClientID(b.GetSender()), n.at(b.GetPosition()), b.GetNumber())
	case *eventsv1.MessageBuffered:
		return fmt.Sprintf("%s buffered a message of epoch %d%s%s", n.who, b.GetEpoch(), n.at(b.GetPosition()), reason(b.GetReason()))
	case *eventsv1.BufferDrained:
		return fmt.Sprintf("%s took %s out of its buffer", n.who, plural(b.GetCount(), "message"))
	case *eventsv1.BufferExpired:
		return fmt.Sprintf("%s let %s expire in its buffer%s", n.who, plural(b.GetCount(), "message"), reason(b.GetReason()))
	case *eventsv1.MessageDropped:
		return fmt.Sprintf("%s dropped a message of epoch %d that had waited: %s%s", n.who, b.GetEpoch(), printable([]byte(b.GetCode())), reason(b.GetDetail()))
	case *eventsv1.MessageRejected:
		return fmt.Sprintf("%s rejected a message of epoch %d%s by rule %s%s", n.who, b.GetEpoch(), n.at(b.GetPosition()), printable([]byte(b.GetRule())), reason(b.GetDetail()))
	case *eventsv1.MessagesDelivered:
		if b.GetVersion() > 0 {
			return fmt.Sprintf("the owner of %s acknowledged everything up to record %d", n.who, b.GetVersion())
		}
		return fmt.Sprintf("the owner of %s acknowledged the messages up to number %d", n.who, b.GetThrough())
	case *eventsv1.DeliveryExpired:
		if b.GetCount() == 0 {
			return fmt.Sprintf("%s gave up on handing over history secrets, up to number %d", n.who, b.GetHistory())
		}
		return fmt.Sprintf("%s gave up on handing over %s, up to number %d", n.who, plural(b.GetCount(), "message"), b.GetThrough())
	case *eventsv1.SecretExported:
		return fmt.Sprintf("%s exported a secret of %s from epoch %d for %q", n.who, plural(b.GetLength(), "byte"), b.GetEpoch(), b.GetLabel())
	}
	return ""
}

// contentName is the RFC's name of a content type (§6).
func contentName(t uint32) string {
	if t == 1 {
		return "application"
	}
	return "handshake"
}

// upkeep words what a log does for its own sake.
func (n *Narrator) upkeep(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.SecretsCheckpoint:
		return fmt.Sprintf("%s resealed its secrets under a new key%s", n.who, reason(b.GetReason()))
	case *eventsv1.EpochKeysShredded:
		return fmt.Sprintf("%s shredded %s up to epoch %d%s", n.who, plural(b.GetKeys(), "key"), b.GetEpoch(), reason(b.GetReason()))
	case *eventsv1.ExternalSendersSet:
		return fmt.Sprintf("%s set %s for the group", n.who, plural(len(b.GetExternalSenders()), "external sender"))
	case *eventsv1.CrlDistributionPointsFound:
		return fmt.Sprintf("%s found %s in credentials", n.who, plural(len(b.GetUrls()), "revocation list"))
	case *eventsv1.Moved:
		return fmt.Sprintf("the log of %s moved to %s", n.who, printable([]byte(b.GetSuccessor())))
	case *eventsv1.Claimed:
		return fmt.Sprintf("node %s took over the log of %s", printable([]byte(b.GetNode())), n.who)
	}
	return ""
}

// trouble words what went wrong and was noticed.
func (n *Narrator) trouble(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.RejoinPlanned:
		return fmt.Sprintf("%s comes back by itself, attempt %d", n.who, b.GetAttempt())
	case *eventsv1.RejoinRefused:
		return fmt.Sprintf("%s does not come back by itself: %s%s", n.who, b.GetCode(), reason(b.GetDetail()))
	case *eventsv1.EpochUnreachable:
		return fmt.Sprintf("%s could not follow the accepted commit of epoch %d%s: rule %s%s", n.who, b.GetEpoch(), n.at(b.GetPosition()), printable([]byte(b.GetRule())), reason(b.GetDetail()))
	case *eventsv1.LogRolledBack:
		return fmt.Sprintf("the log of %s was found at version %d behind its anchor at version %d%s", n.who, b.GetFoundVersion(), b.GetAnchorVersion(), reason(b.GetReason()))
	case *eventsv1.SecretsLost:
		return fmt.Sprintf("the secrets of %s were found lost%s", n.who, reason(b.GetReason()))
	case *eventsv1.TransactionTorn:
		return fmt.Sprintf("%s declared version %d void, because its transaction was torn", n.who, b.GetVersion())
	}
	return ""
}

// client words the events of a client's own log.
func (n *Narrator) client(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.ClientCreated:
		return n.who + " was created"
	case *eventsv1.CredentialAdded:
		if n.id.Kind == events.KindDirectory {
			return fmt.Sprintf("the signature key %s of %s was registered", short(b.GetSignatureKey()), n.id.Client)
		}
		return fmt.Sprintf("%s took credential %s for cipher suite %d", n.who, printable([]byte(b.GetRef())), b.GetCipherSuite())
	case *eventsv1.CredentialRemoved:
		return fmt.Sprintf("%s gave up credential %s", n.who, printable([]byte(b.GetRef())))
	case *eventsv1.KeyPackagesGenerated:
		verb := "made"
		if b.GetImported() {
			verb = "imported"
		}
		return fmt.Sprintf("%s %s %s", n.who, verb, plural(len(b.GetKeyPackages()), "key package"))
	case *eventsv1.KeyPackagesConsumed:
		return fmt.Sprintf("%s used up %s to join %s", n.who, plural(len(b.GetRefs()), "key package"), ids.ConversationID(b.GetConversation()))
	case *eventsv1.KeyPackagesExpired:
		return fmt.Sprintf("%s let %s expire", n.who, plural(len(b.GetRefs()), "key package"))
	case *eventsv1.PreSharedKeyAdded:
		return fmt.Sprintf("%s took the external pre-shared key %s", n.who, printable(b.GetId()))
	case *eventsv1.PreSharedKeyRemoved:
		return fmt.Sprintf("%s gave up the external pre-shared key %s", n.who, printable(b.GetId()))
	case *eventsv1.ClientDataSet:
		if b.GetLength() == 0 {
			return "the application of " + n.who + " keeps no data any more"
		}
		return fmt.Sprintf("the application of %s keeps %s", n.who, plural(int(b.GetLength()), "byte"))
	case *eventsv1.JoinProposed:
		return fmt.Sprintf("%s asked to be added to %s in epoch %d", n.who, ids.ConversationID(b.GetGroup()), b.GetEpoch())
	case *eventsv1.JoinSending:
		switch {
		case b.GetDueMs() > 0:
			return fmt.Sprintf("%s plans to send its proposal to join again (attempt %d)", n.who, b.GetAttempt())
		case b.GetCode() != "":
			return fmt.Sprintf("%s does not send its proposal to join any more: %s", n.who, printable([]byte(b.GetCode())))
		}
		return fmt.Sprintf("%s has sent its proposal to join", n.who)
	case *eventsv1.ConversationListed:
		if b.GetGone() {
			return fmt.Sprintf("%s no longer has the conversation %s", n.who, ids.ConversationID(b.GetConversation()))
		}
		return fmt.Sprintf("%s has the conversation %s from here on", n.who, ids.ConversationID(b.GetConversation()))
	}
	return ""
}

// order words the events of the delivery service.
func (n *Narrator) order(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.OrderEntry:
		return n.entry(b)
	case *eventsv1.OrderCheckpoint:
		return fmt.Sprintf("%s was summed up at entry %d", n.who, b.GetNumber())
	case *eventsv1.GroupRestarted:
		return fmt.Sprintf("the group was closed and goes on as %s%s", ids.ConversationID(b.GetSuccessor()), reason(b.GetReason()))
	case *eventsv1.KeyPackageClaimed:
		return fmt.Sprintf("key package %s was claimed by %s", short(b.GetRef()), ids.ClientID(b.GetClaimer()))
	case *eventsv1.WishMade:
		return wanted(b) + reason(b.GetReason())
	case *eventsv1.WishEnded:
		return fmt.Sprintf("the service proposes it no more: %s%s", printable([]byte(b.GetOutcome())), reason(b.GetDetail()))
	case *eventsv1.StockNoticed:
		return fmt.Sprintf("the owner of %s was told how its key packages stand", n.who)
	}
	return authorities(body)
}

// wanted words what the service is to propose.
func wanted(b *eventsv1.WishMade) string {
	switch {
	case len(b.GetRemove()) > 0:
		return fmt.Sprintf("the service is to have %s removed", ids.ClientID(b.GetRemove()))
	case len(b.GetAdd()) > 0:
		return "the service is to have somebody added"
	case len(b.GetPsk()) > 0:
		return fmt.Sprintf("the service is to have pre-shared key %s taken in", short(b.GetPsk()))
	case len(b.GetReinit()) > 0:
		return "the service is to have the group reinitialized"
	}
	return "the service is to have the group's extensions changed"
}

// entry words one entry of a group's order.
func (n *Narrator) entry(b *eventsv1.OrderEntry) string {
	sender := ids.ClientID(b.GetSender()).String()
	switch b.GetKind() {
	case eventsv1.EntryKind_ENTRY_KIND_GROUP:
		return fmt.Sprintf("%s registered the group at epoch %d as entry %d", sender, b.GetEpoch(), b.GetNumber())
	case eventsv1.EntryKind_ENTRY_KIND_COMMIT:
		return fmt.Sprintf("%s's commit of epoch %d was accepted as entry %d%s", sender, b.GetEpoch(), b.GetNumber(), membership(b))
	case eventsv1.EntryKind_ENTRY_KIND_PROPOSAL:
		return fmt.Sprintf("%s's proposal in epoch %d was ordered as entry %d", sender, b.GetEpoch(), b.GetNumber())
	case eventsv1.EntryKind_ENTRY_KIND_APPLICATION:
		return fmt.Sprintf("%s's message in epoch %d was ordered as entry %d", sender, b.GetEpoch(), b.GetNumber())
	}
	return fmt.Sprintf("entry %d of an unknown kind was ordered for %s", b.GetNumber(), sender)
}

func membership(b *eventsv1.OrderEntry) string {
	var s string
	if len(b.GetAdded()) > 0 {
		s += ", adding " + changed(b.GetAdded())
	}
	if len(b.GetRemoved()) > 0 {
		s += ", removing " + changed(b.GetRemoved())
	}
	return s
}

// others names the other logs of an atomic batch.
func (n *Narrator) others(batch *events.BatchInfo) string {
	var names []string
	for _, p := range batch.Participants {
		if p.Log != n.id {
			names = append(names, "log "+p.Log.String())
		}
	}
	return enumerate(names)
}
