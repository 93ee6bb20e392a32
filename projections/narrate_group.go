package projections

import (
	"fmt"
	"slices"
	"strings"

	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// epoch words the events that begin, change or end a membership.
func (n *Narrator) epoch(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.ConversationCreated:
		return fmt.Sprintf("%s created the conversation with cipher suite %d and is its only member", n.who, b.GetConfig().GetCipherSuite())
	case *eventsv1.ConversationJoined:
		how := "Welcome"
		if b.GetExternal() {
			how = "a commit of its own"
		}
		return fmt.Sprintf("%s joined in epoch %d by %s%s, among %s", n.who, b.GetFacts().GetEpoch(), how, n.at(b.GetPosition()), changed(b.GetRoster()))
	case *eventsv1.ExternalJoinStaged:
		return n.who + " prepared to join from outside"
	case *eventsv1.ExternalJoinAccepted:
		return fmt.Sprintf("the delivery service let %s in from outside%s", n.who, n.at(b.GetPosition()))
	case *eventsv1.ExternalJoinRejected:
		return fmt.Sprintf("%s was refused when joining from outside%s", n.who, reason(b.GetReason()))
	case *eventsv1.EpochAdvanced:
		return n.advanced(b)
	case *eventsv1.MemberEvicted:
		return fmt.Sprintf("%s removed %s from the group after epoch %d%s", ids.ClientID(b.GetCommitter()), n.who, b.GetEpoch(), n.at(b.GetPosition()))
	case *eventsv1.ConversationWiped:
		return fmt.Sprintf("%s wiped the conversation%s", n.who, reason(b.GetReason()))
	case *eventsv1.MarkedAsChild:
		return fmt.Sprintf("%s marked the conversation as a child of %s", n.who, ids.ConversationID(b.GetParent()))
	}
	return ""
}

// advanced tells whose commit made the epoch and what it changed.
func (n *Narrator) advanced(b *eventsv1.EpochAdvanced) string {
	committer := ids.ClientID(b.GetCommitter()).String()
	var s strings.Builder
	switch b.GetCause() {
	case eventsv1.EpochCause_EPOCH_CAUSE_OWN:
		fmt.Fprintf(&s, "%s moved to epoch %d by its own commit", n.who, b.GetFacts().GetEpoch())
	case eventsv1.EpochCause_EPOCH_CAUSE_EXTERNAL:
		fmt.Fprintf(&s, "%s moved to epoch %d by the external commit of %s", n.who, b.GetFacts().GetEpoch(), committer)
	case eventsv1.EpochCause_EPOCH_CAUSE_PEER:
		fmt.Fprintf(&s, "%s moved to epoch %d by %s's commit", n.who, b.GetFacts().GetEpoch(), committer)
	default:
		fmt.Fprintf(&s, "%s moved to epoch %d by a commit of %s", n.who, b.GetFacts().GetEpoch(), committer)
	}
	s.WriteString(n.at(b.GetPosition()))
	s.WriteString(", which " + effects(b))
	return s.String()
}

// effects lists what a commit did to the group.
func effects(b *eventsv1.EpochAdvanced) string {
	var did []string
	if len(b.GetAdded()) > 0 {
		did = append(did, "added "+changed(b.GetAdded()))
	}
	if len(b.GetRemoved()) > 0 {
		did = append(did, "removed "+changed(b.GetRemoved()))
	}
	if len(b.GetUpdated()) > 0 {
		did = append(did, "renewed the keys of "+changed(b.GetUpdated()))
	}
	if change := sharing(b); change != "" {
		did = append(did, change)
	}
	if b.GetReinit() {
		did = append(did, "closed the group for a successor")
	}
	switch {
	case len(did) > 0:
	case b.GetPath():
		did = append(did, "renewed the committer's keys")
	default:
		did = append(did, "changed no member")
	}
	return enumerate(did)
}

// sharing tells what a commit did to history sharing: a history client came, went, or another took its place.
func sharing(b *eventsv1.EpochAdvanced) string {
	reader := func(m *eventsv1.MemberChange) bool { return ids.ClientID(m.GetClient()).ReadsHistory() }
	in, out := slices.ContainsFunc(b.GetAdded(), reader), slices.ContainsFunc(b.GetRemoved(), reader)
	switch {
	case in && out:
		return "shares history with another reader from here on"
	case in:
		return "shares history from here on"
	case out:
		return "shares no history from here on"
	}
	return ""
}

// proposal words the proposals of the current epoch.
func (n *Narrator) proposal(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.ProposalCreated:
		return fmt.Sprintf("%s proposed to %s", n.who, n.wish(b.GetFacts()))
	case *eventsv1.ProposalReceived:
		if b.GetOwn() {
			return fmt.Sprintf("the proposal of %s to %s was ordered%s", n.who, n.wish(b.GetFacts()), n.at(b.GetPosition()))
		}
		return fmt.Sprintf("%s received the proposal of %s to %s%s", n.who, n.proposer(b.GetFacts()), n.wish(b.GetFacts()), n.at(b.GetPosition()))
	case *eventsv1.ProposalCleared:
		return fmt.Sprintf("%s dropped proposal %s%s", n.who, short(b.GetRef()), reason(b.GetReason()))
	case *eventsv1.ProposalsRenewed:
		return fmt.Sprintf("%s renewed %s for the new epoch", n.who, plural(len(b.GetTo()), "proposal"))
	}
	return ""
}

// ProposalName is the RFC's name of a proposal type (§17.4).
func ProposalName(t uint32) string {
	switch t {
	case 1:
		return "add"
	case 2:
		return "update"
	case 3:
		return "remove"
	case 4:
		return "psk"
	case 5:
		return "reinit"
	case 6:
		return "external_init"
	case 7:
		return "group_context_extensions"
	}
	return fmt.Sprintf("type %d", t)
}

// wish says what a proposal asks for. Seen again in the group's order it is only referred to, so its words are kept.
func (n *Narrator) wish(f *eventsv1.ProposalFacts) string {
	if words, ok := n.wishes[string(f.GetRef())]; ok {
		return words
	}
	whom := ids.ClientID(f.GetClient()).String()
	var what string
	switch f.GetType() {
	case 1:
		what = "add " + whom
	case 2:
		what = "renew the keys of " + whom
	case 3:
		what = "remove " + whom
	case 4:
		what = "mix in a pre-shared key"
	case 5:
		what = "close the group for a successor"
	case 6:
		what = "join from outside"
	case 7:
		what = "change the group's extensions"
	default:
		what = "do what " + ProposalName(f.GetType()) + " stands for"
	}
	words := fmt.Sprintf("%s (%s)", what, short(f.GetRef()))
	n.wishes[string(f.GetRef())] = words
	return words
}

// proposer names the sender of a proposal by its place in the group (§6).
func (n *Narrator) proposer(f *eventsv1.ProposalFacts) string {
	switch f.GetSenderType() {
	case 1:
		return n.leaf(f.GetSenderIndex())
	case 2:
		return fmt.Sprintf("external sender %d", f.GetSenderIndex())
	case 3:
		return "a client asking to be added"
	case 4:
		return "a client joining from outside"
	}
	return "an unknown sender"
}

// commit words an own commit on its way through the delivery service.
func (n *Narrator) commit(body eventsv1.Body) string {
	switch b := body.(type) {
	case *eventsv1.CommitStaged:
		return n.staged(b)
	case *eventsv1.CommitAccepted:
		return fmt.Sprintf("the delivery service accepted the commit %s of %s%s", short(b.GetBundleDigest()), n.who, n.at(b.GetPosition()))
	case *eventsv1.CommitRetried:
		return fmt.Sprintf("%s offered the commit %s again, attempt %d%s", n.who, short(b.GetBundleDigest()), b.GetAttempt(), reason(b.GetReason()))
	case *eventsv1.CommitRejected:
		clause := fmt.Sprintf("the commit %s of %s was rejected%s", short(b.GetBundleDigest()), n.who, reason(b.GetReason()))
		if b.GetRebuild() {
			clause += " and is to be made anew"
		}
		return clause
	case *eventsv1.CommitUnanswered:
		return fmt.Sprintf("the delivery service gave no answer about the commit %s of %s%s", short(b.GetBundleDigest()), n.who, reason(b.GetReason()))
	case *eventsv1.CommitDiscarded:
		return fmt.Sprintf("%s discarded its commit %s%s", n.who, short(b.GetBundleDigest()), reason(b.GetReason()))
	case *eventsv1.CommitAbandoned:
		if b.GetCode() == "" {
			return fmt.Sprintf("others have done what the commit %s of %s was for", short(b.GetBundleDigest()), n.who)
		}
		return fmt.Sprintf("%s did not make its commit %s anew: %s%s", n.who, short(b.GetBundleDigest()), printable([]byte(b.GetCode())), reason(b.GetReason()))
	case *eventsv1.CommitDelayed:
		return fmt.Sprintf("%s does not commit what is due before %s%s", n.who, Timestamp(b.GetUntilMs()), reason(b.GetReason()))
	}
	return ""
}

func (n *Narrator) staged(b *eventsv1.CommitStaged) string {
	intent := b.GetIntent()
	switch intent {
	case "add_members":
		intent = "add " + people(b.GetClients())
	case "remove_members":
		intent = "remove " + people(b.GetClients())
	case "update_key_material":
		intent = "renew its keys"
	case "enable_history_sharing":
		intent = "share history"
	case "disable_history_sharing":
		intent = "share no history any more"
	case "commit_pending_proposals":
		intent = "commit what was proposed"
	case "":
		intent = "change the group"
	default:
		intent = printable([]byte(intent))
	}
	clause := fmt.Sprintf("%s staged commit %s in epoch %d to %s", n.who, short(b.GetBundleDigest()), b.GetEpoch(), intent)
	if refs := len(b.GetProposalRefs()); refs > 0 {
		clause += fmt.Sprintf(", taking along %s", plural(refs, "proposal"))
	}
	if b.GetRebuilt() > 0 {
		clause += fmt.Sprintf(", %s after the first", plural(b.GetRebuilt(), "attempt"))
	}
	if b.GetAttempt() > 1 {
		clause += fmt.Sprintf(", attempt %d", b.GetAttempt())
	}
	return clause
}
