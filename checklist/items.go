// Package checklist holds CoreCrypto's acceptance checklist: the names of the tests that a conversation API has to pass, chapter by chapter, and as
// tests of this package what they ask for. The names are those of CoreCrypto's own tests; "ours" are cases that it lacks.
package checklist

import "strings"

// Item is one entry of the checklist.
type Item struct {
	Chapter   string
	Name      string
	Elsewhere string // the test that shows it; empty: the case of that name in this package
}

// Items is the whole checklist.
func Items() []Item {
	var all []Item
	chapter := ""
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "#":
			chapter = strings.Join(fields[1:], " ")
		default:
			all = append(all, Item{Chapter: chapter, Name: fields[0], Elsewhere: strings.Join(fields[1:], " ")})
		}
	}
	return all
}

// list has a chapter's name behind "#", and an item a line: its name and, where no case of this package shows it, the test that does.
const list = `
# creation, membership
create_self_conversation
create_1_1_conversation
create_many_people_conversation
can_get_newly_created_conversation_epoch
can_get_conversation_epoch
create_conversation_should_fail_when_already_exists
conversation_not_found
can_add_members_to_conversation
should_fail_on_duplicate_signatures
add::should_return_valid_welcome
remove::should_return_valid_welcome
update::should_return_valid_welcome
commit_pending::should_return_valid_welcome
add::should_return_valid_group_info
remove::should_return_valid_group_info
update::should_return_valid_group_info
commit_pending::should_return_valid_group_info
alice_can_remove_bob
update_keying_material::should_succeed
update_keying_material::should_create_welcome_for_pending_add_proposals
commit_pending_proposals::own
commit_pending_proposals::others_by_reference
can_remove_two_and_add_one_member_in_commit
can_get_client_ids
can_export_secret_key
cannot_export_secret_key_invalid_length
should_fetch_ext_sender
config::required_capabilities
config::creator_leaf_capabilities
config::raw_external_sender
config::jwk_external_sender
# encrypt, decrypt
can_encrypt_app_message
can_encrypt_consecutive_messages
can_decrypt_app_message
decrypt::returns_sender_client_id
can_decrypt_app_message_in_reverse_order
cannot_decrypt_app_message_after_rejoining
cannot_decrypt_app_message_from_future_epoch
should_throw_specialized_error_when_epoch_too_old
should_throw_specialized_error_when_epoch_desynchronized
is_active::true
is_active::false
decrypting_a_commit_should_succeed
can_decrypt_proposal
can_decrypt_external_proposal
# commit conflicts and renewal
retry_should_work
decrypting_a_commit_should_not_renew_proposals_in_valid_commit
decrypting_a_commit_should_renew_orphan_pending_proposals
decrypting_a_commit_should_discard_pending_external_proposals
renew::update::renewable_when_created_by_self
renew::update::not_renewable_when_in_valid_commit
renew::update::not_renewable_by_ref
renew::add::not_renewable_when_valid_commit_adds_same
renew::add::not_renewable_in_pending_commit_when_valid_commit_adds_same
renew::add::not_renewable_by_ref
renew::add::renewable_when_valid_commit_doesnt_adds_same
renew::add::renews_pending_commit_when_valid_commit_doesnt_add_same
renew::remove::not_renewable_when_valid_commit_removes_same
renew::remove::not_renewable_by_ref
renew::remove::renewable_when_valid_commit_doesnt_remove_same
renew::remove::renews_pending_commit_when_valid_commit_doesnt_remove_same
renew::remove::renews_pending_commit_from_proposal_when_valid_commit_doesnt_remove_same
can_operate_with_pending_commit_wpb_17356
clear_pending_commit::should_remove
clear_pending_commit::should_fail_when_absent
clear_pending_proposal::should_remove_proposals
clear_pending_proposal::should_fail_when_proposal_ref_not_found
clear_pending_proposal::should_clean_associated_key_material
commit_accepted::should_apply_pending_commit
commit_accepted::should_clear_pending_commit_and_proposals
commit_accepted::should_clean_associated_key_material
own_commit::should_succeed_when_incoming_commit_same_as_pending
own_commit::should_succeed_when_incoming_commit_mismatches_pending_commit
own_commit::should_ignore_self_incoming_commit_when_no_pending_commit
own_commit::should_fail_when_tampering_with_incoming_own_commit_same_as_pending
own_commit::should_succeed_when_own_commit_was_lost_in_a_crash
ours::add_race_through_retry_peers_receive_everything
ours::two_consecutive_retries
ours::race_while_own_removal_arrives
ours::pending_commit_with_update_of_others
ours::leaf_reused_between_remove_and_renewal
ours::hard_transport_error_then_echo
`
